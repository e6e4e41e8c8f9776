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

# A tool's output is parsed, so it must not be translated.
LOCALE = {"LANGUAGE": "C", "LC_ALL": "C.UTF-8"}

# What a command gets that nothing else was said of: time in seconds, and bytes that it may print.
SECONDS = 600
MOST_OUTPUT = 64 << 20

# The exit status of a command that did not end in time, as timeout(1) has it.
_TIMED_OUT = 124
# How long a command has to end by itself when it is told to, and what it started to let go of its output.
_GRACE, _LEFT_OVER = 5.0, 1.0
# How often it is looked whether a command has ended whose output is still held open by something that it started.
_PAUSE = 0.2
_CHUNK = 1 << 20


class SealedRootError(Exception):
    """Something that a person can mend; the message says what to change.

    It can quote an image, whose control characters are shown and not obeyed, and which can say much.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable.message(message))


class FailedError(SealedRootError):
    """What was found is a failure; *outcome* is what the module returns with the message."""

    def __init__(self, message: str, outcome: t.Dict[str, t.Any]) -> None:
        self.outcome = outcome
        super().__init__(message)


class MissingToolError(SealedRootError):
    """A program is not installed on the machine that runs the module."""


class OutputLimitError(SealedRootError):
    """A command printed more than anybody is to read of it, and was stopped."""


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
        timeout: int = SECONDS,
        env: t.Mapping[str, str] | None = None,
        most: int = MOST_OUTPUT,
    ) -> Result:
        """Run *argv* (a list, never a shell string) in the C.UTF-8 locale.

        *stdin* is passed as it is, without an added newline, so it can be a key. *timeout* is a deadline in
        seconds, and *most* how many bytes it may print, on both streams: a command that prints more is stopped,
        and OutputLimitError raised. *check* raises CommandError on a non-zero exit status.
        """


class _Running:
    """A command in a session of its own, which ends with all that it started there."""

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
        """Say whether the command itself has ended; it is not reaped, so its process group stays its own."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Tell all of it to end, and make it."""
        self._kill(signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while not self.has_ended() and time.monotonic() < end:
            time.sleep(_PAUSE / 4)

    def close(self) -> int:
        """End what is left of it; return the command's exit status."""
        self._kill(signal.SIGKILL)
        for stream in (self._process.stdin, *self._output):
            with contextlib.suppress(OSError):
                stream.close()
        return self._process.wait()

    def talk(self, stdin: bytes, seconds: float, most: int) -> bool:
        """Pass *stdin* and read what is printed; return whether it ended within *seconds*."""
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
                    # What it left in the background has the streams still.
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
        except BrokenPipeError:  # it has read enough
            return left[:0]

    def _read(self, stream: t.Any, most: int) -> bool:
        data = os.read(stream.fileno(), _CHUNK)
        self._output[stream].append(data)
        self._size += len(data)
        if self._size > most:
            raise OutputLimitError
        return bool(data)

    def said(self) -> t.List[str]:
        """Return what it printed on both streams."""
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
    """Run a command within bounds. Whatever it started ends with it, but for what left its session: a daemon."""
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
    stdout, stderr = running.said()
    if not in_time:
        return Result(_TIMED_OUT, stdout, f"no answer within {seconds} seconds. {stderr}")
    return Result(status, stdout, stderr)


def _size(number: int) -> str:
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number} bytes"


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
        timeout: int = SECONDS,
        env: t.Mapping[str, str] | None = None,
        most: int = MOST_OUTPUT,
    ) -> Result:
        result = execute(
            list(argv),
            stdin=stdin or b"",
            env={**os.environ, **LOCALE, **(env or {})},
            seconds=timeout,
            most=most,
        )
        if check and result.rc != 0:
            raise CommandError(argv, result)
        return result


__all__ = (
    "LOCALE",
    "MOST_OUTPUT",
    "SECONDS",
    "CommandError",
    "FailedError",
    "MissingToolError",
    "ModuleRunner",
    "OutputLimitError",
    "Result",
    "Runner",
    "SealedRootError",
    "execute",
)
