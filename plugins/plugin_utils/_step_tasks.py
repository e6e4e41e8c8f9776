# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Load the tasks of a step as Ansible does when it runs, so that what it would refuse is known before a build.

These are a role's tasks and handlers and what they import. What they include is loaded only when it is reached, which
may be never.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import typing as t

from ansible.errors import AnsibleError
from ansible.playbook.block import Block
from ansible.playbook.handler import Handler
from ansible.playbook.task import Task

# The names that Ansible gives to the first file of a directory of a role.
MAIN = ("main.yml", "main.yaml", "main.json", "main")
_IMPORTS = tuple(f"{it}import_tasks" for it in ("", "ansible.builtin.", "ansible.legacy."))
_PARTS = ("block", "rescue", "always")
_ORIGIN = re.compile(r"Origin: (.+?:\d+)")


class CannotRunError(AnsibleError):
    """Ansible would refuse the tasks when the step runs."""


@dataclasses.dataclass(frozen=True)
class How:
    """How tasks are loaded: by *loader*, with the short names of *collections*, in the directory of a *role* if any.

    Without *are_known*, modules may be brought by roles that have not run yet, so files are only parsed.
    """

    loader: t.Any
    collections: t.List[str]
    role: t.Optional[pathlib.Path] = None
    kind: t.Any = Task
    are_known: bool = True


def _refused(exc: AnsibleError, file: pathlib.Path, task: t.Any = None) -> CannotRunError:
    """Return an error that names the file, the line if it is known, and the task."""
    place = _ORIGIN.match(getattr(exc, "_formatted_source_context", None) or "")
    name = task.get("name") if isinstance(task, dict) else None
    which = f", task '{name}'" if name else ""
    said = exc.message.splitlines()[0].rstrip(".")
    return CannotRunError(f"{place[1] if place else file}{which}: {said}. Correct it.")


def load(loader: t.Any, path: pathlib.Path) -> t.Any:
    """Load a file of YAML."""
    try:
        # Neither from nor into the cache, because Ansible would then use what is changed here. "unsafe" saves a copy,
        # which takes as long as everything else.
        return loader.load_from_file(str(path), cache="none", unsafe=True)
    except AnsibleError as exc:
        raise _refused(exc, path) from None


def main_of(role: pathlib.Path, directory: str) -> t.Optional[pathlib.Path]:
    """Return the first file of a directory of a role."""
    return next((it for it in (role / directory / name for name in MAIN) if it.is_file()), None)


def check_role(role: pathlib.Path, how: How) -> None:
    """Refuse a role whose tasks or handlers Ansible would refuse."""
    for directory, kind in (("tasks", Task), ("handlers", Handler)):
        main = main_of(role, directory)
        if main:
            check_file(main, dataclasses.replace(how, role=role, kind=kind))


def check_file(path: pathlib.Path, how: How, importing: t.Tuple[pathlib.Path, ...] = ()) -> None:
    """Refuse a file of tasks that Ansible would refuse; *importing* are those that led to it."""
    entries = load(how.loader, path) or []
    if not isinstance(entries, list):
        raise CannotRunError(f"{path} is no list of tasks. Write one, or correct the path.")
    if "import_role" in path.read_text(errors="replace"):
        # It can bring modules.
        how = dataclasses.replace(how, are_known=False)
    check(path, entries, how, importing)


def check(
    path: pathlib.Path, entries: t.Any, how: How, importing: t.Tuple[pathlib.Path, ...] = ()
) -> None:
    """Refuse tasks in a file that Ansible would refuse."""
    for it in entries if isinstance(entries, list) else [entries]:
        if not isinstance(it, dict):
            raise CannotRunError(f"{path}: '{it}' is no task. Correct it.")
        parts = [key for key in _PARTS if key in it]
        # Changed in place, because the line in which it begins is known of this dictionary only.
        inner = dataclasses.replace(how, collections=it.setdefault("collections", how.collections))
        for key in parts:
            check(path, it[key] or [], inner, importing)
            it[key] = []
        try:
            if parts:
                Block.load(it, loader=how.loader)
            elif how.are_known:
                how.kind.load(it, loader=how.loader)
        except AnsibleError as exc:
            raise _refused(exc, path, it) from None
        for name in _imported(it):
            file = _found(path, name, how)
            if file and file not in importing:
                check_file(file, how, (*importing, path))


def _imported(task: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return the file that a task imports; none if variables are in its name."""
    names = []
    for key in _IMPORTS:
        value = task.get(key)
        name = value.get("file") if isinstance(value, dict) else value
        names += [name] if isinstance(name, str) and "{{" not in name else []
    return names


def _found(path: pathlib.Path, name: str, how: How) -> t.Optional[pathlib.Path]:
    """Return the imported file; None if only Ansible can know where it is."""
    beside = path.parent / name
    if beside.is_file() or how.role is None:
        return beside if beside.is_file() else None
    directory = "handlers" if how.kind is Handler else "tasks"
    file = pathlib.Path(how.loader.path_dwim_relative(str(how.role), directory, name))
    if not os.path.exists(file):
        raise CannotRunError(f"{path} imports {name}, which is not there. Correct the name.")
    return file


__all__ = ("CannotRunError", "How", "check", "check_file", "check_role", "load", "main_of")
