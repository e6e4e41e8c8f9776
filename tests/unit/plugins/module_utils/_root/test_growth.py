# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What grows the root of a machine, as text; tests/integration/test_growth.py runs it."""

from __future__ import annotations

import configparser
import pathlib
import re
import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import unlocked_root
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._root import contents, growth, tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems

FAMILIES = {family["name"]: family for family in LookupModule().run([])}
WHOLE = (
    *("usr/lib/systemd/systemd", "usr/sbin/sfdisk", "usr/bin/partx", "usr/sbin/resize2fs"),
    *("usr/sbin/xfs_repair", "usr/bin/btrfs"),
)


def missing(*names: str, filesystem: str = "ext4", family: str = "debian") -> list[str]:
    has = contents.abilities(tar.Member("-", name, 1, 512, name) for name in names)
    packages = FAMILIES[family]["packages"]
    return growth.missing_packages(has, filesystem=filesystem, packages=packages)


@pytest.mark.parametrize("filesystem", sorted(filesystems.FILESYSTEMS))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_whole_root_lacks_nothing(filesystem: str, family: str) -> None:
    assert missing(*WHOLE, filesystem=filesystem, family=family) == []


@pytest.mark.parametrize(
    ("without", "filesystem", "packages"),
    [
        (("usr/sbin/sfdisk",), "xfs", ["fdisk"]),
        (("usr/bin/partx", "usr/sbin/sfdisk"), "ext4", ["fdisk", "util-linux"]),
        (("usr/sbin/resize2fs",), "ext4", ["e2fsprogs"]),
        (("usr/sbin/resize2fs",), "btrfs", []),
        (("usr/lib/systemd/systemd",), "ext4", ["systemd"]),
    ],
)
def test_what_is_lacked_is_named_by_its_package(
    without: tuple[str, ...], filesystem: str, packages: list[str]
) -> None:
    names = [name for name in WHOLE if name not in without]
    assert missing(*names, filesystem=filesystem) == packages


def test_other_families_have_it_in_one_package() -> None:
    names = [name for name in WHOLE if "sfdisk" not in name and "partx" not in name]
    for family in ("arch", "redhat", "suse"):
        assert missing(*names, family=family) == ["util-linux"]


def test_what_is_laid_and_taken_away(tmp_path: pathlib.Path) -> None:
    tree = Tree(str(tmp_path))
    growth.plan(tree, wanted=True)
    assert tree.changed() == sorted([growth.ENABLED, growth.SCRIPT, growth.UNIT])
    tree.apply()
    script = tmp_path / growth.SCRIPT[1:]
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    link = tmp_path / growth.ENABLED[1:]
    assert str(link.readlink()) == growth.UNIT
    again = Tree(str(tmp_path))
    growth.plan(again, wanted=True)
    assert again.changed() == []
    # Another link, as of a person who masked it, is no change of theirs that stays: the input says what is.
    link.unlink()
    link.symlink_to("/dev/null")
    growth.plan(again, wanted=True)
    assert again.changed() == [growth.ENABLED]
    again.apply()
    assert str(link.readlink()) == growth.UNIT
    last = Tree(str(tmp_path))
    growth.plan(last, wanted=False)
    last.apply()
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]
    none = Tree(str(tmp_path))
    growth.plan(none, wanted=False)
    assert none.changed() == []


def test_the_key_is_where_the_build_put_it() -> None:
    """And nowhere else: the script writes no file."""
    assert f'--key-file "{unlocked_root.key_path("$uuid")}"' in growth.SCRIPT_TEXT
    assert re.findall(r"\d*>[\w/&]*", growth.SCRIPT_TEXT) == ["2>/dev/null", ">&2"]


def test_the_header_on_the_disk_is_never_read() -> None:
    """The host can change it; resize believes offset and cipher that a header has."""
    calls = re.findall(r"cryptsetup (?:status|resize|luks\w+).*", growth.SCRIPT_TEXT)
    assert [call.split()[1] for call in calls] == ["status", "luksUUID", "resize"]
    for call in calls:
        assert '--header "$header"' in call or 'luksUUID "$header"' in call
    assert f"header=$(ls {pinned_header.DIRECTORY}/*.header)\n" in growth.SCRIPT_TEXT


def test_the_script_is_one_that_shellcheck_takes(shellcheck: t.Any) -> None:
    shellcheck(growth.SCRIPT_TEXT)


def test_the_unit_runs_it_before_what_could_want_the_room() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(growth.UNIT_TEXT)
    assert unit["Service"]["ExecStart"] == growth.SCRIPT
    assert "TimeoutStartSec" in unit["Service"]
    assert unit["Install"]["WantedBy"] == pathlib.Path(growth.ENABLED).parent.name[: -len(".wants")]
    before = unit["Unit"]["Before"].split()
    assert {"sysinit.target", "cloud-init-local.service", "shutdown.target"} <= set(before)
