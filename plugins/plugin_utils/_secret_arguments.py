# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Pass secrets among a module's arguments through the connection's standard input, or refuse to run the module.

Unless core pipelines, it writes a module and its arguments to a file on the task's host. By default it does not
pipeline, and with some settings not even if it is told to.
"""

from __future__ import annotations

import contextlib
import re
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers

# Options that contain secrets, in any module and at any depth of the arguments: those with no_log.
SECRETS = frozenset(
    {
        *("boot_key", "content", "recovery_passphrase"),
        *("root_password_hash", "customize", "signature", "url"),
    }
)
# An option of modules that examine a host before secrets are sent there.
FOLLOW = "secrets_follow"
# Core's AnsibleModule shows this in place of a secret.
MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"

# Its attributes are created when it is loaded, so type checkers do not know them.
_CORE: t.Any = constants

# A URL without these characters contains neither a password nor a token.
_IN_A_URL = re.compile("[@?]")
# A dictionary can also be given as text: as JSON or as key=value words.
_SPELT = re.compile(rf"\b(?:{'|'.join(sorted(SECRETS))})\b['\"]?\s*[:=]")


class SecretAction(NormalAction):
    """The action of a module that takes secrets; otherwise it is core's normal action."""

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Run the module, or refuse to."""
        with piped(self):
            result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        return result

    def _parse_returned_data(self, res: t.Dict[str, t.Any], *more: t.Any) -> t.Any:
        """Parse the output only after keys that core obeys are removed: the answer may come from a machine's host."""
        return super()._parse_returned_data(_answers.without_orders(res), *more)


@contextlib.contextmanager
def piped(action: t.Any) -> t.Iterator[None]:
    """Let *action* run its module so that no secret argument is in a file or shown; raise an error if that fails."""
    task = action._task
    # A task with retries runs its action again, and by then the arguments are masked.
    task.args = getattr(action, "_given", task.args)
    arguments = masked(task.args)
    if arguments == task.args and not boolean(task.args.get(FOLLOW, False)):
        yield
        return
    action._given = task.args
    try:
        problem = _problem(action)
        if problem:
            raise AnsibleActionFail(
                f"Ansible would write the secrets for {task.action} to a file, because {problem}."
            )
        with hidden():
            yield
    finally:
        # Callbacks get the task together with its result.
        task.args = arguments


@contextlib.contextmanager
def hidden() -> t.Iterator[None]:
    """Hide what happens inside from the output of ANSIBLE_DEBUG, which shows all arguments and transferred data.

    Each task has its own process, so the change of this constant affects no other task.
    """
    shown = _CORE.DEFAULT_DEBUG
    _CORE.DEFAULT_DEBUG = False
    try:
        yield
    finally:
        _CORE.DEFAULT_DEBUG = shown


def masked(value: t.Any, name: str = "") -> t.Any:
    """Return the arguments of a module, or the *value* of one argument, with secrets masked."""
    if name in ("signature", "url"):
        secret = bool(_IN_A_URL.search(str(value or "")))
    elif name in SECRETS:
        secret = bool(value)
    elif isinstance(value, dict):
        return {key: masked(it, key) for key, it in value.items()}
    elif isinstance(value, (list, tuple)):
        return [masked(it) for it in value]
    else:
        secret = isinstance(value, str) and bool(_SPELT.search(value))
    return MASK if secret else value


def _problem(action: t.Any) -> str:
    """Turn pipelining on; if core still does not pipeline, return why not and what to change, else an empty string."""
    connection = action._connection
    if connection.has_option("pipelining"):
        connection.set_option("pipelining", True)
    else:
        connection._play_context.pipelining = True
    detached = bool(action._task.async_val) and not connection.has_native_async
    if action._is_pipelining_enabled("new", detached):
        return ""
    become = connection.become
    reasons = (
        (
            _CORE.DEFAULT_KEEP_REMOTE_FILES,
            "ANSIBLE_KEEP_REMOTE_FILES is set: unset it, and keep_remote_files in ansible.cfg",
        ),
        (detached, "the task has async: take it out"),
        (
            become is not None and not become.pipelining,
            f"'{getattr(become, 'name', '')}' gives a module no standard input: use another become_method,"
            " such as sudo, or log in as root",
        ),
        (
            not connection.has_pipelining,
            f"the connection '{connection.transport}' gives a module no standard input: use ssh or local",
        ),
        (
            connection.transport == "ssh" and connection.has_tty,
            "ssh is told to make a terminal: take -t and RequestTTY out of its arguments",
        ),
    )
    return next(
        (text for holds, text in reasons if holds),
        f"the connection '{connection.transport}' gives a module no standard input here: use ssh or local",
    )


__all__ = ("FOLLOW", "MASK", "SECRETS", "SecretAction", "hidden", "masked", "piped")
