# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease of a build: real locks by real processes; whole plays are in tests/integration/test_build_lease.py."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import lease, lease_holder
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

ONE = lease.Owner("1111111111111111", "process 1 of anna on ci-1")
TWO = lease.Owner("2222222222222222", "process 2 of berta on ci-2")


@pytest.fixture
def play() -> t.Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a play; its end is the end of every lease in a test."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def work(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "work" / "web-1")


def lives(play: subprocess.Popen[bytes]) -> t.Callable[[list[int]], bool]:
    return lease_holder.lives(lease_holder.process(play.pid))


def is_free(directory: str) -> bool:
    try:
        lease.check(directory, lease.Owner("0", "nobody"))
    except lease.HeldError:
        return False
    return True


def becomes_free(directory: str, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not is_free(directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("directory", "file"),
    [
        ("/var/tmp/sealedroot/web-1", "/var/tmp/sealedroot/.web-1.lease"),
        ("/var/tmp/sealedroot/web-1/", "/var/tmp/sealedroot/.web-1.lease"),
        ("/srv/images/.web-1.partial", "/srv/images/.web-1.lease"),
        ("/srv/images/web-1.partial", "/srv/images/.web-1.partial.lease"),
        ("/srv/images/..partial.partial", "/srv/images/..partial.lease"),
    ],
)
def test_the_file_is_beside_the_directory(directory: str, file: str) -> None:
    assert lease.path_of(directory) == file


def test_the_second_is_told_and_changes_nothing(work: str, play: subprocess.Popen[bytes]) -> None:
    lease.take([work], ONE, lives(play))
    before = pathlib.Path(lease.path_of(work)).read_bytes()
    words = f"{work} is being built by process 1 of anna on ci-1 since 20.*Z: wait until that ends"
    for _time in range(3):
        with pytest.raises(lease.HeldError, match=words):
            lease.take([work], TWO, lives(play))
    assert pathlib.Path(lease.path_of(work)).read_bytes() == before


def test_who_has_it_may_ask_again(work: str, play: subprocess.Popen[bytes]) -> None:
    lease.take([work], ONE, lives(play))
    lease.take([work], ONE, lives(play))
    lease.check(work, ONE)
    assert not is_free(work)


def test_who_has_it_does_not_wait_for_itself(
    work: str, play: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.take([work], ONE, lives(play))
    pauses: list[float] = []
    monkeypatch.setattr(lease.time, "sleep", pauses.append)
    with lease.excluded(work, ONE):
        assert pauses == []


def test_the_end_of_the_play_is_the_end_of_the_lease(
    work: str, play: subprocess.Popen[bytes]
) -> None:
    lease.take([work], ONE, lives(play))
    assert not becomes_free(work, 1)
    # Nobody waits for it, so it is a zombie, which does not count as alive.
    play.kill()
    assert becomes_free(work)
    time.sleep(lease_holder.PAUSE / 5)
    assert not os.path.exists(os.path.dirname(work)), "what was made for it is left"


def test_silence_is_the_end_of_the_lease(work: str) -> None:
    lease.take([work], ONE, lease_holder.heard(1.5))
    for _beat in range(5):
        time.sleep(0.5)
        os.utime(lease.path_of(work))
        assert not is_free(work)
    assert becomes_free(work)


def test_none_is_kept_when_one_is_held(
    work: str, tmp_path: pathlib.Path, play: subprocess.Popen[bytes]
) -> None:
    out = str(tmp_path / "out" / "web-1")
    lease.take([out], ONE, lives(play))
    with pytest.raises(lease.HeldError, match="out/web-1 is being built"):
        lease.take([work, out], TWO, lives(play))
    assert not os.path.exists(os.path.dirname(work))


def test_it_is_given_back_by_its_owner_only(work: str, play: subprocess.Popen[bytes]) -> None:
    lease.take([work], ONE, lives(play))
    lease.give_back(work, TWO.id)
    assert not is_free(work)
    assert lease.is_lost(work, TWO.id)
    assert not lease.is_lost(work, ONE.id)
    lease.give_back(work, ONE.id)
    assert is_free(work)
    assert lease.is_lost(work, ONE.id)
    lease.take([work], TWO, lives(play))


def test_a_teardown_keeps_builds_out_and_gives_it_back(
    work: str, play: subprocess.Popen[bytes]
) -> None:
    os.makedirs(work)
    with (
        lease.excluded(work, lease.Owner("3", "process 3 of carla on ci-3", "torn down")),
        pytest.raises(lease.HeldError, match="is being torn down by process 3 of carla"),
    ):
        lease.take([work], ONE, lives(play))
    lease.take([work], ONE, lives(play))
    with pytest.raises(lease.HeldError), lease.excluded(work, TWO):
        pytest.fail("it was let in")
    for own, force in ((ONE, False), (TWO, True)):
        lease.take([work], ONE, lives(play))
        with lease.excluded(work, own, force=force):
            assert not is_free(work)
        assert is_free(work)


def test_a_build_that_clears_away_what_another_left_keeps_its_lease(
    work: str, play: subprocess.Popen[bytes]
) -> None:
    os.makedirs(work)
    lease.take([work], ONE, lives(play))
    with lease.excluded(work, ONE, keep=True):
        pass
    assert not is_free(work)
    assert not lease.is_lost(work, ONE.id)


@pytest.mark.parametrize("force", [True, False])
def test_a_planned_teardown_changes_nothing(
    work: str, play: subprocess.Popen[bytes], force: bool
) -> None:
    lease.take([work], ONE, lives(play))
    said = contextlib.nullcontext() if force else pytest.raises(lease.HeldError)
    with said, lease.excluded(work, TWO, force=force, check_mode=True):
        pass
    assert not is_free(work)


def test_where_nothing_is_nothing_is_made(work: str) -> None:
    with lease.excluded(work, ONE):
        pass
    lease.check(work, ONE)
    assert not os.path.exists(os.path.dirname(work))


def link(path: pathlib.Path) -> None:
    path.symlink_to("/etc/hostname")


def hard_link(path: pathlib.Path) -> None:
    (path.parent / "file").write_text("precious")
    os.link(path.parent / "file", path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, link, hard_link])
def test_what_is_in_the_way_of_the_file_is_not_written(
    work: str, play: subprocess.Popen[bytes], make: t.Callable[[pathlib.Path], t.Any]
) -> None:
    file = pathlib.Path(lease.path_of(work))
    file.parent.mkdir()
    make(file)
    with pytest.raises((SealedRootError, OSError)):
        lease.take([work], ONE, lives(play))
    assert file.is_dir() or file.is_fifo() or "id" not in file.read_text()


@pytest.mark.parametrize("content", ["", "[1]", "{}", "[" * 4000, "\0", '{"id": "1"}'])
def test_what_another_wrote_there_decides_nothing(
    work: str, play: subprocess.Popen[bytes], content: str
) -> None:
    lease.take([work], ONE, lives(play))
    pathlib.Path(lease.path_of(work)).write_text(content)
    with pytest.raises(lease.HeldError, match="is being built by an unknown process since an"):
        lease.take([work], TWO, lives(play))


def test_no_terminal_obeys_what_it_says(work: str, play: subprocess.Popen[bytes]) -> None:
    lease.take([work], ONE, lives(play))
    said = {"id": "1", "who": "\x1b[2Jx\n", "doing": "\x9b", "since": "\u202e"}
    pathlib.Path(lease.path_of(work)).write_text(json.dumps(said))
    with pytest.raises(lease.HeldError) as error:
        lease.take([work], TWO, lives(play))
    assert str(error.value).isprintable()
