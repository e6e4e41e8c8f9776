# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources that are no tars, through the playbook: the plan, what the role makes of them, and what is refused."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import oci
import pytest
from builds import PLAYBOOK, Place, playbook, source_tar
from test_bad_input import WHOLE, refused, small_root


def directory(place: Place, tar: pathlib.Path) -> dict[str, str]:
    root = place.path / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "-xpf", tar], check=True)
    return {"type": "directory", "path": str(root)}


def container(place: Place, tar: pathlib.Path) -> dict[str, str]:
    image = oci.Image([tar.read_bytes()], "web:1")
    path = oci.docker_archive(place.path / "image.tar", image)
    return {"type": "oci", "path": str(path), "reference": "web:1"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (directory, "root, which is not packed yet"),
        (container, "image.tar, whose layers are not applied yet"),
    ],
    ids=["directory", "oci"],
)
def test_the_plan_before_and_after_the_tar_is_made(
    make: t.Callable[[Place, pathlib.Path], dict[str, str]], words: str, place: Place
) -> None:
    source = make(place, small_root(place.path / "root.tar", WHOLE))
    cache = place.path / "cache"
    variables = place.variables(image_source=source, image_cache_dir=str(cache))
    run = playbook(PLAYBOOK, variables, "--check")
    assert run.rc == 0, run.output
    assert run.said(words), run.output
    assert not cache.exists()
    made = source_tar(source, image_cache_dir=str(cache))
    assert made.parent == cache
    run = playbook(PLAYBOOK, variables, "--check")
    assert run.rc == 0, run.output
    assert run.said(f"from:        {made} (Debian, kernel 6.1.0-1-amd64"), run.output


@pytest.mark.parametrize("kind", ["directory", "oci"])
def test_a_path_that_is_not_absolute(kind: str, place: Place) -> None:
    source = {"type": kind, "path": "roots/web"}
    refused(
        place, "is not a source: give {type: tar, path: /absolute/root.tar}", image_source=source
    )


def test_the_running_root(place: Place) -> None:
    says = "/ is the root that the builder runs from"
    refused(place, says, image_source={"type": "directory", "path": "/"})
