# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources that are no tars, through the playbook: the plan, what the role makes of them, and what is refused."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import typing as t

import lvm
import oci
import pytest
import web
from builds import PLAYBOOK, Place, playbook, source_tar
from named_root import WHOLE, refused, small_root


def directory(place: Place, tar: pathlib.Path) -> dict[str, str]:
    root = place.path / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "-xpf", tar], check=True)
    return {"type": "directory", "path": str(root)}


def container(place: Place, tar: pathlib.Path) -> dict[str, str]:
    image = oci.Image([tar.read_bytes()], "web:1")
    path = oci.docker_archive(place.path / "image.tar", image)
    return {"type": "oci", "path": str(path), "reference": "web:1"}


def disk(place: Place, tar: pathlib.Path) -> dict[str, str]:
    """Two roots on logical volumes, so the choice has to arrive."""
    path, filesystem = place.path / "disk.raw", place.path / "root.img"
    subprocess.run(["truncate", "-s", "128M", path], check=True)
    subprocess.run(["truncate", "-s", "40M", filesystem], check=True)
    tree = directory(place, tar)["path"]
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, filesystem], check=True)
    with lvm.group(path, (0, 128 << 20)) as group:
        for name in ("old", "root"):
            group.add(name, extents=10)
            group.fill(name, filesystem)
    return {"type": "disk", "path": str(path), "logical_volume": "vg-0/root"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(directory, "root, which is not packed yet", marks=pytest.mark.long),
        (disk, "disk.raw, which is not packed yet"),
        pytest.param(
            container, "image.tar, whose layers are not applied yet", marks=pytest.mark.long
        ),
    ],
    ids=["directory", "disk", "oci"],
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


@pytest.mark.parametrize("make", ["tar", pytest.param("oci", marks=pytest.mark.long)])
def test_what_is_behind_a_url(make: str, place: Place) -> None:
    """Checked by whole plays at the highest verbosity, which show no secret of the URL."""
    path = small_root(place.path / "root.tar", WHOLE)
    more = {}
    if make == "oci":
        more["reference"] = "web:1"
        path = pathlib.Path(container(place, path)["path"])
    checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    cache = place.path / "cache"
    with web.serve(web.Site({"/root": path.read_bytes()})) as site:
        url = site.url("/root?token=t0psecret", user="me:passw0rd@")
        source = {"type": "url", "url": url, "checksum": checksum, **more}
        variables = place.variables(image_source=source, image_cache_dir=str(cache))
        run = playbook(PLAYBOOK, variables, "--check", "-vvv")
        assert run.rc == 0, run.output
        assert run.said("a file of 127.0.0.1, which is not fetched yet"), run.output
        assert site.asked == []
        made = source_tar(source, image_cache_dir=str(cache))
        assert len(site.asked) == 1
        again = playbook(PLAYBOOK, variables, "--check", "-vvv")
        assert again.said(f"from:        {made} (Debian, kernel 6.1.0-1-amd64"), again.output
        source = {**source, "checksum": "sha256:" + "0" * 64}
        wrong = playbook(PLAYBOOK, {**variables, "image_source": source}, "-vvv")
    assert wrong.rc != 0
    assert wrong.said(f"has the {checksum.replace(':', ' ')}, not 0000"), wrong.output
    for it in (run, again, wrong):
        assert "t0psecret" not in it.output
        assert "passw0rd" not in it.output


def test_a_url_without_a_checksum(place: Place) -> None:
    source = {"type": "url", "url": "https://me:passw0rd@example.org/root.tar"}
    refused(place, "nothing says what must be behind it: give checksum", image_source=source)
