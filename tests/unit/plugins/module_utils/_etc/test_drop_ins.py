# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of drop-ins, compared with the orders in which the tools read."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins

NAMES = [
    *(
        "resume",
        "zz-site",
        "zz-resume-auto",
        "zzz",
        "zzzz",
        "zzzzz",
        "ZZ",
        "_z",
        "9",
        "99-x",
        "a~",
        "~a",
    ),
    *(
        "z-1",
        "z-02",
        "z-10",
        "-x",
        "zzzz-sealedroot2",
        "{x",
        "\xe9",
        "__",
        "_sealedroot-2",
        "_a",
        "_10",
    ),
]
PLAIN = [drop_ins.INITRAMFS_TOOLS, drop_ins.GRUB, drop_ins.SYSCTL]


@pytest.mark.parametrize("own", [*PLAIN, drop_ins.DRACUT, drop_ins.MKINITCPIO])
def test_the_order_of_the_tool(tmp_path: pathlib.Path, own: str) -> None:
    ours = os.path.basename(own)
    suffix = os.path.splitext(ours)[1]
    names = [f"{name}{suffix}" for name in NAMES]
    for name in [*names, ours]:
        (tmp_path / name).touch()
    # dash, which reads all but the last two, and dracut and mkinitcpio.
    script = "printf '%s\\n' *" if own in PLAIN else "printf '%s\\n' * | sort -V"
    shell = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    order = [os.fsdecode(name) for name in shell.stdout.splitlines()]
    after = order[order.index(ours) + 1 :]
    if own == drop_ins.INITRAMFS_TOOLS:
        after = [name for name in after if name.isascii() and name[0].isalnum()]
    found = [name for name in names if drop_ins.is_later(own, name)]
    assert sorted(found) == sorted(after)
    assert not any(name.startswith(("zz-", "9", "Z")) for name in found)


@pytest.mark.parametrize(
    ("own", "path", "is_later"),
    [
        (drop_ins.GRUB, "/etc/default/grub.d/zzzzz.cfg", True),
        (drop_ins.GRUB, "/etc/default/grub.d/zzzzz.cfg.bak", False),
        (drop_ins.GRUB, "/etc/grub.d/zzzzz.cfg", False),
        (drop_ins.INITRAMFS_TOOLS, "/etc/initramfs-tools/conf.d/zzzzz", True),
        # It comes first when an initramfs is made, and last in it.
        (drop_ins.INITRAMFS_TOOLS, "/usr/share/initramfs-tools/conf.d/zzzzz", True),
        (drop_ins.INITRAMFS_TOOLS, "/usr/share/initramfs-tools/conf.d/live", False),
        # mkinitramfs reads none of these.
        (drop_ins.INITRAMFS_TOOLS, "/etc/initramfs-tools/conf.d/zzzzz.dpkg-old", False),
        (drop_ins.INITRAMFS_TOOLS, "/etc/initramfs-tools/conf.d/zzzzz~", False),
        (drop_ins.DRACUT, "/usr/lib/dracut/dracut.conf.d/_z.conf", True),
        (drop_ins.DRACUT, "/etc/dracut.conf.d/zzzzz.conf", False),
        (drop_ins.DRACUT, "/etc/dracut.conf.d/.z.conf", False),
        (drop_ins.MKINITCPIO, "/etc/mkinitcpio.conf.d/_z.conf", True),
        (drop_ins.MKINITCPIO, drop_ins.MKINITCPIO, False),
    ],
)
def test_what_is_read_after_ours(own: str, path: str, is_later: bool) -> None:
    assert drop_ins.later(own, [path]) == ([path] if is_later else [])
