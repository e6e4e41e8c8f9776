# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two images of one root tar: what of them is not the same.

Each image gets UUIDs and keys of its own. They are looked for wherever they may be, replaced by their names, and
what is compared then must be equal byte for byte, but for what is declared.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import pathlib
import re
import subprocess
import tempfile
import typing as t

from image_view import ROOT_OFFSET, describe_tree, mounted

# The first block of ext4: features, sizes and options, as dumpe2fs prints them.
SUPERBLOCK = (
    *("Filesystem volume name", "Filesystem magic number", "Filesystem features"),
    *("Filesystem flags", "Default mount options", "Errors behavior", "Filesystem OS type"),
    *("Inode count", "Block count", "Reserved block count", "Block size", "Inode size"),
    *("Inodes per group", "Journal inode", "Default directory hash", "Free inodes"),
    *("Reserved block uid", "Reserved block gid", "First inode", "Last mounted on"),
)


def run(*argv: str | pathlib.Path, data: bytes = b"") -> str:
    """Run a tool that must succeed."""
    done = subprocess.run(argv, input=data, capture_output=True, check=False, timeout=900)
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
    return done.stdout.decode("utf-8", "replace")


@dataclasses.dataclass
class Facts:
    """All that is compared of one image."""

    tree: dict[str, t.Any]
    initramfs: dict[str, t.Any]
    superblock: dict[str, str]
    partitions: list[t.Any]
    header: list[str]
    esp: dict[str, str]
    manifest: dict[str, t.Any]


class Names:
    """Replaces what is the image's own by its name."""

    def __init__(self, directory: pathlib.Path, manifest: dict[str, t.Any], header: bytes) -> None:
        luks = manifest["luks_uuid"]
        key = (directory / "boot.key").read_bytes()
        self._known = [
            # What of it is not random is compared by itself.
            (header, b"LUKS-HEADER"),
            (luks.encode(), b"LUKS-UUID"),
            (luks.replace("-", "").encode(), b"LUKS-UUID"),
            (key, b"BOOT-KEY"),
        ]

    def bytes(self, data: bytes) -> bytes:
        for value, name in self._known:
            data = data.replace(value, name)
        return data

    def text(self, text: str) -> str:
        return self.bytes(text.encode("utf-8", "surrogateescape")).decode(
            "utf-8", "surrogateescape"
        )

    def tree(self, root: pathlib.Path) -> dict[str, t.Any]:
        """Describe a tree, with the digests of what the files hold after replacing."""
        tree = {}
        for name, entry in describe_tree(root).items():
            content = self.text(entry.content)
            if entry.kind == "f":
                data = (root / name).read_bytes()
                content = hashlib.sha256(self.bytes(data)).hexdigest()
            tree[self.text(name)] = entry._replace(content=content)
        return tree


def read(directory: pathlib.Path, mib: int = 2048) -> Facts:
    """Look at all of an image."""
    manifest = json.loads((directory / "manifest.json").read_text())
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch, mounted(directory, mib) as root:
        work = pathlib.Path(scratch)
        (pinned,) = (root / "etc/cryptsetup-headers.d").iterdir()
        names = Names(directory, manifest, pinned.read_bytes())
        tree = names.tree(root)
        device = run("findmnt", "--noheadings", "--output", "SOURCE", root).strip()
        (initrd,) = (root / "boot").glob("initrd.img-*")
        unpacked = work / "initramfs"
        unpacked.mkdir()
        archive = run_binary("zstd", "-dcq", initrd)
        run("cpio", "--extract", "--quiet", "--directory", unpacked, data=archive)
        raw = work / "disk.raw"
        run("qemu-img", "convert", "-O", "raw", directory / "disk.qcow2", raw)
        table = json.loads(run("sfdisk", "--json", raw))["partitiontable"]
        header = work / "header"
        with raw.open("rb") as source:
            source.seek(ROOT_OFFSET)
            header.write_bytes(source.read(32 << 20))
        assert header.read_bytes().startswith(pinned.read_bytes())
        esp = work / "esp"
        esp.mkdir()
        run("mcopy", "-s", "-i", f"{raw}@@1M", "::", esp)
        return Facts(
            tree=tree,
            initramfs=names.tree(unpacked),
            superblock=superblock(device),
            partitions=[
                {**{key: table[key] for key in ("label", "firstlba", "lastlba", "sectorsize")}},
                *(
                    {key: it[key] for key in ("start", "size", "type", "name")}
                    for it in table["partitions"]
                ),
            ],
            header=luks_header(header),
            esp={
                str(path.relative_to(esp)): hashlib.sha256(
                    names.bytes(path.read_bytes())
                ).hexdigest()
                for path in esp.rglob("*")
                if path.is_file()
            },
            manifest=json.loads(names.text(json.dumps(manifest))),
        )


def run_binary(*argv: str | pathlib.Path) -> bytes:
    return subprocess.run(argv, check=True, capture_output=True, timeout=900).stdout


def superblock(device: str) -> dict[str, str]:
    """Return the fields of the superblock that say what the file system is like."""
    fields = {}
    for line in run("dumpe2fs", "-h", device).splitlines():
        name, _colon, value = line.partition(":")
        if name in SUPERBLOCK:
            fields[name] = value.strip()
    return fields


def luks_header(path: pathlib.Path) -> list[str]:
    """Return what cryptsetup prints of the header, without what is random in every header."""
    lines = []
    # The first line names the file.
    for line in run("cryptsetup", "luksDump", path).splitlines()[1:]:
        # Digests and salts, which go on over several lines, and the UUID.
        if re.fullmatch(r"[\s0-9a-f]*([0-9a-f]{2} )+[\s0-9a-f]*", line):
            continue
        random = re.match(r"(UUID|MK digest|MK salt|\s*Salt):", line)
        lines.append(" ".join(line[: random.end()].split() if random else line.split()))
    return lines


def flat(value: t.Any, path: str = "") -> dict[str, t.Any]:
    """Return the leaves of nested dictionaries and lists by their dotted paths; a path in a key stays as it is."""
    items: t.Iterable[tuple[t.Any, t.Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {path: value}
    leaves: dict[str, t.Any] = {}
    for key, inner in items:
        leaves |= flat(inner, f"{path}.{key}" if path else str(key))
    return leaves


def differences(
    one: t.Mapping[str, t.Any],
    two: t.Mapping[str, t.Any],
    declared: t.Sequence[str],
    used: set[str],
) -> dict[str, t.Any]:
    """Return what is in one of the two only, or not equal, and not declared; note the patterns of use."""
    found = {}
    for name in sorted(one.keys() | two.keys()):
        if name in one and name in two and one[name] == two[name]:
            continue
        patterns = {pattern for pattern in declared if fnmatch.fnmatchcase(name, pattern)}
        used |= patterns
        if not patterns:
            found[name] = (one.get(name, "absent"), two.get(name, "absent"))
    return found


def unused(declared: t.Iterable[str], used: t.Collection[str]) -> list[str]:
    """Return the patterns without any use, which a list must not keep; sizes and seconds may be the same by chance."""
    return sorted(it for it in declared if it not in used and not it.endswith((".size", "took.*")))


__all__ = ("Facts", "differences", "flat", "read", "unused")
