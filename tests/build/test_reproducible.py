# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two builds from one source, with the same time, UUID and keys: what of the images is not the same is declared."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import typing as t
import uuid

import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.module_utils._build import input_mac
from builds import PLAYBOOK, Place, playbook
from image_compare import Facts, differences, flat, read, unused
from image_view import mounted, times

DECLARED = pathlib.Path(__file__).with_name("reproducible_differences.yml")
# Later than some files of the source and earlier than others, whenever that was bootstrapped.
EPOCH = 1700000000
MIB = 1 << 20
PASSPHRASE = "correct horse battery staple 42"


class Pair(t.NamedTuple):
    """Two images, what was seen of them, and their disks."""

    directories: list[pathlib.Path]
    facts: list[Facts]
    times: list[dict[str, int]]
    made: list[list[str]]
    disks: list[pathlib.Path]
    key: bytes
    output: str


def seen(directory: pathlib.Path) -> tuple[dict[str, int], list[str]]:
    """Return the time of every file, and what of the superblock is random or the clock's else."""
    command = ("findmnt", "--noheadings", "--output", "SOURCE")
    with mounted(directory) as root:
        device = subprocess.run([*command, root], check=True, capture_output=True, text=True).stdout
        dump = subprocess.run(
            ["dumpe2fs", "-h", device.strip()],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        ).stdout
        names = ("Filesystem UUID", "Filesystem created", "Directory Hash Seed")
        return times(root), [line for line in dump.splitlines() if line.startswith(names)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, plain_tar: pathlib.Path) -> t.Iterator[Pair]:
    """The second one is built elsewhere, by another time zone and umask, some minutes later."""
    key = base64.b64encode(secrets.token_bytes(33))
    places = [Place(tmp_path_factory.mktemp(name)) for name in ("one", "the-other")]
    output = ""
    for place, zone in zip(places, ("UTC", "Asia/Kolkata"), strict=True):
        variables = place.variables(
            image_source={"type": "tar", "path": str(plain_tar)},
            image_source_date_epoch=EPOCH,
            image_uuid="6d1f5c0e-3c0b-4f0a-9d5c-0a6b3f6b1c2d",
        )
        # Not in the arguments of ansible-playbook, which shows them at this verbosity.
        vault = place.path / "vault.json"
        given = {"image_boot_key": key.decode(), "image_recovery_passphrase": PASSPHRASE}
        vault.write_text(json.dumps(given))
        prefix = (
            "sh",
            "-c",
            'umask "$1"; shift; exec "$@"',
            "-",
            "022" if zone == "UTC" else "077",
        )
        arguments = ("-vvvv", "--extra-vars", f"@{vault}")
        run = playbook(PLAYBOOK, variables, *arguments, prefix=prefix, environment={"TZ": zone})
        assert run.rc == 0, run.output[-6000:]
        output += run.output
    directories = [place.out / "web-1" for place in places]
    disks = []
    for place, directory in zip(places, directories, strict=True):
        disks.append(place.path / "disk.raw")
        convert = ("qemu-img", "convert", "-O", "raw")
        subprocess.run([*convert, directory / "disk.qcow2", disks[-1]], check=True)
    facts = [read(directory) for directory in directories]
    looks = [seen(it) for it in directories]
    yield Pair(
        *(directories, facts, [it[0] for it in looks], [it[1] for it in looks]),
        *(disks, key, output),
    )
    for place in places:
        place.leaves_nothing()
        shutil.rmtree(place.path)


def undeclared(one: t.Any, two: t.Any) -> dict[str, t.Any]:
    return differences(flat(one), flat(two), [], set())


def test_the_files_are_the_same(pair: Pair) -> None:
    """Names, types, modes, owners, contents and extended attributes, those of the initramfs among them."""
    one, two = pair.facts
    patterns = yaml.safe_load(DECLARED.read_text())["tree"]
    used: set[str] = set()
    assert differences(one.tree, two.tree, patterns, used) == {}
    assert used == set(patterns)
    assert differences(one.initramfs, two.initramfs, [], set()) == {}
    assert len(one.tree) > 5000
    assert any(name.startswith("boot/initrd.img-") for name in one.tree)


