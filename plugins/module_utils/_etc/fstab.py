# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Lines of fstab(5) and crypttab(5): what they name, and which of them a boot mounts or opens. Pure."""

from __future__ import annotations

import bisect
import posixpath
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts

# Where systemd-cryptsetup looks for the key of a mapping, NAME.key, since version 246 (crypttab(5)).
KEY_DIRECTORY = "/etc/cryptsetup-keys.d"
# Names of a disk of the old machine. The kernel makes /dev/zram* from memory.
_DISK = re.compile(r"(UUID|LABEL|PARTUUID|PARTLABEL|ID)=|/dev/(?!zram\d+$|shm(?:/|$)|null$)")
# With one of these options a source is a path, and systemd waits for no device (docs/facts.md: bind-of-a-device). Each
# machine has these by itself; another name could be that of a disk which it lacks.
_BIND = {"bind", "rbind"}
_OF_ALL = re.compile(
    r"/dev/(?:fuse|full|hugepages|kmsg|log|mqueue|net|null|pts|random|shm|tty|urandom|zero)(?:/.*)?"
)
# File systems that show directories of the host, which can offer any name; some of them are FUSE programs.
_HOST_TYPES = (
    *("9p", "hostfs", "prl_fs", "prl_fsd", "vboxsf", "virtiofs", "vmhgfs", "vmhgfs-fuse"),
)
# With these types, a source that is not a path names a pool or a flash memory of the host.
_OF_NAMES = {"jffs2", "ubifs", "zfs"}
# With these types, a program mounts: its name is in the type behind a dot, or in the source (mount.fuse(8)).
FUSE = ("fuse", "fuse3", "fuseblk")
# With one of these options, systemd mounts a line in spite of noauto; the last one is the old name of the first.
_WANTED = (
    *("x-systemd.automount", "x-systemd.wanted-by", "x-systemd.required-by", "x-initrd.mount"),
    "comment=systemd.automount",
)
# With one of these options, systemd also mounts the file systems that a path lies on.
_NEEDING = ("x-systemd.requires-mounts-for", "x-systemd.wants-mounts-for", "x-systemd.requires")
# Directories that systemd's units use in every boot: journal, random seed and private /tmp.
_SYSTEM = ("/var/log/journal", "/var/lib/systemd", "/tmp", "/var/tmp")
# Keys that are not files: random data from the kernel.
_RANDOM = ("/dev/urandom", "/dev/random", "/dev/hwrng")
# With one of these options, the initramfs opens an entry.
EARLY = {"initramfs", "x-initrd.attach", "force"}

OLD_DISK = "a disk of the old machine"
OF_HOST = "a directory of the host"
PULLED_IN = "and what a boot mounts or starts lies in it"

Row = t.Sequence[str]
Rows = t.List[t.List[str]]


class Taken(t.NamedTuple):
    """What a line takes from the host, and of which kind that is: :data:`OLD_DISK` or :data:`OF_HOST`."""

    name: str
    reason: str


def lines(text: str) -> t.List[str]:
    """Return the lines of a table; for systemd, a NUL ends one of crypttab (docs/facts.md: unit-lines)."""
    return text.replace("\0", "\n").splitlines()


def rows(text: str) -> Rows:
    """Return the fields of each line that is an entry."""
    return [row for row in map(str.split, lines(text)) if is_entry(row)]


def is_entry(fields: Row) -> bool:
    """Say whether the fields of a line are an entry."""
    return len(fields) >= 2 and not fields[0].startswith("#")


def options_of(fields: Row) -> t.List[str]:
    """Return the options of a line."""
    return mounts.unescaped(fields[3]).split(",") if len(fields) > 3 else []


def path_of(field: str) -> str:
    """Return the file that a field names; empty if it names none."""
    source = source_of(field)
    return "" if not source.startswith("/") or source.startswith(("//", "/dev/")) else source


def source_of(field: str) -> str:
    """Return the source of a field of fstab(5) as the mounting program sees it: without escapes, quotes and detours."""
    plain = mounts.unescaped(field).replace('"', "")
    # For every process, these links lead to the root.
    plain = re.sub(r"^/+proc/+[^/]+/+(?:cwd|root)(?=/)", "", plain)
    path = posixpath.normpath(f"/{plain.lstrip('/')}")
    return path if plain.startswith("/") and path.startswith("/dev/") else plain


