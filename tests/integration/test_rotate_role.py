# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role rotate on a real header: what the operator has afterwards. Whole machines are rotated in tests/boot."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import luks_header
import pytest
from builds import Run, playbook

PASSPHRASE = "a passphrase that a person made up"
OLD = {"boot": "the old boot key of this test", "recovery": "the old recovery key of this test"}


class Machine:
    """A container in a file, key file and pinned header of a machine, and the directory of its operator."""

    def __init__(self, path: pathlib.Path, type_: str) -> None:
        self.path, self.type = path, type_
        self.device = path / "header"
        self.device.touch()
        os.truncate(self.device, 18 << 20)
        self.keys = path / "out" / "web-1"
        self.keys.mkdir(parents=True)
        for name, text in OLD.items():
            self.write(self.keys / f"{name}.key", text)
        self.key_file = self.write(path / "machine.key", OLD["boot"])
        pbkdf = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
        key = (*pbkdf, "-q", "--key-slot")
        self.sh("luksFormat", "--type", type_, *key, "0", self.device, self.key_file)
        recovery = self.keys / "recovery.key"
        self.sh("luksAddKey", *key, "1", "--key-file", self.key_file, self.device, recovery)
        self.pinned = path / "pinned.header"
        self.sh("luksHeaderBackup", "--header-backup-file", self.pinned, self.device)

    @staticmethod
    def write(path: pathlib.Path, text: str) -> pathlib.Path:
        path.touch(0o600)
        path.write_text(text)
        return path

    @staticmethod
    def sh(*argv: str | os.PathLike[str], text: str | None = None) -> int:
        command = ["cryptsetup", *argv]
        return subprocess.run(command, input=text, text=True, check=text is None).returncode

    def slot(self, key: str) -> list[int]:
        """Return the slots that a key opens."""
        argv = ("open", "--test-passphrase", "--key-file", "-", self.device, "--key-slot")
        return [slot for slot in range(8) if self.sh(*argv, str(slot), text=key) == 0]

    def play(self, *stages: str, **variables: t.Any) -> Run:
        """Run stages of the role; what they would have found on a machine is given."""
        found = {
            "device": str(self.device),
            "type": self.type,
            "uuid": "0",
            "slots": {"0": 1000, "1": 1000},
            "key_slot": 0,
            "key_file": str(self.key_file),
            "header_file": str(self.pinned),
            "initramfs": [],
        }
        role = "sealedroot.image.rotate"
        tasks = [
            {"ansible.builtin.include_role": {"name": role, "tasks_from": stage}}
            for stage in stages
        ]
        play = self.path / "play.yml"
        play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        common = {
            "image_name": "web-1",
            "image_output_dir": str(self.path / "out"),
            "__rotate_root": found,
            "__rotate_store": str(self.path / "store"),
        }
        return playbook(str(play), {**common, **variables}, "-vvv", timeout=300)

    def renew(self) -> None:
        """Do what the stage of that name does on a machine."""
        self.key_file.write_text((self.keys / "boot.key.new").read_text())

    def check_header(self) -> None:
        """The pinned header is the one on the disk, and has nothing of the keys that went."""
        pinned = self.pinned.read_bytes()
        assert self.device.read_bytes()[: len(pinned)] == pinned
        assert not any(luks_header.unused(pinned))
        assert self.pinned.stat().st_mode & 0o777 == 0o400

    def names(self) -> list[str]:
        return sorted(path.name for path in self.keys.iterdir())

    def key(self, name: str) -> str:
        return (self.keys / name).read_text()


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> t.Iterator[Machine]:
    it = Machine(tmp_path, getattr(request, "param", "luks1"))
    yield it
    left = os.path.ismount(tmp_path / "store")
    if left:
        subprocess.run(["umount", tmp_path / "store"], check=True, timeout=60)
    assert not left, "the keys are still in memory"


def rotate(machine: Machine, **variables: t.Any) -> tuple[str, str]:
    """Run all stages; return the output, and the new boot key."""
    first = machine.play("make", "add", **variables)
    assert first.rc == 0, first.output[-4000:]
    new = machine.key("boot.key.new")
    assert machine.slot(OLD["boot"]) == [0]
    assert len(machine.slot(new)) == (1 if machine.type == "luks1" else 0)  # slot 31 of LUKS2
    machine.renew()
    # Killed here: what was made is taken up.
    second = machine.play("make", "add", "remove", "finish", **variables)
    assert second.rc == 0, second.output[-4000:]
    assert machine.key("boot.key") == new
    assert machine.slot(new) == [0]
    assert machine.slot(OLD["boot"]) == []
    machine.check_header()
    return first.output + second.output, new


