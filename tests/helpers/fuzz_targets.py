# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every parser of bytes that somebody else wrote, by the functions and modules that it is reached through."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import pathlib
import shutil
import stat
import struct
import tarfile
import tempfile
import types
import typing as t

import cpio
import efi
import firmware
import oci
import qmp_peer
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    areas,
    checks,
    console as audit_console,
    mounts as audit_mounts,
)
from ansible_collections.sealedroot.image.plugins.module_utils._build import bom
from ansible_collections.sealedroot.image.plugins.module_utils._disk import (
    formats,
    gpt as disk_gpt,
    partitions as disk_partitions,
    view,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    fstab as etc_fstab,
    image_tables,
    os_release as etc_os_release,
    selinux as etc_selinux,
    shell_defaults,
    units as etc_units,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import (
    btrfs as filesystem_btrfs,
    btrfs_blocks,
    ext4 as filesystem_ext4,
    reader,
    xfs,
    xfs_attributes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    expected as firmware_expected,
    ovmf as firmware_ovmf,
    session as firmware_session,
    volumes as firmware_volumes,
    waiting_guest,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    cfg,
    core_image,
    debconf,
    defaults,
    install,
    own_volume,
    pe as grub_pe,
    script,
    signed_chain,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive as initramfs_archive,
    guest,
    initramfs_tools,
    mkinitcpio_conf,
    running_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    findings,
    luks1_view,
    metadata,
    pinned_header,
)
from ansible_collections.sealedroot.image.plugins.module_utils._machine import (
    qmp as machine_qmp,
    serial_boot,
)
from ansible_collections.sealedroot.image.plugins.module_utils._root import (
    contents,
    look,
    packed,
    tar as tar_module,
)
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    download,
    lvm,
    mounted_disk,
    oci as source_oci,
    oci_store,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    nofollow as system_nofollow,
    secret_search,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.architectures import X86_64
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import (
    image_identity,
    luks_image_info,
)
from fuzz_engine import Target

UNIT = pathlib.Path(__file__).resolve().parents[1] / "unit"
FIXTURES = UNIT / "fixtures" / "luks"
UUID = "11111111-2222-4333-8444-555555555555"
DEVICE = f"/dev/mapper/luks-{UUID}"
FAMILIES = LookupModule().run(["debian", "redhat", "suse", "arch"])
Data = t.Sequence[bytes]


@functools.cache
def unit_test(name: str) -> types.ModuleType:
    """Return a module of unit tests, for the samples in it."""
    path = UNIT / "plugins" / "module_utils" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"samples_{name.replace('/', '_')}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(data: bytes) -> str:
    """Decode as a file of a root is decoded."""
    return data.decode("utf-8", "surrogateescape")


class Installed:
    """As much of a module as a runner takes."""

    def get_bin_path(self, name: str, opt_dirs: t.Sequence[str]) -> str | None:
        return shutil.which(name)


RUNNER = ModuleRunner(t.cast(t.Any, Installed()))


@contextlib.contextmanager
def folder() -> t.Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="sealedroot-fuzz-", dir="/dev/shm") as name:
        yield pathlib.Path(name)


def parts(data: bytes, count: int) -> list[bytes]:
    """Divide an input into several files, at a sign that no format has."""
    return [*data.split(b"\x1e", count - 1), *([b""] * count)][:count]


# --- roots as tars

LISTING = b"""\
block 2: drwxr-xr-x 0/0               0 2026-11-24 01:41 ./a/
block 21: -rw-r--r-- 0/0     10737418242 2026-11-24 01:41 ./a/sp
block 26: hrw-r--r-- 0/0               0 2026-11-24 01:41 ./a/hl link to ./a/sp
block 32: crw-r--r-- 0/0             1,3 2026-11-24 01:41 ./a/n
block 35: lrwxrwxrwx 0/0               0 2026-11-24 01:41 ./a/l -> x -> y
block 36: -rwxr-xr-x 0/0             120 2026-11-24 01:41 ./usr/bin/dash
block 38: -rw-r--r-- 0/0             120 2026-11-24 01:41 ./usr/lib/os-release
block 40: -rw-r--r-- 0/0             120 2026-11-24 01:41 ./etc/fstab
block 42: -rw-r--r-- 0/0             120 2026-11-24 01:41 ./etc/crypttab
block 44: -rw-r--r-- 0/0             120 2026-11-24 01:41 ./boot/vmlinuz-6.1
block 46: -rw-r--r-- 0/0             120 2026-11-24 01:41 ./usr/lib/modules/6.1/modules.builtin
block 48: -rw------- 0/0             120 2026-11-24 01:41 ./etc/cryptsetup-keys.d/x.key
block 50: ** Block of NULs **
"""
OS_RELEASE = b"ID=debian\nID_LIKE='x y'\nPRETTY_NAME=\"Debian \xc3\xa4 12\"\nVERSION_ID=12\n"
FSTAB = b"""# comment
UUID=aaaa / ext4 errors=remount-ro,x-systemd.requires=/srv 0 1
/dev/mapper/data /srv\\040x xfs defaults,nofail,noauto 0 2
LABEL=EFI /boot/efi vfat umask=0077 0 1
/swap.img none swap sw,pri=1 0 0
tmpfs /tmp tmpfs size=1G 0 0
overlay /over overlay lowerdir=/a,upperdir=/srv/u,workdir=/w 0 0
/dev/vda2 /home btrfs subvol=@home,discard 0 0
"""
CRYPTTAB = b"""# name device key options
data UUID=bbbb /etc/keys/data.key luks,discard,keyfile-timeout=3
swap /dev/vda3 /dev/urandom swap,cipher=aes-xts-plain64
luks-%b UUID=%b /etc/cryptsetup-keys.d/x.key luks,header=/etc/cryptsetup-headers.d/x
""" % (UUID.encode(), UUID.encode())
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(100)
BUILTIN = b"kernel/ext4.ko\nkernel/dm-crypt.ko\nkernel/virtio_blk.ko\nkernel/virtio_pci.ko\n"