def headers(fields: Row) -> t.List[str]:
    """Return the header files that a line of crypttab names; if there are several, the last one counts."""
    found = (option.partition("=") for option in options_of(fields))
    return [value for name, equals, value in found if name == "header" and equals]


def point_of(fields: Row) -> str:
    """Return the mount point of a line of fstab; empty for swap."""
    point = mounts.unescaped(fields[1])
    parts = (part for part in point.split("/") if part not in ("", "."))
    return "/" + "/".join(parts) if point.startswith("/") else ""


def swap_files(text: str) -> t.List[str]:
    """Return the swap files in an fstab."""
    found = [path_of(row[0]) for row in rows(text) if row[2:3] == ["swap"]]
    return [path for path in found if path]


def _is_noauto(options: t.Sequence[str]) -> bool:
    """Say whether the last option of auto and noauto, which is the one that counts, is noauto."""
    return [option for option in options if option in ("auto", "noauto")][-1:] == ["noauto"]


def is_on_demand(fields: Row) -> bool:
    """Say whether a line of fstab is mounted only if a person asks for it (``noauto``)."""
    options = options_of(fields)
    # With these options, units start it all the same (systemd.mount(5)).
    return _is_noauto(options) and not any(option.startswith(_WANTED) for option in options)


def is_opened_on_demand(fields: Row) -> bool:
    """Say whether a line of crypttab is opened only if a person asks for it."""
    options = options_of(fields)
    return _is_noauto(options) and not EARLY & {*options}


def _programs(fields: Row) -> t.List[str]:
    """Return what mounts a line of fstab: its types, and the program if that is FUSE."""
    found = []
    for kind in mounts.unescaped("".join(fields[2:3])).split(","):
        name, _dot, program = kind.partition(".")
        if name in FUSE:
            program = program or source_of(fields[0]).partition("#")[0]
            found.append(posixpath.basename(program))
        found.append(kind)
    return found


def taken(fields: Row, own: t.Container[str]) -> t.Optional[Taken]:
    """Return what a line of fstab takes from the host when it is mounted, if anything; *own* are the guest's mappings.

    Only this function decides, both when the tables are written and when they are audited.
    """
    source = source_of(fields[0])
    programs = _programs(fields)
    if any(it in _HOST_TYPES for it in programs) or source.startswith(".host:"):
        return Taken(source, OF_HOST)
    # The device of a FUSE program, and devices in options: a journal, a second disk, what must be there first.
    options = (option.partition("=") for option in options_of(fields))
    devices = [_device_of(value) for name, _equals, value in options if name != "loop"]
    is_path = bool(_BIND & {*options_of(fields)}) and _OF_ALL.fullmatch(source)
    sources = [] if is_path else [source]
    for name in (*sources, source_of(source.partition("#")[2]), *devices):
        if name not in own and _DISK.match(name):
            return Taken(name, OLD_DISK)
    return Taken(source, OLD_DISK) if _OF_NAMES & {*programs} else None


def escaped(path: str) -> str:
    """Return the form of a path in the name of a unit (systemd-escape(1)); the path has no / at its ends."""
    plain = re.sub(r"[^\w:./]|^\.", lambda match: _escape(match.group(0)), path, flags=re.ASCII)
    return plain.replace("/", "-")


def _escape(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def path_of_unit(name: str) -> str:
    """Return the path in the name of a systemd unit (systemd-escape(1)); of a unit that opens a mapping, its device."""
    stem, _dot, kind = name.rpartition(".")
    opened = re.fullmatch(r"systemd-cryptsetup@(.+)", stem)
    if opened:
        stem = f"dev-mapper-{opened.group(1)}"
    elif kind not in ("automount", "device", "mount", "swap"):
        return ""
    return "/" + unescaped(stem.replace("-", "/").lstrip("/"))


def unescaped(text: str) -> str:
    r"""Return the name of a unit or of a link of udev with its escapes (``\x20``) decoded."""
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda match: _unescape(match.group(0)), text)


