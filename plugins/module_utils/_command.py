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
import os
import subprocess
import typing as t

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# A tool's output is parsed, so it must not be translated.
LOCALE = {"LANGUAGE": "C", "LC_ALL": "C.UTF-8"}

# coreutils' timeout(1) exits with 124 after SIGTERM and 137 after SIGKILL.
_TIMED_OUT = (124, 137)


class SealedRootError(Exception):
    """Something that a person can mend; the message says what to change."""


class FailedError(SealedRootError):
    """What was found is a failure; *outcome* is what the module returns with the message."""

    def __init__(self, message: str, outcome: t.Dict[str, t.Any]) -> None:
        self.outcome = outcome
        super().__init__(message)


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
    """The Runner of a module.

    Not by AnsibleModule.run_command: it asks twice in a row whether the command has ended, and sleeps for
    a second when that happens in between (ansible-core 2.19, one in twenty commands here), and it needs
    minutes for an output of some ten MiB.
    """

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
        try:
            done = subprocess.run(  # noqa: S603  # a list, and no shell
                command,
                input=stdin or b"",
                capture_output=True,
                check=False,
                env={**os.environ, **LOCALE, **(env or {})},
            )
        except OSError as exc:
            raise SealedRootError(f"{argv[0]} cannot be run: {exc.strerror}") from exc
        stdout, stderr = (
            data.decode("utf-8", "surrogateescape") for data in (done.stdout, done.stderr)
        )
        if timeout is not None and done.returncode in _TIMED_OUT:
            stderr = f"no answer within {timeout} seconds. {stderr}"
        result = Result(done.returncode, stdout, stderr)
        if check and result.rc != 0:
            raise CommandError(argv, result)
        return result


__all__ = (
    "LOCALE",
    "CommandError",
    "FailedError",
    "MissingToolError",
    "ModuleRunner",
    "Result",
    "Runner",
    "SealedRootError",
)
