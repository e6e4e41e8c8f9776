# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""chroot_prep on trees: whatever there was of resolv.conf and policy-rc.d is there again afterwards."""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import chroot_prep

RESOLV_CONF = "nameserver 192.0.2.53"
STUB = "../run/systemd/resolve/stub-resolv.conf"
POLICY = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for folder in ("etc", "usr/sbin"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def ensure(root: pathlib.Path, state: str, text: str = RESOLV_CONF, **more: bool) -> t.Any:
    params = {"state": state, "resolv_conf": text}
    return chroot_prep.ensure(params, root=str(root), **{"check_mode": False, **more})


def a_file(path: pathlib.Path) -> None:
    path.write_text("nameserver 198.51.100.1\n")
    path.chmod(0o640)
    os.chown(path, 12, 34)
    os.utime(path, ns=(10**9, 10**9))


BEFORE: dict[str, t.Callable[[pathlib.Path], t.Any]] = {
    "absent": lambda path: None,
    "dangling": lambda path: path.symlink_to(STUB),
    "absolute": lambda path: path.symlink_to("/run/resolvconf/resolv.conf"),
    "empty": lambda path: path.touch(),
    "file": a_file,
}


def described(root: pathlib.Path) -> dict[str, tuple[t.Any, ...]]:
    """Return everything below, with what a restored file must have in common with the one before."""
    found: dict[str, tuple[t.Any, ...]] = {}
    for path in root.rglob("*"):
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        kept = (info.st_mode, info.st_uid, info.st_gid, content)
        times = (info.st_ino, info.st_mtime_ns) if not path.is_dir() else ()
        found[str(path.relative_to(root))] = (*kept, *times)
    return found


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no-policy"])
def test_all_is_as_it_was(
    root: pathlib.Path, before: t.Callable[[pathlib.Path], t.Any], policy: bool
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root for the owner of a file")
    before(root / "etc/resolv.conf")
    if policy:
        (root / "usr/sbin/policy-rc.d").write_text(POLICY)
    was = described(root)
    calls = [ensure(root, "present", check_mode=True), ensure(root, "present")]
    assert all(call["changed"] for call in calls)
    assert calls[0]["files"] == ["/etc/resolv.conf", "/usr/sbin/policy-rc.d"] == calls[1]["files"]
    assert not ensure(root, "present")["changed"]
    resolv_conf, policy_rc_d = root / "etc/resolv.conf", root / "usr/sbin/policy-rc.d"
    assert resolv_conf.read_text().splitlines()[1:] == [RESOLV_CONF]
    assert not resolv_conf.is_symlink()
    assert os.access(policy_rc_d, os.X_OK)
    assert policy_rc_d.read_text().endswith("exit 101\n")
    assert described(root) != was
    assert ensure(root, "absent", check_mode=True)["changed"]
    assert ensure(root, "absent")["changed"]
    assert described(root) == was
    assert not ensure(root, "absent")["changed"]


def test_what_a_package_put_there_stays(root: pathlib.Path) -> None:
    """systemd-resolved and resolvconf make a link of it when they are installed."""
    a_path = root / "etc/resolv.conf"
    a_path.write_text("nameserver 198.51.100.1\n")
    ensure(root, "present")
    a_path.unlink()
    a_path.symlink_to(STUB)
    ensure(root, "absent")
    assert os.readlink(a_path) == STUB
    assert [path.name for path in (root / "etc").iterdir()] == ["resolv.conf"]


def test_what_a_package_removed_stays_away(root: pathlib.Path) -> None:
    (root / "usr/sbin/policy-rc.d").write_text(POLICY)
    ensure(root, "present")
    (root / "usr/sbin/policy-rc.d").unlink()
    ensure(root, "absent")
    assert list((root / "usr/sbin").iterdir()) == []


def test_copies_go(root: pathlib.Path) -> None:
    """What systemd-resolved keeps of it names the builder's servers."""
    ensure(root, "present")
    copy = root / "etc/.resolv.conf.systemd-resolved.bak"
    shutil.copy(root / "etc/resolv.conf", copy)
    # As long, but no copy.
    other = root / "etc/other"
    other.write_text("x" * copy.stat().st_size)
    done = ensure(root, "absent")
    assert "/etc/.resolv.conf.systemd-resolved.bak" in done["files"]
    assert [path.name for path in (root / "etc").iterdir()] == ["other"]


def test_an_edited_one_is_refused(root: pathlib.Path) -> None:
    """Nothing of it could stay: it has the builder's servers in it."""
    ensure(root, "present")
    with (root / "etc/resolv.conf").open("a") as file:
        file.write("nameserver 203.0.113.1\n")
    with pytest.raises(SealedRootError, match="write the whole file instead"):
        ensure(root, "absent")
    # A whole file is the image's.
    (root / "etc/resolv.conf").write_text("nameserver 203.0.113.1\n")
    ensure(root, "absent")
    assert (root / "etc/resolv.conf").read_text() == "nameserver 203.0.113.1\n"


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_builder_without_servers_leaves_it_alone(root: pathlib.Path, text: str) -> None:
    (root / "etc/resolv.conf").symlink_to(STUB)
    assert ensure(root, "present", text)["files"] == ["/usr/sbin/policy-rc.d"]
    assert ensure(root, "absent", text)["files"] == ["/usr/sbin/policy-rc.d"]
    assert os.readlink(root / "etc/resolv.conf") == STUB


def test_scripts_of_rpm_need_no_namespaces(root: pathlib.Path) -> None:
    (root / "etc/rpm").mkdir()
    was = described(root)
    assert "/etc/rpm/macros.sealedroot" in ensure(root, "present")["files"]
    macros = (root / "etc/rpm/macros.sealedroot").read_text()
    assert macros.splitlines()[1:] == ["%__transaction_unshare %{nil}"]
    ensure(root, "absent")
    assert described(root) == was


def test_a_root_without_the_directories(tmp_path: pathlib.Path) -> None:
    assert ensure(tmp_path, "present")["files"] == []
    assert list(tmp_path.iterdir()) == []