def _unescape(letters: str) -> str:
    return bytes.fromhex(letters.replace("\\x", "")).decode("utf-8", "surrogateescape")


def _device_of(value: str) -> str:
    """Return the device that the value of an option names, as a path or a unit; empty if none."""
    source = source_of(value if value.startswith("/") else path_of_unit(value))
    return source if source.startswith("/dev/") else ""


def _needs(fields: Row) -> t.List[str]:
    """Return the paths whose file systems systemd mounts before it mounts a line of fstab (systemd.mount(5))."""
    found = [posixpath.dirname(point_of(fields)), source_of(fields[0])]
    for name, _equals, value in (option.partition("=") for option in options_of(fields)):
        if name in _NEEDING:
            found.append(value if value.startswith("/") else path_of_unit(value))
    return found


def _plain(path: str) -> str:
    """Return a path in its normal form; / for what is not a path."""
    return posixpath.normpath(f"/{path.lstrip('/')}") if path.startswith("/") else "/"


def first_below(point: str, paths: t.Sequence[str]) -> str:
    """Return one of the sorted *paths* that is *point* or lies below it; empty for /, which nothing has to request."""
    for wanted in (point, f"{point}/") if point != "/" else ():
        at = bisect.bisect_left(paths, wanted)
        if at < len(paths) and (paths[at] == point or paths[at].startswith(f"{point}/")):
            return paths[at]
    return ""


def mounted(fstab: t.Sequence[Row], crypttab: t.Sequence[Row]) -> t.Set[t.Tuple[str, ...]]:
    """Return the lines of fstab that a boot mounts: those without noauto, and those that the boot's paths lie on."""
    entries = [row for row in crypttab if not is_opened_on_demand(row)]
    opened = [name for row in entries for name in (*map(source_of, row[1:3]), *headers(row))]
    needed = {_plain(path) for path in (*_SYSTEM, *opened)}
    asked = {tuple(row) for row in fstab if is_on_demand(row)}
    found: t.Set[t.Tuple[str, ...]] = set()
    more = {tuple(row) for row in fstab} - asked
    while True:
        found |= more
        needed.update(_plain(path) for row in more for path in _needs(row))
        paths = sorted(needed)
        more = {row for row in asked - found if first_below(_plain(point_of(row)), paths)}
        if not more:
            return found


def disk_of(fields: Row) -> str:
    """Return what a line of crypttab takes from a disk: the container, its key or its header; empty for nothing."""
    source = "".join(fields[1:2])
    if not path_of(source):
        return source or "no device"
    for named in (*fields[2:3], *headers(fields)):
        # As PATH, or as PATH:DEVICE (crypttab(5)).
        for name in (source_of(named), source_of(named.rpartition(":")[2])):
            if _DISK.match(name) and name not in _RANDOM:
                return named
    return ""


def own_mappings(crypttab: t.Sequence[Row], root: str) -> t.Set[str]:
    """Return the devices of the guest's own mappings: the *root*, which has its header, and containers in its files."""
    others = {row[0] for row in crypttab if disk_of(row)}
    return {root, *(f"/dev/mapper/{row[0]}" for row in crypttab if row[0] not in others)}


def key_path(mapping: str) -> str:
    """Return the path of the key of a mapping."""
    return f"{KEY_DIRECTORY}/{mapping}.key"


def key_of(fields: Row) -> str:
    """Return the key file of an entry of crypttab; empty if it cannot have one."""
    named = fields[2] if len(fields) > 2 else "none"
    return key_path(fields[0]) if named in ("none", "-") else path_of(named)


__all__ = (
    "EARLY",
    "FUSE",
    "KEY_DIRECTORY",
    "OF_HOST",
    "OLD_DISK",
    "PULLED_IN",
    "Row",
    "Rows",
    "Taken",
    "disk_of",
    "escaped",
    "first_below",
    "headers",
    "is_entry",
    "is_on_demand",
    "is_opened_on_demand",
    "key_of",
    "key_path",
    "lines",
    "mounted",
    "options_of",
    "own_mappings",
    "path_of",
    "path_of_unit",
    "point_of",
    "rows",
    "source_of",
    "swap_files",
    "taken",
    "unescaped",
)
