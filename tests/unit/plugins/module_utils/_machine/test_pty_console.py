# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The console of a process on a pseudo-terminal, with real processes."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._machine import pty_console
from ansible_collections.sealedroot.image.plugins.module_utils._machine.pty_console import (
    PtyConsole,
)


def sh(script: str) -> PtyConsole:
    return PtyConsole(["sh", "-c", script])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_said_and_typed() -> None:
    script = "printf 'Name: '; IFS= read -r name; echo \"it is $name\"; exec sleep 60"
    with sh(script) as console:
        assert console.wait(["no such", "Name: "], 30) == 1
        os.write(console._terminal, b"caf\xc3\xa9\n")
        assert console.wait(["it is café\n"], 30) == 0
    # Nothing is echoed.
    assert console.text == "Name: it is café\n"


def test_keys_are_typed_with_return() -> None:
    program = "import sys; print(sys.stdin.buffer.read(5))"
    with PtyConsole([sys.executable, "-c", program]) as console:
        console.type("a b!")
        assert console.wait([r"b'a b!\\r'"], 30) == 0


@pytest.mark.parametrize(
    ("said", "patterns", "index", "next_one"),
    [
        ("one two three", ["two", "one"], 1, "two"),
        # At the same place, the first in the list wins.
        ("login:", ["login", "log"], 0, ":"),
        ("a\\nb\\nc", ["a.b"], 0, "c"),
    ],
)
def test_the_first_in_the_text_wins(
    said: str, patterns: list[str], index: int, next_one: str
) -> None:
    with sh(f"printf '{said}'; exec sleep 60") as console:
        assert console.wait(patterns, 30) == index
        assert console.wait([next_one], 30) == 0


def test_a_text_that_comes_in_pieces() -> None:
    """A sign of several bytes as well."""
    script = r"printf 'Enter pass'; sleep 0.2; printf 'phrase \303'; sleep 0.2; printf '\251:'; exec sleep 60"
    with sh(script) as console:
        assert console.wait(["Enter passphrase é:"], 30) == 0


def test_a_flood_before_the_text() -> None:
    with sh("head -c 3000000 /dev/zero | tr '\\0' x; printf prompt; exec sleep 60") as console:
        assert console.wait(["prompt"], 60) == 0
        assert len(console.text) == 3000006


def test_nothing_within_the_time_loses_nothing() -> None:
    with sh("printf hidden; exec sleep 60") as console:
        began = time.monotonic()
        assert console.wait(["other"], 0.5) is None
        assert 0.4 < time.monotonic() - began < 20
        assert console.wait(["hidden"], 0.1) == 0


def test_the_end_of_the_process_is_the_end_of_the_file() -> None:
    with sh("printf last") as console:
        assert console.wait(["last"], 30) == 0
        with pytest.raises(EOFError):
            console.wait(["more"], 30)
    assert console.text == "last"


def test_settle_skips_what_is_still_written() -> None:
    with sh("for n in 1 2 3; do echo $n; done; sleep 1; printf prompt; exec sleep 60") as console:
        console.settle()
        assert console.wait(["3"], 0.1) is None
        assert console.wait(["prompt"], 30) == 0


@pytest.mark.parametrize("script", ["exec sleep 60", "trap '' TERM HUP; echo ready; exec sleep 60"])
def test_it_ends_with_the_context(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pty_console, "END_SECONDS", 0.3)
    with sh(f"echo ready; {script}") as console:
        console.wait(["ready"], 30)
        assert is_alive(console.pid)
    assert not is_alive(console.pid)


def test_it_ends_with_who_started_it(tmp_path: pathlib.Path) -> None:
    """Killed without a chance to say so, as a play is that loses its power."""
    child = os.fork()
    if not child:
        with sh("echo ready; exec sleep 60") as console:
            console.wait(["ready"], 30)
            (tmp_path / "pid.part").write_text(str(console.pid))
            (tmp_path / "pid.part").rename(tmp_path / "pid")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_command_that_is_not_there_leaves_no_file_open() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        PtyConsole(["/nonexistent"])
    assert os.listdir("/proc/self/fd") == before
