# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Units of systemd in a root: what of its files is read, in which order, and what starts them.

As systemd.unit(5) has it. Nothing is in /run before the machine boots, and no generator has run.
"""

from __future__ import annotations

import dataclasses
import functools
import posixpath
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Node, Tree

# A file in one of them hides those of the same name in what follows. What is not a distribution's comes first.
OWN_DIRECTORIES = (
    *("/etc/systemd/system.control", "/etc/systemd/system", "/etc/systemd/system.attached"),
    "/usr/local/lib/systemd/system",
)
DIRECTORIES = (*OWN_DIRECTORIES, "/usr/lib/systemd/system", "/lib/systemd/system")
_WANTS = (".wants", ".requires", ".upholds")
# Settings that start what they name: of any unit, and of timers, paths, sockets and services.
_ASKS = (
    *("Wants", "Requires", "BindsTo", "Upholds", "OnSuccess", "OnFailure"),
    *("Unit", "Service", "Sockets"),
)
# Settings that mount what a path lies in (systemd.unit(5), systemd.exec(5)).
_NEEDS = ("RequiresMountsFor", "WantsMountsFor", "WorkingDirectory", "RootDirectory", "RootImage")
# Rules of udev that are not a distribution's, and what of them starts a unit (systemd.device(5)).
_RULES = ("/etc/udev/rules.d", "/usr/local/lib/udev/rules.d")
_RULE_WANTS = re.compile(r'SYSTEMD_WANTS\}?\s*\+?=\s*"([^"]*)"')
_SPECIFIER = re.compile(r"%[^%]")
_ENABLED_BY = ("WantedBy", "RequiredBy", "UpheldBy")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One line of a unit, and the file that it is in."""

    path: str
    section: str
    key: str
    value: str


def parse(path: str, text: str) -> t.List[Setting]:
    """Return the settings of a file, in their order; systemd.syntax(7)."""
    found = []
    section = held = ""
    for line in text.split("\n"):
        if line.lstrip().startswith(("#", ";")):
            continue  # within a line that goes on as well
        if (len(line) - len(line.rstrip("\\"))) % 2:
            held += line[:-1] + " "
            continue
        line, held = (held + line).strip(), ""
        key, equals, value = line.partition("=")
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif equals:
            found.append(Setting(path, section, key.strip(), value.strip()))
    return found


def last(settings: t.Sequence[Setting], section: str, key: str) -> t.Optional[Setting]:
    """Return the line that counts of a setting with one value."""
    found = [it for it in settings if (it.section, it.key) == (section, key)]
    return found[-1] if found else None


def listed(settings: t.Sequence[Setting], section: str, begins: str) -> t.List[Setting]:
    """Return the lines that count of the settings whose name begins so; an empty one takes back those before it."""
    found: t.List[Setting] = []
    for it in settings:
        if it.section == section and it.key.startswith(begins):
            found = [other for other in found if it.value or other.key != it.key]
            found += [it] if it.value else []
    return found


def has_specifier(value: str) -> bool:
    """Say whether systemd puts something else in the place of a part of a value (systemd.unit(5), SPECIFIERS)."""
    return bool(_SPECIFIER.search(value.replace("%%", "")))


def _names(value: str, name: str) -> bool:
    """Say whether one of the units in *value* is *name*, or may be, where systemd puts in what nobody here knows."""
    patterns = (".*".join(map(re.escape, _SPECIFIER.split(word))) for word in value.split())
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _lie_in(value: str, point: str) -> bool:
    """Say whether one of the paths in *value* lies where *point* is mounted."""
    paths = (posixpath.normpath(word.lstrip("-~")) for word in value.split())
    return any(path == point or path.startswith(f"{point}/") for path in paths)


def merged(tree: Tree, directories: t.Sequence[str]) -> t.Dict[str, str]:
    """Return the path of each name in *directories*, of which the first that has it counts, in the order of names."""
    found: t.Dict[str, str] = {}
    for directory in directories:
        for name in tree.entries(directory):
            found.setdefault(name, f"{directory}/{name}")
    return dict(sorted(found.items()))


def is_masked(tree: Tree, path: str) -> bool:
    """Say whether a file is there to hide others: a link to /dev/null, or empty."""
    directory, name = posixpath.split(path)
    entry = tree.entries(directory).get(name)
    if entry and entry.is_link:
        target = posixpath.normpath(posixpath.join(directory, tree.link_target(entry)))
        if target == "/dev/null":
            return True
    node: t.Optional[Node] = tree.find(path)
    return bool(node and node.is_file and not node.size)


