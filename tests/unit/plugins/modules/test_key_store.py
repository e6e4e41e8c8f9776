# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_store with a scripted mount(8)."""

from __future__ import annotations

import base64
import os
import pathlib
import stat
import typing as t

import pytest
from ansible.module_utils import basic
from ansible_collections.sealedroot.image.plugins.module_utils._build import input_mac
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts

Run = t.Callable[..., t.Any]


class Store:
    """The tmpfs that the tests pretend to have: mountinfo is a file of ours."""

    def __init__(self, script: t.Any, work: pathlib.Path) -> None:
        self.script = script
        self.path = work / "private dir"
        self.table = work / "mountinfo"
        self.table.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")

    def mounted(
        self,
        *,
        source: str = "sealedroot-keys",
        type_: str = "tmpfs",
        options: str = "rw,nosuid,nodev",
    ) -> None:
        self.path.mkdir(mode=0o700, exist_ok=True)
        escaped = str(self.path).replace(" ", "\\040")
        with self.table.open("a") as file:
            file.write(f"30 22 0:40 / {escaped} {options} shared:1 - {type_} {source} rw,size=1m\n")

    def expect_mount(self, size: str = "512m", noswap: bool = True) -> None:
        options = f"mode=0700,size={size},nosuid,nodev"
        argv = ["mount", "-t", "tmpfs", "-o"]
        end = ["sealedroot-keys", str(self.path)]
        effect = self.mounted if noswap else None
        self.script.expect(
            [*argv, f"{options},noswap", *end], rc=0 if noswap else 32, effect=effect
        )
        if not noswap:
            self.script.expect([*argv, options, *end], effect=self.mounted)

    def key(self, name: str) -> pathlib.Path:
        return self.path / "keys" / name


