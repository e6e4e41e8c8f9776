# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest whose disk is bigger than its image: how far its root has grown."""

from __future__ import annotations

import re

from guests import Guest

UNIT = "sealedroot-grow.service"
MIB = 1 << 20
# Before the root's partition, and behind it (roles/disk).
OUTSIDE = 101 * MIB


def sizes(guest: Guest) -> dict[str, int]:
    """Return the bytes of the disk, the root's partition, its mapping and its file system."""
    guest.console.send("stty cols 300\r")
    said = guest.run(
        'm=/sys/class/block/$(basename "$(readlink -f "$(findmnt -nvo SOURCE /)")");'
        " p=$(readlink -f $m/slaves/*);"
        " for s in disk:$p/../size partition:$p/size mapping:$m/size;"
        " do echo SIZE ${s%%:*} $(($(cat ${s#*:}) * 512)) END; done;"
        " echo SIZE filesystem $(findmnt -bno SIZE /) END"
    )
    return {name: int(size) for name, size in re.findall(r"SIZE (\w+) (\d+) END", said)}


def journal(guest: Guest) -> str:
    """Return what the unit said at this boot; that it failed, or never ran, is a failure."""
    guest.run(f"systemctl show {UNIT} | grep -x Result=success")
    guest.run(f"systemctl show {UNIT} | grep -x ExecMainStatus=0")
    guest.run(f"systemctl show {UNIT} | grep '^ExecMainExitTimestampMonotonic=[1-9]'")
    return guest.run(f"journalctl --no-pager -b -o cat -u {UNIT}", timeout=120)


def check_grown(guest: Guest, disk: int) -> None:
    """Fail if the root does not fill a disk of *disk* bytes."""
    said = journal(guest)
    found = sizes(guest)
    assert found["disk"] == disk, found
    assert found["partition"] == disk - OUTSIDE, (found, said)
    # The header of LUKS1 takes 2 MiB, that of LUKS2 16.
    assert 0 < found["partition"] - found["mapping"] <= 16 * MIB, (found, said)
    # Inode tables, a journal or log.
    assert 0.92 * found["mapping"] < found["filesystem"] <= found["mapping"], (found, said)
