# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""luks_image on real files; what it made is looked at with cryptsetup, QEMU's converter and GRUB."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile
import typing as t

import processes
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import luks_region
from ansible_collections.sealedroot.image.plugins.module_utils._luks import dm_crypt, userspace
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from real_runner import RealRunner
from waiting import until

Module = t.Callable[..., t.Dict[str, t.Any]]

MIB = 1 << 20
OFFSET = 8 * MIB
SIZE = 32 * MIB
UUID = "11111111-2222-4333-8444-555555555555"


def sh(*argv: t.Union[str, os.PathLike[str]], check: bool = True, **kwargs: t.Any) -> str:
    done = subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **kwargs
    )
    text = str(done.stdout, "utf-8", "replace")
    assert not check or done.returncode == 0, text
    return text


def quote(path: pathlib.Path) -> str:
    """QEMU's options double a comma inside a value."""
    return str(path).replace(",", ",,")


@dataclasses.dataclass
class Image:
    """A directory with a disk and a key, and the options to call the module with."""

    dir: pathlib.Path

    def __post_init__(self) -> None:
        self.dir.mkdir(exist_ok=True)
        self.disk = self.dir / "disk.raw"
        with self.disk.open("wb") as file:
            file.truncate(OFFSET + SIZE + 4 * MIB)
        self.key = self.dir / "build.key"
        self.key.touch(0o600)
        self.key.write_text("correct horse battery staple, no newline")
        self.name = f"test-{self.dir.parent.name}-{self.dir.name.partition(',')[0]}"
        self.node = pathlib.Path("/dev/mapper") / self.name

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "path": str(self.disk),
            "offset": OFFSET,
            "size": SIZE,
            "name": self.name,
            "key_file": str(self.key),
            "work_dir": str(self.dir),
            "backend": "userspace",
            **more,
        }

    def region(self) -> pathlib.Path:
        """A copy of the container, for tools that know no offset."""
        copy = self.dir / "region.copy"
        with self.disk.open("rb") as source, copy.open("wb") as target:
            source.seek(OFFSET)
            target.write(source.read(SIZE))
        return copy

    def dump(self) -> str:
        return sh("cryptsetup", "luksDump", self.region())

    def payload(self) -> bytes:
        """The payload in clear, by another program than the one that has it open."""
        if self.region().read_bytes()[6:8] == b"\0\2":
            return self.payload_luks2()
        clear = self.dir / "clear.copy"
        source = f"driver=luks,key-secret=s,file.driver=file,file.filename={quote(self.region())}"
        secret = f"secret,id=s,file={quote(self.key)}"
        sh("qemu-img", "convert", "--object", secret, "-O", "raw", "--image-opts", source, clear)
        return clear.read_bytes()

    def payload_luks2(self) -> bytes:
        """The same of a LUKS2 container, by cryptsetup's own code: it can decrypt a file in place."""
        clear, header = self.region(), self.dir / "header.copy"
        header.unlink(missing_ok=True)
        argv = ["cryptsetup", "reencrypt", "--decrypt", "--force-offline-reencrypt", "--batch-mode"]
        sh(*argv, "--key-file", self.key, "--header", header, clear)
        return clear.read_bytes()

    def daemons(self) -> list[int]:
        return [
            pid
            for pid, line in processes.command_lines().items()
            if "qemu-storage-daemon" in line.split(" ")[0]
            and f"{self.dir}/" in line.replace(",,", ",")
        ]

    def loops(self) -> list[str]:
        rows = json.loads(sh("losetup", "--list", "--json", "-O", "NAME,BACK-FILE") or "{}")
        return [
            row["name"]
            for row in rows.get("loopdevices", [])
            if (row["back-file"] or "").startswith(f"{self.dir}/")
        ]

    def mounts(self) -> list[str]:
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
        points = [point.encode("latin-1").decode("utf-8") for point in points]
        return [point for point in points if point.startswith(f"{self.dir}/")]

    def held(self) -> list[t.Any]:
        """All that is left of an open container."""
        node = [str(self.node)] if os.path.lexists(self.node) else []
        payload = self.dir / "payload"
        return [
            *(self.daemons() + self.loops() + self.mounts() + node),
            *([str(payload)] if os.path.lexists(payload) else []),
        ]

    def clean(self) -> None:
        """Release everything without the module."""
        for point in reversed(self.mounts()):
            if not point.endswith("/payload"):
                sh("umount", point)
        for loop in self.loops():
            sh("losetup", "--detach", loop)
        for pid in self.daemons():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        until(lambda: not self.loops() and not self.daemons())
        for point in self.mounts():
            sh("umount", point)
        self.node.unlink(missing_ok=True)


