# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of the modules, with real commands."""

from __future__ import annotations

import ast
import os
import pathlib
import sys
import time
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    KEPT,
    LOCALE,
    CommandError,
    MissingToolError,
    ModuleRunner,
    OutputLimitError,
    SealedRootError,
)


class FakeModule:
    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str | None:
        return f"/sbin/{name}" if name == "there" else None


PLUGINS = pathlib.Path(__file__).parents[5] / "plugins"
RUNNER = ModuleRunner(t.cast(t.Any, FakeModule()))


def test_a_key_reaches_standard_input_unchanged() -> None:
    key = b"k$HOME~\n\0\xff"
    assert RUNNER.run(["od", "-An", "-tx1"], stdin=key).stdout.split() == [f"{b:02x}" for b in key]


def test_without_one_standard_input_is_empty() -> None:
    assert RUNNER.run(["cat"]).stdout == ""


def test_arguments_are_not_expanded() -> None:
    assert RUNNER.run(["printf", "%s,", "$HOME", "~", "a b"]).stdout == "$HOME,~,a b,"


def test_the_environment_is_ours_in_an_untranslated_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TAR_OPTIONS", "--exclude-vcs")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    said = RUNNER.run(["env"], env={"ADDED": "1"}).stdout.splitlines()
    assert {"LC_ALL=C.UTF-8", "LANGUAGE=C", "https_proxy=http://proxy:3128", "ADDED=1"} <= {*said}
    assert {it.partition("=")[0] for it in said} <= {*KEPT, *LOCALE, "ADDED"}


def test_output_that_is_no_text_comes_through() -> None:
    result = RUNNER.run(["printf", r"\377\0"])
    assert result.stdout.encode("utf-8", "surrogateescape") == b"\xff\0"


def test_much_output_on_both_streams() -> None:
    many = "import sys; sys.stdout.write('o' * 20_000_000); sys.stderr.write('e' * 5_000_000)"
    began = time.monotonic()
    result = RUNNER.run([sys.executable, "-c", many], stdin=b"x" * 1_000_000)
    assert (len(result.stdout), len(result.stderr)) == (20_000_000, 5_000_000)
    assert time.monotonic() - began < 10


def test_failure_says_what_the_tool_said() -> None:
    with pytest.raises(CommandError, match=r"exit status 2: No key available$") as failed:
        RUNNER.run(["sh", "-c", "echo No key available >&2; exit 2"], stdin=b"secret")
    assert "secret" not in str(failed.value)


def test_an_unchecked_failure_is_returned() -> None:
    result = RUNNER.run(["sh", "-c", "echo out; echo err >&2; exit 1"], check=False)
    assert (result.rc, result.stdout, result.stderr) == (1, "out\n", "err\n")


def test_the_deadline_is_said() -> None:
    began = time.monotonic()
    with pytest.raises(CommandError, match="no answer within 1 seconds"):
        RUNNER.run(["sleep", "60"], timeout=1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_is_stopped(stream: str) -> None:
    flood = f"import sys\nwhile True: sys.{stream}.write('x' * 100_000)"
    began = time.monotonic()
    with pytest.raises(OutputLimitError, match="printed more than 3 MiB, so it was stopped"):
        RUNNER.run([sys.executable, "-c", flood], most=3 << 20)
    assert time.monotonic() - began < 5


def test_as_much_as_it_may_print() -> None:
    assert len(RUNNER.run(["head", "-c", "5000", "/dev/zero"], most=5000).stdout) == 5000
    with pytest.raises(OutputLimitError, match="more than 4999 bytes"):
        RUNNER.run(["head", "-c", "5000", "/dev/zero"], most=4999)


def is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("ends", "rc"),
    [
        ("exit 3", 3),
        # It does not end by itself, and not when it is told to.
        ("trap '' TERM; while :; do sleep 1; done", 124),
    ],
)
def test_what_a_command_started_ends_with_it(ends: str, rc: int, tmp_path: pathlib.Path) -> None:
    # The children keep the output open, and do not end when they are told to.
    child = "(trap '' TERM HUP; sleep 60 & echo $! >>pids; wait)"
    began = time.monotonic()
    script = f"cd {tmp_path}; {child} & {child} & sleep 0.3; {ends}"
    result = RUNNER.run(["sh", "-c", script], check=False, timeout=2)
    assert (result.rc, time.monotonic() - began < 12) == (rc, True)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    end = time.monotonic() + 2
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [is_alive(pid) for pid in pids] == [False, False]


def test_a_daemon_stays(tmp_path: pathlib.Path) -> None:
    daemon = f"setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $! >{tmp_path}/pid; sleep 0.3"
    RUNNER.run(["sh", "-c", daemon])
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    os.kill(pid, 9)


def test_a_command_that_reads_no_key_is_no_error() -> None:
    assert RUNNER.run(["true"], stdin=b"x" * 1_000_000).rc == 0


def test_every_command_has_a_deadline() -> None:
    """It is said where the command is: nobody waits ten minutes for what takes a moment."""
    without = []
    for path in sorted(PLUGINS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("runner.run"):
                continue
            if not {"timeout", None} & {it.arg for it in node.keywords}:
                without.append(f"{path.name}:{node.lineno}")
    assert without == []


def test_what_cannot_be_run() -> None:
    with pytest.raises(SealedRootError, match="/nowhere cannot be run: No such file"):
        RUNNER.run(["/nowhere"])


def test_find_takes_the_first_that_is_there() -> None:
    assert RUNNER.find("absent", "there") == "/sbin/there"
    with pytest.raises(MissingToolError, match="absent or gone is not installed"):
        RUNNER.find("absent", "gone")
