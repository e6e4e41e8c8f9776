# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""next_key on real files; each call of the kernel that changes something fails, or kills it, once."""

from __future__ import annotations

import errno
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import next_key

Run = t.Callable[..., t.Any]
Files = dict[str, str]
NAMES = ["recovery.key", "boot.key"]
OLD = {"recovery.key": "the old recovery key", "boot.key": "the old boot key"}
BOTH = {"recovery.key.new": "R" * 44, "boot.key.new": "B" * 44}


def directory(path: pathlib.Path, files: Files, mode: int = 0o700) -> pathlib.Path:
    path.mkdir()
    path.chmod(mode)
    for name, text in files.items():
        (path / name).touch(0o600)
        (path / name).write_text(text)
    return path


def content(path: pathlib.Path) -> Files:
    return {it.name: it.read_text() for it in sorted(path.iterdir())}


def params(path: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    defaults = {"names": NAMES, "retired": [], "backup": False, "state": "present"}
    return {"path": str(path), **defaults, **more}


def test_four_calls(tmp_path: pathlib.Path, run_module: Run) -> None:
    path = directory(tmp_path / "a", OLD, 0o755)
    arguments = {"path": str(path), "names": NAMES}
    planned = run_module("next_key", _check=True, **arguments)
    assert content(path) == OLD
    assert path.stat().st_mode & 0o777 == 0o755
    done = run_module("next_key", **arguments)
    assert {**planned.result, "invocation": 0} == {**done.result, "invocation": 0}
    assert (done["changed"], done["generated"]) == (True, NAMES)
    assert done["diff"] == {
        "before": {"mode": "0755", "files": ["boot.key", "recovery.key"]},
        "after": {
            "mode": "0700",
            "files": ["boot.key", "boot.key.new", "recovery.key", "recovery.key.new"],
        },
    }
    after = content(path)
    assert {name: after[name] for name in OLD} == OLD
    keys = {after[f"{name}.new"] for name in NAMES}
    assert len(keys) == 2
    assert all(key_file.is_generated(key.encode()) for key in keys)
    assert not any(key in str(done.result) for key in keys)
    assert {it.stat().st_mode & 0o777 for it in path.iterdir()} == {0o600}
    for check in (False, True):
        again = run_module("next_key", _check=check, **arguments)
        assert (again["changed"], again["generated"]) == (False, [])
    assert content(path) == after


def test_the_directory_is_made_and_those_above_it(tmp_path: pathlib.Path, run_module: Run) -> None:
    path = tmp_path / "out" / "web-1"
    planned = run_module("next_key", _check=True, path=str(path), names=["boot.key"])
    assert planned["diff"]["before"] == {"mode": "absent", "files": []}
    assert not path.parent.exists()
    run_module("next_key", path=str(path), names=["boot.key"])
    assert [it.name for it in path.iterdir()] == ["boot.key.new"]
    assert {it.stat().st_mode & 0o777 for it in (path, path.parent)} == {0o700}


def test_promoted_four_calls(tmp_path: pathlib.Path, run_module: Run) -> None:
    path = directory(tmp_path / "a", {**OLD, **BOTH, "disk.qcow2": ""})
    arguments = {"path": str(path), "names": NAMES, "backup": True, "state": "promoted"}
    planned = run_module("next_key", _check=True, **arguments)
    assert content(path) == {**OLD, **BOTH, "disk.qcow2": ""}
    done = run_module("next_key", **arguments)
    assert {**planned.result, "invocation": 0} == {**done.result, "invocation": 0}
    assert (done["promoted"], done["retired"]) == (NAMES, [])
    after = {
        **{name: BOTH[f"{name}.new"] for name in NAMES},
        **{f"{name}.old": OLD[name] for name in NAMES},
        "disk.qcow2": "",
    }
    assert content(path) == after
    assert done["diff"]["after"]["files"] == sorted(set(after) - {"disk.qcow2"})
    for check in (False, True):
        again = run_module("next_key", _check=check, **arguments)
        assert (again["changed"], again["promoted"]) == (False, [])
    assert content(path) == after


def test_a_key_is_retired_with_the_next_one_that_it_had(
    tmp_path: pathlib.Path, run_module: Run
) -> None:
    arguments = {"names": ["boot.key"], "retired": ["recovery.key"], "state": "promoted"}
    for backup in (False, True):
        path = directory(tmp_path / str(backup), {**OLD, **BOTH})
        done = run_module("next_key", path=str(path), backup=backup, **arguments)
        assert (done["promoted"], done["retired"]) == (["boot.key"], ["recovery.key"])
        kept = {f"{name}.old": text for name, text in OLD.items()} if backup else {}
        assert content(path) == {"boot.key": BOTH["boot.key.new"], **kept}
        again = run_module("next_key", path=str(path), backup=backup, **arguments)
        assert again["changed"] is False


def test_there_need_be_no_old_key(tmp_path: pathlib.Path, run_module: Run) -> None:
    path = directory(tmp_path / "a", {"boot.key.new": "B" * 44})
    run_module("next_key", path=str(path), names=["boot.key"], backup=True, state="promoted")
    assert content(path) == {"boot.key": "B" * 44}


def test_nothing_to_promote(tmp_path: pathlib.Path, run_module: Run) -> None:
    path = directory(tmp_path / "a", {})
    outcome = run_module("next_key", path=str(path), names=["boot.key"], state="promoted")
    assert outcome.failed
    assert "make the next key first (state: present)" in outcome["msg"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda it: it.symlink_to("/etc/passwd"), "is not a regular file: remove it"),
        (lambda it: it.symlink_to("/nowhere"), "is not a regular file: remove it"),
        (lambda it: it.mkdir(), "is not a regular file: remove it"),
        (os.mkfifo, "is not a regular file: remove it"),
    ],
    ids=["link", "dangling link", "directory", "FIFO"],
)
@pytest.mark.parametrize("end", ["", ".new", ".old"])
@pytest.mark.parametrize("state", ["present", "promoted"])
def test_what_is_no_regular_file_is_refused(
    tmp_path: pathlib.Path, run_module: Run, make: t.Any, words: str, end: str, state: str
) -> None:
    path = directory(tmp_path / "a", {} if end == ".new" else {"boot.key.new": "B" * 44})
    make(path / f"boot.key{end}")
    before = sorted(os.listdir(path))
    outcome = run_module("next_key", path=str(path), names=["boot.key"], state=state, backup=True)
    assert outcome.failed
    assert words in outcome["msg"]
    assert sorted(os.listdir(path)) == before


