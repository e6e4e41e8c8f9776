# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role rotate on the control node: what has the new key in the end. tests/integration has the machine's part."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import secret_table

COLLECTIONS = pathlib.Path(__file__).resolve().parents[3] / "playbooks" / "collections"
OLD, NEW = "b2xk" * 11, "bmV3" * 11
MACHINE: dict[str, t.Any] = {"device": "/dev/vda2", "uuid": "0", "slots": {"0": 1000}}


@pytest.fixture
def image(tmp_path: pathlib.Path) -> pathlib.Path:
    """An image that starts with a launch secret, whose machine has the new key already."""
    image = tmp_path / "out" / "web"
    (image / "launch").mkdir(parents=True)
    files = {
        "boot.key": OLD.encode(),
        "boot.key.new": NEW.encode(),
        "launch/firmware.fd": firmware.ovmf(),
        "launch/secret.bin": secret_table.build(OLD.encode(), 0xC00),
    }
    for name, data in files.items():
        (image / name).touch(0o600)
        (image / name).write_bytes(data)
    return image


def play(image: pathlib.Path, stage: str, **machine: t.Any) -> str:
    """Run a stage of the role, and return what was said."""
    place = image.parents[1]
    task = {"include_role": {"name": "sealedroot.image.rotate", "tasks_from": stage}}
    given = {
        "image_name": image.name,
        "image_output_dir": str(image.parent),
        "__rotate_store": str(place / "store"),
        "__rotate_root": {**MACHINE, **machine},
        "__rotate_rotated": MACHINE,
        "__rotate_stored": {"files": []},
    }
    (place / "play.yml").write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
    )
    done = subprocess.run(
        ["ansible-playbook", "play.yml", "-vvv", "-e", json.dumps(given)],
        cwd=place,
        env={
            **{key: value for key, value in os.environ.items() if "ANSIBLE" not in key},
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = f"{done.stdout}{done.stderr}\nrc={done.returncode}"
    assert OLD not in said
    assert NEW not in said
    return said


def test_the_launch_secret_has_the_new_key(image: pathlib.Path) -> None:
    said = play(image, "finish")
    assert "rc=0" in said, said
    secret = image / "launch" / "secret.bin"
    assert secret.read_bytes() == secret_table.build(NEW.encode(), 0xC00)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert f"{secret} has the new key" in said
    assert "At its next boot type that" not in said
    assert (image / "boot.key").read_text() == NEW
    assert not (image / "boot.key.new").exists()


def test_no_launch_secret_is_made_where_there_is_none(image: pathlib.Path) -> None:
    (image / "launch" / "secret.bin").unlink()
    said = play(image, "finish")
    assert "rc=0" in said, said
    assert "has a new boot key" in said
    assert "At its next boot type that" in said
    assert "secret.bin" not in said


def test_nobody_is_told_to_type_what_the_tpm_gives(image: pathlib.Path) -> None:
    (image / "launch" / "secret.bin").unlink()
    said = play(image, "finish", tpm_enrolled=True)
    assert "rc=0" in said, said
    assert "Its TPM gives that to GRUB at its next boot." in said
    assert "At its next boot type that" not in said
    assert [it.name for it in (image / "launch").iterdir()] == ["firmware.fd"]
    assert (image / "boot.key").read_text() == NEW


def test_a_launch_secret_without_its_firmware_is_refused_first(image: pathlib.Path) -> None:
    (image / "launch" / "firmware.fd").unlink()
    said = play(image, "look")
    assert "rc=2" in said, said
    assert "launch/secret.bin has the old key, and firmware.fd, which says how long" in said
    assert (image / "boot.key").read_text() == OLD


VARIABLES = pathlib.Path(__file__).resolve().parents[3] / "roles" / "rotate" / "vars" / "main.yml"


@pytest.mark.parametrize(
    ("machines", "found"),
    [
        ({"web-1": {"image_name": "web"}, "web-2": {"image_name": "web"}}, "web-2"),
        ({"web-1": {"image_name": "web"}, "web-2": {}}, ""),
        ({"web-1": {"image_name": "web-1"}, "web-2": {"image_name": "web-1"}}, ""),
    ],
)
def test_whose_key_would_be_lost(
    tmp_path: pathlib.Path, machines: dict[str, t.Any], found: str
) -> None:
    (tmp_path / "machines.yml").write_text(json.dumps({"machines": {"hosts": machines}}))
    said = {"ansible.builtin.debug": {"msg": "shared by «{{ __rotate_sharing | join(',') }}»"}}
    it = {"hosts": "web-1", "gather_facts": False, "vars_files": [str(VARIABLES)], "tasks": [said]}
    (tmp_path / "play.yml").write_text(json.dumps([it]))
    argv = ["ansible-playbook", "--inventory", "machines.yml", "play.yml"]
    done = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert f"shared by «{found}»" in done.stdout, done.stdout + done.stderr
