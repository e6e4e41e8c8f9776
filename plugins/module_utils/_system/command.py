# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run commands; no other code does.

Its callers take a :class:`Runner`, which tests replace with scripted commands.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import printable

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Output is parsed, so it must not be translated.
LOCALE = {"LANGUAGE": "C", "LC_ALL": "C.UTF-8"}
# The variables of the caller that a command gets: they say where programs and temporary files are, and how the network
# is reached. Others, such as TAR_OPTIONS and POSIXLY_CORRECT, would change what a tool makes.
KEPT = (
    *("HOME", "PATH", "TMPDIR"),
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
)
# The caller's umask would close what a tool makes to other users of an image.
UMASK = 0o022

# Default limits of a command: seconds to run, and bytes to print.
SECONDS = 600
MOST_OUTPUT = 64 << 20

# Exit status of a command that did not end in time, like timeout(1).
_TIMED_OUT = 124
# Seconds that a command may take to end after SIGTERM, and its children to close its output after it has ended.
_GRACE, _LEFT_OVER = 5.0, 1.0
# How often to check whether a command has ended while its children still hold its output open.
_PAUSE = 0.2
_CHUNK = 1 << 20


class SealedRootError(Exception):
    """An error that the user can correct; the message says what to change.

    The message can quote an untrusted image, so it is escaped and shortened.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable.message(message))


class FailedError(SealedRootError):
    """The module's finding is a failure; it returns *outcome* with the message."""

    def __init__(self, message: str, outcome: t.Dict[str, t.Any]) -> None:
        self.outcome = outcome
        super().__init__(message)


class MissingToolError(SealedRootError):
    """A program is not installed on the machine that runs the module."""


class OutputLimitError(SealedRootError):
    """A command printed more than its limit and was stopped."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Exit status and decoded output of a command."""

    rc: int
    stdout: str
    stderr: str


class CommandError(SealedRootError):
    """A command failed. The message holds its arguments and output, never its standard input."""

    def __init__(self, argv: t.Sequence[str], result: Result) -> None:
        self.argv = list(argv)
        self.result = result
        output = result.stderr.strip() or result.stdout.strip() or "no output"
        super().__init__(f"'{' '.join(argv)}' failed with exit status {result.rc}: {output}")


def environment() -> t.Dict[str, str]:
    """Return the environment of every command."""
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **LOCALE}


class Runner(abc.ABC):
    """Runs commands: the interface that the pure code depends on."""

    @abc.abstractmethod
    def find(self, *names: str) -> str:
        """Return the path of the first of *names* that is installed.

        Raises MissingToolError if none is.
        """

    @abc.abstractmethod
    def run(
        self,
        argv: t.Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: int = SECONDS,
        env: t.Mapping[str, str] | None = None,
        most: int = MOST_OUTPUT,
    ) -> Result:
        """Run *argv* (a list, never a shell string) in an environment that the caller does not choose.

        *stdin* is passed without an added newline, so it can be a key. The command is stopped after *timeout*
        seconds, or when it has printed more than *most* bytes on both streams together, which raises
        OutputLimitError. *check* raises CommandError on a non-zero exit status.
        """