@pytest.mark.parametrize("state", ["present", "promoted"])
@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("", 0o600, "is no key that this module made: remove it"),
        ("a key of a person's", 0o600, "is no key that this module made: remove it"),
        ("B" * 44, 0o640, "can be read by others: set its mode to 0600"),
    ],
)
def test_a_next_key_that_is_not_ours_is_refused(
    tmp_path: pathlib.Path, run_module: Run, text: str, mode: int, words: str, state: str
) -> None:
    path = directory(tmp_path / "a", {**OLD, "boot.key.new": text})
    (path / "boot.key.new").chmod(mode)
    outcome = run_module("next_key", path=str(path), names=["boot.key"], state=state)
    assert outcome.failed
    assert words in outcome["msg"]
    assert content(path) == {**OLD, "boot.key.new": text}


@pytest.mark.parametrize("leaf", ["", "boot.key", "boot.key.new", "boot.key.old"])
def test_what_belongs_to_another_user_is_refused(
    tmp_path: pathlib.Path, run_module: Run, leaf: str
) -> None:
    files = {"boot.key": "old", "boot.key.new": "B" * 44, "boot.key.old": "older"}
    path = directory(tmp_path / "a", files)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path / leaf, 4711, -1)
    outcome = run_module("next_key", path=str(path), names=["boot.key"])
    assert outcome.failed
    assert "belongs to user 4711" in outcome["msg"]
    assert "(chown)" in outcome["msg"]


