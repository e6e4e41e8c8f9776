# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role preflight asks of a builder."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import role_variables
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sealedroot.image.plugins.module_utils._audit import files
from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    filesystems,
    tools as system_tools,
)
from ansible_collections.sealedroot.image.plugins.modules import image_identity

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "preflight"


@pytest.fixture(scope="module")
def tools() -> set[str]:
    """The tools of builds, with any root file system, by the first of their names."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    names = variables["__preflight_tools"]
    names += [it for tools in variables["__preflight_source_tools"].values() for it in tools]
    names += [tool for it in filesystems.FILESYSTEMS.values() for tool in it.tools]
    names.append("gpgv")
    return {name.split("|")[0] for name in names}


def test_a_fresh_builder_can_unpack_every_source_and_every_initramfs_of_debian(
    tools: set[str],
) -> None:
    assert set(tar.SUPPORTED) - {"none"} <= tools


def test_debian_has_a_package_for_each_tool(tools: set[str]) -> None:
    assert [name for name in sorted(tools) if not system_tools.package("debian", name)] == []


def test_every_type_of_source_is_known_wherever_they_are_told_apart() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    options = variables("image", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    choices = set(options["image_source"]["options"]["type"]["choices"])
    preflight = variables("preflight", "vars/main.yml")
    assert set(preflight["__preflight_source_tools"]) == choices
    assert set(preflight["__preflight_source_words"]) == choices - {"tar"}
    # Behind a URL is one of the others.
    assert set(variables("source", "vars/main.yml")["__source_tars"]) == choices - {"url"}
    tasks = {path.stem for path in (ROLE.parent / "source" / "tasks").glob("*.yml")}
    assert choices - {"tar"} == tasks - {"main", "again", "accept", "checksum"}


def test_every_file_system_is_a_row_of_the_table_and_has_a_reader_and_its_mkfs() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    options = variables("image", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    choices = sorted(options["image_filesystem"]["choices"])
    assert sorted(filesystems.FILESYSTEMS) == choices
    assert sorted(variables("disk", "vars/main.yml")["__disk_filesystems"]) == choices
    assert sorted(files.READERS) == choices


def test_every_format_is_known_wherever_they_are_told_apart() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    spec = variables("image", "meta/argument_specs.yml")["argument_specs"]["main"]
    choices = spec["options"]["image_formats"]["choices"]
    known = variables("seal", "vars/main.yml")
    assert sorted(known["__seal_known_formats"]) == choices
    assert set(known["__seal_flat_formats"]) < set(choices)
    drivers = {name: it["driver"] for name, it in known["__seal_known_formats"].items()}
    assert drivers == image_files.DRIVERS


def test_a_password_hash_is_what_the_image_takes() -> None:
    text = (ROLE / "vars" / "main.yml").read_text()
    assert f"is regex('^{image_identity.CRYPT.pattern}$')" in text


WHOLE = {"exists": True, "intact": True, "problem": "", "other_inputs": []}


@pytest.mark.parametrize(
    ("output", "inputs", "said"),
    [
        ({"exists": False, "intact": False}, {}, ""),
        ({}, {}, ""),
        ({}, {"size": 2}, "/out/web-1 exists and was made from other inputs (size): remove it,"),
        # Those that are secrets are compared elsewhere.
        ({"other_inputs": ["recovery"]}, {}, "was made from other inputs (recovery): remove it,"),
        ({"other_inputs": ["boot_key"]}, {"size": 2}, "from other inputs (boot_key, size):"),
        # What is wrong with the files says the module, and nothing else is said then.
        ({"intact": False, "problem": "It is broken."}, {"size": 2}, "It is broken."),
    ],
)
def test_what_is_said_of_an_image_that_is_there(
    output: dict[str, t.Any], inputs: dict[str, t.Any], said: str
) -> None:
    was = {"size": 1, "luks": {}}
    variables = role_variables.of("preflight")
    variables.update(
        image_replace=False,
        __preflight_output_dir="/out/web-1",
        __preflight_output={**WHOLE, "manifest": {"inputs": was}, **output},
        image_inputs={**was, **inputs},
    )
    check = "{% set it = __preflight_output_checked[0] %}{{ '' if it.good else it.otherwise }}"
    text = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(check))
    assert said in text
    assert bool(text) is bool(said)
