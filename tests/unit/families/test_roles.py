# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every family is one directory, and they can be exchanged for each other."""

from __future__ import annotations

import pathlib
import re

import distribution_trees as trees
import pytest
import stand_ins
from ansible_collections.sealedroot.image.plugins.lookup.families import ROLES, LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import needs as root_needs
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils import _printed

FAMILIES = LookupModule().run([])
PAGE = pathlib.Path(ROLES).parent / "docs/families.md"
NAMES = [family["name"] for family in FAMILIES]
# What the role source may ask of a family (module_utils/_root/needs.py and _root/growth.py).
NEEDS = {
    *("partx", "sfdisk", "systemd", "tpm2_tools"),
    *("init", "kernel", "grub", "grub_modules", "signed_shim", "signed_grub"),
    *(it.program for it in filesystems.FILESYSTEMS.values()),
    *root_needs.INITRAMFS_NEEDS,
    *(need for needs in root_needs.INITRAMFS_NEEDS.values() for need in needs),
}


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_each_is_on_one_screen_and_says_how_its_packages_are_listed(family):
    path = pathlib.Path(ROLES) / f"family_{family['name']}" / "vars/family.yml"
    assert len(path.read_text().splitlines()) <= 60
    assert set(family) - {"packages_of", "secure_boot"} == {
        *("boot_entries", "ids", "name", "package_list", "packages"),
    }
    assert family["package_list"]["type"] in _printed._PACKAGES
    assert set(family["packages"]) & set(root_needs.INITRAMFS_NEEDS)


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_each_has_a_name_for_what_a_root_may_lack(family):
    packages = family["packages"]
    assert set(packages) <= NEEDS
    programs = {it.program for it in filesystems.FILESYSTEMS.values()}
    assert {"init", "kernel", "grub", "grub_modules", *programs} <= set(packages)
    others = family.get("packages_of", {})
    assert set(others) <= set(family["ids"])
    assert all(set(names) <= set(packages) for names in others.values())
    every = [*packages.values(), *(name for it in others.values() for name in it.values())]
    for architecture in architectures.ARCHITECTURES.values():
        for name in every:
            assert re.fullmatch(
                r"[a-z0-9][a-z0-9+._-]*", name.format_map(architecture.words()), re.I
            )


def test_no_distribution_is_of_two_families():
    ids = [name for family in FAMILIES for name in family["ids"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_readme_names_every_family(name):
    root = pathlib.Path(ROLES).parent
    for page in ("README.md", "docs/families.md"):
        assert f"family_{name}" in (root / page).read_text()


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_the_page_says_where_the_menu_is_and_what_is_proven(family):
    """The trees have what the distributions document."""
    (row,) = re.findall(rf"(?m)^\| `family_{family['name']}` \|(.*)$", PAGE.read_text())
    _distributions, menu, _initramfs, proven = (
        cell.strip() for cell in row.strip("| ").split(" | ")
    )
    found = [it for it in trees.ALL if it.family == family["name"]]
    entries = {bool(it.entries) for it in found} or {False}
    assert menu == {True: "boot loader entries", False: "grub.cfg"}[entries.pop()]
    assert not entries
    # What the module is for: entries, or the file that says to a kernel update which menu to renew.
    told = any("etc/sysconfig/bootloader" in it.files for it in found)
    assert family["boot_entries"] == (menu == "boot loader entries" or told)
    stood_in = family["name"] in {it.tree.family for it in stand_ins.ALL}
    assert ("booted on a stand-in" in proven) == stood_in
