# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/stages.md says which role makes each fact of an image, and which read it."""

from __future__ import annotations

import pathlib
import re
import typing as t

import yaml
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
PRIVATE_ROW = re.compile(r"^\| `(__\w+)` \| [^|]+ \| (\w+) \| ([^|]+) \|$", re.MULTILINE)
ROW = re.compile(r"^\| `(image_\w+)` \| (\w+) \| ([^|]+) \| ([^|]*) \| ?([^|]*) ?\|$", re.MULTILINE)


def tasks(entries: t.Sequence[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    for entry in entries:
        for part in ("block", "rescue", "always"):
            yield from tasks(entry.get(part, []))
        yield entry


def made() -> dict[str, set[str]]:
    """Return the roles that set or register each fact."""
    found: dict[str, set[str]] = {}
    for name, role in makers():
        found.setdefault(name, set()).add(role)
    return found


def makers() -> t.Iterator[tuple[str, str]]:
    """Yield each fact with the role of a task that sets or registers it."""
    for path in ROLES.glob("*/tasks/*.yml"):
        for task in tasks(yaml.safe_load(path.read_text())):
            for name in (*task.get("ansible.builtin.set_fact", {}), task.get("register", "")):
                if name.startswith("image_"):
                    yield name, path.parts[-3]


def read(name: str) -> set[str]:
    """Return the roles in whose tasks, variables and templates a fact is."""
    return {
        path.relative_to(ROLES).parts[0]
        for path in ROLES.rglob("*")
        if path.suffix in (".yml", ".j2")
        and "meta" not in path.parts
        and re.search(rf"\b{name}\b", path.read_text())
    }


def names(cell: str) -> list[str]:
    return [it for it in cell.strip().split(", ") if it]


def test_the_table_is_what_the_roles_do() -> None:
    rows = ROW.findall((ROOT / "docs" / "stages.md").read_text())
    found = made()
    said = {name: (names(by), names(used)) for name, _type, _what, by, used in rows}
    assert said == {
        name: (sorted(found[name]), sorted(read(name) - found[name])) for name in sorted(found)
    }
    assert {kind for _name, kind, *_rest in rows} <= {"bool", "dict", "list", "path", "str"}


def test_each_fact_is_made_by_one_task() -> None:
    """But when each stage was reached, to which each adds; and that it is published, here or on the control node."""
    others = ("image_published", "image_reached")
    found = [name for name, _role in makers() if name not in others]
    assert sorted(set(found)) == sorted(found)


def test_which_facts_are_made_again_and_where() -> None:
    """By the role source, after what changes a root."""
    looks = {
        path.parts[-3]
        for path in ROLES.glob("*/tasks/*.yml")
        for task in tasks(yaml.safe_load(path.read_text()))
        if task.get("ansible.builtin.include_role")
        == {"name": "sealedroot.image.source", "tasks_from": "again"}
    }
    (accepted,) = (
        set(task["ansible.builtin.set_fact"])
        for task in tasks(yaml.safe_load((ROLES / "source/tasks/accept.yml").read_text()))
        if "ansible.builtin.set_fact" in task
    )
    page = (ROOT / "docs" / "stages.md").read_text()
    (said,) = re.findall(r"runs again in (.*?), because.*?\nfrom there on (.*?) say", page)
    assert [set(re.findall(r"`(\w+)`", it)) for it in said] == [looks, accepted - {"image_reached"}]


def test_no_fact_says_something_to_the_connection() -> None:
    """But where the image is. A variable of a task can, as image_secrets does; a fact would say it to every task."""
    said = _inputs.of_connection()
    assert "image_secrets" in said
    assert said & set(made()) == set(_inputs.PLACE)


def private() -> t.Iterator[tuple[str, str, str]]:
    """Yield each private variable, the role whose it is, and another role or playbook that has it, too."""
    roles = "|".join(sorted((it.name for it in ROLES.iterdir()), key=len, reverse=True))
    for path in (*ROLES.rglob("*"), *(ROOT / "playbooks").glob("*.yml")):
        if path.suffix not in (".yml", ".j2"):
            continue
        where = path.stem if path.parent.name == "playbooks" else path.relative_to(ROLES).parts[0]
        for name, owner in re.findall(rf"\b(__({roles})_\w+)", path.read_text()):
            if owner != where:
                yield name, owner, where


def test_which_private_variables_cross_roles() -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for name, owner, where in private():
        if owner != "image":
            found.setdefault((name, owner), set()).add(where)
    rows = PRIVATE_ROW.findall((ROOT / "docs" / "stages.md").read_text())
    assert {(name, owner): set(names(used)) for name, owner, used in rows} == found


def test_what_is_derived_from_the_inputs_is_in_one_file() -> None:
    derived = yaml.safe_load((ROLES / "image/vars/main.yml").read_text())
    assert {name for name, owner, _where in private() if owner == "image"} <= set(derived)


def test_few_tasks_are_programs_in_yaml() -> None:
    """A decision in a shell script has no table of cases. So no more than these, each with its reason."""
    words = ("command", "expect", "raw", "script", "shell")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (*ROLES.rglob("*.yml"), *(ROOT / "playbooks").glob("*.yml"))
        for line in path.read_text().splitlines()
        if re.match(rf"\s+ansible\.builtin\.(?:{'|'.join(words)}):", line)
    ]
    assert len(found) <= 8, found
