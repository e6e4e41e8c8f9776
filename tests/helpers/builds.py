# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests that run the playbook share: a place to build in, and a look at what a build leaves."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import typing as t

import processes
import pytest

PLAYBOOK = "sealedroot.image.build_encrypted_image"
ROOT = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = {"type": "bootstrap", "distribution": "debian", "release": "bookworm"}


@dataclasses.dataclass
class Run:
    """What a playbook run printed and how it ended."""

    rc: int
    output: str

    @property
    def changed(self) -> int:
        """The number of changed tasks of all hosts."""
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.output))

    def said(self, text: str) -> bool:
        """Say whether *text* was printed, wherever lines were folded."""
        return " ".join(text.split()) in " ".join(self.output.replace("\\n", " ").split())


def playbook(
    name: str,
    variables: t.Mapping[str, t.Any],
    *arguments: str,
    timeout: int = 900,
    prefix: t.Sequence[str] = (),
    environment: t.Mapping[str, str] | None = None,
) -> Run:
    """Run a playbook of the collection with extra vars in JSON, by the command *prefix* if any."""
    done = subprocess.run(
        [*prefix, "ansible-playbook", name, "--extra-vars", json.dumps(variables), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            **(environment or {}),
        },
    )
    return Run(done.returncode, done.stdout)


def source_tar(source: t.Mapping[str, t.Any], **inputs: t.Any) -> pathlib.Path:
    """Return the root tar of a source, which the role ``source`` makes once and keeps in its cache.

    *inputs* are other inputs of the image that say what belongs to the root.
    """
    tasks: list[dict[str, t.Any]] = [
        {"ansible.builtin.import_role": {"name": "sealedroot.image.source"}},
        {"ansible.builtin.debug": {"msg": "TAR={{ image_root_tar.path }}="}},
    ]
    with tempfile.TemporaryDirectory() as directory:
        play = pathlib.Path(directory) / "source.yml"
        play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        variables = {"image_source": source, "image_size": "4GiB", **inputs}
        run = playbook(str(play), variables, timeout=1800)
    match = re.search(r"TAR=(.*?)=", run.output)
    assert run.rc == 0, run.output[-6000:]
    assert match
    return pathlib.Path(match.group(1))


def quick_initramfs(filesystem: str = "ext4") -> dict[str, str]:
    """Return files for an initramfs that is quick to make and to read where every instruction is emulated."""
    return {
        # Read after what the collection writes in conf.d, as packages may.
        "usr/share/initramfs-tools/conf-hooks.d/quick": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n",
        "etc/initramfs-tools/modules": f"virtio_pci\nvirtio_blk\n{filesystem}\ndm_crypt\n",
    }


def quick_dracut(filesystem: str = "ext4") -> dict[str, str]:
    """Return the same for dracut."""
    # Not fido2, pkcs11 and tpm2-tss: where their programs are, dracut-ng's systemd-cryptsetup is not made without them.
    omitted = "btrfs dmraid i18n iscsi kernel-network-modules lvm mdraid memstrack multipath"
    omitted += " network nfs nvdimm qemu qemu-net virtiofs"
    omitted = " ".join(name for name in omitted.split() if name != filesystem)
    return {
        # What is omitted need not be there.
        "etc/dracut.conf.d/quick.conf": (
            'compress="zstd -1 -T0"\n'
            f'drivers="virtio_pci virtio_blk {filesystem} dm_crypt"\n'
            'early_microcode="no"\n'
            f'omit_dracutmodules+=" {omitted} "\n'
        ),
    }


QUICK_INITRAMFS = quick_initramfs()
QUICK_DRACUT = quick_dracut()


def add_files(
    tar: pathlib.Path, files: t.Mapping[str, str], links: t.Mapping[str, str] | None = None
) -> None:
    """Append files of root's, and symbolic links, to a root tar that is not compressed."""
    with tempfile.TemporaryDirectory() as directory:
        extra = pathlib.Path(directory)
        for name, text in files.items():
            (extra / name).parent.mkdir(parents=True, exist_ok=True)
            (extra / name).write_text(text)
        for name, target in (links or {}).items():
            (extra / name).parent.mkdir(parents=True, exist_ok=True)
            (extra / name).symlink_to(target)
        names = [*files, *(links or {})]
        command = ["tar", "-C", directory, "--owner=0", "--group=0", "-rf", str(tar), *names]
        subprocess.run(command, check=True)


def held(below: pathlib.Path) -> list[str]:
    """Name every mount, loop device and process that has to do with a directory."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4].startswith(f"{below}/"):
            found.append(f"mount {line.split()[4]}")
    loops = json.loads(
        subprocess.run(
            ["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        or '{"loopdevices": []}'
    )
    found += [
        loop["name"] for loop in loops["loopdevices"] if f"{below}/" in (loop["back-file"] or "")
    ]
    lines = processes.command_lines().values()
    found += [it for it in lines if f"{below}/" in it and ("qemu" in it or "bwrap" in it)]
    return found


@dataclasses.dataclass
class Place:
    """Directories of one test, and the variables that lead a build there."""

    path: pathlib.Path

    @property
    def out(self) -> pathlib.Path:
        return self.path / "out"

    def variables(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "image_name": "web-1",
            "image_size": "2GiB",
            "image_boot_test": False,
            "image_work_dir": str(self.path / "work"),
            "image_output_dir": str(self.out),
            **more,
        }

    def leases_end(self) -> None:
        """Wait for the leases of plays that have ended, which do so a moment later."""
        deadline = time.monotonic() + 10
        while self._leases():
            assert time.monotonic() < deadline, "a lease did not end with its play"
            time.sleep(0.05)

    def _leases(self) -> list[str]:
        """Files of leases that somebody has open, too: the directories that were made for them go after them."""
        opened = set().union(*processes.open_files().values())
        found: list[pathlib.Path] = []
        # A directory that was made for a lease goes meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found = [*self.path.glob("*/.*.lease"), *self.path.glob("*/*/.*.lease")]
        return [*map(str, found), *(it for it in opened if self._is_lease(it))]

    def _is_lease(self, name: str) -> bool:
        return name.startswith(f"{self.path}/") and ".lease" in name

    def leaves_nothing(self) -> None:
        """Fail when a build left anything on this machine, a partial output included."""
        self.leases_end()
        assert held(self.path) == []
        work = self.path / "work"
        assert not work.exists() or list(work.iterdir()) == []
        assert (
            not self.out.exists() or [p.name for p in self.out.iterdir() if p.name[0] == "."] == []
        )


@contextlib.contextmanager
def fresh_place(factory: pytest.TempPathFactory) -> collections.abc.Iterator[Place]:
    """Give a place that must be clean at the end, and is then removed."""
    place = Place(factory.mktemp("place"))
    yield place
    place.leaves_nothing()
    shutil.rmtree(place.path)
