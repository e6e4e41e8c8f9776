# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of a clone, where no collection is installed."""

from __future__ import annotations

import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
# Links to what the playbooks use of the clone, where Ansible looks beside a playbook.
BESIDE = ROOT / "playbooks" / "collections" / "ansible_collections" / "sealedroot" / "image"


def test_every_playbook_of_a_clone_finds_its_roles(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        ["ansible-playbook", "--syntax-check", *map(str, PLAYBOOKS)],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if "ANSIBLE" not in name},
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
            "ANSIBLE_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("playbook: ") == len(PLAYBOOKS) == 8


def test_the_links_stay_in_the_clone() -> None:
    assert {it.name: it.resolve() for it in BESIDE.iterdir()} == {
        name: ROOT / name for name in ("meta", "plugins", "roles")
    }
    assert (
        "playbooks/collections" in yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    )