@pytest.fixture
def images() -> t.Iterator[t.Callable[[str], Image]]:
    """Makes images; a test that leaves something open fails."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="luks_image.", dir="/var/tmp"))
    made = []

    def make(name: str) -> Image:
        made.append(Image(base / name))
        return made[-1]

    yield make
    left = [image.held() for image in made]
    for image in made:
        image.clean()
    shutil.rmtree(base)
    assert left == [[] for _ in made]


@pytest.fixture
def image(images: t.Callable[[str], Image]) -> Image:
    # A comma, a blank and a letter that is not ASCII: each has a meaning to one of the tools.
    return images("a, ü")


def ok(result: dict[str, t.Any], *, changed: bool) -> dict[str, t.Any]:
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is changed
    return result


def refused(result: dict[str, t.Any], *words: str) -> None:
    assert result.get("failed"), result
    for word in words:
        assert word in result["msg"]


@pytest.mark.parametrize("luks", ["luks1", "luks2"])
def test_open_and_close_in_the_rhythm(luks: str, image: Image, real_module: Module) -> None:
    blank = image.disk.read_bytes()
    options = image.options(type=luks)
    predicted = ok(real_module("luks_image", _check=True, **options), changed=True)
    assert image.disk.read_bytes() == blank
    assert image.held() == []

    made = ok(real_module("luks_image", **options), changed=True)
    assert set(predicted) == set(made)
    assert predicted["formatted"] is made["formatted"] is True
    assert made["device"] == str(image.node)
    assert (made["backend"], made["type"], made["state"]) == ("userspace", luks, "open")
    assert made["uuid"] == sh("cryptsetup", "luksUUID", image.region()).strip()
    mode = image.node.stat().st_mode
    assert stat.S_ISBLK(mode)
    assert stat.S_IMODE(mode) == 0o600

    for check in (False, True):
        # What is there counts, not the option's default.
        again = ok(real_module("luks_image", _check=check, **image.options()), changed=False)
        assert (again["uuid"], again["type"]) == (made["uuid"], luks)
        assert again["formatted"] is False

    pattern = os.urandom(MIB) + b"plaintext marker" * 4096
    with image.node.open("r+b", buffering=0) as device:
        device.seek(3 * MIB)
        device.write(pattern)

    closed = image.options(state="closed")
    ok(real_module("luks_image", _check=True, **closed), changed=True)
    assert len(image.held()) == 5  # process, loop device, FUSE mount, its mount point, node
    ok(real_module("luks_image", **closed), changed=True)
    assert image.held() == []
    for check in (False, True):
        ok(real_module("luks_image", _check=check, **closed), changed=False)

    assert image.payload()[3 * MIB :].startswith(pattern)
    raw = image.disk.read_bytes()
    assert b"plaintext marker" not in raw
    assert not any(raw[:OFFSET])
    assert not any(raw[OFFSET + SIZE :])


def test_the_header_is_what_grub_needs(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options(state="closed", uuid=UUID)), changed=True)
    lines = [line.split() for line in image.dump().splitlines()]
    for line in (
        "Version: 1",
        "Cipher name: aes",
        "Cipher mode: xts-plain64",
        "Hash spec: sha256",
        "MK bits: 512",
        "MK iterations: 1000",
        f"UUID: {UUID}",
        "Iterations: 1000",
    ):
        assert line.split() in lines
    assert [line for line in lines if line[-1:] == ["ENABLED"]] == [
        ["Key", "Slot", "0:", "ENABLED"]
    ]


def test_another_slot_for_the_key(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options(key_slot=7)), changed=True)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    assert [line for line in image.dump().splitlines() if "ENABLED" in line] == [
        "Key Slot 7: ENABLED"
    ]


@pytest.mark.parametrize("luks", ["luks1", "luks2"])
def test_grubs_own_code_reads_a_file_in_it(luks: str, image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options(type=luks)), changed=True)
    tree = image.dir / "tree"
    tree.mkdir()
    (tree / "hello").write_text("read by GRUB")
    sh("mkfs.ext4", "-q", "-d", tree, image.node)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    # fstest splits its file argument at commas, so it gets a plain path.
    plain = image.dir.parent / "plain"
    shutil.copy(image.region(), plain)
    argv = ["grub-fstest", "-C", str(plain), "cat", "(crypto0)/hello"]
    assert "read by GRUB" in sh(*argv, input=image.key.read_bytes() + b"\n")


def test_a_luks2_header_is_what_grub_needs(image: Image, real_module: Module) -> None:
    made = image.options(type="luks2", state="closed", iterations=1234)
    ok(real_module("luks_image", **made), changed=True)
    ok(real_module("luks_image", **made), changed=False)
    dump = json.loads(sh("cryptsetup", "luksDump", "--dump-json-metadata", image.region()))
    assert dump["keyslots"]["0"]["kdf"]["type"] == "pbkdf2"
    assert dump["keyslots"]["0"]["kdf"]["iterations"] == 1234
    assert dump["digests"]["0"]["iterations"] == 1000  # cryptsetup's minimum, whatever the slot has
    assert dump["segments"]["0"]["sector_size"] == 512
    header = image.region().read_bytes()[: 16 * MIB]
    ok(real_module("luks_image", **image.options()), changed=True)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    assert (
        image.region().read_bytes()[: 16 * MIB] == header
    )  # it is shown as LUKS1, and stays LUKS2
    ok(real_module("luks_image", **image.options(state="absent")), changed=True)
    assert "Command failed" in sh("cryptsetup", "-v", "isLuks", image.region(), check=False)


def test_luks2_that_could_not_be_luks1_is_refused_before_it_is_made(
    image: Image, real_module: Module
) -> None:
    blank = image.disk.read_bytes()
    result = real_module("luks_image", **image.options(type="luks2", key_slot=8))
    refused(result, "slot 8 is beyond slot 7", "a builder whose kernel has dm-crypt")
    assert image.disk.read_bytes() == blank


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pbkdf", "argon2id", "--pbkdf-force-iterations", "4"), "slot 0 uses argon2id"),
        (("--pbkdf", "pbkdf2", "--sector-size", "4096"), "the sector size is 4096, not 512"),
    ],
)
def test_luks2_of_another_maker_is_refused_with_the_reason(
    options: tuple[str, ...], said: str, image: Image, real_module: Module
) -> None:
    argv = ["cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf-memory", "32"]
    argv += [*options, "--offset", str(16 * MIB // 512)]
    sh(*argv, image.disk, image.key)
    refused(real_module("luks_image", **image.options(offset=0, size=0)), said, "dm-crypt")
    assert image.held() == []


def test_keys_are_changed_behind_an_open_luks2_container(image: Image, real_module: Module) -> None:
    made = ok(real_module("luks_image", **image.options(type="luks2", key_slot=7)), changed=True)
    keys: list[dict[str, t.Any]] = []
    for slot in (0, 1):
        file = image.dir / f"{slot}.key"
        file.touch(0o600)
        file.write_text(f"the key of slot {slot}")
        keys.append({"slot": slot, "key_file": str(file)})
    options = image.options()
    region = {name: options[name] for name in ("path", "offset", "size")}
    rotate = {**region, "keys": keys, "unlock_key_files": [str(image.key)]}
    for changed in (True, False):
        ok(real_module("keyfile_rotate", **rotate), changed=changed)
    with image.node.open("r+b", buffering=0) as device:
        device.write(b"written after that")
        os.fsync(device)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    found = real_module("luks_image_info", **region)
    assert (found["type"], found["uuid"]) == ("luks2", made["uuid"])
    assert {row["severity"] for row in found["findings"]} == {"note"}
    assert found["slot_order"] == [0, 1]
    refused(real_module("luks_image", **image.options()), "does not open the container")
    image.key = pathlib.Path(keys[0]["key_file"])
    ok(real_module("luks_image", **image.options()), changed=True)
    assert image.node.open("rb").read(18) == b"written after that"
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    assert image.payload_luks2().startswith(b"written after that")


def test_luks2_at_the_end_of_a_device(image: Image, real_module: Module) -> None:
    """With no size: what is behind the payload would be lost, and what is before it is not ours."""
    device = sh("losetup", "--find", "--show", image.disk).strip()
    try:
        options = image.options(path=device, size=0, type="luks2")
        ok(real_module("luks_image", **options), changed=True)
        ok(real_module("luks_image", **options), changed=False)
        wanted = image.disk.stat().st_size - OFFSET - 16 * MIB
        assert int(sh("blockdev", "--getsize64", image.node)) == wanted
        with image.node.open("r+b", buffering=0) as file:
            file.seek(wanted - 4096)
            file.write(b"e" * 4096)
        ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)
    finally:
        sh("losetup", "--detach", device)
    assert image.disk.read_bytes()[:OFFSET] == bytes(OFFSET)
    options = image.options(size=0, read_only=True)
    ok(real_module("luks_image", **options), changed=True)
    assert sh("blockdev", "--getro", image.node).strip() == "1"
    with image.node.open("rb") as file:
        file.seek(-4096, os.SEEK_END)
        assert file.read() == b"e" * 4096
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)


def test_absent_leaves_no_key_that_opens_it(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options()), changed=True)
    before = image.region().read_bytes()
    absent = image.options(state="absent", key_file=None)
    ok(real_module("luks_image", _check=True, **absent), changed=True)
    assert image.region().read_bytes() == before
    ok(real_module("luks_image", **absent), changed=True)
    assert image.held() == []
    for check in (False, True):
        ok(real_module("luks_image", _check=check, **absent), changed=False)
    # With the magic put back, the slot is still dead.
    region = image.region()
    with region.open("r+b") as file:
        file.write(before[:4096])
    said = sh(
        *("cryptsetup", "open", "--test-passphrase", "--key-file", image.key, region), check=False
    )
    assert "No key available" in said


def test_a_wrong_key_is_said_and_leaves_nothing(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    image.key.write_text("another key")
    result = real_module("luks_image", **image.options())
    refused(result, f"the key in {image.key} does not open the container in {image.disk}")
    assert "another key" not in json.dumps(result)
    assert image.held() == []


def test_a_binary_key_is_explained(image: Image, real_module: Module) -> None:
    image.key.write_bytes(b"\xff\x00\x80")
    blank = image.disk.read_bytes()
    refused(real_module("luks_image", **image.options()), "userspace", "text")
    assert image.disk.read_bytes() == blank
    assert image.held() == []


@pytest.mark.parametrize(
    ("mode", "words"), [(0o644, "chmod 0600"), (0o640, "chmod 0600"), (None, "does not exist")]
)
def test_a_key_file_that_is_not_private_is_refused(
    mode: int | None, words: str, image: Image, real_module: Module
) -> None:
    if mode is None:
        image.key.unlink()
    else:
        image.key.chmod(mode)
    refused(real_module("luks_image", **image.options()), words, str(image.key))


def test_without_a_key_nothing_is_made(image: Image, real_module: Module) -> None:
    blank = image.disk.read_bytes()
    for check in (True, False):
        result = real_module("luks_image", _check=check, **image.options(key_file=None))
        refused(result, "key_file is needed")
    assert image.disk.read_bytes() == blank


def test_a_foreign_signature_is_named_and_kept(image: Image, real_module: Module) -> None:
    sh("mkfs.ext4", "-q", "-E", f"offset={OFFSET}", image.disk, "20M")
    before = image.disk.read_bytes()
    for check in (True, False):
        refused(real_module("luks_image", _check=check, **image.options()), "ext4", "force")
    assert image.disk.read_bytes() == before
    forced = image.options(force=True)
    made = ok(real_module("luks_image", **forced), changed=True)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    opened = ok(real_module("luks_image", **forced), changed=True)
    assert made["uuid"] != opened["uuid"]
    # What is open is never formatted, so that a repeated task destroys nothing.
    same = ok(real_module("luks_image", **forced), changed=False)
    assert same["uuid"] == opened["uuid"]
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)


def partition(disk: pathlib.Path) -> None:
    table = "label: gpt\nstart=2048, size=8192\nstart=16384, size=65536\n"
    sh("sfdisk", "-q", disk, input=table.encode())


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, 0),  # the whole disk
        (2 * MIB, SIZE),  # begins inside the first partition
        (OFFSET, 0),  # reaches over the end of the second, over the backup of the table
        (6 * MIB, MIB),  # between the two
        (OFFSET, SIZE + 512),
    ],
)
def test_a_region_that_is_no_partition_is_refused(
    offset: int, size: int, image: Image, real_module: Module
) -> None:
    partition(image.disk)
    before = image.disk.read_bytes()
    options = image.options(offset=offset, size=size)
    for check in (True, False):
        refused(real_module("luks_image", _check=check, **options), "set force")
    assert image.disk.read_bytes() == before


def test_a_partition_is_formatted(image: Image, real_module: Module) -> None:
    partition(image.disk)
    ok(real_module("luks_image", **image.options()), changed=True)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    assert "No errors detected" in sh("sfdisk", "--verify", image.disk)


def test_outside_of_the_file_is_refused(image: Image, real_module: Module) -> None:
    refused(real_module("luks_image", **image.options(size=1 << 30)), "ends at")
    refused(real_module("luks_image", **image.options(offset=1 << 40, size=0)), "ends at")
    refused(real_module("luks_image", **image.options(offset=1000)), "512-byte sectors")
    refused(real_module("luks_image", **image.options(path=f"{image.dir}/no")), "does not exist")


@pytest.mark.parametrize("name", ["", ".", "..", "../sda", "a/b", "control", "a b", "x" * 128])
def test_a_name_that_is_no_mapping_is_refused(name: str, image: Image, real_module: Module) -> None:
    for state in ("open", "closed", "absent"):
        refused(real_module("luks_image", **image.options(name=name, state=state)), "name")
    assert image.held() == []


def test_another_image_under_the_name_is_refused(
    images: t.Callable[[str], Image], real_module: Module
) -> None:
    one, two = images("one"), images("two")
    ok(real_module("luks_image", **one.options()), changed=True)
    for state in ("open", "closed", "absent"):
        # With a work directory of its own, and even with the same.
        for work_dir in (two.dir, one.dir):
            options = two.options(name=one.name, state=state, work_dir=str(work_dir))
            refused(real_module("luks_image", **options), one.name, "another name")
        options = one.options(state=state, offset=OFFSET + MIB, size=0)
        refused(real_module("luks_image", **options), one.name, "another name")
    assert len(one.held()) == 5
    assert len(one.node.open("rb").read(16)) == 16
    # A second name in the work directory would take the first one's mount point.
    refused(real_module("luks_image", **two.options(work_dir=str(one.dir))), "work_dir", one.name)
    assert len(one.held()) == 5
    ok(real_module("luks_image", **one.options(state="closed")), changed=True)


def test_a_renamed_file_is_still_the_same(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options()), changed=True)
    image.disk = image.disk.rename(image.dir / "renamed.raw")
    ok(real_module("luks_image", **image.options()), changed=False)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)


def test_another_uuid_is_refused(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    refused(real_module("luks_image", **image.options(uuid=UUID)), UUID)
    assert image.held() == []


def test_read_only(image: Image, real_module: Module) -> None:
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    before = image.disk.read_bytes()
    ok(real_module("luks_image", **image.options(read_only=True)), changed=True)
    ok(real_module("luks_image", **image.options(read_only=True)), changed=False)
    assert sh("blockdev", "--getro", image.node).strip() == "1"
    assert len(image.node.open("rb").read(MIB)) == MIB
    with pytest.raises(OSError, match=r"not permitted|Read-only"):
        image.node.open("r+b", buffering=0).write(b"x")
    refused(real_module("luks_image", **image.options()), "read-only", "close it")
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    assert image.disk.read_bytes() == before
    ok(real_module("luks_image", **image.options()), changed=True)
    refused(real_module("luks_image", **image.options(read_only=True)), "read-write", "close it")
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)


def test_read_only_never_formats(image: Image, real_module: Module) -> None:
    refused(real_module("luks_image", **image.options(read_only=True)), "read_only")
    assert not any(image.disk.read_bytes())


def test_a_block_device_and_a_whole_file(image: Image, real_module: Module) -> None:
    device = sh("losetup", "--find", "--show", image.disk).strip()
    try:
        options = image.options(path=device, offset=0, size=0)
        ok(real_module("luks_image", **options), changed=True)
        ok(real_module("luks_image", **options), changed=False)
        image.node.open("r+b").write(b"on a block device")
        ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)
    finally:
        sh("losetup", "--detach", device)
    options = image.options(offset=0, size=0)
    ok(real_module("luks_image", **options), changed=True)
    assert image.node.open("rb").read(17) == b"on a block device"
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)


def test_a_trim_is_taken_and_what_is_beside_it_stays(image: Image, real_module: Module) -> None:
    """QEMU's LUKS driver drops discards (7.2 does), so that they make no holes; they must do no harm."""
    ok(real_module("luks_image", **image.options()), changed=True)
    data = os.urandom(16 * MIB)
    with image.node.open("r+b", buffering=0) as device:
        device.write(data)
        os.fsync(device)
    sh("blkdiscard", "--offset", str(4 * MIB), "--length", str(8 * MIB), image.node)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    payload = image.payload()
    assert payload[: 4 * MIB] == data[: 4 * MIB]
    assert payload[12 * MIB : 16 * MIB] == data[12 * MIB :]