@pytest.fixture
def store(script: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    it = Store(script, tmp_path)
    monkeypatch.setattr(mounts, "read", lambda: mounts.parse(it.table.read_text()))
    return it


@pytest.mark.parametrize("noswap", [True, False])
def test_keys_are_generated_in_a_tmpfs_of_their_own(
    store: Store, run_module: Run, noswap: bool
) -> None:
    store.expect_mount(noswap=noswap)
    outcome = run_module("key_store", path=str(store.path), keys=[{"name": "a.key"}, {"name": "b"}])
    assert not outcome.failed
    assert outcome["changed"] is True
    assert outcome["generated"] == ["a.key", "b"]
    assert outcome["files"] == {"a.key": str(store.key("a.key")), "b": str(store.key("b"))}
    first, second = store.key("a.key").read_bytes(), store.key("b").read_bytes()
    assert len(base64.b64decode(first, validate=True)) == 33
    assert len(first) == 44
    assert first != second
    assert stat.S_IMODE(store.key("b").stat().st_mode) == 0o600
    assert stat.S_IMODE((store.path / "keys").stat().st_mode) == 0o700
    assert sorted(it.name for it in (store.path / "keys").iterdir()) == ["a.key", "b"]
    assert first.decode() not in str(outcome.result)


def test_modes_do_not_depend_on_the_umask(store: Store, run_module: Run) -> None:
    store.expect_mount(size="1m")
    old = os.umask(0o077)
    try:
        run_module("key_store", path=str(store.path), size="1m")
    finally:
        os.umask(old)
    assert stat.S_IMODE((store.path / "run").stat().st_mode) == 0o755


def test_what_is_there_is_kept(store: Store, run_module: Run) -> None:
    store.mounted()
    keys: list[dict[str, t.Any]] = [{"name": "a.key"}, {"name": "r.key", "content": "a passphrase"}]
    outcome = run_module("key_store", path=str(store.path), keys=keys)
    assert outcome["generated"] == ["a.key"]
    before = store.key("a.key").read_bytes()
    assert store.key("r.key").read_bytes() == b"a passphrase"
    again = run_module("key_store", path=str(store.path), keys=keys)
    assert again["changed"] is False
    assert again["generated"] == []
    assert store.key("a.key").read_bytes() == before


def test_check_mode_touches_nothing(store: Store, run_module: Run) -> None:
    outcome = run_module("key_store", _check=True, path=str(store.path), keys=[{"name": "a"}])
    assert outcome["changed"] is True
    assert outcome["generated"] == ["a"]
    assert not store.path.exists()
    store.mounted()
    outcome = run_module("key_store", _check=True, path=str(store.path), keys=[{"name": "a"}])
    assert outcome["changed"] is True
    assert list(store.path.iterdir()) == []


def test_the_difference_names_keys_and_shows_none(store: Store, run_module: Run) -> None:
    store.expect_mount()
    keys = [{"name": "r.key", "content": "correct horse battery"}]
    outcome = run_module("key_store", _diff=True, path=str(store.path), keys=keys)
    assert outcome["diff"] == {
        "before": {"mounted": False, "keys": []},
        "after": {"mounted": True, "keys": ["r.key"]},
    }
    assert "correct horse" not in str(
        {k: v for k, v in outcome.result.items() if k != "invocation"}
    )
    assert "correct horse" not in str(outcome.result)


def test_the_journal_has_no_secret(
    store: Store, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(
        basic.AnsibleModule, "_log_to_syslog", lambda _module, text: said.append(text)
    )
    store.expect_mount()
    given = {"root_password_hash": "$6$of$a-person", "customize": ["0123abcd"]}
    done = run_module(
        "key_store",
        path=str(store.path),
        keys=[{"name": "boot.key", "content": "what a person made up"}],
        mac={"key": "boot.key", "image": "web-1", **given},
        _ansible_target_log_info="a build",
    )
    assert not done.failed
    (line,) = said
    assert line.startswith("a build Invoked with")
    assert line.count("********") == 3
    assert [word for word in ("person", "0123") if word in line] == []


def test_another_key_in_its_place_is_an_error(store: Store, run_module: Run) -> None:
    store.mounted()
    run_module("key_store", path=str(store.path), keys=[{"name": "r", "content": "one two three"}])
    keys = [{"name": "r", "content": "four five six"}]
    for check in (True, False):
        outcome = run_module("key_store", _check=check, path=str(store.path), keys=keys)
        assert outcome.failed
        assert "holds another key" in outcome["msg"]
        assert "four" not in str(outcome.result)
    assert store.key("r").read_bytes() == b"one two three"


@pytest.mark.parametrize(
    "content",
    ["", "x" * 255, "line\n", "a\nb", "tab\there", "caf\u00e9", "\x7f", "nul\0", "esc\x1b", "a\rb"],
)
def test_what_cannot_be_typed_at_grub_is_refused(
    store: Store, run_module: Run, content: str
) -> None:
    outcome = run_module(
        "key_store", path=str(store.path), keys=[{"name": "r", "content": content}]
    )
    assert outcome.failed
    assert "254 printable ASCII" in outcome["msg"]
    assert not store.path.exists()


@pytest.mark.parametrize("content", ["x", "y" * 254, " ~ spaces ~ "])
def test_what_can_be_typed_is_stored_as_it_is(store: Store, run_module: Run, content: str) -> None:
    store.mounted()
    run_module("key_store", path=str(store.path), keys=[{"name": "r", "content": content}])
    assert store.key("r").read_bytes() == content.encode()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\n"])
def test_names_that_are_no_file_names(store: Store, run_module: Run, name: str) -> None:
    outcome = run_module("key_store", path=str(store.path), keys=[{"name": name}])
    assert outcome.failed
    assert "cannot name a key file" in outcome["msg"]


def test_one_name_twice(store: Store, run_module: Run) -> None:
    outcome = run_module("key_store", path=str(store.path), keys=[{"name": "a"}, {"name": "a"}])
    assert outcome.failed
    assert "twice" in outcome["msg"]


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize(
    "other",
    [{"source": "tmpfs"}, {"type_": "ext4", "source": "/dev/sda2"}, {"options": "rw"}],
)
def test_a_mount_that_it_did_not_make_is_left_alone(
    store: Store, run_module: Run, other: dict[str, str], state: str
) -> None:
    store.mounted(**other)
    outcome = run_module("key_store", path=str(store.path), state=state, keys=[{"name": "a"}])
    assert outcome.failed
    assert "another path" in outcome["msg"]
    assert list(store.path.iterdir()) == []


def test_a_store_that_others_can_enter_is_refused(store: Store, run_module: Run) -> None:
    store.mounted()
    store.path.chmod(0o755)
    outcome = run_module("key_store", path=str(store.path), keys=[{"name": "a"}])
    assert outcome.failed
    assert f"chmod 0700 {store.path}" in outcome["msg"]


def test_something_else_in_the_place_of_a_key(store: Store, run_module: Run) -> None:
    store.mounted()
    (store.path / "keys" / "a").mkdir(parents=True)
    outcome = run_module("key_store", path=str(store.path), keys=[{"name": "a"}])
    assert outcome.failed
    assert "regular file" in outcome["msg"]


def test_a_kill_while_a_key_is_written_leaves_no_half_key(
    store: Store, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.mounted()

    def killed(*_args: t.Any, **_kwargs: t.Any) -> t.NoReturn:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(ValueError, match="Expecting value"):  # printed nothing
            run_module("key_store", path=str(store.path), keys=[{"name": "a"}])
    assert not store.key("a").exists()
    outcome = run_module("key_store", path=str(store.path), keys=[{"name": "a"}])
    assert outcome["generated"] == ["a"]
    assert len(store.key("a").read_bytes()) == 44


def test_absent_unmounts_once(store: Store, run_module: Run) -> None:
    store.mounted()
    table = store.table.read_text().splitlines()[0] + "\n"
    store.script.expect(["umount", str(store.path)], effect=lambda: store.table.write_text(table))
    assert run_module("key_store", path=str(store.path), state="absent")["changed"] is True
    assert run_module("key_store", path=str(store.path), state="absent")["changed"] is False


def test_absent_in_check_mode(store: Store, run_module: Run) -> None:
    store.mounted()
    outcome = run_module("key_store", _check=True, path=str(store.path), state="absent")
    assert outcome["changed"] is True


def test_a_busy_store(store: Store, run_module: Run) -> None:
    store.mounted()
    store.script.expect(["umount", str(store.path)], rc=32, stderr="umount: target is busy.")
    outcome = run_module("key_store", path=str(store.path), state="absent")
    assert outcome.failed
    assert "target is busy" in outcome["msg"]


HASH = "$6$salt$hash"


def test_macs_of_secret_inputs_are_made_with_a_key_of_the_store(
    store: Store, run_module: Run
) -> None:
    store.mounted()
    arguments = {
        "path": str(store.path),
        "keys": [{"name": "boot.key"}],
        "mac": {"key": "boot.key", "image": "web-1", "root_password_hash": HASH},
    }
    planned = run_module("key_store", _check=True, **arguments)
    assert "macs" not in planned.result
    outcome = run_module("key_store", **arguments)
    key = store.key("boot.key").read_bytes()
    assert outcome["macs"] == input_mac.macs(key, "web-1", root_password_hash=HASH, customize=[])
    assert HASH not in str(outcome.result)
    assert "macs" not in run_module("key_store", path=str(store.path), state="present").result


def test_the_uuid_of_the_root_is_made_with_a_key_of_the_store(
    store: Store, run_module: Run
) -> None:
    store.mounted()
    given = "6d1f5c0e-3c0b-4f0a-9d5c-0a6b3f6b1c2d"
    mac = {"key": "boot.key", "image": "web-1"}
    arguments = {"path": str(store.path), "keys": [{"name": "boot.key"}]}
    outcome = run_module("key_store", **arguments, mac={**mac, "image_uuid": given})
    key = store.key("boot.key").read_bytes()
    assert outcome["root_uuid"] == input_mac.root_uuid(key, given)
    assert "root_uuid" not in run_module("key_store", **arguments, mac=mac).result
    outcome = run_module("key_store", **arguments, mac={**mac, "image_uuid": "web-1"})
    assert outcome["msg"] == "mac.image_uuid 'web-1' is no UUID: take what uuidgen prints"


def test_a_key_outside_of_the_store_makes_no_mac(store: Store, run_module: Run) -> None:
    store.mounted()
    outcome = run_module(
        "key_store", path=str(store.path), mac={"key": "../boot.key", "image": "web-1"}
    )
    assert outcome.failed
    assert "cannot name a key file" in outcome["msg"]


def old_key(path: pathlib.Path, text: str) -> list[dict[str, t.Any]]:
    """The keys of a rotation, whose machine has the key *text* in its key file."""
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(text)
    return [
        {"name": "boot.key", "content": "the new key"},
        {"name": "old.key", "src": str(path), "unless_same_as": "boot.key"},
    ]


def test_a_key_is_kept_while_another_takes_its_place(
    store: Store, run_module: Run, tmp_path: pathlib.Path
) -> None:
    store.mounted()
    file = tmp_path / "machine.key"
    for check in (True, False, False):
        keys = old_key(file, "the old key")
        outcome = run_module("key_store", _check=check, path=str(store.path), keys=keys)
        assert outcome["files"]["old.key"] == str(store.key("old.key"))
        assert (outcome["generated"], outcome["same"]) == ([], [])
        assert "the old key" not in str(outcome.result)
    assert outcome["changed"] is False
    assert store.key("old.key").read_text() == "the old key"
    assert stat.S_IMODE(store.key("old.key").stat().st_mode) == 0o600
    # The machine has the new key: that is not taken for the old one, which stays.
    for check in (True, False):
        keys = old_key(file, "the new key")
        outcome = run_module("key_store", _check=check, path=str(store.path), keys=keys)
        assert (outcome["changed"], outcome["same"]) == (False, ["old.key"])
        assert outcome["files"]["old.key"] == str(store.key("old.key"))
    assert store.key("old.key").read_text() == "the old key"


def test_after_a_reboot_the_new_key_is_not_taken_for_the_old_one(
    store: Store, run_module: Run, tmp_path: pathlib.Path
) -> None:
    keys = old_key(tmp_path / "machine.key", "the new key")
    planned = run_module("key_store", _check=True, path=str(store.path), keys=keys)
    store.expect_mount()
    outcome = run_module("key_store", path=str(store.path), keys=keys)
    for it in (planned, outcome):
        assert (it["same"], list(it["files"])) == (["old.key"], ["boot.key"])
        assert it["diff"]["after"]["keys"] == ["boot.key"]
    assert not store.key("old.key").exists()


def test_a_kill_while_the_old_key_is_copied_leaves_no_half_key(
    store: Store, run_module: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.mounted()
    keys = old_key(tmp_path / "machine.key", "the old key")
    link = os.link

    def killed(source: str, target: str) -> None:
        if target == str(store.key("old.key")):
            raise SystemExit(137)
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(ValueError, match="Expecting value"):  # printed nothing
            run_module("key_store", path=str(store.path), keys=keys)
    assert not store.key("old.key").exists()
    assert run_module("key_store", path=str(store.path), keys=keys)["changed"] is True
    assert store.key("old.key").read_text() == "the old key"


def test_a_third_key_is_not_kept_in_the_place_of_the_old_one(
    store: Store, run_module: Run, tmp_path: pathlib.Path
) -> None:
    store.mounted()
    file = tmp_path / "machine.key"
    run_module("key_store", path=str(store.path), keys=old_key(file, "the old key"))
    outcome = run_module("key_store", path=str(store.path), keys=old_key(file, "a third key"))
    assert outcome.failed
    assert outcome["msg"] == f"{store.key('old.key')} holds another key already: remove it first"
    assert store.key("old.key").read_text() == "the old key"


@pytest.mark.parametrize(
    ("mode", "words"), [(0o644, "can be read by others"), (None, "does not exist")]
)
def test_a_source_that_others_can_read_or_that_is_not_there(
    store: Store, run_module: Run, tmp_path: pathlib.Path, mode: int | None, words: str
) -> None:
    store.mounted()
    file = tmp_path / "machine.key"
    keys = old_key(file, "the old key")
    if mode is None:
        file.unlink()
    else:
        file.chmod(mode)
    outcome = run_module("key_store", path=str(store.path), keys=keys)
    assert outcome.failed
    assert words in outcome["msg"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([{"name": "a", "src": "/x", "content": "a passphrase"}], "mutually exclusive"),
        ([{"name": "a"}, {"name": "b", "unless_same_as": "a"}], "missing parameter(s)"),
        ([{"name": "a", "src": "/x", "unless_same_as": "b"}, {"name": "b"}], "list that one first"),
        ([{"name": "a", "src": "/x", "unless_same_as": "a"}], "list that one first"),
    ],
)
def test_sources_that_make_no_sense(
    store: Store, run_module: Run, keys: list[dict[str, t.Any]], words: str
) -> None:
    outcome = run_module("key_store", path=str(store.path), keys=keys)
    assert outcome.failed
    assert words in outcome["msg"]
