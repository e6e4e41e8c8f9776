# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Units of systemd as texts: their settings, and those that mount, as lines of fstab(5). Pure.

This follows systemd.syntax(7), systemd.mount(5) and systemd.swap(5).
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab

_SPECIFIER = re.compile(r"%[^%]")
# What ends a line for systemd, and what it takes for blanks (docs/facts.md: unit-lines).
_END = re.compile(r"\n\r?\0?|\r\n?\0?|\0")
_BLANKS = " \t\n\r"
_BOM = "\ufeff"
ENABLED_BY = ("WantedBy", "RequiredBy", "UpheldBy")
# Where units are, without the first slash. A file in one directory hides files of the same name in later ones.
# Directories of the owner precede a distribution's.
OWN_DIRECTORIES = (
    *("etc/systemd/system.control", "etc/systemd/system", "etc/systemd/system.attached"),
    "usr/local/lib/systemd/system",
)
PACKAGE_DIRECTORIES = ("usr/lib/systemd/system", "lib/systemd/system")
DIRECTORIES = (*OWN_DIRECTORIES, *PACKAGE_DIRECTORIES)
# A disk as an argument of a program, by a name that any disk can have. Only memory is no disk to swap to.
_NAMED = r"[\s\"'=](?:(?:PART)?(?:UUID|LABEL)=|-[LU]\b|--(?:label|uuid)\b"
_DISK_OF = {
    "mount": re.compile(
        rf"{_NAMED}|/dev/(?:disk/|mapper/|[shv]d[a-z]|xvd[a-z]|nvme\d|mmcblk\d|md\d|dm-\d|sr\d))"
    ),
    "swapon": re.compile(rf"{_NAMED}|/dev/(?!zram|null|zero|stdout|stderr))"),
}
_SECTIONS = {"mount": "Mount", "swap": "Swap"}
_NEEDING = ("ConditionFileNotEmpty", "ConditionPathExists")
# Settings that start the units that they name: of any unit, and of timers, paths, sockets and services.
_ASKS = (
    *("Wants", "Requires", "BindsTo", "Upholds", "OnSuccess", "OnFailure"),
    *("Unit", "Service", "Sockets"),
)
# Settings that mount the file system that holds a path (systemd.unit(5), systemd.exec(5)).
_NEEDS = ("RequiresMountsFor", "WantsMountsFor", "WorkingDirectory", "RootDirectory", "RootImage")
# Directories of udev rules that are not a distribution's, and the assignment that starts a unit (systemd.device(5)).
OWN_RULES = ("etc/udev/rules.d", "usr/local/lib/udev/rules.d")
_RULE_WANTS = re.compile(r'SYSTEMD_WANTS\}?\s*\+?=\s*"([^"]*)"')
# Files that are not a distribution's, and that can start a unit.
_OWN = re.compile(
    rf"(?:{'|'.join(OWN_DIRECTORIES)})/(?:[^/]+\.d/[^/]+\.conf|[^/]+\.\w+)"
    rf"|(?:{'|'.join(OWN_RULES)})/[^/]+\.rules"
)
# Options of fstab from which systemd makes properties of a unit.
_OF_FSTAB = re.compile(r"(?:no)?auto$|x-(?:systemd|initrd)\.|comment=systemd\.")
# A unit that mounts, its drop-ins, and the links that start it: in group 1 the directory, in 2 that of links.
_MEMBER = re.compile(
    rf"({'|'.join(DIRECTORIES)})/(?:([^/]+\.(?:wants|requires|upholds))/)?"
    r"([^/]+\.(?:mount|swap|automount))(?:\.d/[^/]+\.conf)?"
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One line of a unit, and the file that has it."""

    path: str
    section: str
    key: str
    value: str


def parse(path: str, text: str) -> t.List[Setting]:
    """Return the settings of a file, in order; systemd.syntax(7)."""
    settings = []
    section = held = ""
    lines = [it for it in _END.split(text) if not it.lstrip(_BLANKS).startswith(("#", ";"))]
    marked = next((n for n, line in enumerate(lines) if line.startswith(_BOM)), None)
    if marked is not None:
        lines[marked] = lines[marked][len(_BOM) :]
    # The last line may be continued by nothing.
    for line in [*lines, ""]:
        if (len(line) - len(line.rstrip("\\"))) % 2:
            held += line[:-1] + " "
            continue
        line, held = (held + line).strip(_BLANKS), ""
        key, equals, value = line.partition("=")
        if line.startswith("["):
            if not line.endswith("]"):
                break  # systemd reads no further
            section = line[1:-1]
        elif equals:
            settings.append(Setting(path, section, key.strip(_BLANKS), value.strip(_BLANKS)))
    return settings


def last(settings: t.Sequence[Setting], section: str, key: str) -> t.Optional[Setting]:
    """Return the effective line of a setting with one value: the last."""
    matching = [it for it in settings if (it.section, it.key) == (section, key)]
    return matching[-1] if matching else None


def listed(settings: t.Sequence[Setting], section: str, begins: str) -> t.List[Setting]:
    """Return the effective lines of settings whose names begin so; an empty value clears the earlier lines."""
    lines: t.List[Setting] = []
    for it in settings:
        if it.section == section and it.key.startswith(begins):
            lines = [other for other in lines if it.value or other.key != it.key]
            lines += [it] if it.value else []
    return lines


def has_specifier(value: str) -> bool:
    """Say whether systemd replaces a part of a value (systemd.unit(5), SPECIFIERS)."""
    return bool(_SPECIFIER.search(value.replace("%%", "")))


def uses_disk(text: str, *programs: str) -> bool:
    """Say whether commands run one of *programs*, as swapon(8) is, on a disk that the host could supply."""
    program = re.compile(rf"(?<!--)(?<![.\w])(?:{'|'.join(programs)})(?![-.\w])")
    # A line can go on in the next one.
    commands = re.split(r"[\n;|&]", text.replace("\\\n", " "))
    found = ((it, program.search(it)) for it in commands)
    return any(match and _DISK_OF[match[0]].search(it, match.end()) for it, match in found)


def can_mount(name: str) -> bool:
    """Say whether units of this type have a line that says what they mount."""
    return name.rpartition(".")[2] in _SECTIONS


def what(settings: t.Sequence[Setting], name: str) -> t.Optional[Setting]:
    """Return the line that says what a unit mounts; None if the unit mounts nothing."""
    section = _SECTIONS.get(name.rpartition(".")[2])
    found = last(settings, section, "What") if section else None
    return found if found and found.value else None


def row(settings: t.Sequence[Setting], name: str, *, started: bool) -> t.List[str]:
    """Return the line of fstab that is equivalent to a unit; with noauto if a boot does not start it."""
    section = _SECTIONS[name.rpartition(".")[2]]
    source, where, kind, options = (
        last(settings, section, key) for key in ("What", "Where", "Type", "Options")
    )
    # Options that only fstab has mean nothing in a unit.
    given = (options.value if options else "defaults").split(",")
    words = [word for word in given if not _OF_FSTAB.match(word)]
    for key in ("RequiresMountsFor", "WantsMountsFor"):
        for it in listed(settings, "Unit", key):
            words += [f"x-systemd.requires-mounts-for={path}" for path in it.value.split()]
    # systemd takes the point from the unit's name, unless Where says it.
    default = fstab.path_of_unit(name) if section == "Mount" else "none"
    return [
        (source.value if source else "").replace("%%", "%"),
        (where.value if where else "") or default,
        kind.value if kind else section.lower(),
        ",".join([*words, *([] if started else ["noauto"])]),
    ]


def can_ask(path: str) -> bool:
    """Say whether a path, without its first slash, is of an own file that can start units."""
    return bool(_OWN.fullmatch(path))


def own(path: str, text: str) -> t.List[Setting]:
    """Return the settings of an own unit, or of rules of udev, in the form of Wants=."""
    if path.endswith(".rules"):
        return [Setting(path, "", "Wants", value) for value in _RULE_WANTS.findall(text)]
    return parse(path, text)


class Asks:
    """Which files ask for a unit: by its name, or by a path that lies on what it mounts."""

    def __init__(self, settings: t.Iterable[Setting]) -> None:
        self._names: t.Dict[str, str] = {}
        self._paths: t.Dict[str, str] = {}
        for it in settings:
            if it.key in _ASKS:
                for word in it.value.split():
                    self._names.setdefault(word, it.path)
            if it.key in _NEEDS:
                for word in it.value.split():
                    self._paths.setdefault(posixpath.normpath(word.lstrip("-~")), it.path)
        self._patterns = [(_SPECIFIER.split(it), it) for it in self._names if has_specifier(it)]
        self._sorted = sorted(self._paths)

    def file(self, name: str) -> t.Optional[str]:
        """Return the file that asks for the unit *name*."""
        if name in self._names:
            return self._names[name]
        for pieces, word in self._patterns:
            if _fits(pieces, name):
                return self._names[word]
        point = fstab.path_of_unit(name) if name.endswith(".mount") else "/"
        return self._paths.get(fstab.first_below(point, self._sorted))


def _fits(pieces: t.Sequence[str], name: str) -> bool:
    """Say whether a name can be *pieces* with a specifier between them, which stands for anything."""
    first, *middle, last_piece = pieces
    if len(name) < len(first) + len(last_piece):
        return False
    if not (name.startswith(first) and name.endswith(last_piece)):
        return False
    at, end = len(first), len(name) - len(last_piece)
    for piece in middle:
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


class Unit(t.NamedTuple):
    """A unit that mounts: the equivalent line of fstab, and the files and links that are of it alone."""

    name: str
    row: t.List[str]
    members: t.List[str]
    # Whether systemd makes a name of what it mounts.
    has_specifier: bool = False
    # The files without which systemd does not start it.
    needed: t.Tuple[str, ...] = ()


def is_member(path: str) -> bool:
    """Say whether a path, without its first slash, is of a unit that mounts."""
    return bool(_MEMBER.fullmatch(path))


class Mounting:
    """The units of a root that mount, and what starts them; *texts* has the content of regular files among *paths*.

    A boot starts what a link, its own [Install] section or automount, an own unit or an own rule of udev asks for. Of a
    distribution's units only the links are read.
    """

    def __init__(self, texts: t.Mapping[str, str], paths: t.Iterable[str]) -> None:
        self._texts = texts
        self._files: t.Dict[str, t.List[str]] = {}
        self._links: t.Dict[str, str] = {}
        for match in filter(None, map(_MEMBER.fullmatch, paths)):
            self._files.setdefault(match.group(3), []).append(match.group(0))
            if match.group(2):
                self._links.setdefault(match.group(3), f"/{match.group(0)}")
        asking = sorted(filter(can_ask, texts))
        self._asks = Asks(it for path in asking for it in own(f"/{path}", texts[path]))

    def units(self) -> t.List[Unit]:
        """Return the units that mount, by name."""
        found = []
        for name in sorted(self._files):
            settings = self._settings(name)
            device = what(settings, name)
            if device is None:
                continue
            auto = _automount(name)
            line = row(settings, name, started=bool(self.starter(name)))
            members = sorted({*self._files[name], *self._files.get(auto, [])})
            found.append(Unit(name, line, members, has_specifier(device.value), _needed(settings)))
        return found

    def starter(self, name: str) -> str:
        """Return the file that starts a unit, or its automount; empty if only a person does."""
        for unit in (name, _automount(name)):
            asked = self._links.get(unit) or self._asks.file(unit)
            installs = (it for it in self._settings(unit) if it.section == "Install")
            found = asked or next((it.path for it in installs if it.key in ENABLED_BY), "")
            if found:
                return found
        return ""

    def _settings(self, name: str) -> t.List[Setting]:
        return _settings(self._files.get(name, []), self._texts)


def _automount(name: str) -> str:
    return f"{name.rpartition('.')[0]}.automount"


def _needed(settings: t.Sequence[Setting]) -> t.Tuple[str, ...]:
    """Return the files without which systemd skips a unit: conditions that none of the others can replace."""
    found = listed(settings, "Unit", "Condition")
    return tuple(it.value for it in found if it.key in _NEEDING and it.value.startswith("/"))


def _settings(members: t.Sequence[str], texts: t.Mapping[str, str]) -> t.List[Setting]:
    """Return the settings of a unit: of its file in the first directory, and of its drop-ins by name."""

    def place(path: str) -> int:
        return next(n for n, top in enumerate(DIRECTORIES) if path.startswith(f"{top}/"))

    own = sorted((it for it in members if it.rpartition("/")[0] in DIRECTORIES), key=place)
    drop_ins: t.Dict[str, str] = {}
    for path in sorted((it for it in members if it.endswith(".conf")), key=place):
        drop_ins.setdefault(path.rpartition("/")[2], path)
    order = [*own[:1], *(drop_ins[name] for name in sorted(drop_ins))]
    return [it for path in order for it in parse(f"/{path}", texts.get(path, ""))]


__all__ = (
    "DIRECTORIES",
    "ENABLED_BY",
    "OWN_DIRECTORIES",
    "OWN_RULES",
    "PACKAGE_DIRECTORIES",
    "Asks",
    "Mounting",
    "Setting",
    "Unit",
    "can_ask",
    "can_mount",
    "has_specifier",
    "is_member",
    "last",
    "listed",
    "own",
    "parse",
    "row",
    "uses_disk",
    "what",
)