def test_the_recovery_key_is_left_alone(machine: Machine) -> None:
    output, new = rotate(machine)
    assert machine.names() == ["boot.key", "recovery.key"]
    assert machine.slot(OLD["recovery"]) == [1]
    for key in (new, *OLD.values()):
        assert key not in output


def test_the_recovery_key_is_rotated_too_and_old_keys_are_kept(machine: Machine) -> None:
    output, new = rotate(machine, rotate_recovery=True, rotate_keep_old_keys=True)
    assert machine.names() == ["boot.key", "boot.key.old", "recovery.key", "recovery.key.old"]
    assert {path.stat().st_mode & 0o777 for path in machine.keys.iterdir()} == {0o600}
    assert machine.slot(OLD["recovery"]) == []
    assert machine.slot(machine.key("recovery.key")) == [1]
    assert machine.key("boot.key.old") == OLD["boot"]
    assert machine.key("recovery.key.old") == OLD["recovery"]
    for key in (new, machine.key("recovery.key"), *OLD.values()):
        assert key not in output


@pytest.mark.parametrize(
    "machine", [pytest.param("luks1", marks=pytest.mark.long), "luks2"], indirect=True
)
def test_the_recovery_key_becomes_a_passphrase(machine: Machine) -> None:
    # From a file, as from a vault: the command line is everybody's.
    secret = machine.write(machine.path / "secret", PASSPHRASE)
    options = {"rotate_recovery_passphrase": f"{{{{ lookup('file', '{secret}') }}}}"}
    output, _new = rotate(machine, **options)
    assert machine.names() == ["boot.key"]
    assert machine.slot(PASSPHRASE) == [1]
    assert machine.slot(OLD["recovery"]) == []
    assert PASSPHRASE not in output


@pytest.mark.parametrize(
    "machine", [pytest.param("luks1", marks=pytest.mark.long), "luks2"], indirect=True
)
def test_what_the_host_makes_of_the_header_is_not_read(machine: Machine) -> None:
    """Between two stages it puts the old one back, and between two others none."""
    old = machine.device.read_bytes()
    assert machine.play("make", "add").rc == 0
    machine.device.write_bytes(old)
    machine.renew()
    new = machine.key("boot.key.new")
    assert machine.play("make", "remove").rc == 0
    assert (machine.slot(new), machine.slot(OLD["boot"])) == ([0], [])
    machine.device.write_bytes(bytes(len(old)))
    done = machine.play("make", "remove", "finish")
    assert done.rc == 0, done.output[-4000:]
    assert (machine.slot(new), machine.slot(OLD["recovery"])) == ([0], [1])
    machine.check_header()


def test_a_reboot_before_the_last_step(machine: Machine) -> None:
    """The machine has forgotten the old key, and does not take the new one for it."""
    assert machine.play("make", "add").rc == 0
    machine.renew()
    assert machine.play("make", "remove").rc == 0
    new = machine.key("boot.key.new")
    subprocess.run(["umount", machine.path / "store"], check=True, timeout=60)
    done = machine.play("make", "add", "remove", "finish")
    assert done.rc == 0, done.output[-4000:]
    assert (machine.slot(new), machine.slot(OLD["boot"])) == ([0], [])
    assert (machine.names(), machine.key("boot.key")) == (["boot.key", "recovery.key"], new)
    machine.check_header()


def test_a_control_node_that_never_had_the_old_key(machine: Machine) -> None:
    (machine.keys / "boot.key").unlink()
    rotate(machine)
    assert machine.names() == ["boot.key", "recovery.key"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rotate_keep_slots": [0]}, "Take 0 out of rotate_keep_slots"),
        ({"rotate_recovery_passphrase": "too short"}, "use 20 to 254 printable ASCII characters"),
    ],
)
def test_bad_inputs_are_refused_before_anything_is_touched(
    tmp_path: pathlib.Path, options: dict[str, t.Any], words: str
) -> None:
    machine = Machine(tmp_path, "luks1")
    run = machine.play("main", **options)
    assert run.rc != 0
    assert run.said(words)
    assert machine.names() == ["boot.key", "recovery.key"]


def test_this_machine_has_no_encrypted_root(tmp_path: pathlib.Path) -> None:
    run = Machine(tmp_path, "luks1").play("main")
    assert run.rc != 0
    assert run.said("only a machine with an encrypted root has a boot key to rotate")