def test_the_directory_is_a_file(tmp_path: pathlib.Path, run_module: Run) -> None:
    (tmp_path / "a").touch()
    outcome = run_module("next_key", path=str(tmp_path / "a"), names=["boot.key"])
    assert "is no directory: correct the path" in outcome["msg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"names": []}, "names is empty"),
        ({"names": ["../a"]}, "cannot name a key file"),
        ({"names": ["a"], "retired": [".b"]}, "cannot name a key file"),
        ({"names": ["a.new"]}, "give the name of the key itself"),
        ({"names": ["a"], "retired": ["a.old"]}, "give the name of the key itself"),
        ({"names": ["a", "a"]}, "is listed twice"),
        ({"names": ["a"], "retired": ["a"]}, "is listed twice"),
    ],
)
def test_names_that_are_refused(
    tmp_path: pathlib.Path, run_module: Run, arguments: dict[str, t.Any], words: str
) -> None:
    outcome = run_module("next_key", path=str(tmp_path / "a"), **arguments)
    assert words in outcome["msg"]
    assert not (tmp_path / "a").exists()


def test_two_machines_may_get_the_directory_above_theirs_at_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def twice(path: str, mode: int) -> None:
        mkdir(path, mode)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", twice)
    next_key.ensure(params(tmp_path / "out" / "web-1"), check_mode=False)
    assert len(os.listdir(tmp_path / "out" / "web-1")) == 2


# Everything by which the module changes something, or has it on the disk.
CALLS = ("chmod", "fsync", "link", "mkdir", "open", "rename", "unlink")


def breaking(monkeypatch: pytest.MonkeyPatch, at: int, fault: t.Callable[[], t.Any]) -> list[int]:
    """Let call number *at* of the kernel have a *fault*; return the count of calls, as it grows."""
    calls = [0]

    def broken(real: t.Any) -> t.Any:
        def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            calls[0] += 1
            if calls[0] == at:
                fault()
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, broken(getattr(os, name)))
    return calls


def fail() -> t.NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def interrupted(asked: dict[str, t.Any], at: int, *, kill: bool) -> bool:
    """Carry out what is asked in a process of its own; say whether it came to call number *at*."""
    child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as patch:
                breaking(patch, at, (lambda: os._exit(9)) if kill else fail)
                next_key.ensure(asked, check_mode=False)
            os._exit(0)
        finally:
            os._exit(9)
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


kinds = pytest.mark.parametrize("kill", [True, False], ids=["killed", "failed"])


@kinds
def test_after_any_interruption_the_next_keys_are_made_once(
    tmp_path: pathlib.Path, kill: bool
) -> None:
    at = 0
    while True:
        at += 1
        path = tmp_path / str(at) / "out"
        path.parent.mkdir()
        if not interrupted(params(path), at, kill=kill):
            break
        between = content(path) if path.exists() else {}
        whole = {name: text for name, text in between.items() if name.endswith(".new")}
        assert all(key_file.is_generated(text.encode()) for text in whole.values())
        next_key.ensure(params(path), check_mode=False)
        after = content(path)
        assert sorted(after) == sorted(f"{name}.new" for name in NAMES)
        # What may have been used already stays.
        assert {name: after[name] for name in whole} == whole
        assert path.stat().st_mode & 0o777 == 0o700
        assert next_key.ensure(params(path), check_mode=False)["changed"] is False
    assert at > 12


