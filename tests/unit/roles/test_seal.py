# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order the role seal works: what is converted is closed."""

from __future__ import annotations

import pathlib
import typing as t

import yaml

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "seal"


def tasks(name: str) -> t.Iterator[dict[str, t.Any]]:
    """Yield the tasks of a file in the order in which they run when none fails."""

    def flat(listed: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
        for task in listed:
            if "block" in task:
                yield from flat(task["block"])
            elif "ansible.builtin.import_tasks" in task:
                yield from tasks(task["ansible.builtin.import_tasks"])
            else:
                yield task

    yield from flat(yaml.safe_load((ROLE / "tasks" / name).read_text()))


def test_the_disk_is_converted_when_it_is_closed() -> None:
    """An unmount writes, even one of what is mounted read-only: XFS writes its superblock then."""
    steps: list[str] = []
    for task in tasks("main.yml"):
        if "fstest" in task.get("ansible.builtin.raw", ""):
            steps.append("fstest")
        if "sealedroot.image.image_disk" in task:
            steps.append(task["sealedroot.image.image_disk"]["state"])
        if "sealedroot.image.image_convert" in task:
            steps.append("convert")
    assert steps == ["read_only", "fstest", "closed", "convert"]
