# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that grows a root: real partition tables and file systems, the kernel's view of them made up.

Without device-mapper a loop device stands for the open root. What the kernel knows of disk and partition is in a
directory that is bound over /sys; partx and cryptsetup are stand-ins that change it as the kernel would. The boot tests
have the real ones.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import growth

MIB = 1 << 20
BUILT, GROWN = 640 * MIB, 1280 * MIB
START = 100 * MIB
HEADER = 2 * MIB
MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-O", "^metadata_csum_seed,^orphan_file"),
    "xfs": ("mkfs.xfs", "-q"),
    "btrfs": ("mkfs.btrfs", "-q"),
}
CHECK = {
    "ext4": ("e2fsck", "-fn"),
    "xfs": ("xfs_repair", "-n"),
    "btrfs": ("btrfs", "check"),
}
PARTX = """\
#!/bin/sh
set -eu
[ "$*" = "--update --nr 2 /dev/vda" ]
sfdisk --dump /dev/vda | sed -n 's/.*vda2 :.* size= *\\([0-9]*\\),.*/\\1/p' >/sys/devices/vda/vda2/size
"""
UUID = "11111111-2222-3333-4444-555555555555"
PINNED = f"/etc/cryptsetup-headers.d/luks-{UUID}.header"
# The header on the disk is the host's, so nothing is asked of that.
CRYPTSETUP = f"""\
#!/bin/sh
set -eu
echo "$*" >>/sys/calls
case $* in
  "status --header {PINNED} cr_root" | "luksUUID {PINNED}" | "resize --header {PINNED} "*) ;;
  *) echo "not the pinned header: $*" >&2; exit 1 ;;
esac
case $1 in
  status) printf '%s is active and is in use.\\n  cipher:  aes-xts-plain64\\n  offset:  4096 sectors\\n' "$4" ;;
  luksUUID) dd if="$2" bs=1 skip=168 count=36 status=none ;;  # as LUKS1 has it
  resize)
    [ ! -t 0 ]
    sectors=$(($(cat /sys/devices/vda/vda2/size) - 4096))
    truncate -s $((sectors * 512)) /sys/payload
    losetup --set-capacity "$(cat /sys/loop)"
    echo "$sectors" >"/sys/class/block/$(basename "$(cat /sys/loop)")/size"
    ;;
esac
"""
# What ext4 asks of whom it grows for, and not every container and virtual machine of CI has.
CAP_SYS_RESOURCE = 24
BROKEN = "#!/bin/sh\necho broken >&2\nexit 3\n"