def listing(data: bytes) -> None:
    lines, fstab, crypttab, release, program = parts(data, 5)
    members = tar_module.parse_listing(text(lines))
    content = {
        "etc/fstab": fstab,
        "etc/crypttab": crypttab,
        "usr/lib/os-release": release,
        "usr/bin/dash": program,
    }
    names = {it.name for it in members}
    there = {name: data for name, data in content.items() if name in names}
    look.wanted(members, FAMILIES, signed=True)
    for member in members:
        tar_module.plain(member.raw)
    header = {"luks_type": "luks1", "hash": "sha256", "filesystem": "ext4"}
    found = look.describe(
        "root.tar", members, there, families=FAMILIES, filesystem="ext4", secure_boot=header
    )
    json.dumps(found)


def root_tar(data: bytes) -> None:
    with folder() as place:
        path = place / "root.tar"
        path.write_bytes(data)
        params = {"families": FAMILIES, "filesystem": "ext4", "secure_boot": None}
        packed.describe(RUNNER, str(path), {**params, "get_checksum": False}, digest=None)


def small_tar(**how: t.Any) -> bytes:
    """Make the tar of a root that has next to nothing in it."""
    files = {
        "usr/bin/dash": ELF,
        "usr/lib/os-release": OS_RELEASE,
        "etc/fstab": FSTAB,
        "etc/crypttab": CRYPTTAB,
        "usr/lib/modules/6.1/modules.builtin": BUILTIN,
        "boot/vmlinuz-6.1": b"x",
        "usr/bin/sh": b"x",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", **how) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("./bin")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/bin"
        tar.addfile(link)
    return packed.getvalue()


def root_tars() -> Data:
    plain = small_tar(format=tarfile.GNU_FORMAT)
    pax = small_tar(format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 600})
    return [plain, pax, oci.pack(plain, "gzip")]


def debconf_show(data: bytes) -> None:
    debconf.text(debconf.parse(text(data)))


def fstab(data: bytes) -> None:
    mounts, disks = map(text, parts(data, 2))
    names = {"exists": lambda path: "key" in path}
    image_tables.fstab(
        mounts,
        device=DEVICE,
        filesystem="ext4",
        crypttab=etc_fstab.rows(disks),
        **names,
    )
    image_tables.crypttab(disks, name="x", luks_uuid=UUID, key_file="/k", options="luks", **names)
    etc_fstab.swap_files(mounts)
    rows = etc_fstab.rows(mounts)
    volumes.parts(rows, [volumes.Volume(2, 0, 9, "btrfs", "aaaa", "EFI", point="boot")])
    volumes.root_option(rows)
    tables = [audit_mounts.table(it) for it in (mounts, disks)]
    audit_mounts.mounts(*tables, luks_uuid=UUID, root_device=DEVICE, units=None)
    with contextlib.suppress(KeyError):
        running_root.unlock(disks, f"luks-{UUID}")


# --- disks

PARTITIONS = json.dumps(
    {
        "partitiontable": {
            "label": "gpt",
            "id": "AAAA",
            "device": "x",
            "unit": "sectors",
            "sectorsize": 512,
            "partitions": [
                {
                    "node": "x1",
                    "start": 2048,
                    "size": 4096,
                    "type": disk_partitions.ESP_TYPE,
                    "uuid": "A",
                    "name": "ESP",
                },
                {"node": "x2", "start": 8192, "size": 4096, "type": disk_partitions.LUKS_TYPE},
            ],
        }
    }
).encode()
DOS = json.dumps(
    {
        "partitiontable": {
            "label": "dos",
            "id": "0x12",
            "partitions": [
                {"node": f"x{number}", "start": 1, "size": 2, "type": kind}
                for number, kind in ((1, "83"), (2, "5"))
            ],
        }
    }
).encode()


def partitions(data: bytes) -> None:
    found = volumes.of_partitions(disk_partitions.parse(text(data)), 1 << 30)
    for volume in found:
        volumes.named(f"PARTUUID={volume.partuuid}", found, "")


def gpt(data: bytes) -> None:
    table = disk_partitions.parse(text(data))
    checks.layout(table, [])
    list(areas.gaps(table, 1 << 30))


def probed(data: bytes) -> None:
    volume = volumes.probed(volumes.Volume(1, 0, 1), text(data))
    volumes.named("LABEL=x", [volume], "")
    volumes.subvolumes(text(data))


def disk_head(data: bytes) -> None:
    formats.compression(data)
    formats.disk(data)
    formats.in_archive(text(data).splitlines())
    disk_gpt.sector(data)
    disk_gpt.damage(data, data[-4096:], len(data) // 2)
    with contextlib.suppress(SealedRootError):
        formats.image_format("x", data[: formats.HEAD_BYTES], data[-512:])
    with folder() as place:
        (place / "disk").write_bytes(data)
        mounted_disk.is_disk(str(place / "disk"))
        view.has_vhd_footer(str(place / "disk"))


def disk_heads() -> Data:
    qcow2 = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 30, 0, 1, 4096, 0, 0, 0, 0)
    qcow2 += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    vmdk = struct.pack("<4sIIQQQQ", b"KDMV", 3, 3, 2048, 128, 1, 20).ljust(512, b"\0")
    vmdk += b"# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 2048 SPARSE x\n"
    vhd = struct.pack(">8sII44xI", b"conectix", 2, 0x10000, 3).ljust(512, b"\0")
    mbr = bytes(510) + b"\x55\xaa"
    gpt = mbr + struct.pack("<8s16x2Q", b"EFI PART", 1, 2047)
    return [
        qcow2.ljust(1024, b"\0"),
        vmdk,
        vhd,
        mbr,
        gpt,
        bytes(64) + b"\x7f\x10\xda\xbe",
        b"vhdxfile",
    ]


