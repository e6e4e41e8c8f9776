# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The one place that runs commands.

Everything above it takes a :class:`Runner`, so that it can be tested with scripted commands.
"""

from __future__ import annotations

import abc
import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# A tool's output is parsed, so it must not be translated.
LOCALE = {"LANGUAGE": "C", "LC_ALL": "C.UTF-8"}

# coreutils' timeout(1) exits with 124 after SIGTERM and 137 after SIGKILL.
_TIMED_OUT = (124, 137)


class SealedRootError(Exception):
    """Something that a person can mend; the message says what to change."""


class MissingToolError(SealedRootError):
    """A program is not installed on the machine that runs the module."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command left: exit status and decoded output."""

    rc: int
    stdout: str
    stderr: str


class CommandError(SealedRootError):
    """A command failed. The message holds argv and the tool's own words, never its standard input."""

    def __init__(self, argv: t.Sequence[str], result: Result) -> None:
        self.argv = list(argv)
        self.result = result
        said = result.stderr.strip() or result.stdout.strip() or "no output"
        super().__init__(f"'{' '.join(argv)}' failed with exit status {result.rc}: {said}")


class Runner(abc.ABC):
    """Runs commands: the port that the pure code above it knows."""

    @abc.abstractmethod
    def find(self, *names: str) -> str:
        """Return the path of the first of *names* that is installed.

        Raises MissingToolError when none is.
        """

    @abc.abstractmethod
    def run(
        self,
        argv: t.Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: int | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> Result:
        """Run *argv* (a list, never a shell string) in the C.UTF-8 locale.

        *stdin* is passed as it is, without an added newline, so it can be a key. *timeout* is a
        deadline in seconds. *check* raises CommandError on a non-zero exit status.
        """


class ModuleRunner(Runner):
    """The Runner of a module: AnsibleModule.run_command with the settings that keys need."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def find(self, *names: str) -> str:
        for name in names:
            # sbin is not in every user's PATH, but it is where most of the tools live.
            path = self._module.get_bin_path(name, opt_dirs=["/usr/sbin", "/sbin"])
            if path:
                return str(path)
        raise MissingToolError(f"{' or '.join(names)} is not installed on this machine")

    def run(
        self,
        argv: t.Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: int | None = None,
        env: t.Mapping[str, str] | None = None,
    ) -> Result:
        command = list(argv)
        if timeout is not None:
            command = ["timeout", "--kill-after=5", str(timeout), *command]
        rc, stdout, stderr = self._module.run_command(
            command,
            data=stdin,
            binary_data=True,
            environ_update={**LOCALE, **(env or {})},
            expand_user_and_vars=False,
        )
        if timeout is not None and rc in _TIMED_OUT:
            stderr = f"no answer within {timeout} seconds. {stderr}"
        result = Result(rc, stdout, stderr)
        if check and rc != 0:
            raise CommandError(argv, result)
        return result


__all__ = (
    "LOCALE",
    "CommandError",
    "MissingToolError",
    "ModuleRunner",
    "Result",
    "Runner",
    "SealedRootError",
)
