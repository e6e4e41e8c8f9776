# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A build whose play was ended is released and fails."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest
import yaml

BUILD = pathlib.Path(__file__).resolve().parents[3] / "playbooks" / "build_encrypted_image.yml"
PUBLISHED: dict[str, t.Any] = {"ansible.builtin.set_fact": {"image_published": {}}}
PRESENT: dict[str, t.Any] = {"ansible.builtin.set_fact": {"__plan_released": {}}}


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["build", "check"])
@pytest.mark.parametrize(
    ("tasks", "released", "rc"),
    [
        ([PUBLISHED], False, 0),
        # The image was there.
        ([PRESENT, {"meta": "end_host"}], False, 0),
        # Steps that end the play, and with it all that would follow.
        ([{"meta": "end_host"}, PUBLISHED], True, 2),
        ([{"meta": "end_play"}, PUBLISHED], True, 2),
        ([{"meta": "end_batch"}, PUBLISHED], True, 2),
        # This one the first play has released.
        ([{"fail": {}}], False, 2),
    ],
)
def test_the_last_play(
    tmp_path: pathlib.Path,
    tasks: list[dict[str, t.Any]],
    released: bool,
    rc: int,
    words: tuple[str, ...],
) -> None:
    build, ended = yaml.safe_load(BUILD.read_text())[-2:]
    (tmp_path / "roles/step/tasks").mkdir(parents=True)
    (tmp_path / "roles/step/tasks/main.yml").write_text(yaml.safe_dump(tasks))
    build = {key: build[key] for key in ("hosts", "gather_facts", "strategy")}
    build["tasks"] = [{"block": [{"include_role": {"name": "step"}}], "always": []}]
    release = ended["tasks"][0]["block"][0]
    assert release.pop("ansible.builtin.import_role") == {"name": "sealedroot.image.teardown"}
    release["debug"] = {"msg": "released {{ image_name }}"}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([build, ended]))
    (tmp_path / "hosts").write_text("[images]\nweb image_name=web ansible_connection=local\n")
    done = subprocess.run(
        ["ansible-playbook", "-i", "hosts", "play.yml", *words],
        cwd=tmp_path,
        env={
            **{key: value for key, value in os.environ.items() if "ANSIBLE" not in key},
            "ANSIBLE_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    is_check = "--check" in words
    assert done.returncode == (0 if is_check and released else rc), done.stdout
    assert ("released web" in done.stdout) == (released and not is_check)
    assert ("before web was finished" in done.stdout) == (released and not is_check)