def sh(*argv: str | pathlib.Path, **kwargs: t.Any) -> str:
    """Run a tool that must succeed."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, **kwargs
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@dataclasses.dataclass
class Machine:
    """A root on a disk, as the program in it sees them."""

    path: pathlib.Path
    filesystem: str
    loop: str = ""

    @property
    def disk(self) -> pathlib.Path:
        return self.path / "disk.raw"

    @property
    def sys(self) -> pathlib.Path:
        return self.path / "sys"

    @property
    def root(self) -> pathlib.Path:
        return self.path / "root"

    def build(self) -> None:
        """Make the disk as the role ``disk`` does, and mount the file system."""
        self.sys.mkdir()
        self.root.mkdir()
        with self.disk.open("wb") as file:
            file.truncate(BUILT)
        table = (
            "label: gpt\nstart=1MiB, size=99MiB, type=uefi, name=ESP\n"
            f"start=100MiB, size={BUILT // MIB - 101}MiB, name=root,"
            " type=CA7D7CCB-63ED-4C53-861C-1742536059CC\n"
        )
        sh("sfdisk", "-q", "--no-reread", "--no-tell-kernel", self.disk, input=table)
        payload = self.sys / "payload"
        with payload.open("wb") as file:
            file.truncate(BUILT - START - MIB - HEADER)
        self.loop = sh("losetup", "--find", "--show", payload).strip()
        sh(*MKFS[self.filesystem], self.loop)
        sh("mount", self.loop, self.root)
        (self.root / "content").write_bytes(b"content" * MIB)
        (self.root / "grow").write_text(growth.SCRIPT_TEXT)
        (self.root / "grow").chmod(0o755)
        header = self.root / PINNED.lstrip("/")
        header.parent.mkdir(parents=True)
        header.touch()
        os.truncate(header, HEADER)
        luks = ("luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000")
        sh("cryptsetup", *luks, "--uuid", UUID, header, input="key\n")
        self.describe()

    def describe(self) -> None:
        """Show what the kernel would."""
        name = pathlib.Path(self.loop).name
        (self.sys / "loop").write_text(f"{self.loop}\n")
        for path, text in {
            "vda/size": BUILT // 512,
            "vda/vda1/partition": 1,
            "vda/vda1/start": 2048,
            "vda/vda1/size": 99 * 2048,
            "vda/vda2/partition": 2,
            "vda/vda2/start": START // 512,
            "vda/vda2/size": (BUILT - START - MIB) // 512,
            f"{name}/size": (BUILT - START - MIB - HEADER) // 512,
            f"{name}/dm/uuid": "CRYPT-LUKS1-11111111222233334444555555555555-cr_root",
            f"{name}/dm/name": "cr_root",
            f"{name}/slaves/vda2/size": 0,
        }.items():
            file = self.sys / "devices" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        links = self.sys / "class/block"
        links.mkdir(parents=True)
        for target in ("vda", "vda/vda1", "vda/vda2", name):
            (links / pathlib.Path(target).name).symlink_to(f"../../devices/{target}")

    def number(self, path: str) -> int:
        return int((self.sys / "devices" / path).read_text())

    @property
    def mapping(self) -> str:
        return f"{pathlib.Path(self.loop).name}/size"

    def enlarge(self, size: int = GROWN) -> None:
        """Make the disk bigger, as its host does."""
        with self.disk.open("r+b") as file:
            file.truncate(size)
        (self.sys / "devices/vda/size").write_text(f"{size // 512}\n")

    def reboot(self) -> None:
        """Let the kernel read the table anew, and LUKS be opened as large as its partition."""
        said = sh("sfdisk", "--dump", self.disk)
        (size,) = re.findall(r"disk\.raw2 :.* size= *(\d+),", said)
        (self.sys / "devices/vda/vda2/size").write_text(f"{size}\n")
        with (self.sys / "payload").open("r+b") as file:
            file.truncate(int(size) * 512 - HEADER)
        sh("losetup", "--set-capacity", self.loop)
        (self.sys / "devices" / self.mapping).write_text(f"{int(size) - HEADER // 512}\n")

    def grow(self, broken: str = "") -> subprocess.CompletedProcess[str]:
        """Run the program in the root; the tool *broken* fails."""
        command: list[str | pathlib.Path] = ["bwrap", "--cap-add", "ALL", "--bind", self.root, "/"]
        command += ["--ro-bind", "/usr", "/usr"]
        for name in ("bin", "lib", "lib64", "sbin"):
            command += ["--ro-bind", f"/usr/{name}", f"/{name}"]
        command += ["--proc", "/proc", "--dev", "/dev", "--dev-bind", self.loop, self.loop]
        command += ["--bind", self.disk, "/dev/vda", "--bind", self.sys, "/sys"]
        tools = {"partx": PARTX, "cryptsetup": CRYPTSETUP, **({broken: BROKEN} if broken else {})}
        for name, text in tools.items():
            stand_in = self.path / name
            stand_in.write_text(text)
            stand_in.chmod(0o755)
            place = sh("sh", "-c", f"PATH=/usr/sbin:/usr/bin; readlink -f $(command -v {name})")
            command += ["--ro-bind", stand_in, place.strip()]
        return subprocess.run(
            [*map(str, command), "/grow"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    def tables(self) -> tuple[bytes, bytes]:
        """Return what is on the disk, of which nothing else is written here."""
        with self.disk.open("rb") as file:
            first = file.read(MIB)
            file.seek(-MIB, os.SEEK_END)
            return first, file.read()

    def calls(self) -> list[str]:
        """Return how cryptsetup was called to grow something."""
        log = self.sys / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith("resize")]

    def parts(self) -> list[str]:
        """Return what sgdisk says of both partitions, but for where the second one ends."""
        said = [sh("sgdisk", "-i", number, self.disk) for number in ("1", "2")]
        return [
            line
            for it in said
            for line in it.splitlines()
            if not re.match("Last|Partition s", line)
        ]

    def check(self, size: int) -> None:
        """Fail unless everything fills a disk of *size* bytes, by other tools than those that grew it."""
        said = sh("sgdisk", "-v", self.disk)
        assert "No problems found" in said, said
        with self.disk.open("rb") as file:
            file.seek(size - 512)
            assert file.read(8) == b"EFI PART"
        said = sh("parted", "-sm", self.disk, "unit", "B", "print")
        assert re.search(rf"^2:{START}B:{size - MIB - 1}B:", said, re.MULTILINE), said
        assert self.number("vda/vda2/size") == (size - START - MIB) // 512
        assert self.number(self.mapping) == (size - START - MIB - HEADER) // 512
        whole = self.number(self.mapping) * 512
        assert 0.85 * whole < int(sh("findmnt", "-bno", "SIZE", self.root)) <= whole
        assert (self.root / "content").read_bytes() == b"content" * MIB
        sh("umount", self.root)
        sh(*CHECK[self.filesystem], self.loop)
        sh("mount", self.loop, self.root)

    def release(self) -> None:
        if self.loop:
            subprocess.run(["umount", self.root], check=False, capture_output=True)
            sh("losetup", "--detach", self.loop)


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> t.Iterator[Machine]:
    it = Machine(tmp_path, getattr(request, "param", "xfs"))
    try:
        it.build()
        yield it
    finally:
        it.release()


def may_grow_ext4() -> bool:
    status = pathlib.Path("/proc/self/status").read_text()
    (capabilities,) = re.findall(r"^CapEff:\s*(\S+)", status, re.MULTILINE)
    return bool(int(capabilities, 16) >> CAP_SYS_RESOURCE & 1)


EXT4 = pytest.param(
    "ext4",
    marks=pytest.mark.skipif(
        not may_grow_ext4(), reason="needs CAP_SYS_RESOURCE; the boot tests grow ext4"
    ),
)


@pytest.mark.parametrize("machine", ["btrfs", EXT4, "xfs"], indirect=True)
def test_partition_mapping_and_file_system_grow_once(machine: Machine) -> None:
    before = machine.parts()
    machine.enlarge()
    done = machine.grow()
    assert done.returncode == 0, done.stderr
    assert f"growing partition 2 of vda to {(GROWN - START) // MIB - 1} MiB" in done.stdout
    machine.check(GROWN)
    assert machine.parts() == before
    key = f"/etc/cryptsetup-keys.d/luks-{UUID}.key"
    assert machine.calls() == [f"resize --header {PINNED} --key-file {key} cr_root"]
    table = machine.tables()
    again = machine.grow()
    assert again.returncode == 0, again.stderr
    assert "growing" not in again.stdout
    assert machine.tables() == table
    assert len(machine.calls()) == 1
    machine.check(GROWN)


def test_a_disk_of_the_same_size_is_left_as_it_is(machine: Machine) -> None:
    table = machine.tables()
    done = machine.grow()
    assert done.returncode == 0, done.stderr
    assert "growing" not in done.stdout
    assert machine.tables() == table
    assert machine.calls() == []
    machine.check(BUILT)


def test_less_than_a_mib_is_no_room(machine: Machine) -> None:
    table = sh("sfdisk", "--dump", machine.disk)
    machine.enlarge(BUILT + MIB - 512)
    done = machine.grow()
    assert done.returncode == 0, done.stderr
    assert "growing" not in done.stdout
    assert sh("sfdisk", "--dump", machine.disk) == table


def test_a_disk_of_odd_size(machine: Machine) -> None:
    machine.enlarge(GROWN + 3 * MIB + 5 * 512)
    assert machine.grow().returncode == 0
    said = sh("sgdisk", "-v", machine.disk)
    assert "No problems found" in said
    assert machine.number("vda/vda2/size") == (GROWN + 2 * MIB - START) // 512


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize("tool", ["sfdisk", "partx", "cryptsetup", "xfs_growfs"])
def test_it_goes_on_where_it_was_interrupted(machine: Machine, tool: str, reboot: bool) -> None:
    machine.enlarge()
    done = machine.grow(broken=tool)
    assert done.returncode != 0
    assert "broken" in done.stderr or "cryptsetup does not say" in done.stderr
    # At any such point the table is one that firmware and kernel take.
    said = sh("sgdisk", "-v", machine.disk)
    assert "No problems found" in said or tool == "sfdisk", said
    if reboot:
        machine.reboot()
    done = machine.grow()
    assert done.returncode == 0, done.stderr
    machine.check(GROWN)


def test_a_partition_behind_the_root_stays_where_it_is(machine: Machine) -> None:
    machine.enlarge()
    sh("sgdisk", "-e", "-n", "3:+0:+16M", machine.disk)
    for name, number in {"partition": 3, "start": BUILT // 512, "size": 32768}.items():
        file = machine.sys / "devices/vda/vda3" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n")
    table = machine.tables()
    done = machine.grow()
    assert done.returncode == 0, done.stderr
    assert "growing" not in done.stdout
    assert machine.tables() == table


@pytest.mark.parametrize("uuid", ["LVM-abc", ""])
def test_a_root_that_is_on_something_else_is_left_as_it_is(machine: Machine, uuid: str) -> None:
    machine.enlarge()
    table = machine.tables()
    file = machine.sys / "devices" / pathlib.Path(machine.loop).name / "dm/uuid"
    file.write_text(f"{uuid}\n")
    done = machine.grow()
    assert (done.returncode, done.stdout) == (
        0,
        "nothing to do: the root is not on a LUKS mapping\n",
    )
    file.unlink()
    assert machine.grow().stdout == "nothing to do: the root is not on a LUKS mapping\n"
    assert machine.tables() == table
