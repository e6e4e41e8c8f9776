# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role preflight asks of a builder."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.module_utils import (
    _audit_files,
    _growth,
    _grub,
    _root_tar,
    _tools,
)

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "preflight"


@pytest.fixture(scope="module")
def tools() -> set[str]:
    """The tools of builds, with any root file system, by the first of their names."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    names = variables["__preflight_tools"]
    for table in ("__preflight_filesystem_tools", "__preflight_source_tools"):
        names += [it for tools in variables[table].values() for it in tools]
    names.append("gpgv")
    return {name.split("|")[0] for name in names}


def test_a_fresh_builder_can_unpack_every_source_and_every_initramfs_of_debian(
    tools: set[str],
) -> None:
    assert set(_root_tar.SUPPORTED) - {"none"} <= tools


def test_debian_has_a_package_for_each_tool(tools: set[str]) -> None:
    assert [name for name in sorted(tools) if not _tools.package("debian", name)] == []


def test_every_type_of_source_is_known_wherever_they_are_told_apart() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    options = variables("preflight", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    choices = set(options["image_source"]["options"]["type"]["choices"])
    preflight = variables("preflight", "vars/main.yml")
    assert set(preflight["__preflight_source_tools"]) == choices
    assert set(preflight["__preflight_source_words"]) == choices - {"tar"}
    # Behind a URL is one of the others.
    assert set(variables("source", "vars/main.yml")["__source_tars"]) == choices - {"url"}
    tasks = {path.stem for path in (ROLE.parent / "source" / "tasks").glob("*.yml")}
    assert choices - {"tar"} == tasks - {"main", "again", "accept", "checksum"}


def test_every_file_system_has_its_tools_its_packages_and_its_mkfs() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    options = variables("preflight", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    choices = sorted(options["image_filesystem"]["choices"])
    assert (
        sorted(variables("preflight", "vars/main.yml")["__preflight_filesystem_tools"]) == choices
    )
    assert sorted(variables("disk", "vars/main.yml")["__disk_filesystems"]) == choices
    source = variables("source", "vars/main.yml")
    assert sorted(source["__source_debian_filesystem_packages"]) == choices
    assert sorted(_grub.FILESYSTEM_MODULES) == choices
    assert sorted(_audit_files.READERS) == choices
    assert sorted(_growth.OF_FILESYSTEM) == choices


def test_every_format_is_known_wherever_they_are_told_apart() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    specs = [variables(role, "meta/argument_specs.yml") for role in ("preflight", "seal")]
    inputs, seal = (it["argument_specs"]["main"]["options"] for it in specs)
    choices = inputs["image_formats"]["choices"]
    assert seal["seal_formats"]["choices"] == choices
    known = variables("seal", "vars/main.yml")
    assert sorted(known["__seal_known_formats"]) == choices
    assert set(known["__seal_flat_formats"]) < set(choices)
