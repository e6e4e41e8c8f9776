# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of the modules, with real commands."""

from __future__ import annotations

import sys
import time
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    CommandError,
    MissingToolError,
    ModuleRunner,
    SealedRootError,
)


class FakeModule:
    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str | None:
        return f"/sbin/{name}" if name == "there" else None


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
    monkeypatch.setenv("KEPT", "yes")
    said = RUNNER.run(["sh", "-c", "echo $LC_ALL $LANGUAGE $KEPT $ADDED"], env={"ADDED": "1"})
    assert said.stdout == "C.UTF-8 C yes 1\n"


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


def test_what_cannot_be_run() -> None:
    with pytest.raises(SealedRootError, match="/nowhere cannot be run: No such file"):
        RUNNER.run(["/nowhere"])


def test_find_takes_the_first_that_is_there() -> None:
    assert RUNNER.find("absent", "there") == "/sbin/there"
    with pytest.raises(MissingToolError, match="absent or gone is not installed"):
        RUNNER.find("absent", "gone")