class _Running:
    """A command in its own session, ended together with every process that it started there."""

    def __init__(self, argv: t.Sequence[str], env: t.Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603  # a list, and no shell
            argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True
        )
        self._output: t.Dict[t.Any, t.List[bytes]] = {
            self._process.stdout: [],
            self._process.stderr: [],
        }
        self._size = 0

    def has_ended(self) -> bool:
        """Say whether the command itself has ended. It is not reaped, so that its process group ID is not reused."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Send SIGTERM to the process group, and wait for the command; close() kills the rest."""
        self._kill(signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while not self.has_ended() and time.monotonic() < end:
            time.sleep(_PAUSE / 4)

    def close(self) -> int:
        """Kill the rest of the process group; return the command's exit status."""
        self._kill(signal.SIGKILL)
        for stream in (self._process.stdin, *self._output):
            with contextlib.suppress(OSError):
                stream.close()
        return self._process.wait()

    def talk(self, stdin: bytes, seconds: float, most: int) -> bool:
        """Write *stdin* and read the output; return whether the command ended within *seconds*."""
        deadline, left = time.monotonic() + seconds, memoryview(stdin)
        with selectors.DefaultSelector() as selector:
            for stream in self._output:
                selector.register(stream, selectors.EVENT_READ)
            os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
            selector.register(t.cast(t.IO[bytes], self._process.stdin), selectors.EVENT_WRITE)
            while selector.get_map():
                now = time.monotonic()
                if now >= deadline:
                    return False
                ready = selector.select(min(_PAUSE, deadline - now))
                if not ready and self.has_ended():
                    # Its background processes still hold the streams open.
                    deadline = min(deadline, now + _LEFT_OVER)
                    self._kill(signal.SIGKILL)
                for key, _events in ready:
                    if key.fileobj is self._process.stdin:
                        left = self._feed(left)
                        done = not left
                    else:
                        done = not self._read(key.fileobj, most)
                    if done:
                        selector.unregister(key.fileobj)
                        t.cast(t.IO[bytes], key.fileobj).close()
        while not self.has_ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE / 40)
        return True

    def _feed(self, left: memoryview) -> memoryview:
        try:
            return left[os.write(self._process.stdin.fileno(), left[:_CHUNK]) :]  # type: ignore[union-attr]
        except BrokenPipeError:  # the command reads no more
            return left[:0]

    def _read(self, stream: t.Any, most: int) -> bool:
        data = os.read(stream.fileno(), _CHUNK)
        self._output[stream].append(data)
        self._size += len(data)
        if self._size > most:
            raise OutputLimitError
        return bool(data)

    def output(self) -> t.List[str]:
        """Return its output on both streams."""
        return [
            b"".join(parts).decode("utf-8", "surrogateescape") for parts in self._output.values()
        ]


def execute(
    argv: t.Sequence[str],
    *,
    stdin: bytes,
    env: t.Mapping[str, str],
    seconds: float,
    most: int,
) -> Result:
    """Run a command within limits. Its children end with it, except daemons, which have left its session."""
    try:
        running = _Running(argv, env)
    except OSError as exc:
        raise SealedRootError(f"{argv[0]} cannot be run: {exc.strerror}") from exc
    in_time = True
    try:
        in_time = running.talk(stdin, seconds, most) or running.has_ended()
        if not in_time:
            running.stop()
    except OutputLimitError:
        running.stop()
        raise OutputLimitError(
            f"{argv[0]} printed more than {_size(most)}, so it was stopped: what it was asked about is no"
            " usual file or system"
        ) from None
    finally:
        status = running.close()
    stdout, stderr = running.output()
    if not in_time:
        return Result(_TIMED_OUT, stdout, f"no answer within {seconds} seconds. {stderr}")
    return Result(status, stdout, stderr)


def _size(number: int) -> str:
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number} bytes"


class ModuleRunner(Runner):
    """The Runner of a module.

    It does not use AnsibleModule.run_command, which checks twice in a row whether the command has ended, and
    sleeps for a second if that happens in between (ansible-core 2.19, one in twenty commands here). It also
    needs minutes for an output of some ten MiB.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def find(self, *names: str) -> str:
        for name in names:
            # Most tools are in sbin, which is not in every user's PATH.
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
        timeout: int = SECONDS,
        env: t.Mapping[str, str] | None = None,
        most: int = MOST_OUTPUT,
    ) -> Result:
        result = execute(
            list(argv),
            stdin=stdin or b"",
            env={**environment(), **(env or {})},
            seconds=timeout,
            most=most,
        )
        if check and result.rc != 0:
            raise CommandError(argv, result)
        return result


__all__ = (
    "KEPT",
    "LOCALE",
    "MOST_OUTPUT",
    "SECONDS",
    "UMASK",
    "CommandError",
    "FailedError",
    "MissingToolError",
    "ModuleRunner",
    "OutputLimitError",
    "Result",
    "Runner",
    "SealedRootError",
    "environment",
    "execute",
)
