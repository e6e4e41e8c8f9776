# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of another architecture: the one that is tried, and what its end means."""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import types
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._machine import emulation
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Result,
    Runner,
)

ARCHITECTURES = list(architectures.ARCHITECTURES.values())
AARCH64 = architectures.AARCH64


class OneRun(Runner):
    """Finds some tools and runs one command, which ends as it is told."""

    def __init__(self, *tools: str, rc: int = 0) -> None:
        self.tools = tools
        self.rc = rc
        self.ran: list[tuple[str, bytes, int]] = []

    def find(self, *names: str) -> str:
        for name in names:
            if name in self.tools:
                return f"/sbin/{name}"
        raise MissingToolError(names[0])

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        command, root, program = argv
        path = pathlib.Path(root + program)
        self.ran.append((command, path.read_bytes(), path.stat().st_mode & 0o777))
        return Result(self.rc, "", "")


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda it: it.machine)
def test_the_program_is_of_its_architecture(arch: architectures.Architecture) -> None:
    program = emulation.program(arch)
    assert program[:4] == b"\x7fELF"
    kind, number, _version, start, segments = struct.unpack_from("<HHIQQ", program, 16)
    assert (kind, architectures.of_elf(number)) == (2, arch.machine)
    (_type, flags, offset, address, _physical, size, _memory, _align) = struct.unpack_from(
        "<IIQQQQQQ", program, segments
    )
    assert (flags, offset, size) == (5, 0, len(program))
    assert program[start - address :] == arch.exit_code


def test_the_program_of_this_machine_exits_with_0(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "exit"
    path.write_bytes(emulation.program(architectures.find(os.uname().machine)))
    path.chmod(0o755)
    assert subprocess.run([path], check=False).returncode == 0


@pytest.fixture(params=ARCHITECTURES, ids=lambda it: it.machine)
def builder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make this machine one of each architecture in turn."""
    machine: str = request.param.machine
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(machine=machine))
    return machine


@pytest.mark.parametrize("rc", [0, 126])
def test_only_another_architecture_is_tried(builder: str, rc: int) -> None:
    for arch in ARCHITECTURES:
        runner = OneRun("chroot", rc=rc)
        native = arch.machine == builder
        assert emulation.runs(runner, arch) == (native or rc == 0)
        tried = ("/sbin/chroot", emulation.program(arch), 0o755)
        assert runner.ran == ([] if native else [tried])


def test_what_to_do() -> None:
    assert emulation.problem(OneRun("chroot"), AARCH64) == ""
    said = emulation.problem(OneRun("qemu-aarch64"), AARCH64)
    assert "though /sbin/qemu-aarch64 is there: mount binfmt_misc" in said
