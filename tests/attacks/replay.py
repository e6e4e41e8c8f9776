# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host puts back earlier sectors of a file, and flips a bit in another, while the system runs.

The guest cannot notice: it reads the old content, and sixteen bytes of garbage.

Why: the encryption (XTS) hides the content, and has no place for a check of it.
"""

from __future__ import annotations

import re

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, stopped, won
from guests import Guest
from hostile import read, write


def prepare(stage: Stage) -> None:
    # The sectors have to be those of a file that the host can change.
    assert stage.raw.exists()


def probe(stage: Stage, guest: Guest) -> Outcome:
    make = "for f in a b; do yes first-$f | head -c 4096 >/root/$f; done; sync"
    guest.run(make)
    positions = {}
    for name in "ab":
        said = guest.run(f"filefrag -b4096 -v /root/{name} | grep '^ *0:'")
        found = re.search(r"0:\s+0\.\.\s+0:\s+(\d+)\.\.", said)
        assert found, said
        positions[name] = stage.image.payload + int(found.group(1)) * 4096
    before = read(stage.raw, positions["a"], 4096)
    guest.run("yes second-a | head -c 4096 | dd of=/root/a conv=notrunc,fsync status=none")
    write(stage.raw, positions["a"], before)
    sector = bytearray(read(stage.raw, positions["b"], 512))
    sector[0] ^= 1
    write(stage.raw, positions["b"], bytes(sector))
    guest.run("echo 3 >/proc/sys/vm/drop_caches")
    replayed = "first-a" in guest.run("head -c 8 /root/a").replace("\r", "\n").split("\n", 1)[1]
    flipped = guest.ask("head -n 1 /root/b | grep -qx first-b")[0] == 1
    if replayed and flipped:
        return won("the guest read the old content, and garbage, without an error")
    return stopped(f"replayed: {replayed}, flipped: {flipped}")


ATTACK = Attack(
    images=ONE_EACH,
    prepare=prepare,
    probe=probe,
    open_because="disk encryption without integrity shows neither.",
    combine_with="btrfs, whose checksums show flipped bits (not a replay); what must not be rolled back belongs on"
    " another machine.",
)
