# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role seal converts, and what it sends."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import role_variables
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "seal"


def test_the_grub_of_the_image_reads_the_disk_before_it_is_closed() -> None:
    """image_convert does both: an unmount writes, even one of what is mounted read-only."""
    (task,) = (
        it["sealedroot.image.image_convert"]
        for it in yaml.safe_load((ROLE / "tasks/convert.yml").read_text())
        if "sealedroot.image.image_convert" in it
    )
    assert (task["mapping"], task["sandbox"]) == ("{{ image_disk.mapping }}", "{{ image_run }}")


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
