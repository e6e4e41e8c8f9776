# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run commands on the builder of an image, connecting with the builder's own variables.

Core does this for the host of a task (task_executor, ``_set_connection_options``); this does it for
another host: load its connection plugin, and its become plugin if any, with the options in its variables.
"""

from __future__ import annotations

import os
import typing as t

from ansible import constants, context
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.loader import become_loader, connection_loader

Variables = t.Mapping[str, t.Any]


class Builder:
    """A builder and the connection to it.

    The plugin *become* makes the user root for every command; as in core, it is not used if the user already is.
    """

    def __init__(self, connection: t.Any, become: t.Any = None) -> None:
        self.connection = connection
        if connection.has_option("use_tty"):
            # A terminal would change the transferred bytes.
            connection.set_option("use_tty", False)
        self.become = None if become is None or _is_needless(become, connection) else become

    def run(self, command: str, in_data: bytes = b"") -> t.Tuple[int, bytes, bytes]:
        """Run a line of shell as root; its output is not changed."""
        if self.become is None:
            result: t.Tuple[int, bytes, bytes] = self.connection.exec_command(
                command, in_data=in_data, sudoable=False
            )
            return result
        line = self.become.build_become_command(command, self.connection._shell)
        status, stdout, stderr = self.connection.exec_command(line, in_data=in_data, sudoable=True)
        # Connections remove this line only if they waited for it.
        success = f"{self.become.success}\n".encode()
        if self.become.success and success in stdout:
            stdout = stdout.partition(success)[2]
        return status, stdout, stderr

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def connect(
    name: str,
    *,
    hosts: t.Mapping[str, Variables],
    task_keys: t.Mapping[str, t.Any],
    become: t.Any,
    play_context: t.Any,
) -> Builder:
    """Connect to the host *name* of the inventory.

    *hosts* are the variables of all hosts (``hostvars``), *task_keys* the keywords of the task. *become* is the
    plugin that the task asks for, if any. The builder's own ``ansible_become`` has precedence, as in core, and then
    ``--become``: what a role says of become is meant for the image. Only without both it counts, because core does
    not tell keywords of a play from those of a task.
    """
    if name not in hosts and name != "localhost":
        raise AnsibleConnectionFailure(
            f"the builder '{name}' is not in the inventory: add it, or correct image_builder"
        )
    variables = hosts.get(name, {"ansible_connection": "local"})
    via = transport(variables)
    connection = connection_loader.get(via, play_context)
    if connection is None:
        raise AnsibleConnectionFailure(f"there is no connection plugin '{via}' for '{name}'")
    connection.set_options(
        task_keys=task_keys, var_options=_options("connection", connection, variables)
    )
    keys = {**task_keys, "become_pass": play_context.become_pass or None}
    # The task's user is one of the image.
    keys["become_user"] = None
    if "ansible_become" in variables or context.CLIARGS.get("become"):
        keys.update(become_exe=None, become_flags=None)
        become = _become(variables)
    if become is not None:
        become.set_options(task_keys=keys, var_options=_options("become", become, variables))
    builder = Builder(connection, become)
    connection.set_become_plugin(builder.become)
    connection._connect()
    return builder


def transport(variables: Variables) -> str:
    """Return the name of the connection plugin of the host with these variables.

    A builder is never reached by the plugin for images: if it is named here, it comes from a variable that is set for
    all hosts (``--extra-vars``).
    """
    name = str(variables["ansible_connection"]) if "ansible_connection" in variables else "smart"
    if name not in ("smart", "sealedroot.image.chroot"):
        return name
    if name != "smart" and variables.get("inventory_hostname") == "localhost":
        return "ansible.builtin.local"
    return str(constants.config.get_config_value("DEFAULT_TRANSPORT"))


def _become(variables: Variables) -> t.Any:
    """Return the become plugin that the builder's variables or the command line name; None if they decline."""
    if not boolean(variables.get("ansible_become", True)):
        return None
    asked = context.CLIARGS.get("become_method") or "ansible.builtin.sudo"
    method = str(variables.get("ansible_become_method", asked))
    plugin = become_loader.get(method)
    if plugin is None:
        raise AnsibleConnectionFailure(f"there is no become plugin '{method}'")
    return plugin


def _is_needless(become: t.Any, connection: t.Any) -> bool:
    """Say whether the logged-in user already is the requested one."""
    user = connection.get_option("remote_user") if connection.has_option("remote_user") else None
    if connection.transport == "local" and os.geteuid() == 0:
        user = "root"
    return not constants.config.get_config_value("BECOME_ALLOW_SAME_USER") and user == (
        become.get_option("become_user") or "root"
    )


def _options(kind: str, plugin: t.Any, variables: Variables) -> t.Dict[str, t.Any]:
    """Return the variables that set an option of *plugin*."""
    names = constants.config.get_plugin_vars(kind, plugin._load_name)
    return {name: variables[name] for name in names if name in variables}


__all__ = ("Builder", "connect", "transport")
