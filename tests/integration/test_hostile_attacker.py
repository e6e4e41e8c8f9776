# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attacker of `./run hostile` where nothing holds it: it wins, and the canaries see that."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import typing as t

import pytest
from hostile_roots import ATTACK, Canaries, perl

# It wins nothing more where bwrap and the kernel of this machine refuse even root.
WON = {
    *(
        "abstract socket",
        "directory",
        "end of a process",
        "env",
        "file",
        "file for writing",
        "key",
        "mode of a file",
        "unmount",
    ),
    *("mount", "names of keys", "namespace 10000000 by clone", "namespace by clone3"),
    *("namespace 10000000 by unshare", "namespace 40000000 by unshare", "new key", "open_tree"),
    *("process", "root of the builder", "tcp", "the log of the kernel", "device c 1 5"),
}


@pytest.fixture
def canaries(tmp_path: pathlib.Path) -> t.Iterator[Canaries]:
    it = Canaries(tmp_path)
    try:
        yield it
    finally:
        it.close()


def attack(canaries: Canaries, tmp_path: pathlib.Path) -> set[str]:
    """Run the attacker as root, in a mount namespace of its own so that what it mounts does no harm."""
    shutil.copy(ATTACK, tmp_path)
    log = tmp_path / "log"
    known = canaries.knowledge(logs=[str(log)], scratch=str(tmp_path))
    (tmp_path / "builder.pl").write_text(perl(known))
    argv = ["unshare", "--mount", "perl", str(tmp_path / ATTACK.name), "control"]
    environment = {**os.environ, **canaries.environment}
    subprocess.run(argv, check=True, capture_output=True, timeout=120, env=environment)
    text = log.read_text()
    assert all(value in text for value in canaries.secrets.values())
    return set(re.findall("REACHED (.*) in control", text))


def test_the_attacker_wins_without_a_sandbox_and_the_canaries_see_it(
    canaries: Canaries, tmp_path: pathlib.Path
) -> None:
    assert canaries.reached() == []
    assert attack(canaries, tmp_path) >= WON
    seen = {it.partition(":")[0] for it in canaries.reached()}
    keyrings = {f"keyring {number}" for number in (-3, -4)}
    assert seen == {"abstract socket", "files", "left", "process", "tcp", *keyrings}


def test_what_is_mounted_on_the_builder_is_seen(canaries: Canaries, tmp_path: pathlib.Path) -> None:
    # Outside of the places of temporary files, where other tests mount.
    folder = pathlib.Path("/mnt")
    subprocess.run(["mount", "-t", "tmpfs", canaries.marker, folder], check=True)
    try:
        assert canaries.reached() == [f"mount: {folder}"]
    finally:
        subprocess.run(["umount", folder], check=True)