def lvm_disk(data: bytes) -> None:
    region = (0, 64 << 20)
    lvm.logical_volumes(lambda at, size: data[at : at + size], [region])


def lvm_text(data: bytes) -> None:
    sample = unit_test("_source/test_lvm")
    lvm_disk(sample.disk(text(data).encode("utf-8", "replace").decode()))


def lvm_texts() -> Data:
    sample = unit_test("_source/test_lvm")
    return [sample.group(sample.volume()).encode(), b"# x\n" + sample.group("").encode()]


# --- file systems


def btrfs(data: bytes) -> None:
    sample = unit_test("_filesystem/test_btrfs_blocks")
    size = sample.SIZE
    blocks = {at: data[number * size :][:size] for number, at in enumerate(sample.BLOCKS)}

    def read(address: int) -> bytes:
        if address not in blocks:
            raise btrfs_blocks.damaged("the address")
        return blocks[address].ljust(size, b"\0")

    forest = btrfs_blocks.Forest(read, sample.ROOTS)
    forest.attribute([b"etc", b"plain"], sample.NAME)
    forest.attribute([b"sub"], sample.NAME)
    forest.entries([b"etc"])
    forest.link_target([b"etc", b"link"])


def btrfs_text(data: bytes) -> None:
    chunks = btrfs_blocks.parse_chunks(text(data))
    filesystem_btrfs.parse_fields(text(data))
    btrfs_blocks.place_of(chunks, 13631488, 4096)


def xfs_block(data: bytes) -> None:
    for entries in (xfs_attributes.block(data, 133), xfs_attributes.short_form(data)):
        with contextlib.suppress(SealedRootError):
            xfs_attributes.find(entries, "security.selinux")


def xfs_blocks() -> Data:
    sample = unit_test("_filesystem/test_xfs_attributes")
    entries = [(5, b"selinux", b"u:r:t\0"), (1, b"x", b"y" * 300)]
    return [sample.leaf(*entries), sample.short_form(*(it for it in entries if len(it[2]) < 256))]


XFS_LISTING = (
    b"1          128        directory      0x0000002e   1 . (good)\n"
    b"2          131        regular        0x00000ab8   5 hello (good)\n"
)


def xfs_listing(data: bytes) -> None:
    xfs.parse_fields(text(data))
    xfs.label(text(data)[:100])
    xfs.parse_directory(data)


EXT4 = b"/2/040755/0/0/.//\n/2/040755/0/0/..//\n/12/100644/0/0/file/123/\n\n/13/120777/0/0/a b/4/\n"
SUPER = (
    b"Filesystem volume name:   <none>\nLast mounted on:  /\nFilesystem state:  clean\n"
    b"Filesystem features: has_journal\n"
)


def ext4(data: bytes) -> None:
    fields = filesystem_ext4.parse_superblock(text(data))
    filesystem_ext4.superblock_problems(fields)
    filesystem_ext4.parse_directory(text(data))


class Memory(reader.Tree):
    """A file system of directories and links, by a line for each entry: directory, name, kind, target."""

    root = 0

    def __init__(self, lines: str) -> None:
        super().__init__(RUNNER, "", "")
        self.rows = [it.split(" ", 3) for it in lines.split("\n")[:200] if it.count(" ") >= 3]

    def volume(self) -> reader.Volume:
        return reader.Volume("ext4", "", "")

    def _read_directory(self, inode: int) -> dict[str, reader.Node]:
        kinds = {"d": stat.S_IFDIR, "l": stat.S_IFLNK}
        return {
            row[1]: reader.Node(number, kinds.get(row[2], stat.S_IFREG) | 0o644, 0, 9)
            for number, row in enumerate(self.rows, start=1)
            if row[0] == str(inode)
        }

    def _read_link(self, node: reader.Node) -> str:
        return self.rows[node.inode - 1][3]

    def _dump(self, node: reader.Node) -> str:
        raise AssertionError

    def attribute(self, node: reader.Node, name: str) -> bytes | None:
        return None


TREE = b"0 etc d x\n1 grub l /boot/grub\n0 boot d x\n3 grub l ../etc/grub\n1 file f x\n0 self l .\n"


def walk(data: bytes) -> None:
    tree = Memory(text(data))
    for path in ("/etc/file", "/etc/grub", "/boot/grub/x", "/self/self/../etc/file/x"):
        tree.find(path)
        tree.entries(path)


# --- containers

MANIFEST = {
    "schemaVersion": 2,
    "config": {"mediaType": oci.CONFIG, "digest": "@1", "size": 2},
    "layers": [{"mediaType": f"{oci.OCI}.layer.v1.tar", "digest": f"sha256:{'1' * 64}"}],
}
INDEX = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": oci.MANIFEST,
            "digest": "@2",
            "size": 1,
            "platform": {"os": "linux", "architecture": "amd64"},
            "annotations": {oci.REFERENCE: "a:b"},
        }
    ],
}
NESTED = {"manifests": [{"mediaType": oci.INDEX, "digest": "@2"}]}
IMAGE = {"architecture": "amd64", "os": "linux", "config": {}}