@kinds
@pytest.mark.parametrize("backup", [True, False])
@pytest.mark.parametrize("passphrase", [True, False])
def test_after_any_interruption_the_next_keys_are_put_in_place(
    tmp_path: pathlib.Path, kill: bool, backup: bool, passphrase: bool
) -> None:
    end = {"boot.key": BOTH["boot.key.new"]}
    if not passphrase:
        end["recovery.key"] = BOTH["recovery.key.new"]
    if backup:
        end |= {f"{name}.old": text for name, text in OLD.items()}
    more: dict[str, t.Any] = {"backup": backup, "state": "promoted"}
    if passphrase:
        more |= {"names": ["boot.key"], "retired": ["recovery.key"]}
    at = 0
    while True:
        at += 1
        older = {"boot.key.old": "an older boot key"} if backup else {}
        path = directory(tmp_path / str(at), {**OLD, **BOTH, **older})
        asked = params(path, **more)
        if not interrupted(asked, at, kill=kill):
            break
        between = content(path)
        # Not put in place before all others, and never lost.
        if "boot.key.new" in between:
            assert between["boot.key"] == OLD["boot.key"]
        else:
            assert {name: between[name] for name in end} == end
        assert BOTH["boot.key.new"] in between.values()
        next_key.ensure(asked, check_mode=False)
        assert content(path) == end
        assert next_key.ensure(asked, check_mode=False)["changed"] is False
    assert at > 5


@kinds
def test_a_whole_rotation_after_an_interruption_keeps_the_oldest_keys(
    tmp_path: pathlib.Path, kill: bool
) -> None:
    """The role begins anew with the same boot key, and with another recovery key if that was in place already."""
    at = 0
    while True:
        at += 1
        path = directory(tmp_path / str(at), {**OLD, **BOTH})
        asked = params(path, backup=True, state="promoted")
        if not interrupted(asked, at, kill=kill):
            break
        if not (path / "boot.key.new").exists():
            continue  # it was complete
        next_key.ensure(params(path), check_mode=False)
        next_key.ensure(asked, check_mode=False)
        after = content(path)
        assert sorted(after) == sorted([*NAMES, *(f"{name}.old" for name in NAMES)])
        assert after["boot.key"] == BOTH["boot.key.new"]
        assert {name: after[f"{name}.old"] for name in NAMES} == OLD
    assert at > 5


def test_what_an_interrupted_call_has_made_is_put_on_the_disk(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be seen, and not be there after a power failure."""
    path = directory(tmp_path / "a", BOTH)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    assert next_key.ensure(params(path), check_mode=False)["changed"] is False
    assert synced == [path.stat().st_ino]


@pytest.mark.parametrize(
    ("leaves", "more", "kept", "steps"),
    [
        ("", {}, "", "generate:a generate:b"),
        ("a b a.new", {}, "", "generate:b"),
        (".a.new.7 a.new b.new x", {}, "", "forget:.a.new.7"),
        (".a.new.7", {"names": ["b"]}, "", "generate:b"),
        ("a b a.new b.new", {"state": "promoted"}, "", "promote:a promote:b"),
        ("a b b.new", {"state": "promoted"}, "", "promote:b"),
        ("a b", {"state": "promoted", "backup": True}, "", ""),
        (
            "a b a.new b.new",
            {"state": "promoted", "backup": True},
            "",
            "keep:a keep:b promote:a promote:b",
        ),
        (
            "a a.old b a.new b.new",
            {"state": "promoted", "backup": True},
            "a",
            "keep:b promote:a promote:b",
        ),
        (
            "a b b.old a.new b.new",
            {"state": "promoted", "backup": True},
            "b",
            "promote:a promote:b",
        ),
        (
            "b b.new c c.new",
            {"state": "promoted", "names": ["b"], "retired": ["c", "d"]},
            "",
            "forget:c.new retire:c promote:b",
        ),
    ],
)
def test_the_plan(leaves: str, more: dict[str, t.Any], kept: str, steps: str) -> None:
    asked = params(pathlib.Path("/x"), **{"names": ["a", "b"], **more})
    found = next_key.plan(set(leaves.split()), asked, kept=set(kept.split()))
    assert [":".join(step) for step in found] == steps.split()


def test_the_plan_without_a_key() -> None:
    asked = params(pathlib.Path("/x"), names=["a"], state="promoted")
    with pytest.raises(SealedRootError, match=r"neither a nor a\.new in /x"):
        next_key.plan({"b"}, asked)
