# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people have in their ansible.cfg and around it. ``./run installed`` builds whole images with that."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t

import pytest
from builds import PLAYBOOK, ROOT, Place, playbook
from named_root import WHOLE, small_root

Settings = dict[str, str]
STRATEGIES: dict[str, Settings] = {
    it: {"ANSIBLE_STRATEGY": it} for it in ("free", "linear", "host_pinned")
}
ROWS: dict[str, Settings] = {
    **STRATEGIES,
    "facts-off": {"ANSIBLE_GATHERING": "explicit"},
    "no-fact-variables": {"ANSIBLE_INJECT_FACT_VARS": "false"},
    "cache": {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": "facts"},
    "no-pipelining": {"ANSIBLE_PIPELINING": "false"},
    "yaml": {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"},
    "json": {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
    "minimal": {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal"},
    "one-fork": {"ANSIBLE_FORKS": "1"},
    "home": {"HOME": "Jürgen"},
}
# Those that go together, in one play.
ODD = {
    name: value
    for row in ("free", "facts-off", "no-fact-variables", "cache", "no-pipelining", "yaml")
    for name, value in {**ROWS[row], **ROWS["one-fork"], **ROWS["home"]}.items()
}


def plan(place: Place, environment: Settings, prefix: t.Sequence[str] = ()) -> str:
    """Let a build say what it would do, with these settings and without a collection that it could write to."""
    root = small_root(place.path / "root.tar", WHOLE)
    home = place.path / environment.get("HOME", "home")
    home.mkdir(exist_ok=True)
    settings = {**environment, "HOME": str(home)}
    if "ANSIBLE_CACHE_PLUGIN_CONNECTION" in settings:
        settings["ANSIBLE_CACHE_PLUGIN_CONNECTION"] = str(place.path / "facts")
    variables = place.variables(image_source={"type": "tar", "path": str(root)})
    run = playbook(PLAYBOOK, variables, "--check", prefix=prefix, environment=settings)
    assert run.rc == 0, run.output[-3000:]
    assert run.said("would build: ")
    assert not place.out.exists()
    return run.output


def test_odd_settings_all_at_once(place: Place) -> None:
    collections = os.environ["ANSIBLE_COLLECTIONS_PATH"]
    read_only = ("bwrap", "--dev-bind", "/", "/", "--ro-bind", collections, collections)
    plan(place, ODD, ("sh", "-c", 'umask 077; exec "$@"', "sh", *read_only))


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS)
def test_each_setting_alone(place: Place, row: str) -> None:
    """Also of the playbook that cleans up; those for images and machines that are there have tests with such."""
    said = plan(place, ROWS[row])
    settings = {name: value for name, value in ROWS[row].items() if name == "ANSIBLE_STRATEGY"}
    cleaned = playbook("sealedroot.image.teardown", place.variables(), environment=settings)
    assert cleaned.rc == cleaned.changed == 0, cleaned.output
    if row == "json":
        assert json.loads(said[said.index("{\n") :])["stats"]["web-1"]["failures"] == 0


def test_the_tarball_is_all_that_is_needed(place: Place) -> None:
    """Somebody has it installed, and a playbook of their own by the name of the collection's."""
    galaxy, folder = ("ansible-galaxy", "collection"), place.path / "collections"
    # Or what the tests run would count as installed already.
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(folder)}

    def run(*argv: str) -> None:
        env = {**os.environ, **settings}
        subprocess.run([*galaxy, *argv], check=True, capture_output=True, timeout=300, env=env)

    run("build", "--output-path", str(place.path), str(ROOT))
    (tarball,) = place.path.glob("sealedroot-image-*.tar.gz")
    run("install", "-p", str(folder), str(tarball))
    names = {
        it.name for it in (folder / "ansible_collections/sealedroot/image/playbooks").iterdir()
    }
    assert "build_encrypted_image.yml" in names
    assert "collections" not in names
    mine = place.path / "build_encrypted_image.yml"
    mine.write_text(f"- import_playbook: {PLAYBOOK}\n")
    root = small_root(place.path / "root.tar", WHOLE)
    run_ = playbook(
        str(mine),
        place.variables(image_source={"type": "tar", "path": str(root)}),
        "--check",
        environment=settings,
    )
    assert run_.rc == 0, run_.output[-3000:]
    assert run_.said("would build: ")
