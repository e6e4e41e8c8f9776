# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of releasing, with scripted commands."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import holds, release
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    loop_devices,
    mounts,
    processes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

Mount = mounts.Mount


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> list[holds.Holds]:
    """What find() answers, one after the other; nothing in the end."""
    answers: list[holds.Holds] = []
    monkeypatch.setattr(holds, "find", lambda _path: answers.pop(0) if answers else holds.Holds())
    return answers


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The mount points that the kernel has."""
    points: set[str] = set()
    monkeypatch.setattr(mounts, "read", lambda *_args: [Mount(it, "x", 1) for it in points])
    return points


def test_order(
    finds: list[holds.Holds],
    mounted: set[str],
    script: t.Any,
    runner: t.Any,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        loop_devices, "detach", lambda runner, device: runner.run(["detach", device])
    )
    node = tmp_path / "node"
    node.touch()
    finds.append(
        holds.Holds(
            mounts=(
                Mount("/w/root", "ext4", 1),
                Mount("/w/payload", "fuse", 2),
                Mount("/w/private", "tmpfs", 3),
            ),
            mappings=("top", "bottom"),
            nodes=(str(node),),
            loops=(holds.Loop("/dev/loop3", 4, "/w/payload"),),
        )
    )
    mounted |= {"/w/root", "/w/payload", "/w/private"}
    script.expect(["umount", "/w/root"])
    script.expect(["umount", "/w/private"])
    script.expect(["cryptsetup", "close", "top"])
    script.expect(["cryptsetup", "close", "bottom"])
    script.expect(["detach", "/dev/loop3"], effect=lambda: not_there(node))
    script.expect(["umount", "/w/payload"])
    release.release(runner, "/w")


def test_a_mapping_in_use_is_waited_for(
    finds: list[holds.Holds], script: t.Any, runner: t.Any
) -> None:
    finds.append(holds.Holds(mappings=("sealedroot-web",)))
    busy = "Device sealedroot-web is still in use."
    script.expect(["cryptsetup", "close", "sealedroot-web"], rc=5, stderr=busy)
    script.expect(["cryptsetup", "close", "sealedroot-web"])
    release.release(runner, "/w")


def not_there(node: pathlib.Path) -> None:
    assert not node.exists()


def test_what_carries_an_export_goes_after_it(
    finds: list[holds.Holds], mounted: set[str], script: t.Any, runner: t.Any
) -> None:
    finds.append(
        holds.Holds(
            mounts=(Mount("/w/private/payload", "fuse", 2), Mount("/w/private", "tmpfs", 3))
        )
    )
    mounted |= {"/w/private/payload", "/w/private"}
    script.expect(["umount", "/w/private/payload"])
    script.expect(["umount", "/w/private"])
    release.release(runner, "/w")


def test_a_mount_that_went_by_itself(mounted: set[str], runner: t.Any) -> None:
    release.unmount(runner, Mount("/w/payload", "fuse", 2))


def test_busy_is_waited_for_and_then_named(
    mounted: set[str],
    script: t.Any,
    runner: t.Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounted.add("/w/root")
    monkeypatch.setattr(processes, "PAUSE", 0)
    monkeypatch.setattr(release, "BUSY_SECONDS", 60)
    script.expect(["umount", "/w/root"], rc=32, stderr="umount: /w/root: target is busy.")
    script.expect(["umount", "/w/root"])
    release.unmount(runner, Mount("/w/root", "ext4", 1))
    monkeypatch.setattr(release, "BUSY_SECONDS", -1)
    monkeypatch.setattr(processes, "users", lambda number: [f"process 7 (sh) {number}"])
    script.expect(["umount", "/w/root"], rc=32, stderr="umount: /w/root: target is busy.")
    with pytest.raises(SealedRootError, match=r"by process 7 \(sh\) 1: end that first"):
        release.unmount(runner, Mount("/w/root", "ext4", 1))
    script.expect(["umount", "/w/root"], rc=32, stderr="umount: /w/root: not mounted.")
    release.unmount(runner, Mount("/w/root", "ext4", 1))
    script.expect(["umount", "/w/root"], rc=1, stderr="umount: only root can do that")
    with pytest.raises(CommandError, match="only root can do that"):
        release.unmount(runner, Mount("/w/root", "ext4", 1))


def test_one_that_is_busy_does_not_keep_the_keys(
    finds: list[holds.Holds],
    mounted: set[str],
    script: t.Any,
    runner: t.Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release, "BUSY_SECONDS", -1)
    monkeypatch.setattr(processes, "users", lambda _number: [])
    finds.append(holds.Holds(mounts=(Mount("/w/root", "ext4", 1), Mount("/w/private", "tmpfs", 3))))
    mounted |= {"/w/root", "/w/private"}
    script.expect(["umount", "/w/root"], rc=32, stderr="target is busy.")
    script.expect(["umount", "/w/private"])
    with pytest.raises(SealedRootError, match="/w/root is in use by something in the kernel"):
        release.release(runner, "/w")


def test_what_is_left_is_an_error(finds: list[holds.Holds], runner: t.Any) -> None:
    finds.append(holds.Holds())
    finds.append(holds.Holds(mounts=(Mount("/w/late", "tmpfs", 3),)))
    with pytest.raises(SealedRootError, match=r"still held below /w: mount /w/late \(tmpfs\)"):
        release.release(runner, "/w")
