# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""os-release and the family that it names."""

from __future__ import annotations

from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import os_release

(DEBIAN,) = LookupModule().run(["debian"])


def test_os_release_and_family() -> None:
    text = '# x\nID=linuxmint\nID_LIKE="ubuntu debian"\nNAME=\'A "b"\'\nEMPTY=\nVERSION_ID=12\n'
    fields = os_release.parse_os_release(text)
    assert fields == {
        "ID": "linuxmint",
        "ID_LIKE": "ubuntu debian",
        "NAME": 'A "b"',
        "EMPTY": "",
        "VERSION_ID": "12",
    }
    assert os_release.family(fields, [DEBIAN]) == DEBIAN
    assert os_release.family({"ID": "fedora"}, [DEBIAN]) == {}
    assert os_release.family({}, [DEBIAN]) == {}


def test_the_nearest_family_counts() -> None:
    other = {"name": "other", "ids": ["mint"]}
    fields = {"ID": "remix", "ID_LIKE": "mint debian"}
    assert os_release.family(fields, [DEBIAN, other]) == other
