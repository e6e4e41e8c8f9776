# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-builder makes of the execution environment. Building it needs containers, which are not here."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFINITION = ROOT / "examples" / "execution_environment" / "execution-environment.yml"


def ansible_builder(*words: str | pathlib.Path) -> str:
    return subprocess.run(
        ["ansible-builder", *words], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_the_definition_is_accepted(tmp_path: pathlib.Path) -> None:
    name = "Containerfile"
    ansible_builder(
        *("create", "--file", DEFINITION, "--context", tmp_path / "context"),
        *("--output-filename", name),
    )
    container = (tmp_path / "context" / name).read_text()
    assert "ansible-core>=2.19,<2.22" in container
    requirements = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text())
    assert requirements["collections"][0]["name"] == "sealedroot.image"


def test_what_the_collection_needs_is_found(tmp_path: pathlib.Path) -> None:
    """As an environment finds it: in an installed collection."""
    collection = tmp_path / "ansible_collections" / "sealedroot" / "image"
    collection.mkdir(parents=True)
    shutil.copytree(ROOT / "meta", collection / "meta")
    shutil.copy(ROOT / "galaxy.yml", collection)
    found = yaml.safe_load(ansible_builder("introspect", str(tmp_path)))
    assert [line.split()[0] for line in found["system"]] == ["openssh-client", "openssh-clients"]
    assert [line.split()[0] for line in found["python"]] == ["sev-snp-measure"]
    # The environment of the tests has the same.
    declared = (ROOT / "requirements.txt").read_text().splitlines()
    assert found["python"][0].partition("  #")[0] in declared
