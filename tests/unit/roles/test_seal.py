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


def test_the_disk_is_converted_when_it_is_unmounted_and_compared_when_it_is_closed() -> None:
    """An unmount writes, even one of what is mounted read-only: XFS writes its superblock then."""
    steps: list[str] = []
    words = (
        "fstest",
        "umount {{ image_root",
        "__seal_convert |",
        "__seal_log |",
        "__seal_compare",
    )
    for task in tasks("main.yml"):
        script = task.get("ansible.builtin.raw", "")
        found = sorted((script.index(word), word.strip(" |")) for word in words if word in script)
        steps += [word for _place, word in found]
        if "sealedroot.image.luks_image" in task:
            steps.append(task["sealedroot.image.luks_image"]["state"])
    assert steps == [
        *("fstest", "umount {{ image_root", "__seal_convert", "closed"),
        *("__seal_log", "__seal_compare"),
    ]


def test_the_comparison_refuses_a_disk_that_is_open() -> None:
    """By QEMU's lock, which -U leaves out."""
    script = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__seal_compare"]
    assert "qemu-img compare -f raw" in script
    assert " -U" not in script
