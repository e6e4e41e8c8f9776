# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role preflight asks of a builder."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.module_utils import _root_tar, _tools

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "preflight"


@pytest.fixture(scope="module")
def tools() -> set[str]:
    """The tools of every build, by the first of their names."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    return {name.split("|")[0] for name in variables["__preflight_tools"]}


def test_a_fresh_builder_can_unpack_every_source_and_every_initramfs_of_debian(
    tools: set[str],
) -> None:
    assert set(_root_tar.SUPPORTED) - {"none"} <= tools


def test_debian_has_a_package_for_each_tool(tools: set[str]) -> None:
    assert [name for name in sorted(tools) if not _tools.package("debian", name)] == []
