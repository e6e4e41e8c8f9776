# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts that a person's roles find are gathered in the environment in which these roles run."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

TASKS = pathlib.Path(__file__).resolve().parents[3] / "roles" / "customize" / "tasks"


def tasks(file: str) -> dict[str, dict[str, t.Any]]:
    """Return the tasks in the blocks of a file, by their names."""
    entries = yaml.safe_load((TASKS / file).read_text())
    return {task["name"]: task for entry in entries for task in entry.get("block", [entry])}


@pytest.mark.parametrize(
    "name", ["Gather the other facts of the image", "Prepare what lasts for the build"]
)
def test_the_environment_is_that_of_the_steps(name: str) -> None:
    step = tasks("step.yml")["Run the role in the image"]["ansible.builtin.include_role"]
    expected = step["apply"]["vars"]["image_environment"]
    assert tasks("main.yml")[name]["vars"].get("image_environment") == expected
