# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a build runs each generator, tried by a shell with stand-ins."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import generator_commands
from ansible_collections.sealedroot.image.plugins.module_utils._root import needs
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

DRACUT = "--force --no-hostonly --no-hostonly-cmdline --tmpdir /tmp"
CALLS = {
    "dracut": ["dracut {dracut} {path} 6.1", "dracut {dracut} {odd} 6.1 rt"],
    "initramfs_tools": ["update-initramfs -c -k 6.1", "update-initramfs -c -k 6.1 rt"],
    "mkinitcpio": ["mkinitcpio --allpresets"],
}


def run(script: str, place: pathlib.Path, *, status: int = 0) -> tuple[int, list[str]]:
    """Run a script with stand-ins that say how they were called, and end with a status."""
    log = place / "log"
    log.write_text("")
    folder = place / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("dracut", "update-initramfs", "mkinitcpio"):
        said = f'#!/bin/sh\necho "{name} $*" >>{log}; env >>{log}.env; exit {status}\n'
        (folder / name).write_text(said)
        (folder / name).chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], env=env, check=False, timeout=30)
    return done.returncode, log.read_text().splitlines()


def kernels(place: pathlib.Path) -> list[dict[str, str]]:
    (place / "a b").mkdir()
    return [
        {"version": "6.1", "path": f"{place}/initrd"},
        {"version": "6.1 rt", "path": f"{place}/a b/initrd"},
    ]


@pytest.mark.parametrize("generator", CALLS)
def test_each_kernel_gets_its_initramfs(generator: str, tmp_path: pathlib.Path) -> None:
    rows = kernels(tmp_path)
    script = generator_commands.script(generator, rows)
    words = {"dracut": DRACUT, "path": rows[0]["path"], "odd": rows[1]["path"]}
    assert run(script, tmp_path) == (0, [it.format_map(words) for it in CALLS[generator]])
    said = (tmp_path / "log.env").read_text()
    assert "SOURCE_DATE_EPOCH" not in said
    assert generator == "dracut" or "TMPDIR=/tmp" in said.splitlines()
    # grub-mkconfig, which runs meanwhile, finds them.
    for row in rows:
        assert stat.S_IMODE(os.stat(row["path"]).st_mode) == 0o600


@pytest.mark.parametrize("generator", CALLS)
def test_one_that_is_there_stays_meanwhile(generator: str, tmp_path: pathlib.Path) -> None:
    rows = kernels(tmp_path)
    pathlib.Path(rows[0]["path"]).write_text("old")
    assert run(generator_commands.script(generator, rows), tmp_path, status=1)[0] == 1
    assert pathlib.Path(rows[0]["path"]).read_text() == "old"


@pytest.mark.parametrize("generator", CALLS)
def test_the_first_that_fails_ends_it(generator: str, tmp_path: pathlib.Path) -> None:
    status, said = run(generator_commands.script(generator, kernels(tmp_path)), tmp_path, status=3)
    assert (status, len(said)) == (3, 1)


@pytest.mark.parametrize("generator", CALLS)
def test_a_time_that_is_given(generator: str, tmp_path: pathlib.Path) -> None:
    _status, said = run(
        generator_commands.script(generator, kernels(tmp_path), 1_700_000_000), tmp_path
    )
    assert "SOURCE_DATE_EPOCH=1700000000" in (tmp_path / "log.env").read_text().splitlines()
    assert ("--reproducible" in said[0]) == (generator == "dracut")


def test_every_generator_is_known_and_no_other() -> None:
    assert set(CALLS) == set(needs.INITRAMFS_NEEDS)
    with pytest.raises(SealedRootError, match="a generator of initramfs called 'booster'"):
        generator_commands.script("booster", [])