def layout(data: bytes) -> None:
    """Read a layout of several documents; ``@N`` in one is the digest of another, the last is the index."""
    files: dict[str, bytes] = {}
    blobs: list[str] = []
    for content in data.split(b"\x1e")[:8]:
        for number, digest in enumerate(blobs, start=1):
            content = content.replace(b'"@%d"' % number, f'"{digest}"'.encode())
        blobs.append(f"sha256:{hashlib.sha256(content).hexdigest()}")
        files[source_oci.blob(blobs[-1])] = files["index.json"] = content

    def read(name: str) -> bytes:
        return files.get(name, b"{}")

    chosen = source_oci.choose(source_oci.candidates(read), "amd64")
    source_oci.manifest(read, chosen, "amd64")


def layouts() -> Data:
    config, manifest, index, nested = (
        json.dumps(it).encode() for it in (IMAGE, MANIFEST, INDEX, NESTED)
    )
    between = b"\x1e"
    whole = between.join([config, manifest, index])
    return [whole, between.join([config, manifest, index, nested.replace(b"@2", b"@3")])]


def one_document(data: bytes) -> None:
    """Read a document in every place that one can have."""
    config, manifest = (json.dumps(it).encode() for it in (IMAGE, MANIFEST))
    between = b"\x1e"
    for documents in ([data, manifest], [config, data]):
        with contextlib.suppress(SealedRootError):
            layout(between.join([*documents, json.dumps(INDEX).encode()]))
    with contextlib.suppress(SealedRootError):
        layout(between.join([config, manifest, data]))
    with contextlib.suppress(SealedRootError):
        source_oci.docker_candidates(lambda _name: data)
    found = source_oci.docker_candidates(lambda name: data if name == "manifest.json" else config)
    source_oci.choose(found, "amd64", reference="a:b")


def documents() -> Data:
    docker = [{"Config": "x.json", "RepoTags": ["a:b"], "Layers": ["x"]}]
    return [json.dumps(it).encode() for it in (IMAGE, MANIFEST, INDEX, NESTED, docker)]


def oci_archive(data: bytes) -> None:
    with folder() as place:
        (place / "x.tar").write_bytes(data)
        store = oci_store.find(RUNNER, str(place / "x.tar"))
        found = (source_oci.docker_candidates if store.docker else source_oci.candidates)(
            store.read
        )
        chosen = source_oci.choose(found, "amd64")
        if not store.docker:
            manifest = source_oci.manifest(store.read, chosen, "amd64")
            store.layout([source_oci.blob(it) for it in manifest.layers], str(place))


def oci_archives() -> Data:
    image = oci.Image([oci.layer(oci.member("x", b"y"))], reference="a:b", compression="none")
    with folder() as place:
        oci.oci_archive(oci.layout(place / "layout", image), place / "oci.tar")
        oci.docker_archive(place / "docker.tar", image)
        return [(place / f"{name}.tar").read_bytes() for name in ("oci", "docker")]


def oci_directory(data: bytes) -> None:
    with folder() as place:
        (place / "index.json").write_bytes(data)
        store = oci_store.find(RUNNER, str(place))
        source_oci.choose(source_oci.candidates(store.read), "amd64")


# --- LUKS


def luks2(data: bytes) -> None:
    described(metadata.parse_luks2(data.decode("utf-8", "surrogateescape"), uuid=UUID))


def luks1(data: bytes) -> None:
    described(metadata.parse_luks1(text(data)))


def described(header: metadata.Header) -> None:
    findings.findings(header)
    luks1_view.obstacles(header)
    pinned_header.ranges(header)
    json.dumps(luks_image_info.describe(header))


def fixtures(pattern: str) -> t.Callable[[], Data]:
    return lambda: [path.read_bytes() for path in sorted(FIXTURES.glob(pattern))]


def luks_header(data: bytes) -> None:
    with folder() as place:
        (place / "disk").write_bytes(data.ljust(1 << 20, b"\0"))
        header = metadata.read(RUNNER, str(place / "disk"))
        findings.findings(header)


def luks_headers() -> Data:
    found = []
    with folder() as place:
        for kind, how in (("luks1", ()), ("luks2", ("--luks2-metadata-size=16k",))):
            path = place / kind
            with path.open("wb") as file:
                file.truncate(20 << 20)
            argv = ["cryptsetup", "luksFormat", "--batch-mode", "--type", kind, *how]
            argv += ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=-", str(path)]
            RUNNER.run(argv, stdin=b"key of the test", timeout=60)
            found.append(path.read_bytes()[: 64 << 10])
    return found


# --- what boots

GRUB_CFG = f"""\
set default="0"
if [ -s $prefix/grubenv ]; then
  load_env
fi
search --no-floppy --fs-uuid --set=root {UUID}
menuentry 'Debian' --class x --unrestricted $menuentry_id_option 'x' {{
\tinsmod gzio
\tlinux\t/boot/vmlinuz-6.1 root={DEVICE} ro "quiet a" single
\tinitrd\t/boot/initrd.img-6.1
}}
submenu 'More' {{ menuentry 'x' {{ chainloader (hd0,gpt1)/EFI/x.efi ; }} }}
source ${{config_directory}}/custom.cfg
cryptomount -u {UUID.replace("-", "")}
export root; set superusers="x" # comment
""".encode()
GRUB_TOKENS = (
    *(b"menuentry ", b"'", b'"', b"\\", b"{", b"}", b"\n", b";", b"#", b"$", b"${", b"linux "),
    *(b"root=", b"source ", b"set ", b"if ", b"search ", b"--set=", b"(hd0)", b"configfile ", b" "),
    *(b"$prefix/", b"load_env ", b"submenu ", b"function ", b"|", b"&", b"initrd "),
)


