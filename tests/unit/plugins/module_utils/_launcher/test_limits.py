# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import resource

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import limits
from ansible_collections.sealedroot.image.plugins.module_utils._launcher.request import SandboxError


@pytest.mark.parametrize(
    ("hard", "capabilities", "pattern", "limit"),
    [
        (resource.RLIM_INFINITY, "000001fffeffffff", "|/usr/share/apport/apport %p", 1),
        (1, "0000000000000000", "|/usr/share/apport/apport %p", 1),
        # sudo on a machine.
        (0, "000001ffffffffff", "|/usr/share/apport/apport %p", 1),
        # sudo in a container.
        (0, "000001fffeffffff", "core\n", 0),
        (0, "000001fffeffffff", "/var/crash/core.%p\n", 0),
        (0, "000001fffeffffff", "|/usr/share/apport/apport %p", -1),
        (0, "000001fffeffffff", "@/run/systemd/coredump", -1),
    ],
)
def test_no_crash_of_an_image_starts_a_program_of_the_builder(hard, capabilities, pattern, limit):
    assert limits.core_limit(hard, int(capabilities, 16), pattern) == limit


def test_the_limit_of_this_process(monkeypatch):
    asked = []

    def none(*known):
        asked.append(known)
        return -1

    monkeypatch.setattr(limits, "core_limit", none)
    with pytest.raises(SandboxError, match=r"rlimit_core=default"):
        limits.limit_process()
    ((hard, capabilities, pattern),) = asked
    assert hard == resource.getrlimit(resource.RLIMIT_CORE)[1]
    assert capabilities >= 0
    assert pattern == pathlib.Path("/proc/sys/kernel/core_pattern").read_text()


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A tree in the place of control groups. rmdir(2) does what it does there: their files do not count."""
    monkeypatch.setattr(limits.ControlGroup, "BASE", str(tmp_path))
    real = os.rmdir

    def rmdir(path):
        for entry in os.scandir(path):
            if entry.is_file():
                os.unlink(entry.path)
        real(path)

    monkeypatch.setattr(os, "rmdir", rmdir)
    return tmp_path


def test_limits_of_version_1(groups):
    for name in ("memory", "pids", "cpu"):
        (groups / name).mkdir()
        (groups / name / "cgroup.procs").touch()
    group = limits.ControlGroup()
    group.make()
    group.enter()
    me = str(os.getpid())
    own = {name: groups / name / "sealedroot" / me for name in ("memory", "pids", "cpu")}
    assert (own["pids"] / "pids.max").read_text() == "4096"
    assert 0 < int((own["memory"] / "memory.limit_in_bytes").read_text()) < limits.memory()
    assert all((it / "cgroup.procs").read_text() == me for it in own.values())
    group.remove()
    assert not any(it.parent.exists() for it in own.values())


def test_limits_of_version_2(groups):
    for name in ("cgroup.controllers", "cgroup.procs"):
        (groups / name).touch()
    group = limits.ControlGroup()
    group.make()
    group.enter()
    own = groups / "sealedroot" / str(os.getpid())
    assert (groups / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (own.parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (own / "cpu.weight").read_text() == "50"
    group.remove()
    assert not own.parent.exists()


def test_without_control_groups_nothing_is_made(groups):
    group = limits.ControlGroup()
    group.make()
    group.enter()
    group.remove()
    assert list(groups.iterdir()) == []