def test_a_mounted_container_is_not_closed(
    image: Image, real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(userspace, "BUSY_SECONDS", 0.2)
    ok(real_module("luks_image", **image.options()), changed=True)
    sh("mkfs.ext4", "-q", image.node)
    root = image.dir / "root"
    root.mkdir()
    sh("mount", image.node, root)
    for state in ("closed", "absent"):
        refused(real_module("luks_image", **image.options(state=state)), "in use", "unmount")
    (root / "still").write_text("there")
    ok(real_module("luks_image", **image.options()), changed=False)
    sh("umount", root)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)


def test_a_copy_of_the_mount_in_another_namespace_is_waited_for(
    image: Image, real_module: Module
) -> None:
    """As a command of another build has it, that began just before the file system was unmounted."""
    ok(real_module("luks_image", **image.options()), changed=True)
    sh("mkfs.ext4", "-q", image.node)
    root = image.dir / "root"
    root.mkdir()
    sh("mount", image.node, root)
    other = subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "1.5"])
    until(lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n")
    sh("umount", root)
    try:
        ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    finally:
        other.wait(timeout=10)


def test_a_full_disk_is_reported_at_the_latest_on_closing(
    image: Image, real_module: Module
) -> None:
    small = image.dir / "small"
    small.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small)
    disk = small / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    options = image.options(path=str(disk), offset=0, size=0)
    ok(real_module("luks_image", **options), changed=True)
    with image.node.open("r+b", buffering=0) as device:
        device.write(os.urandom(24 * MIB))  # into the page cache; nobody asked it to be written yet
    refused(real_module("luks_image", **{**options, "state": "closed"}), str(disk), "written")
    # It is closed all the same, and says so once.
    assert [it for it in image.held() if it != str(small)] == []
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=False)
    sh("umount", small)


