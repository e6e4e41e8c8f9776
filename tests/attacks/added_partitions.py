# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host appends partitions of the types swap, home and srv to the genuine disk.

The guest must boot its own root and use none of them.

Why: systemd-gpt-auto-generator mounts them by their type: what is swapped out is the host's to read and change, and
/home/*/.ssh/authorized_keys is the host's.
"""

from __future__ import annotations

from attack_images import ALL
from attacks import Attack, Outcome, Stage, looked
from guests import Guest
from hostile import add_partition, host_root, run


def prepare(stage: Stage) -> None:
    swap = stage.folder / "swap"
    run("truncate", "-s", "16M", swap)
    run("mkswap", "-q", swap)
    add_partition(stage.raw, "8200", swap)
    for name, type_ in (("home", "8302"), ("srv", "8306")):
        uuid = "5c9e1a4b-0000-4000-8000-00000000000" + type_[-1]
        files = {"the-host": "x"}
        add_partition(
            stage.raw, type_, host_root(stage.folder / name, uuid=uuid, mib=16, files=files)
        )


def probe(_stage: Stage, guest: Guest) -> Outcome:
    return looked(guest, "cat /proc/swaps; ls -m /home /srv", "partition|the-host")


ATTACK = Attack(images=ALL, prepare=prepare, probe=probe)
