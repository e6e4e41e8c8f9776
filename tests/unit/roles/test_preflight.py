# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role preflight asks of a builder."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import fragment_loader, module_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.plugin_docs import get_docstring
from ansible_collections.sealedroot.image.plugins.doc_fragments import _filesystem
from ansible_collections.sealedroot.image.plugins.module_utils._audit import files
from ansible_collections.sealedroot.image.plugins.module_utils._disk import output_formats
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import mkfs
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    filesystems,
    tools as system_tools,
)
from ansible_collections.sealedroot.image.plugins.modules import root_tar

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


# What package(7) calls there, and whether lists of packages are renewed before.
MANAGERS = {
    "debian": (["ansible.builtin.apt"], True),
    "fedora": (["ansible.builtin.dnf", "ansible.builtin.dnf5"], True),
    "suse": (["community.general.zypper"], True),
    "arch": (["community.general.pacman"], False),
}


@pytest.mark.parametrize("family", system_tools.FAMILIES)
def test_the_package_manager_of_every_builder_takes_the_task(family: str) -> None:
    """Or it would refuse an option that it does not know."""
    tasks = yaml.safe_load((ROLE / "tasks" / "install.yml").read_text())
    arguments = tasks[0]["ansible.builtin.package"]
    variables = {"image_builder_info": {"family": family, "missing_packages": ["a"]}}
    templar = Templar(loader=DataLoader(), variables=variables)
    values = {
        key: templar.template(trust_as_template(text) if "{" in text else text)
        for key, text in arguments.items()
    }
    modules, renews = MANAGERS[family]
    assert values == {"name": ["a"], "state": "present", "update_cache": renews}
    for module in modules:
        path = module_loader.find_plugin(module)
        assert path, module
        assert set(values) <= set(options(path)), module


def test_a_plan_installs_nothing() -> None:
    """On a fresh Debian, apt's module would refuse check mode, since it has no python3-apt."""
    tasks = yaml.safe_load((ROLE / "tasks" / "builder.yml").read_text())
    (install,) = [it for it in tasks if it.get("ansible.builtin.include_tasks") == "install.yml"]
    assert install["when"].endswith(" and not ansible_check_mode")


def options(path: str) -> dict[str, t.Any]:
    """Return the options of a module, with those of the fragments of its documentation."""
    doc, *_rest = get_docstring(path, fragment_loader, collection_name="", is_module=True)
    found: dict[str, t.Any] = doc["options"]
    return found


def test_every_type_of_source_is_known_wherever_they_are_told_apart() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    options = variables("image", "meta/argument_specs.yml")["argument_specs"]["inputs"]["options"]
    choices = set(options["image_source"]["options"]["type"]["choices"])
    preflight = variables("preflight", "vars/main.yml")
    assert set(preflight["__preflight_source_tools"]) == choices
    words = variables("plan", "vars/main.yml")["__plan_source_words"]
    assert set(words) == choices - {"tar"}
    assert set(root_tar.PROVIDERS) | {"url"} == choices


def test_every_file_system_is_a_row_of_the_table_and_has_a_reader_and_its_mkfs() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    options = variables("image", "meta/argument_specs.yml")["argument_specs"]["inputs"]["options"]
    choices = sorted(options["image_filesystem"]["choices"])
    assert sorted(filesystems.FILESYSTEMS) == choices
    assert sorted(mkfs.MAKERS) == choices
    assert sorted(files.READERS) == choices
    said = yaml.safe_load(_filesystem.ModuleDocFragment.DOCUMENTATION)["options"]["filesystem"]
    assert {"type": said["type"], "choices": said["choices"], "default": said["default"]} == (
        filesystems.ARGUMENT
    )


def test_every_format_is_known_wherever_they_are_told_apart() -> None:
    def variables(role: str, path: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = yaml.safe_load((ROLE.parent / role / path).read_text())
        return found

    spec = variables("image", "meta/argument_specs.yml")["argument_specs"]["inputs"]
    choices = spec["options"]["image_formats"]["choices"]
    assert sorted(output_formats.FORMATS) == choices
