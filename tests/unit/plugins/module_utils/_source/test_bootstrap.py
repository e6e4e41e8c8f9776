# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How mmdebstrap is called, what names its result, and that it is called once."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import bootstrap
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MIRROR = "https://mirror.example.org/debian"
INDEX = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
INDEX += ["Origin: Debian"]
CONFIG = ["apt-config", "shell", "checks", "Acquire::Check-Valid-Until/b"]


def asked(cache: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    return {
        "distribution": "debian",
        "release": "bookworm",
        "architecture": "x86_64",
        "packages": ["udev", "zstd"],
        "patterns": [],
        "mirror": "",
        "source_date_epoch": 0,
        "cache_dir": str(cache),
        **more,
    }


def ensure(
    runner: t.Any, params: dict[str, t.Any], *, check_mode: bool = False
) -> dict[str, t.Any]:
    return bootstrap.ensure(runner, params, check_mode=check_mode)


def expect(
    script: t.Any, params: dict[str, t.Any], *more: str, mirror: str = "", **how: t.Any
) -> None:
    """Expect mmdebstrap with *more* options."""
    name = pathlib.Path(ensure(None, params, check_mode=True)["path"]).stem
    target = pathlib.Path(params["cache_dir"], f"{name}.scratch", "root.tar")
    argv = ["mmdebstrap", "--quiet", "--skip=check/qemu", "--variant=minbase"]
    argv += ["--architectures=amd64", "--include=udev,zstd", *more, "bookworm", str(target)]
    effect = (lambda: target.write_bytes(b"tar")) if not how.get("rc") else None
    script.expect([*argv, *([mirror] if mirror else [])], effect=effect, **how)


def test_the_mirror_of_the_builder_is_used(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    params = asked(tmp_path / "cache")
    script.expect(
        INDEX, stdout=f"https://security.example.org/debian-security\n{MIRROR}\n{MIRROR}\n"
    )
    script.expect(CONFIG, stdout="checks='true'\n")
    name = pathlib.Path(ensure(None, params, check_mode=True)["path"]).stem
    env = {"INITRD": "No", "TMPDIR": str(tmp_path / f"cache/{name}.tmp")}
    expect(script, params, mirror=MIRROR, env=env)
    made = ensure(runner, params)
    assert made["changed"]
    path = pathlib.Path(made["path"])
    assert path.read_bytes() == b"tar"
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure(runner, params) == {**made, "changed": False}
    assert sorted(it.suffix for it in path.parent.iterdir()) == [".lock", ".tar"]


def test_stale_lists_are_accepted_where_the_builder_accepts_them(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    params = asked(tmp_path)
    script.expect(INDEX, stdout=f"{MIRROR}\n")
    script.expect(CONFIG, stdout="checks='false'\n")
    expect(script, params, *bootstrap.STALE_LISTS, mirror=MIRROR)
    assert ensure(runner, params)["changed"]


def test_another_distribution_has_no_mirror_and_mmdebstrap_has_its_own(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    runner.missing |= {"apt-get", "apt-config"}
    params = asked(tmp_path)
    expect(script, params)
    assert ensure(runner, params)["changed"]


def test_a_given_mirror_and_the_patterns_and_the_time(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    params = asked(tmp_path, mirror=MIRROR, patterns=["?exact-name(x)"], source_date_epoch=9)
    env = {"SOURCE_DATE_EPOCH": "9"}
    expect(script, params, "--include=?exact-name(x)", mirror=MIRROR, env=env)
    assert ensure(runner, params)["changed"]


def test_a_failure_leaves_nothing(script: t.Any, runner: t.Any, tmp_path: pathlib.Path) -> None:
    params = asked(tmp_path, mirror=MIRROR)
    expect(script, params, mirror=MIRROR, rc=25, stderr="E: no such suite")
    with pytest.raises(SealedRootError, match="no such suite"):
        ensure(runner, params)
    assert [it.suffix for it in tmp_path.iterdir()] == [".lock"]


def test_a_tree_that_was_left_is_removed_and_the_new_one_is_open_to_apts_user(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    params = asked(tmp_path, mirror=MIRROR)
    place = pathlib.Path(f"{ensure(None, params, check_mode=True)['path'][:-4]}.tmp")
    (place / "mmdebstrap.left/etc").mkdir(parents=True)
    (place / "mmdebstrap.left/etc/x").touch()

    def interrupted() -> None:
        assert list(place.iterdir()) == []
        assert place.stat().st_mode & 0o777 == 0o755
        (place / "mmdebstrap.new").mkdir()

    before = os.umask(0o077)
    try:
        expect(script, params, mirror=MIRROR, rc=1)
        script.expected[-1].effect = interrupted
        with pytest.raises(SealedRootError):
            ensure(runner, params)
    finally:
        os.umask(before)
    assert not place.exists()


def test_what_is_still_mounted_is_unmounted_first(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = asked(tmp_path, mirror=MIRROR)
    place = pathlib.Path(f"{ensure(None, params, check_mode=True)['path'][:-4]}.tmp")
    (place / "x/proc").mkdir(parents=True)
    points = [str(place / "x/sys"), str(place / "x/sys/fs"), "/elsewhere"]
    have = [mounts.Mount(point, "sysfs", 9) for point in points]
    monkeypatch.setattr(mounts, "read", lambda: have)
    for _index in (1, 0):
        script.expect(["umount", points[_index]], effect=lambda at=_index: have.pop(at))
    expect(script, params, mirror=MIRROR)
    assert ensure(runner, params)["changed"]
    assert not place.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"release": "--setup-hook=x"}, "the release '--setup-hook=x' is none: write its name"),
        ({"release": "book worm"}, "is none: write its name, such as bookworm"),
        ({"release": ""}, "is none: write its name"),
        ({"release": "../x"}, "is none: write its name"),
        ({"mirror": "--hook-dir=/x"}, "the mirror is an option of mmdebstrap: write its URL"),
        ({"mirror": "-"}, "the mirror is an option of mmdebstrap: write its URL"),
    ],
)
def test_a_word_that_mmdebstrap_takes_for_an_option(
    tmp_path: pathlib.Path, change: dict[str, str], says: str
) -> None:
    for check_mode in (True, False):
        with pytest.raises(SealedRootError, match=says):
            ensure(None, asked(tmp_path / "cache", **change), check_mode=check_mode)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("release", ["bookworm-backports", "noble", "13.1", "a_b"])
def test_releases(tmp_path: pathlib.Path, release: str) -> None:
    assert ensure(None, asked(tmp_path, release=release), check_mode=True)["changed"]


@pytest.mark.parametrize(
    "other",
    [
        {"release": "trixie"},
        {"architecture": "aarch64"},
        {"packages": ["udev"]},
        {"patterns": ["?exact-name(x)"]},
        {"mirror": MIRROR},
        {"source_date_epoch": 1},
    ],
    ids=lambda it: next(iter(it)),
)
def test_everything_that_determines_the_root_is_in_its_name(
    other: dict[str, t.Any], tmp_path: pathlib.Path
) -> None:
    names = {
        ensure(None, params, check_mode=True)["path"]
        for params in (asked(tmp_path), asked(tmp_path, **other))
    }
    assert len(names) == 2
    assert not list(tmp_path.iterdir())