def test_a_killed_open_is_finished(image: Image, real_module: Module) -> None:
    """The daemon runs, and the loop device or the node was never made."""
    ok(real_module("luks_image", **image.options()), changed=True)
    (old,) = image.daemons()
    image.node.unlink()
    ok(real_module("luks_image", **image.options()), changed=True)
    (new,) = image.daemons()
    assert old != new
    image.node.unlink()
    sh("losetup", "--detach", *image.loops())
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    assert image.held() == []
    ok(real_module("luks_image", **image.options(state="closed")), changed=False)


def test_a_node_that_stands_for_nothing_any_more_is_removed(
    image: Image, real_module: Module
) -> None:
    """A builder that was killed left it, and the kernel gives its loop device to this container."""
    stale = image.node.with_name(f"{image.name}-stale")
    stale.parent.mkdir(exist_ok=True)
    for _try in range(10):
        free = int(sh("losetup", "--find").strip().removeprefix("/dev/loop"))
        os.mknod(stale, 0o600 | stat.S_IFBLK, os.makedev(7, free))
        ok(real_module("luks_image", **image.options()), changed=True)
        if image.loops() == [f"/dev/loop{free}"]:
            break
        # Another program was faster, so the node stands for what is another's.
        assert stale.exists()
        stale.unlink()
        ok(real_module("luks_image", **image.options(state="closed")), changed=True)
    else:
        raise AssertionError("another program always takes the free loop device")
    assert not stale.exists()
    image.node.unlink()
    ok(real_module("luks_image", **image.options()), changed=True)
    ok(real_module("luks_image", **image.options(state="closed")), changed=True)