def _levels(name: str) -> t.List[str]:
    """Return the names whose drop-ins a unit takes, but for those of its type."""
    stem, _dot, kind = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    found = []
    while prefix:
        found.append(f"{prefix}{at}{instance}.{kind}")
        if instance:
            found.append(f"{prefix}@.{kind}")
        prefix = prefix[: prefix.rstrip("-").rfind("-") + 1]
    return found


class Units:
    """The units of the root in *tree*."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._settings: t.Dict[str, t.List[Setting]] = {}

    @functools.cached_property
    def _files(self) -> t.Dict[str, str]:
        return merged(self._tree, DIRECTORIES)

    def names(self) -> t.List[str]:
        """Return the names of all units that have a file or drop-ins of their own."""
        return sorted({it[:-2] if it.endswith(".d") else it for it in self._files})

    def path(self, name: str) -> t.Optional[str]:
        """Return the file that a unit is in, which may be its template's."""
        prefix, at, rest = name.partition("@")
        template = f"{prefix}@.{rest.rpartition('.')[2]}" if at else name
        return self._files.get(name) or self._files.get(template)

    def is_masked(self, name: str) -> bool:
        """Say whether nothing can start a unit."""
        path = self.path(name)
        return path is not None and is_masked(self._tree, path)

    def settings(self, name: str) -> t.List[Setting]:
        """Return the settings of a unit in the order in which they are read; none of one that is masked."""
        if self.is_masked(name):
            return []
        path = self.path(name)
        return [
            it
            for file in [*([path] if path else []), *self.drop_ins(name)]
            for it in self._read(file)
        ]

    def drop_ins(self, name: str) -> t.List[str]:
        """Return the drop-ins of a unit in the order in which they are read: that of their names."""
        levels, kind = _levels(name), name.rpartition(".")[2]
        directories = [f"{top}/{level}.d" for top in DIRECTORIES for level in levels]
        directories += [f"{top}/{kind}.d" for top in DIRECTORIES]
        files = merged(
            self._tree, [it for it in directories if posixpath.basename(it) in self._files]
        )
        return [
            path
            for file, path in files.items()
            if file.endswith(".conf") and not is_masked(self._tree, path)
        ]

    def starter(self, name: str) -> t.Optional[str]:
        """Return the file by which another unit starts this one.

        Of those that a distribution ships, no more is read than their links: hundreds of files would tell nothing.
        """
        for link in self._links.get(name, ()):
            if not is_masked(self._tree, link):
                return link
        point = fstab.path_of_unit(name) if name.endswith(".mount") else ""
        asked = (
            it
            for it in self.own
            if (it.key in _ASKS and _names(it.value, name))
            or (point and it.key in _NEEDS and _lie_in(it.value, point))
        )
        return next((it.path for it in asked), None)

    def is_enabled(self, name: str) -> bool:
        """Say whether a unit asks to be started: systemd enables what no preset forbids (systemd.preset(5))."""
        return any(it.section == "Install" and it.key in _ENABLED_BY for it in self.settings(name))

    @functools.cached_property
    def _links(self) -> t.Dict[str, t.List[str]]:
        """The links that start each unit."""
        found: t.Dict[str, t.List[str]] = {}
        for directory in (it for it in self._files if it.endswith(_WANTS)):
            links = merged(self._tree, [f"{top}/{directory}" for top in DIRECTORIES])
            for name, path in links.items():
                found.setdefault(name, []).append(path)
        return found

    @functools.cached_property
    def own(self) -> t.List[Setting]:
        """The settings that are not a distribution's, of units and, as if of one, of udev's rules."""
        found = []
        for top in OWN_DIRECTORIES:
            for name, node in self._tree.entries(top).items():
                inside = sorted(self._tree.entries(f"{top}/{name}")) if name.endswith(".d") else []
                files = [f"{name}/{it}" for it in inside if it.endswith(".conf")]
                files += [name] if node.is_file else []
                found += [it for file in files for it in self._read(f"{top}/{file}")]
        for path in merged(self._tree, _RULES).values():
            text = self._tree.text(path) or "" if path.endswith(".rules") else ""
            found += [Setting(path, "", "Wants", value) for value in _RULE_WANTS.findall(text)]
        return found

    def _read(self, path: str) -> t.List[Setting]:
        if path not in self._settings:
            self._settings[path] = parse(path, self._tree.text(path) or "")
        return self._settings[path]


__all__ = (
    "DIRECTORIES",
    "OWN_DIRECTORIES",
    "Setting",
    "Units",
    "has_specifier",
    "is_masked",
    "last",
    "listed",
    "merged",
    "parse",
)