def test_no_file_is_later_than_it_was_said(pair: Pair) -> None:
    one, two = pair.times
    assert differences(one, two, [], set()) == {}
    assert max(one.values()) == EPOCH * 10**9
    # Files that nothing changed keep the time that they have in the source.
    assert len(set(one.values())) > 100


def test_the_file_system_is_made_the_same(pair: Pair) -> None:
    one, two = pair.facts
    assert undeclared(one.superblock, two.superblock) == {}
    assert undeclared(one.header, two.header) == {}
    assert pair.made[0] == pair.made[1]
    assert len(pair.made[0]) == 3
    assert any("Tue Nov 14 22:13:20 2023" in line for line in pair.made[0])


def test_the_disk_is_the_same_outside_of_the_encryption(pair: Pair) -> None:
    """Byte for byte: partition table and its backup, the gaps, and the EFI system partition."""
    begin, end = yaml.safe_load(DECLARED.read_text())["disk"]
    one, two = (path.open("rb") for path in pair.disks)
    with one, two:
        while True:
            at = one.tell()
            data = one.read(MIB), two.read(MIB)
            if not data[0] and not data[1]:
                break
            if at < begin or at >= end:
                assert data[0] == data[1], f"MiB {at // MIB}"
    assert at == 2048 * MIB


def test_volume_keys_are_not_the_same(pair: Pair) -> None:
    """Or whoever has one image with its key could read the other one."""
    headers = []
    for disk in pair.disks:
        with disk.open("rb") as file:
            file.seek(100 * MIB)
            headers.append(file.read(2 * MIB))
    # luks1: magic and version, then where the digest of the volume key is, with its salt (LUKS1 on-disk format).
    assert headers[0][:8] == headers[1][:8] == b"LUKS\xba\xbe\x00\x01"
    assert headers[0][112:132] != headers[1][112:132]
    assert headers[0][132:164] != headers[1][132:164]


def test_the_uuids_are_derived_from_the_one_given(pair: Pair) -> None:
    dump = subprocess.run(
        ["sfdisk", "--json", pair.disks[0]], check=True, capture_output=True, text=True
    ).stdout
    table = yaml.safe_load(dump)["partitiontable"]
    (manifest, _) = (facts.manifest for facts in pair.facts)
    given = uuid.UUID(manifest["inputs"]["uuid"])
    assert table["id"].lower() == str(uuid.uuid5(given, "disk"))
    assert [it["uuid"].lower() for it in table["partitions"]] == [
        *(str(uuid.uuid5(given, name)) for name in ("esp", "root"))
    ]


def test_the_uuid_of_the_root_is_derived_from_the_boot_key(pair: Pair) -> None:
    """The given UUID is in the manifest, and that of the root must not be found by it."""
    given = pair.facts[0].manifest["inputs"]["uuid"]
    (line,) = (it for it in pair.made[0] if it.startswith("Filesystem UUID"))
    assert line.split()[-1] == input_mac.root_uuid(pair.key, given)
    assert str(uuid.uuid5(uuid.UUID(given), "filesystem")) not in line


def test_what_else_differs_is_declared(pair: Pair) -> None:
    patterns = yaml.safe_load(DECLARED.read_text())["manifest"]
    one, two = (flat(facts.manifest) for facts in pair.facts)
    used: set[str] = set()
    assert differences(one, two, patterns, used) == {}
    # The list must not rot.
    assert unused(patterns, used) == []


def test_the_software_list_is_the_same(pair: Pair) -> None:
    one, two = ((directory / "bom.json").read_bytes() for directory in pair.directories)
    assert one == two
    assert b'"timestamp": "2023-11-14T22:13:20Z"' in one


def test_the_key_is_the_one_given_and_nowhere_seen(pair: Pair) -> None:
    for directory in pair.directories:
        assert (directory / "boot.key").read_bytes() == pair.key
        assert pair.key not in (directory / "manifest.json").read_bytes()
    assert pair.key.decode() not in pair.output
    assert PASSPHRASE not in pair.output
