# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stand-ins for distributions are made of, and how their session counts."""

from __future__ import annotations

import re
import subprocess

import pytest
import stand_in_life
import stand_ins
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import os_release
from builds import ROOT
from stand_in_life import LIVED, Result

FILES = [(it, name) for it in stand_ins.ALL for name in it.files]
PROGRAMS = [
    *((it, text) for it in stand_ins.ALL for text in it.scripts.values()),
    *((it, it.files[name].text) for it, name in FILES if it.files[name].mode & 0o111),
]


@pytest.mark.parametrize(("it", "name"), FILES, ids=lambda it: getattr(it, "name", it))
def test_each_file_names_its_public_source(it, name):
    assert re.match(r"https://[a-z.]+/\S+", it.files[name].source), name
    assert not name.startswith("/")


@pytest.mark.parametrize(("it", "text"), PROGRAMS)
def test_each_script_is_one(it, text):
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize("it", stand_ins.ALL, ids=lambda it: it.name)
def test_it_is_of_the_family_that_it_stands_for(it):
    release = os_release.parse_os_release(it.files["usr/lib/os-release"].text)
    (family,) = (
        family
        for family in LookupModule().run([])
        if {release["ID"], *release.get("ID_LIKE", "").split()} & {*family["ids"]}
    )
    assert family["name"] == it.tree.family
    assert family["packages"]["kernel"] == it.kernel_package
    assert stand_in_life.ids(it) == release["ID"]


def test_a_change_of_what_it_is_made_of_is_another_file_of_the_cache():
    digests = {it.digest() for it in stand_ins.ALL}
    assert len(digests) == len(stand_ins.ALL)


def test_the_line_at_the_end_counts_what_was_seen():
    failed = Result("leap16", "failed: it asked twice", built=True, audited=True, booted=1)
    lived = Result("fedora", LIVED, built=True, audited=True, booted=2)
    assert stand_in_life.summary([lived, failed]) == "standins: 2 built, 2 audited, 3 booted"


def test_an_unknown_name_is_an_error():
    assert stand_in_life.select(["fedora"]) == [stand_ins.FEDORA]
    with pytest.raises(SystemExit, match=r"no stand-in is called arch; there are fedora, leap16"):
        stand_in_life.select(["arch"])


def test_the_page_says_what_a_stand_in_does_not_show():
    page = (ROOT / "docs/families.md").read_text()
    _before, _head, rest = page.partition("What a stand-in does not show:\n")
    shown = rest.partition("\n## ")[0]
    for word in ("grub2-bls", "SELinux", "btrfs", "$kernelopts", "Secure Boot", "systemd"):
        assert word in shown, word