def grub_cfg(data: bytes) -> None:
    config = text(data)
    words = guest.words("dracut", luks_uuid=UUID)
    checks.grub_cfg(
        config,
        root_device=DEVICE,
        root_uuid=UUID,
        luks_uuid=UUID,
        words=words,
        builder_words=["builder"],
    )
    checks.early_config("x", config, luks_uuid=UUID)
    checks.initrds(config)
    for part in (cfg.open_doors, cfg.doors_of_part, script.restricted):
        part(config)
    for way in (cfg.unsearched, cfg.strays, cfg.foreign):
        way(config, luks_uuid=UUID)
    cfg.check_config(config, root_device=DEVICE, luks_uuid=UUID, debug_console=False, words=words)
    cfg.check_menu(config, root_device=DEVICE, words=words)
    for name in (script.scripts, script.foreign, script.unclear):
        how = {"directory": "/boot/grub"} if name is script.scripts else {}
        name(config, volume="cryptouuid/x", **how)
    script.assigned(config, "root")
    script.without_isos(config)


def grub_core(data: bytes) -> None:
    core = core_image.parse(data)
    if core:
        install.read_memdisk(core.memdisk)
    signed_chain.missing_modules(
        core.modules if core else frozenset(), luks_type="luks2", hash="sha256", filesystem="ext4"
    )
    checks.esp(
        {X86_64.boot_file: data},
        wanted=[X86_64.boot_file],
        luks_uuid=UUID,
        modules=["luks2"],
        signed=False,
        debug_console=False,
    )


def grub_cores() -> Data:
    core = efi.grub(["luks2", "normal", "ext2"], config=f"cryptomount -u {UUID}\n")
    return [core, efi.program(core), efi.signed(efi.program(core)), b"mimg" * 4 + core]


def pe(data: bytes) -> None:
    grub_pe.problems("x.efi", data, sbat=True)


def ovmf(data: bytes) -> None:
    found = firmware_ovmf.parse(firmware.padded(data), "x.fd")
    firmware_ovmf.check_processors(found, "x.fd")
    firmware_ovmf.check_snp(found, "x.fd")


def ovmfs() -> Data:
    return [firmware.ovmf().lstrip(b"\0"), firmware.ovmf(snp=firmware.metadata()).lstrip(b"\0")]


def firmware_files(data: bytes) -> None:
    """What was taken out is gone; the rest stays where it was."""
    made, removed = firmware_volumes.kernel_only(data, "x.fd")
    assert len(made) == len(data)
    assert firmware_volumes.kernel_only(made, "x.fd") == (made, [])
    assert (made == data) == (not removed)


def volume_lists() -> Data:
    fat = firmware.driver(firmware.FAT, firmware.FILES)
    plain = firmware.flash(firmware.files(firmware.driver(firmware.LOADER), fat))
    return [firmware.dxe(fat), firmware.dxe(), plain]


def launch_session(data: bytes) -> None:
    measurement, digest, header = (text(it) for it in parts(data, 3))
    firmware_session.parse_iv(header)
    firmware_session.parse_digest(digest)
    firmware_session.parse_measurement(measurement)


def launch_expected(data: bytes) -> None:
    found = firmware_expected.parse(data, "x")
    for kind, vcpu_type in (("sev", None), ("sev-es", "EPYC-v4")):
        firmware_expected.guest(found, "x", kind=kind, vcpus=2, vcpu_type=vcpu_type)


def monitor(data: bytes) -> None:
    """What a host answers, until the measurement is compared."""
    sev, status = (machine_qmp.parse(it, "x").get("return") for it in parts(data, 2))
    waiting_guest.parse(sev, status, policy=11)


def memdisk(data: bytes) -> None:
    install.read_memdisk(data)
    install.is_memdisk(data, ["x\n" * 99], own=True)


def answers(data: bytes) -> None:
    debconf.text(debconf.parse(text(data)))


def entries(data: bytes) -> None:
    config, entry, env = parts(data, 3)
    variables = boot_entries.parse_env(env)
    boot_entries.format_env({key: value[:100] for key, value in [*variables.items()][:9]})
    boot_entries.rendered(text(config), {"x.conf": text(entry)}, variables)
    boot_entries.put(text(entry), "options", "a b")
    boot_entries.get(text(entry), "linux")


ANSWERS = b"""\
* grub2/update_nvram: false
  grub2/force_efi_extra_removable: true
* grub2/enable_os_prober:
* grub-efi/cloud_style_installation: false
"""
ENTRIES = b"\x1e".join(
    [
        b'blscfg\nset kernelopts="root=x ro"\nif [ x ]; then\n blscfg\nfi\n',
        b"title Fedora\nversion 6\nlinux /vmlinuz-6\ninitrd /initramfs-6.img $tuned_initrd\noptions $kernelopts a\n",
        b"# GRUB Environment Block\nsaved_entry=x\nkernelopts=a \\\nb\\\\c\n#####",
    ]
)
SHELL = b"""\
# comment
GRUB_CMDLINE_LINUX="quiet $A ${B} \\" \\$x"
export GRUB_DEFAULT='0>1'
A=a\\ b"c"'d'$(uname -r)`x`
B=$A$A
SELINUX=enforcing
SELINUXTYPE=targeted
HOOKS=(base udev
  autodetect) # x
MODULES+=("a b" c)
"""
SHELL_TOKENS = (
    *(b"A=", b"A=$A$A\n", b"$A", b"${A}", b"'", b'"', b"\\", b"\n", b" ", b"`", b"$(", b")", b"("),
    *(b"export ", b"GRUB_CMDLINE_LINUX=", b"#", b"HOOKS=(", b"HOOKS+=(", b"SELINUXTYPE=", b"\t"),
)


