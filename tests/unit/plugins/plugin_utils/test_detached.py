# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that go on by themselves, run by a real shell: what the lines do is what matters."""

from __future__ import annotations

import os
import pathlib
import pty
import shutil
import subprocess
import time

import pytest
from ansible_collections.sealedroot.image.plugins.filter.detached import FilterModule

FILTERS = FilterModule().filters()


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "it's a log"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False, timeout=30
    )


def start(command: str, log: pathlib.Path) -> None:
    begun = time.monotonic()
    started = shell(FILTERS["detached"](command, str(log)))
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert time.monotonic() - begun < 5


def test_the_outcome_is_waited_for(log: pathlib.Path) -> None:
    start("set -e\nsleep 2\necho 'out' \"it's\" # and a comment\necho err >&2", log)
    assert "exit" not in log.read_text()
    ended = shell(FILTERS["awaited"](str(log)))
    assert (ended.returncode, ended.stdout) == (0, "out it's\nerr\n\nexit status 0\n")
    assert not log.exists()


def test_what_is_shown_is_the_end_and_nothing_that_a_terminal_obeys(log: pathlib.Path) -> None:
    start("head -c 3000000 /dev/zero | tr '\\0' x; printf '\\033[2J\\302\\2332J\\r\\ttext\\n'", log)
    ended = shell(FILTERS["awaited"](str(log)))
    assert ended.returncode == 0
    assert ended.stdout.endswith("xx[2J2J\ttext\n\nexit status 0\n")
    assert len(ended.stdout) <= 1 << 20


def test_a_failure_is_passed_on_and_its_log_kept(log: pathlib.Path) -> None:
    start("set -e; echo exit status 0; false; echo not reached", log)
    ended = shell(FILTERS["awaited"](str(log)))
    assert (ended.returncode, ended.stdout) == (1, "exit status 0\n\nexit status 1\n")
    assert log.exists()


def test_what_ends_without_a_word_has_failed(log: pathlib.Path) -> None:
    start("kill -9 $$", log)
    ended = shell(FILTERS["awaited"](str(log)))
    assert ended.returncode != 0


def test_what_was_never_started_has_failed(log: pathlib.Path) -> None:
    assert shell(FILTERS["awaited"](str(log))).returncode != 0


def test_the_wait_has_an_end(log: pathlib.Path) -> None:
    start("sleep 3", log)
    assert shell(FILTERS["awaited"](str(log), timeout=1)).returncode == 124


def test_the_command_cannot_reach_the_lock(log: pathlib.Path) -> None:
    start("ls /proc/self/fd | tr '\\n' ' '", log)
    ended = shell(FILTERS["awaited"](str(log)))
    assert ended.returncode == 0
    assert "8" not in ended.stdout.splitlines()[0].split()


def test_it_outlives_the_terminal_it_was_started_from(
    log: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """ssh gives raw tasks a terminal, whose end hangs up on all that has not left its session yet."""
    slow = tmp_path / "setsid"
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {shutil.which("setsid")} "$@"\n')
    slow.chmod(0o755)
    line = FILTERS["detached"]("echo still here", str(log))
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        os.execlp("sh", "sh", "-c", line)
    os.waitpid(pid, 0)
    os.close(terminal)
    ended = shell(FILTERS["awaited"](str(log), timeout=20))
    assert (ended.returncode, ended.stdout) == (0, "still here\n\nexit status 0\n")