@pytest.mark.parametrize("luks", ["luks1", "luks2"])
@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_killed_daemon_is_said_once(
    luks: str, state: str, image: Image, real_module: Module
) -> None:
    ok(real_module("luks_image", **image.options(type=luks)), changed=True)
    (pid,) = image.daemons()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not image.daemons())
    ok(real_module("luks_image", _check=True, **image.options(state=state)), changed=True)
    refused(real_module("luks_image", **image.options(state=state)), "not all of it", "written")
    assert image.held() == []
    ok(real_module("luks_image", **image.options(state=state)), changed=state == "open")
    if state == "open":
        with image.node.open("r+b", buffering=0) as device:
            device.write(b"alive")
        ok(real_module("luks_image", **image.options(state="closed")), changed=True)


def test_a_file_in_the_way_is_kept(image: Image, real_module: Module) -> None:
    payload = image.dir / "payload"
    payload.write_text("mine")
    refused(real_module("luks_image", **image.options()), str(payload))
    ok(real_module("luks_image", **image.options(state="closed")), changed=False)
    assert payload.read_text() == "mine"
    payload.unlink()
    gone = real_module("luks_image", **image.options(work_dir=f"{image.dir}/none"))
    refused(gone, f"{image.dir}/none", "directory")
    refused(real_module("luks_image", **image.options(work_dir=None)), "needs work_dir")
    assert image.held() == []


