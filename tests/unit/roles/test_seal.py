# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order the role seal works: what is converted is closed."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import role_variables
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

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


def test_the_disk_is_read_before_it_is_closed() -> None:
    """image_convert closes it: an unmount writes, even one of what is mounted read-only."""
    steps: list[str] = []
    for task in tasks("main.yml"):
        if "fstest" in task.get("ansible.builtin.raw", ""):
            steps.append("fstest")
        if "sealedroot.image.image_disk" in task:
            steps.append(task["sealedroot.image.image_disk"]["state"])
        if "sealedroot.image.image_convert" in task:
            steps.append(task["sealedroot.image.image_convert"]["mapping"])
    assert steps == ["read_only", "fstest", "{{ image_disk.mapping }}"]


def templated(name: str, ways: list[str]) -> t.Any:
    """Return a variable of the role for an image that is unlocked in some ways."""
    variables = {
        **role_variables.of("seal"),
        "image_name": "web-1",
        "image_formats": ["raw"],
        "image_unlock": ways,
        "image_keys": {"boot.key": "/keys/boot.key", "recovery.key": "/keys/recovery.key"},
        "image_launch": {
            "core": "/p/core.efi",
            "hashes": "/p/hashes.bin",
            "firmware": "/p/firmware.fd",
            "secret": "/keys/secret.bin",
        },
        "__seal_converted": {"disks": {"raw": {"path": "/p/disk.raw", "is_flat": True}}},
        "__seal_digests": {},
        "__seal_partial": "/p",
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    return templar.template(role_variables.trusted(f"{{{{ {name} }}}}"))


@pytest.mark.parametrize("ways", [["prompt"], ["launch_secret"]])
def test_what_a_remote_builder_sends(ways: list[str]) -> None:
    """The keys, the disk, and the files of a launch only where there is one."""
    found = [it["src"] for it in templated("__seal_files", ways)]
    launch = ["/p/core.efi", "/p/hashes.bin", "/p/firmware.fd", "/keys/secret.bin"]
    more = launch if "launch_secret" in ways else []
    assert found == ["/keys/boot.key", "/keys/recovery.key", "/p/disk.raw", *more]
    secret = [it for it in templated("__seal_key_files", ways) if it.endswith("secret.bin")]
    assert secret == (["/keys/secret.bin"] if "launch_secret" in ways else [])