def shell(data: bytes) -> None:
    words = text(data)
    shell_defaults.values(words)
    shell_defaults.assign(words, "GRUB_CMDLINE_LINUX", "a b")
    kept, _taken = shell_defaults.without_words(words[:4096], lambda it: "=" in it)
    shell_defaults.merge_words(kept, "a b")
    have = dict.fromkeys((*defaults.CMDLINES, "GRUB_DEFAULT"), words)
    defaults.settings(have, "a b", DEVICE)
    arrays = mkinitcpio_conf.arrays(words, mkinitcpio_conf.NOTHING)
    mkinitcpio_conf.assign(words, "HOOKS", ["a"])
    initramfs_tools.conf_hook(words)
    mkinitcpio_conf.hooks(arrays.get("HOOKS", [])[:1000])


def selinux(data: bytes) -> None:
    etc_selinux.parse_plan(text(data))
    etc_selinux.parse_config(text(data))


def os_release(data: bytes) -> None:
    found = etc_os_release.parse_os_release(data.decode("utf-8", "replace"))
    etc_os_release.family(found, FAMILIES)
    contents.machine(data)
    json.dumps(bom.bill("deb", text(data).splitlines()[:100], found, image_uuid=UUID))


# --- inside the initramfs


def archives(data: bytes) -> None:
    found = initramfs_archive.read_archives(data)
    part = initramfs_archive.Part("x", found.entries, len(data))
    for offset in range(0, len(data), max(1, len(data) // 7)):
        initramfs_archive.holder(part, offset)
    if found.rest is not None:
        initramfs_archive.compression(data[found.rest : found.rest + 6])


def initrd(data: bytes) -> None:
    with folder() as place:
        (place / "initrd").write_bytes(data)
        initramfs_archive.unpack(RUNNER, str(place / "initrd"))


def initrds() -> Data:
    archive = cpio.newc({"etc/crypttab": (0o400, CRYPTTAB), "init": (0o755, b"#!/bin/sh\n")})
    packed = [oci.pack(archive, kind) for kind in ("gzip", "zstd")]
    early = cpio.newc({"kernel/x86/microcode": (0o644, b"x" * 100)})
    return [archive, *packed, *(early + bytes(100) + it for it in packed)]


# --- files of a running root

UNITS = b"""\
# comment
[Unit]
Description=x \\
  y
[Service]
ExecStart=-/sbin/agetty --autologin root %I
ExecStart=
[Mount]
What=/dev/x
Where=/srv
"""
PASSWD = b"root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/sh\nodd\n\x1eroot:!:1:0\nuser::1:0:99\n"


def units(data: bytes) -> None:
    path = "etc/systemd/system/x.mount"
    etc_units.Mounting(
        {path: text(data), f"{path}.d/x.conf": text(data)}, [path, *text(data).split()]
    ).units()
    settings = etc_units.parse("/etc/systemd/system/x.service", text(data))
    etc_units.last(settings, "Service", "ExecStart")
    etc_units.listed(settings, "Service", "Exec")


def accounts(data: bytes) -> None:
    passwd, shadow = map(text, parts(data, 2))
    audit_console.accounts(passwd, shadow)


def identity(data: bytes) -> None:
    image_identity.hosts(text(data), "name")
    image_identity.shadow(text(data), "$6$x")


WORDS = (
    b"root=/dev/mapper/x ro quiet rd.luks.uuid=luks-x systemd.unit=rescue sysctl/kernel/sysrq=1 $x"
)


def kernel_words(data: bytes) -> None:
    own = guest.words("dracut", luks_uuid=UUID)
    for word in text(data)[:20000].split()[:300]:
        guest.undoes(word, own)
    guest.contrary(text(data)[:20000])


def console(data: bytes) -> None:
    serial_boot.plain(text(data), "secret of the test")
    serial_boot.last_lines(text(data))


def published(data: bytes) -> None:
    secret_search.published({"x": data}, {"key": b"secret of the test"})
    secret_search.search_bytes(data, {"key": b"secret of the test"})
    areas.signature(data[:4096], data[4096:4104])
    areas.looks_random(data[:4096])
    checks.luks2_copies(data)


def signed(data: bytes) -> None:
    download.signed(text(data))


GPG = (
    b"[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1 x <a@b>\n[GNUPG:] VALIDSIG 1 2026-01-01 0 4 0 1 10 00 1\n"
)


def nofollow(data: bytes) -> None:
    """Read a directory that an image wrote: each line makes an entry, and none leads out of it."""
    with folder() as place:
        tree, beside = place / "tree", place / "beside"
        tree.mkdir()
        beside.touch()
        for line in data.split(b"\n")[:40]:
            kind, _blank, name = line.partition(b" ")
            path = pathlib.Path(text(bytes(tree) + b"/" + name))
            if b".." in name.split(b"/"):
                continue
            with contextlib.suppress(OSError, ValueError):
                if kind == b"d":
                    path.mkdir(parents=True)
                elif kind == b"l":
                    path.symlink_to(beside)
                else:
                    # Never through a link.
                    with path.open("xb") as file:
                        file.write(line)
        system_nofollow.read_tree(str(tree))


def given(*samples: bytes) -> t.Callable[[], Data]:
    return lambda: samples


_SEPARATOR = (b"\x1e",)
_TABLE_WORDS = (
    *(b" ", b"\t", b"\n", b"/", b"UUID=", b"none", b"\\040", b",", b"subvol=", b"x-systemd.", b"#"),
    *(b"header=/", b"..", b"/dev/", b"noauto", b"swap", b"lowerdir=", b":", b"\x1e", b"\\"),
)
TARGETS = (
    Target(
        "root_tar_listing",
        (
            "_root/tar",
            "_etc/os_release",
            "_root/contents",
            "_root/findings",
            "_root/look",
            "_root/needs",
        ),
        listing,
        given(b"\x1e".join([LISTING, FSTAB, CRYPTTAB, OS_RELEASE, ELF])),
        (*LISTING.splitlines(keepends=True), *_SEPARATOR, b"\\", b"\\303"),
    ),
    Target("root_info", ("_root/tar",), root_tar, root_tars, is_slow=True),
    Target(
        "fstab",
        ("_etc/fstab", "_etc/image_tables", "_audit/mounts", "_initramfs/running_root"),
        fstab,
        given(FSTAB + b"\x1e" + CRYPTTAB),
        _TABLE_WORDS,
    ),
    Target(
        "debconf", ("_grub/debconf",), debconf_show, given(b"* grub2/update_nvram: false\n  x: y\n")
    ),
    Target("partitions", ("_source/volumes",), partitions, given(PARTITIONS, DOS), json=True),
    Target("gpt", ("_disk/partitions",), gpt, given(PARTITIONS), json=True),
    Target(
        "blkid",
        ("_source/volumes",),
        probed,
        given(b"TYPE=ext4\nUUID=a\nLABEL=x\\ y\nID 256 gen 7 top level 5 path @\n"),
        (b"=", b"\n", b" path "),
    ),
    Target(
        "disk_head",
        ("_source/mounted_disk", "_disk/formats", "_disk/gpt", "_disk/view"),
        disk_head,
        disk_heads,
        (b"# Disk DescriptorFile", b"parentFileNameHint"),
    ),
    Target(
        "lvm_disk",
        ("_source/lvm",),
        lvm_disk,
        lambda: [unit_test("_source/test_lvm").disk(lvm_texts()[0].decode())[:8192]],
    ),
    Target(
        "lvm_text",
        ("_source/lvm",),
        lvm_text,
        lvm_texts,
        (b"{", b"}", b"[", b"]", b"=", b'"', b"#", b"\n", b" a", b"9", b"\\", b","),
    ),
    Target(
        "btrfs_blocks",
        ("_filesystem/btrfs_blocks",),
        btrfs,
        lambda: [b"".join(unit_test("_filesystem/test_btrfs_blocks").BLOCKS.values())],
    ),
    Target(
        "btrfs_text",
        ("_filesystem/btrfs_blocks", "_filesystem/btrfs"),
        btrfs_text,
        lambda: [unit_test("_filesystem/test_btrfs_blocks").CHUNKS.encode()],
    ),
    Target("xfs_attributes", ("_filesystem/xfs_attributes",), xfs_block, xfs_blocks),
    Target(
        "xfs_listing",
        ("_filesystem/xfs",),
        xfs_listing,
        given(XFS_LISTING, b'blocksize = 4096\nfname = "x\\000"\n'),
    ),
    Target(
        "ext4",
        ("_filesystem/ext4",),
        ext4,
        given(EXT4, SUPER),
        (b"/", b"\n", b"/1/100644/0/0/x/1/\n", b": "),
    ),
    Target(
        "image_tree",
        ("_filesystem/reader",),
        walk,
        given(TREE),
        (b"../", b"/", b"0 x l ", b" ", b"\n", b"./", b"1 ", b"d ", b"l "),
    ),
    Target("oci_layout", ("_source/oci",), layout, layouts, _SEPARATOR),
    Target(
        "oci_document",
        ("_source/oci", "_system/untrusted_json"),
        one_document,
        documents,
        json=True,
    ),
    Target("oci_root_tar", ("_source/oci_store",), oci_archive, oci_archives, is_slow=True),
    Target(
        "oci_directory", ("_source/oci_store",), oci_directory, lambda: documents()[2:], json=True
    ),
    Target(
        "luks2_json",
        ("_luks/metadata", "_luks/finding_table", "_luks/findings", "_luks/luks1_view"),
        luks2,
        fixtures("*.json"),
        json=True,
    ),
    Target(
        "luks1_text",
        ("_luks/metadata",),
        luks1,
        fixtures("luks1*.txt"),
        (b"\n", b":", b"Key Slot 1: ENABLED\n", b"\tIterations: 1\n", b"Payload offset:\t"),
    ),
    Target("luks_image_info", ("_luks/metadata",), luks_header, luks_headers, is_slow=True),
    Target(
        "grub_cfg",
        ("_grub/cfg", "_grub/script", "_audit/checks"),
        grub_cfg,
        given(GRUB_CFG),
        GRUB_TOKENS,
    ),
    Target(
        "grub_core",
        ("_grub/core_image", "_grub/signed_chain"),
        grub_core,
        grub_cores,
        (b"mimg", efi.module("x"), b"\0\0\0\0\x08\0\0\0"),
    ),
    Target("pe", ("_grub/pe",), pe, grub_cores, (b"MZ", b"PE\0\0", b"\x08\0\0\0\0\2\2\0")),
    Target(
        "firmware_files",
        ("_firmware/volumes",),
        firmware_files,
        volume_lists,
        (
            b"_FVH",
            *map(firmware.le, (firmware.FFS, firmware.LZMA, firmware.FILES)),
            b"\x09",
            b"\x0b",
        ),
    ),
    Target(
        "ovmf",
        ("_firmware/ovmf",),
        ovmf,
        ovmfs,
        (
            *map(firmware.le, (*firmware.ENTRIES, firmware.FOOTER, firmware.LZMA)),
            b"ASEV",
            b"\x1a\0",
        ),
    ),
    Target(
        "launch_session",
        ("_firmware/session",),
        launch_session,
        given(b"A" * 64 + b"\x1e" + b"ab" * 32 + b"\x1e" + b"A" * 70 + b"=="),
        (*_SEPARATOR, b"=", b"AAAA", b"ff"),
    ),
    Target(
        "launch_expected",
        ("_firmware/expected",),
        launch_expected,
        given(json.dumps(qmp_peer.launch()).encode()),
        (b'"sev"', b"{", b"}", b'"ab"', b"1"),
    ),
    Target(
        "monitor",
        ("_machine/qmp", "_firmware/waiting_guest"),
        monitor,
        given(
            b'{"return": {"enabled": true, "api-major": 1, "api-minor": 2, "build-id": 3, "policy": 11,'
            b' "state": "launch-secret", "handle": 1}}\x1e{"return": {"status": "prelaunch"}}'
        ),
        (*_SEPARATOR, b'"sev-type": "sev"', b"{", b"}", b'"running"'),
    ),
    Target("debconf", ("_grub/debconf",), answers, given(ANSWERS), (b"* ", b": ", b"  ")),
    Target(
        "memdisk",
        ("_grub/install", "_grub/own_volume"),
        memdisk,
        lambda: [install.memdisk("x\n" * 99, own_volume.checksum(b"x"))],
    ),
    Target(
        "boot_entries",
        ("_grub/boot_entries",),
        entries,
        given(ENTRIES),
        (
            b"\n",
            b"linux ",
            b"options ",
            b"$",
            b"\\",
            b'set kernelopts="',
            b"=",
            b"blscfg",
            b"\x1e",
            b" ",
        ),
    ),
    Target(
        "shell_defaults",
        (
            "_etc/shell_defaults",
            "_grub/defaults",
            "_initramfs/mkinitcpio_conf",
            "_initramfs/initramfs_tools",
        ),
        shell,
        given(SHELL),
        SHELL_TOKENS,
    ),
    Target(
        "selinux",
        ("_etc/selinux",),
        selinux,
        given(SHELL, b"Would relabel /a b from x:y:z to u:r:t:s0\n"),
        (*SHELL_TOKENS, b"Would relabel /x from ", b" to "),
    ),
    Target(
        "os_release",
        ("_root/contents", "_build/bom"),
        os_release,
        given(OS_RELEASE),
        (b"ID=", b"ID_LIKE=", b'"', b"'", b"\n", b"=", b" "),
    ),
    Target(
        "cpio",
        ("_initramfs/archive", "_initramfs/archive_keys"),
        archives,
        lambda: initrds()[:1],
        (b"070701", b"TRAILER!!!", b"0" * 8, b"F" * 8),
    ),
    Target("initrd", ("_initramfs/archive",), initrd, initrds, is_slow=True),
    Target(
        "units",
        ("_etc/units",),
        units,
        given(UNITS),
        (b"[Service]\n", b"=", b"\\\n", b"\n", b"#", b";", b"ExecStart="),
    ),
    Target(
        "accounts",
        ("_audit/console",),
        accounts,
        given(PASSWD),
        (b":", b"\n", b"root:", b"\x1e", b"0"),
    ),
    Target(
        "identity",
        ("_etc",),
        identity,
        given(b"127.0.0.1 localhost\n127.0.1.1 x\n", PASSWD),
        (b":", b"\n", b"127.0.1.1", b" ", b"root:"),
    ),
    Target(
        "kernel_words",
        ("_initramfs/guest",),
        kernel_words,
        given(WORDS),
        (b"rd.", b"=", b"-", b"_", b'"', b" ", b"sysctl/", b"*", b"[", b"systemd.", b"${x}"),
    ),
    Target(
        "console",
        ("_machine/serial_boot",),
        console,
        given(b"\x1b[0mGRUB loading\r\nsecret of \x1b[2Jthe test\r\n"),
        (b"\x1b[", b"\x1b", b"s", b"secret", b" ", b"\r", b"\n", b"[0;0H"),
    ),
    Target(
        "published",
        ("_system/secret_search", "_audit/areas"),
        published,
        given(b'{"a": "secret of \\u0074he test"}', b"aa:bb:cc " * 50),
        (b"\\u00", b"\\", b":", b"aa", b"\\\\"),
    ),
    Target(
        "gpgv", ("_source/download",), signed, given(GPG), (b"[GNUPG:] ", b"\n", b"VALIDSIG", b" ")
    ),
    Target(
        "esp_tree",
        ("_system/nofollow", "_system/regular_file"),
        nofollow,
        given(b"f EFI/x\nd EFI\nf EFI/BOOT\nl link\nf a", b"d EFI/BOOT\nf EFI/BOOT/x\nf a"),
        (b"d a/a/a/a/a/a/a/a/a/a", b"f ", b"l ", b"\n", b"/"),
    ),
)
# What has a function like a parser, and reads nothing that is not trusted.
EXEMPT = {
    "_disk/layout": "qemu-img(1) of the builder",
    "_etc/identity": "public keys that the owner of the image gives",
    "_firmware/secret_table": "it compares whole tables, and reads none",
    "_system/printable": "it reads no format",
    "_system/mounts": "the kernel's own table of mounts, in which it escapes names",
    "_system/loop_devices": "losetup(8) of the builder",
    "_sandbox/python_runtime": "ldd(1) of the builder's own interpreter",
    "_machine/pty_console": "it types, and what is read goes to _machine/serial_boot",
}