def test_a_node_of_someone_else_is_kept(image: Image, real_module: Module) -> None:
    image.node.parent.mkdir(exist_ok=True)
    image.node.write_text("not a device")
    for state in ("open", "closed", "absent"):
        refused(real_module("luks_image", **image.options(state=state)), "another name")
    assert image.node.read_text() == "not a device"
    image.node.unlink()


def test_losing_the_race_for_a_name_keeps_the_winners_node(image: Image) -> None:
    runner = RealRunner()
    header = luks_region.luks_format(
        runner,
        {**image.options(), "uuid": None},
    )
    image.node.parent.mkdir(exist_ok=True)
    image.node.write_text("the winner's")
    with pytest.raises(Exception, match="could not be made"):
        userspace.open_mapping(
            runner,
            path=str(image.disk),
            offset=OFFSET,
            size=SIZE,
            header=header,
            payload=str(image.dir / "payload"),
            node=str(image.node),
            key_file=str(image.key),
            read_only=False,
        )
    assert image.node.read_text() == "the winner's"
    image.node.unlink()
    assert image.held() == []


def rounds(image: Image, pattern: bytes) -> None:
    """Open, write, close, several times; runs in a process of its own."""
    runner = RealRunner()
    defaults = {
        "state": "open",
        **dict.fromkeys([*luks_region.DEFAULTS, "uuid"]),
        "read_only": False,
        "force": False,
    }
    options = {**defaults, **image.options()}
    for position in range(3):
        luks_region.ensure(runner, options, check_mode=False)
        with image.node.open("r+b", buffering=0) as device:
            device.seek(position * len(pattern))
            device.write(pattern)
        luks_region.ensure(runner, {**options, "state": "closed"}, check_mode=False)


