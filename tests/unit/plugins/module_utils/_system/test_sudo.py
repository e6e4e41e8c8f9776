# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""To whom the results of a play by sudo belong."""

from __future__ import annotations

import os
import pathlib
import types
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import sudo

ADA = {"SUDO_UID": "1000", "SUDO_GID": "1001"}


@pytest.mark.parametrize(
    ("environment", "user", "found"),
    [
        (ADA, 0, (1000, 1001)),
        (ADA, 1000, None),
        ({}, 0, None),
        ({"SUDO_UID": "1000"}, 0, None),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, 0, None),
        ({"SUDO_UID": "-1", "SUDO_GID": "-1"}, 0, None),
        ({"SUDO_UID": "ada", "SUDO_GID": "ada"}, 0, None),
    ],
)
def test_who_called(
    environment: dict[str, str],
    user: int,
    found: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "environ", environment)
    assert sudo.caller() == found
    assert [it for it in (0, 1000, 1002) if sudo.is_trusted(it)] == sorted(
        {0, user, *(found or ())[:1]}
    )


class Machine:
    """The module os of root by sudo, which knows who owns which files; the tests may run as anybody."""

    def __init__(self) -> None:
        self.owners: dict[int, int] = {}
        self.environ = ADA

    def __getattr__(self, name: str) -> t.Any:
        return getattr(os, name)

    def geteuid(self) -> int:
        return 0

    def fstat(self, handle: int) -> t.Any:
        status = os.fstat(handle)
        values = {name: getattr(status, name) for name in ("st_mode", "st_nlink")}
        return types.SimpleNamespace(**values, st_uid=self.owners.get(status.st_ino, 0))

    def lstat(self, path: str) -> t.Any:
        return types.SimpleNamespace(st_uid=self.owner(pathlib.Path(path)))

    def fchown(self, handle: int, user: int, group: int) -> None:
        assert group == 1001
        self.owners[os.fstat(handle).st_ino] = user

    def own(self, path: pathlib.Path, user: int) -> None:
        self.owners[path.stat().st_ino] = user

    def owner(self, path: pathlib.Path) -> int:
        return self.owners.get(path.stat().st_ino, 0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    it = Machine()
    monkeypatch.setattr(sudo, "os", it)
    return it


def test_files_of_roots_are_given(machine: Machine, tmp_path: pathlib.Path) -> None:
    mine, other, twice = (tmp_path / name for name in ("mine", "other", "twice"))
    for path in (mine, other, twice):
        path.touch()
    machine.own(other, 7)
    # Another name may be that of a file of the system.
    (tmp_path / "name").hardlink_to(twice)
    sudo.give(str(tmp_path), ["mine", "other", "twice"])
    assert [machine.owner(it) for it in (mine, other, twice, tmp_path)] == [1000, 7, 0, 1000]


def test_what_is_in_anothers_directory_is_not_given(
    machine: Machine, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "mine").touch()
    machine.own(tmp_path, 1000)
    sudo.give(str(tmp_path), ["mine"])
    assert machine.owner(tmp_path / "mine") == 0


@pytest.mark.parametrize("name", ["directory", "directory/file"])
def test_no_link_is_followed(name: str, machine: Machine, tmp_path: pathlib.Path) -> None:
    """Neither where the directory should be nor where the file should be."""
    system = tmp_path / "etc"
    system.mkdir()
    (system / "file").touch()
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(system if name == "directory" else system / "file")
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        sudo.give(str(tmp_path / "directory"), ["file"])
    assert machine.owners == {}


def test_a_directory_that_is_exchanged_meanwhile_gives_no_other(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the caller owns a directory, the caller's programs can put a link there."""
    home, system = tmp_path / "home", tmp_path / "etc"
    (home / "out/team").mkdir(parents=True)
    (system / "team").mkdir(parents=True)
    machine.own(home, 1000)
    given = machine.fchown

    def exchange(handle: int, user: int, group: int) -> None:
        given(handle, user, group)
        if not (home / "out").is_symlink():
            (home / "out").rename(home / "old")
            (home / "out").symlink_to(system)

    monkeypatch.setattr(machine, "fchown", exchange)
    sudo.give_made(str(home / "out/team"))
    assert [machine.owner(it) for it in (system, system / "team")] == [0, 0]
    assert [machine.owner(it) for it in (home / "old", home / "old/team")] == [1000, 1000]


@pytest.mark.parametrize(("home", "given"), [(1000, 1000), (0, 0), (7, 0)])
def test_directories_are_given_in_one_of_the_callers(
    machine: Machine, tmp_path: pathlib.Path, home: int, given: int
) -> None:
    (tmp_path / "home/out/team").mkdir(parents=True)
    machine.own(tmp_path / "home", home)
    sudo.give_made(str(tmp_path / "home/out/team"))
    found = [machine.owner(tmp_path / it) for it in ("home", "home/out", "home/out/team")]
    assert found == [home, given, given]


def test_a_play_without_sudo_gives_nothing(machine: Machine, tmp_path: pathlib.Path) -> None:
    machine.environ = {}
    sudo.give(str(tmp_path), [])
    sudo.give_made(str(tmp_path))
    assert machine.owners == {}
