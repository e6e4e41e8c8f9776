# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of running machines are rotated over ssh; playbook and machine are killed on the way.

Two machines live side by side, one with LUKS1, which is killed twice, and one with LUKS2, once. Each boot has one
question.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import typing as t

import pytest
from builds import (
    DEBIAN,
    PLAYBOOK,
    QUICK_INITRAMFS,
    Run,
    add_files,
    fresh_place,
    playbook,
    source_tar,
)
from guests import CMDLINE, NETWORK, NETWORKD, Guest, Shell, free_port, overlay

RENEW, REMOVE = "Renew the key file and every initramfs", "Leave exactly the new key"
GRUB_CFG = "(crypto0)/boot/grub/grub.cfg"


def sh(*argv: str | os.PathLike[str], **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a tool that must succeed, unless *check* is false."""
    return subprocess.run(
        argv, **{"check": True, "capture_output": True, "text": True, "timeout": 300, **options}
    )


@dataclasses.dataclass
class Image:
    """The images of both machines, by their type of LUKS: sealed, with ssh."""

    path: pathlib.Path
    directories: dict[str, pathlib.Path]
    ssh_key: pathlib.Path


@pytest.fixture(scope="module")
def types(request: pytest.FixtureRequest) -> list[str]:
    """The types that a test of this session asks for."""
    asked = {
        it.callspec.params.get("type_")
        for it in request.session.items
        if isinstance(it, pytest.Function) and hasattr(it, "callspec")
    }
    return [type_ for type_ in ("luks1", "luks2") if type_ in asked]


@pytest.fixture(scope="module")
def image(types: list[str], tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with fresh_place(tmp_path_factory) as place:
        ssh_key = place.path / "id"
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh_key)
        tar = place.path / "root.tar"
        shutil.copy(source_tar({**DEBIAN, "packages": ["openssh-server", "python3"]}), tar)
        add_files(tar, QUICK_INITRAMFS | NETWORK, NETWORKD)
        directories = {}
        for type_ in types:
            variables = place.variables(
                image_name=type_,
                image_source={"type": "tar", "path": str(tar)},
                image_luks={"type": type_},
                image_kernel_cmdline=CMDLINE,
                image_authorized_keys=[ssh_key.with_suffix(".pub").read_text().strip()],
            )
            run = playbook(PLAYBOOK, variables, timeout=1800)
            assert run.rc == 0, run.output[-6000:]
            directories[type_] = place.out / type_
        yield Image(place.path, directories, ssh_key)


@dataclasses.dataclass
class Partition:
    """Where a partition is, in bytes."""

    start: int
    size: int


def partitions(disk: pathlib.Path) -> list[Partition]:
    table = json.loads(sh("sfdisk", "--json", disk).stdout)["partitiontable"]
    return [Partition(part["start"] * 512, part["size"] * 512) for part in table["partitions"]]


def raw(disk: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    sh("qemu-img", "convert", "-O", "raw", disk, path)
    return path


class Machine:
    """A running machine and what its operator has."""

    def __init__(self, image: Image, type_: str) -> None:
        self.type = type_
        self.out = image.path / type_
        self.keys = self.out / "web-1"
        self.keys.mkdir(parents=True)
        sealed = image.directories[type_]
        for name in ("boot.key", "recovery.key"):
            shutil.copy(sealed / name, self.keys)
        self.old, self.recovery = self.key("boot.key"), self.key("recovery.key")
        disk = overlay(sealed / "disk.qcow2", self.out / "disk.qcow2")
        self.guest = Guest(disk, memory=768, port=free_port())
        self.shell = Shell(self.guest, image.ssh_key)
        self.output = ""

    def key(self, name: str) -> str:
        return (self.keys / name).read_text()

    def boot(self, key: str) -> None:
        self.guest.boot(key)
        self.shell.wait()

    def boot_again(self, key: str) -> None:
        self.guest.restart()
        self.boot(key)

    def rotate(self, *flags: str, until: str = "") -> Run:
        """Run the playbook; when the task *until* begins, kill it and the machine without a word."""
        inventory = self.out / "machines.yml"
        hosts = {"machines": {"hosts": {"web-1": self.shell.variables}}}
        inventory.write_text(json.dumps(hosts))
        variables = json.dumps({"image_output_dir": str(self.out)})
        process = subprocess.Popen(
            [
                *("ansible-playbook", "sealedroot.image.rotate_keys", "-i", inventory, "-vvvv"),
                *("--diff", "--extra-vars", variables, *flags),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
        )
        kill = functools.partial(os.killpg, process.pid, signal.SIGKILL)
        deadline = threading.Timer(2400, kill)
        deadline.start()
        lines = []
        try:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if until and line.startswith("TASK") and until in line:
                    kill()
                    self.guest.kill()
                    break
            else:
                assert not until, "".join(lines)[-6000:]
        finally:
            rc = process.wait(60)
            deadline.cancel()
        output = "".join(lines)
        self.output += output
        return Run(rc, output)


def live(machine: Machine) -> dict[str, t.Any]:
    """Let a machine live through its kills and a whole rotation; return what was seen."""
    seen: dict[str, t.Any] = {}
    machine.boot(machine.old)
    if machine.type == "luks2":
        seen["check"] = machine.rotate("--check")
        assert sorted(path.name for path in machine.keys.iterdir()) == ["boot.key", "recovery.key"]
        assert slots(machine) == [0, 1]
    else:
        # The new key is in a spare slot, the initramfs has the old one: both keys are valid.
        machine.rotate(until=RENEW)
        assert machine.key("boot.key") == machine.old
        seen["new"] = machine.key("boot.key.new")
        machine.boot_again(machine.old)
        seen["slots, first kill"] = slots(machine)

    # The initramfs has the new key, and the header still both.
    machine.rotate(until=REMOVE)
    assert machine.key("boot.key") == machine.old
    assert machine.key("boot.key.new") == seen.setdefault("new", machine.key("boot.key.new"))
    machine.boot_again(seen["new"] if machine.type == "luks1" else machine.old)
    seen["slots, second kill"] = slots(machine)

    seen["run"] = machine.rotate()
    assert seen["run"].rc == 0, seen["run"].output[-6000:]
    seen["files"] = sorted(path.name for path in machine.keys.iterdir())
    seen["boot.key"] = machine.key("boot.key")
    seen["store"] = machine.shell.run("cat /proc/mounts")
    if machine.type == "luks1":
        machine.shell.ask("systemctl reboot")
        machine.guest.reset()
        machine.boot(seen["new"])
    else:
        machine.guest.kill()
        machine.boot_again(seen["new"])
    seen["slots"] = slots(machine)
    seen["modes"] = machine.shell.run(
        "stat -c %a:%u /boot/initrd.img-* /etc/cryptsetup-keys.d/*.key /etc/cryptsetup-keys.d"
    ).split()
    return seen


def slots(machine: Machine) -> list[int]:
    """Return the active slots as the machine's own cryptsetup shows them."""
    text = machine.shell.run("cryptsetup luksDump /dev/vda2")
    if machine.type == "luks1":
        return [int(number) for number in re.findall(r"Key Slot (\d+): ENABLED", text)]
    return sorted(int(number) for number in re.findall(r"^  (\d+): luks2$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def lives(types: list[str], image: Image) -> t.Iterator[dict[str, tuple[Machine, t.Any]]]:
    """All machines at once, each with the future of its life."""
    machines = [Machine(image, type_) for type_ in types]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield {it.type: (it, pool.submit(live, it)) for it in machines}
    for machine in machines:
        machine.guest.end()


Lives = dict[str, tuple[Machine, t.Any]]


@pytest.mark.parametrize("type_", [pytest.param("luks1", marks=pytest.mark.long), "luks2"])
def test_a_machine_survives_kills_and_its_key_is_rotated(lives: Lives, type_: str) -> None:
    machine, life = lives[type_]
    seen = life.result(timeout=3600)
    spare = 7 if type_ == "luks1" else 31
    assert seen.get("slots, first kill", [0, 1, spare]) == [0, 1, spare]
    assert seen["slots, second kill"] == [0, 1, spare]
    assert seen["slots"] == [0, 1]
    assert seen["files"] == ["boot.key", "recovery.key"]
    assert seen["boot.key"] == seen["new"] != machine.old
    assert machine.key("recovery.key") == machine.recovery
    assert "sealedroot" not in seen["store"]
    assert set(seen["modes"]) == {"600:0", "400:0", "700:0"}
    assert seen["run"].said("The old key opens it no longer, which was tried")
    for key in (machine.old, seen["new"], machine.recovery):
        assert key not in machine.output


def test_check_mode_says_what_would_be_done(lives: Lives) -> None:
    _machine, life = lives["luks2"]
    run = life.result(timeout=3600)["check"]
    assert (run.rc, run.changed) == (0, 0)
    assert run.said("Begin the rotation of web-1 (/dev/vda2, luks2)")
    assert run.said("kept:     1")
    assert run.said("emptied:  0")


@pytest.mark.parametrize("type_", [pytest.param("luks1", marks=pytest.mark.long), "luks2"])
def test_the_old_key_opens_the_disk_no_longer(lives: Lives, type_: str) -> None:
    """By cryptsetup and by GRUB's own code, on the disk of the machine that was switched off."""
    machine, life = lives[type_]
    new = life.result(timeout=3600)["new"]
    machine.guest.end()
    disk = raw(machine.guest.disk, machine.out / "disk.raw")
    root = partitions(disk)[1]
    header = machine.out / "header"
    copy = (f"if={disk}", f"of={header}", "bs=1M", "count=20", f"skip={root.start >> 20}")
    sh("dd", *copy)
    os.truncate(header, root.size)
    for key, slot in ((machine.old, None), (new, 0), (machine.recovery, 1)):
        command = ("cryptsetup", "open", "--test-passphrase", "-v", "--key-file", "-", header)
        done = sh(*command, input=key, check=False)
        opened = re.search(r"Key slot (\d+) unlocked", done.stdout)
        assert (int(opened.group(1)) if opened else None) == slot
        read = sh("grub-fstest", "-C", disk, "cat", GRUB_CFG, input=f"{key}\n", check=False)
        assert ("menuentry" in read.stdout) is (slot is not None)