def test_several_images_at_once(images: t.Callable[[str], Image]) -> None:
    fork = multiprocessing.get_context("fork")
    pairs = [(images(f"image{number}"), os.urandom(4096)) for number in range(5)]
    processes = [fork.Process(target=rounds, args=pair) for pair in pairs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 5
    for image, pattern in pairs:
        assert image.payload().startswith(pattern * 3)


def test_the_probe_says_why_dm_crypt_cannot_be_used() -> None:
    """On a host that has it, nothing must be left of the probe."""
    before = loop_devices.list_all(RealRunner())
    reason = dm_crypt.unusable(RealRunner())
    works = subprocess.run(["dmsetup", "version"], check=False, capture_output=True).returncode == 0
    if not works:
        assert reason is not None
        assert "device-mapper" in reason
    assert not [name for name in os.listdir("/dev/mapper") if name.startswith("sealedroot-probe")]
    assert [
        it for it in loop_devices.list_all(RealRunner()) if "sealedroot-probe" in it.backing_file
    ] == []
    assert before is not None


def test_auto_takes_what_works(image: Image, real_module: Module) -> None:
    usable = dm_crypt.unusable(RealRunner()) is None
    made = ok(real_module("luks_image", **image.options(backend="auto")), changed=True)
    assert made["backend"] == ("dm_crypt" if usable else "userspace")
    assert "works here" in made["backend_reason"]
    ok(real_module("luks_image", **image.options(backend="auto", state="closed")), changed=True)
    if not usable:
        refused(real_module("luks_image", **image.options(backend="dm_crypt")), "device-mapper")
