# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host sets the EFI variable HibernateLocation, and attaches a swap partition that says there is an image in it.

The guest must boot its own root and resume from nothing.

Why: such an image replaces the memory of the kernel.
"""

from __future__ import annotations

import json
import re

from attack_images import DRACUT
from attacks import Attack, Outcome, Stage, looked
from guests import Guest
from hostile import SYSTEMD, add_partition, run, write


def prepare(stage: Stage) -> None:
    swap, uuid = stage.folder / "hibernated", "7e1d7a52-0000-4000-8000-000000000001"
    run("truncate", "-s", "16M", swap)
    run("mkswap", "-q", "-U", uuid, swap)
    write(swap, 4096 - 10, b"S1SUSPEND\0")
    add_partition(stage.raw, "8300", swap)
    kernel = stage.image.kernels[-1].name.partition("-")[2]
    # What dracut's own os-release says, or systemd leaves it.
    version = re.search(
        r"^dracut\S* (\d+-\d+)", "\n".join(stage.image.manifest["packages"]), re.MULTILINE
    )
    assert version
    system = {
        "osReleaseId": "dracut",
        "osReleaseVersionId": version.group(1),
        "kernelVersion": kernel,
    }
    where = {"uuid": uuid, "offset": 0, **system}
    stage.variables["HibernateLocation", SYSTEMD] = f"{json.dumps(where)}\0".encode("utf-16-le")


def probe(_stage: Stage, guest: Guest) -> Outcome:
    # The kernel found the host's image and began to read it; a real one would have replaced it.
    return looked(guest, "dmesg | grep PM:", "Image signature found|resume from hibernation")


ATTACK = Attack(images=DRACUT, prepare=prepare, probe=probe)
