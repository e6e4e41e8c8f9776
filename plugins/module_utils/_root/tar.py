# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read a tar of a root with tar(1)."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import compressed, formats
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    OutputLimitError,
    Runner,
    SealedRootError,
)

TAR_SECONDS = 1800
# Limit for the names that tar prints, in bytes: some two million names.
MOST_LISTED = 256 << 20
# Limit for tar's messages, besides the content of the requested files.
MESSAGES = 1 << 20
_TRUNCATED = re.compile(
    r"unexpected (eof|end)|truncated|premature end|unexpected end of (file|input)", re.IGNORECASE
)


def compression_of(runner: Runner, path: str) -> str:
    """Return how a tar is compressed, if tar(1) here can read that."""
    with open(path, "rb") as file:
        head = file.read(formats.HEAD_BYTES)
    if not head:
        raise SealedRootError(f"{path} is empty: get the file again")
    disk = formats.disk(head)
    if disk:
        raise SealedRootError(f"{path} is {disk} and no tar: set the type of image_source to disk")
    found = formats.compression(head)
    if found not in SUPPORTED:
        raise SealedRootError(
            f"{path} "
            + (
                compressed.broken(runner, path, found)
                or f"is compressed with {found}, which is not supported: use gzip, xz or zstd. If it is a disk,"
                f" {compressed.unpack(path, found)}"
            )
        )
    if found != "none":
        runner.find(found)
    return found


def listing(runner: Runner, path: str, compression: str = "none") -> t.List[Member]:
    """List the tar; tar's exit status reveals a truncated file or another format."""
    argv = [runner.find("tar"), "--list", "--verbose", "--block-number", "--numeric-owner"]
    argv += ["--quoting-style=escape", "--file", path]
    try:
        result = runner.run(argv, check=False, timeout=TAR_SECONDS, most=MOST_LISTED)
    except OutputLimitError:
        raise SealedRootError(
            f"the names in {path} take more than {regular_file.size(MOST_LISTED)}, so it is no tar of a root: pack"
            " it again"
        ) from None
    if _TRUNCATED.search(result.stderr):
        raise SealedRootError(f"{path} is truncated: get the file again")
    if result.rc != 0:
        reason = (result.stderr.strip() or "no reason given").splitlines()[0]
        if compression != "none":
            raise SealedRootError(f"{path} {compressed.no_tar(runner, path, compression, reason)}")
        raise SealedRootError(
            f"{path} is not a tar that tar(1) on the builder can read ({reason}): pack it again"
        )
    try:
        members = parse_listing(result.stdout)
    except SealedRootError as exc:
        raise SealedRootError(f"{path} cannot be used: {exc}. Get the file again") from exc
    if not members:
        raise SealedRootError(f"{path} is a tar with nothing in it: pack it again")
    return members


def contents(
    runner: Runner,
    path: str,
    members: t.Sequence[Member],
    wanted: t.Iterable[t.Sequence[str]],
    *,
    most: int,
) -> t.Dict[str, bytes]:
    """Extract files in one pass: of each of *wanted*, the first name that exists; refuse more than *most* bytes.

    tar writes them in the order of the archive.
    """
    files = _files(members)
    picked = (next((files[it] for it in names if it in files), None) for names in wanted)
    raws = {member.raw for member in picked if member}
    if not raws:
        return {}
    expected = 0
    for member in members:
        if member.type == "-" and member.raw in raws:
            # A sparse member takes no space in the tar, but its full size when it is read.
            if member.size > most:
                raise SealedRootError(
                    f"{path} cannot be used: its {member.name} has {member.size} bytes, and more than"
                    f" {regular_file.size(most)} are no file of that name. Pack the root again"
                )
            expected += member.size
    if expected > MOST_LISTED:
        raise SealedRootError(f"{path} has one file too many times: pack the root again")
    argv = [runner.find("tar"), "--extract", "--to-stdout", "--file", path, *sorted(raws)]
    result = runner.run(argv, timeout=TAR_SECONDS, most=expected + MESSAGES)
    data = result.stdout.encode("utf-8", "surrogateescape")
    contents_by_name, start = {}, 0
    # If a member occurs twice, the last one counts, as when the tar is unpacked.
    for member in members:
        if member.type == "-" and member.raw in raws:
            contents_by_name[member.name] = data[start : start + member.size]
            start += member.size
    return contents_by_name


BLOCK = 4096


INODE = 256


RECORD = 512


# Limits for members, and for a name as tar lists it, with up to four bytes for one of a path (path_resolution(7)).
MOST_MEMBERS = 2_000_000


LONGEST = 4 * 4096


# Limit for the parts of a path with those of the links in it; the kernel follows 40 links (path_resolution(7)).
_MOST_STEPS = 4096


SUPPORTED = ("none", "gzip", "xz", "zstd")


_LINE = re.compile(
    r"block (?P<block>\d+): (?P<type>.)(?P<mode>[rwxsStT-]{9})[.+*]? \d+/\d+ +"
    r"(?P<size>\d+(?:,\d+)?) -?\d+-\d\d-\d\d \d\d:\d\d (?P<name>.*)"
)


_END = re.compile(r"block \d+: \*\* (?P<what>Block of NULs|End of File) \*\*")


