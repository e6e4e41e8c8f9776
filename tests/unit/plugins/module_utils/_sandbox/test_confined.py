# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tool or a program that reads an image is given, and what it is not."""

from __future__ import annotations

import os
import pathlib
import types
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import limits
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def added(argv: t.Sequence[str]) -> list[str]:
    return [argv[index + 1] for index, word in enumerate(argv) if word == "--cap-add"]


def options(argv: t.Sequence[str]) -> list[str]:
    """Return the words for bwrap, and check that it has the filter, and no core file to fill."""
    assert argv[:2] == ["sh", "-c"]
    assert argv[3:5] == ["/filter", "--"]
    assert argv[5:10] == ["prlimit", "--core=1:1", "bwrap", "--seccomp", "9"]
    assert "--unshare-net" in argv
    return list(argv[argv.index("bwrap") :])


def test_a_tool_whose_crash_would_start_a_program_is_not_started(
    confinement: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "core_limit_here", lambda: 0)
    assert "--core=0:0" in confinement.tool("/disk", ["debugfs"])
    monkeypatch.setattr(limits, "core_limit_here", lambda: -1)
    with pytest.raises(SealedRootError, match=r"rlimit_core=default"):
        confinement.tool("/disk", ["debugfs"])


def test_a_program_can_write_nothing(confinement: t.Any) -> None:
    argv = options(confinement.program("/work/root", ["setfiles", "-n"]))
    assert argv[-3:] == ["--", "setfiles", "-n"]
    assert argv[argv.index("--ro-bind") + 1 :][:2] == ["/work/root", "/"]
    assert added(argv) == ["CAP_DAC_OVERRIDE"]
    assert "--as-pid-1" in argv
    assert not {"--bind", "--dev-bind", "--dev", "--share-net"} & set(argv)


def test_a_tool_sees_the_device_and_where_it_writes(confinement: t.Any) -> None:
    argv = options(confinement.tool("/disk", ["e2fsck", "-n", "/image"]))
    assert argv[-3:] == ["e2fsck", "-n", "/image"]
    assert argv[argv.index("/disk") - 1 :][:3] == ["--ro-bind", "/disk", "/image"]
    assert "--bind" not in argv
    assert added(argv) == []
    argv = options(confinement.tool("/disk", ["debugfs"], output="/work"))
    assert argv[argv.index("--bind") + 1 :][:2] == ["/work", "/output"]
    assert added(argv) == ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]


def test_each_command_has_a_control_group_of_its_own(
    tmp_path: pathlib.Path, confinement: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What removes the last one's would remove the next one's, were they called alike."""
    monkeypatch.setattr(limits.ControlGroup, "BASE", str(tmp_path))
    monkeypatch.setattr(limits.ControlGroup, "remove_later", lambda _self: None)
    for name in ("cgroup.controllers", "cgroup.procs"):
        (tmp_path / name).touch()
    found = []
    for _command in range(2):
        with confined._around() as (_filter, lists):
            found += lists
    assert len(set(found)) == 2
    assert all(f"/sealedroot/{os.getpid()}." in path for path in found)


def test_tools_that_run_together_share_a_control_group(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.ControlGroup, "BASE", str(tmp_path))
    monkeypatch.setattr(limits.ControlGroup, "remove_later", lambda _self: None)
    monkeypatch.setattr(limits, "core_limit_here", lambda: 1)
    for name in ("cgroup.controllers", "cgroup.procs"):
        (tmp_path / name).touch()
    groups: list[str] = []

    def note(argv: list[str], **_more: t.Any) -> t.Any:
        groups.append(next(word for word in argv if "/sealedroot/" in word))
        return types.SimpleNamespace(rc=0)

    runner: t.Any = types.SimpleNamespace(find=str, run=note)
    with confined.together():
        for _command in range(2):
            confined.run_tool(runner, "/disk", ["debugfs"], timeout=1)
    for _command in range(2):
        confined.run_tool(runner, "/disk", ["debugfs"], timeout=1)
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
