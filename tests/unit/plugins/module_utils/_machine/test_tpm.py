# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TPM runs as long as what needs it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._machine import tpm
from ansible_collections.sealedroot.image.plugins.module_utils._system import processes
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Result,
    Runner,
    SealedRootError,
)


class Swtpm(Runner):
    """Writes the file of the process's ID, as swtpm does once it listens."""

    def __init__(self) -> None:
        self.argv: list[str] = []

    def find(self, *names: str) -> str:
        return f"/usr/bin/{names[0]}"

    def run(self, argv: t.Sequence[str], **_how: t.Any) -> Result:
        self.argv = [*argv]
        pathlib.Path(argv[-1].partition("=")[2]).write_text("4711\n")
        return Result(0, "", "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were told to end, which do."""
    found: list[int] = []

    def terminated(running: t.Sequence[processes.Process], _grace: float) -> list[t.Any]:
        found.extend(it.pid for it in running)
        return []

    monkeypatch.setattr(processes, "terminated", terminated)
    return found


def test_it_is_ended_whatever_happens(tmp_path: pathlib.Path, asked: list[int]) -> None:
    runner = Swtpm()

    def interrupted() -> None:
        with tpm.machine(runner, str(tmp_path), "--flags", "startup-clear") as control:
            assert control == f"{tmp_path}/tpm.ctrl"
            assert asked == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert asked == [4711]
    assert runner.argv[:3] == ["/usr/bin/swtpm", "socket", "--tpm2"]
    assert f"dir={tmp_path}" in runner.argv
    assert runner.argv[-5:-3] == ["--flags", "startup-clear"]


def test_one_that_ended_with_its_machine_is_left_alone(
    tmp_path: pathlib.Path, asked: list[int]
) -> None:
    with tpm.machine(Swtpm(), str(tmp_path)):
        (tmp_path / "pid").unlink()
    assert asked == []


def test_one_that_does_not_end_is_said(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "terminated", lambda running, _grace: running)
    with (
        pytest.raises(SealedRootError, match=r"process 4711 \(swtpm\) did not end within"),
        tpm.machine(Swtpm(), str(tmp_path)),
    ):
        pass


def test_a_path_with_a_comma_is_quoted() -> None:
    assert "socket,id=tpm,path=/a,,b/tpm.ctrl" in tpm.options("/a,b/tpm.ctrl")