@dataclasses.dataclass(frozen=True)
class Member:
    """One entry: *name* has no leading ``./`` or ``/``, *raw* is the name in the tar; sizes are in bytes.

    *stored* is the size in the tar, which for a sparse file is less than *size*; *mode* has the format of ls(1).
    *target* is the raw name that a hard link refers to, *link* what a symlink says.
    """

    type: str
    name: str
    size: int
    stored: int
    raw: str
    mode: str = "rw-r--r--"
    target: str = ""
    link: str = ""


def parse_listing(text: str) -> t.List[Member]:
    """Parse ``tar -tvR --numeric-owner --quoting-style=escape``.

    Not with --full-time: it pads the time with blanks, and a name can also begin with blanks.

    A tar ends with a block of NULs. Without it the file was cut between two members, which tar(1)
    does not report.
    """
    rows: t.List[t.Tuple[int, t.Match[str]]] = []
    end = None
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if len(line) > 2 * LONGEST:
            raise SealedRootError("it has a name that is longer than a path can be")
        if match:
            if len(rows) == MOST_MEMBERS:
                raise SealedRootError(f"it has more than {MOST_MEMBERS} members")
            rows.append((int(match.group("block")), match))
            continue
        end = _END.fullmatch(line)
        if not end:
            raise SealedRootError(f"tar printed a line that is not understood: {line}")
    if end is None or end.group("what") != "Block of NULs":
        raise SealedRootError("it ends without the mark that ends a tar, so it is truncated")
    last = int(re.findall(r"\d+", end.group())[0])
    following = [block for block, _row in rows[1:]] + [last]
    return [
        _member(match, (after - block - 1) * RECORD)
        for (block, match), after in zip(rows, following)
    ]


def _member(match: t.Match[str], stored: int) -> Member:
    kind, name, target, link = match.group("type"), match.group("name"), "", ""
    if kind == "l":
        name, _arrow, link = name.partition(" -> ")
    elif kind == "h":
        name, _words, target = name.partition(" link to ")
    size = 0 if "," in match.group("size") else int(match.group("size"))
    plain_name = _relative(name).rstrip("/")
    return Member(kind, plain_name, size, stored, name, match.group("mode"), target, link)


def _relative(name: str) -> str:
    return re.sub(r"^(\./|/)+", "", name)


def links(members: t.Iterable[Member]) -> t.Dict[str, str]:
    """Return where each symlink and each hard link leads to, by its name."""
    return {
        it.name: it.link or f"/{_relative(it.target)}" for it in members if it.link or it.target
    }


def real(found: t.Mapping[str, str], name: str) -> str:
    """Return the name to which one leads by the links that were *found*; empty if that has no end."""
    done: t.List[str] = []
    todo = name.split("/")[::-1]
    for _step in range(_MOST_STEPS):
        if not todo:
            return "/".join(done)
        part = todo.pop()
        path = "/".join([*done, part])
        if len(path) > LONGEST:
            break
        if part == "..":
            del done[-1:]
        elif path in found:
            done = [] if found[path].startswith("/") else done
            todo += found[path].split("/")[::-1]
        elif part not in ("", "."):
            done.append(part)
    return ""


_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")


_LETTERS = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v"))


def plain(name: str) -> str:
    """Undo the escaping of a name in tar's listing."""
    if "\\" not in name:
        return name

    def byte(match: t.Match[bytes]) -> bytes:
        word = match.group(1)
        return bytes([int(word, 8) if len(word) == 3 else _LETTERS.get(word[0], word[0])])

    decoded = _ESCAPE.sub(byte, name.encode("utf-8", "surrogateescape"))
    return decoded.decode("utf-8", "surrogateescape")


def unpacked_bytes(members: t.Iterable[Member]) -> int:
    """Estimate the space of the members on ext4 with 4 KiB blocks: inodes, data, directory entries.

    A hard link needs only an entry, and a sparse file what the tar stores of it.
    """
    total = 0
    entries: t.Dict[str, int] = {}
    for member in members:
        folder, _slash, leaf = member.name.rpartition("/")
        # ext4: 8 bytes and the name, rounded to 4.
        entries[folder] = entries.get(folder, 0) + (len(leaf) + 11) // 4 * 4
        if member.type == "h":
            continue
        total += INODE
        if member.type == "-":
            total += _blocks(min(member.size, member.stored))
        elif member.type == "d":
            entries.setdefault(member.name, 0)
    # Full blocks of a large directory are split, so its blocks are three quarters full.
    return total + sum(_blocks(used + used // 3 + 24) for used in entries.values())


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def pick(members: t.Iterable[Member], names: t.Sequence[str]) -> t.Optional[Member]:
    """Return the first of *names* that is a non-empty regular file."""
    files = _files(members)
    return next((files[name] for name in names if name in files), None)


def _files(members: t.Iterable[Member]) -> t.Dict[str, Member]:
    return {member.name: member for member in members if member.type == "-" and member.size}


__all__ = (
    "BLOCK",
    "INODE",
    "LONGEST",
    "MOST_LISTED",
    "MOST_MEMBERS",
    "RECORD",
    "SUPPORTED",
    "Member",
    "compression_of",
    "contents",
    "links",
    "listing",
    "parse_listing",
    "pick",
    "plain",
    "real",
    "unpacked_bytes",
)
