# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lines of fstab and crypttab name, and when they are mounted."""

from __future__ import annotations

import tracemalloc

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab as etc_fstab


def test_where_an_entry_has_its_key():
    assert etc_fstab.key_of(["a", "UUID=1", "/etc/keys/a.key"]) == "/etc/keys/a.key"
    for none in (["a", "UUID=1"], ["a", "UUID=1", "none"], ["a", "UUID=1", "-", "luks"]):
        assert etc_fstab.key_of(none) == "/etc/cryptsetup-keys.d/a.key"
    assert etc_fstab.key_of(["a", "/dev/sda", "/dev/urandom", "swap"]) == ""


def test_swap_files():
    assert etc_fstab.swap_files(
        "/swap.img none swap sw 0 0\n/dev/sda1 none swap\n# /x none swap\n"
    ) == ["/swap.img"]


@pytest.mark.parametrize(
    ("options", "on_demand"),
    [
        ("noauto", True),
        ("auto,noauto", True),
        ("noauto,auto", False),
        ("noauto,x-systemd.automount", False),
        ("noauto,comment=systemd.automount", False),
        ("noauto,x-systemd.wanted-by=multi-user.target", False),
        ("noauto,x-systemd.required-by=local-fs.target", False),
        ("defaults", False),
    ],
)
def test_what_is_mounted_on_demand_alone(options: str, on_demand: bool) -> None:
    """As systemd's own generator reads it (252)."""
    assert etc_fstab.is_on_demand(["LABEL=x", "/srv", "ext4", options]) is on_demand


def test_the_last_header_counts() -> None:
    assert etc_fstab.headers(["r", "UUID=1", "/k", "luks,header=/a,header=/dev/vdb"]) == [
        "/a",
        "/dev/vdb",
    ]
    assert etc_fstab.headers(["r", "UUID=1", "/k"]) == []


def test_a_path_of_many_directories_takes_no_memory() -> None:
    """Found by the fuzzer: all that it lies in was a GiB."""
    far = "/,".join([""] * 30_000)
    rows = [["UUID=a", "/", "ext4", f"x-systemd.requires-mounts-for={far}", "0", "1"]]
    tracemalloc.start()
    try:
        assert etc_fstab.mounted(rows, [["x", f"{far}/x", f"{far}/y", f"header={far}"]])
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
