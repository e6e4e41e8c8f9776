# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""keyfile_rotate with scripted commands: exact argv, in order, and nothing more."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule

UUID = "7d2f4c2e-1c1a-4e0b-9a8b-3d7f4c2e1c1a"
OFFSET, SIZE = 1 << 20, 4 << 20
LOOP = "/dev/loop9"


def dump(slots: t.Mapping[int, int]) -> str:
    lines = ["LUKS header information for /dev/loop9", "", "Version:       \t1"]
    lines += ["Cipher name:   \taes", "Cipher mode:   \txts-plain64", "Hash spec:     \tsha256"]
    lines += ["Payload offset:\t4096", "MK bits:       \t512", "MK iterations: \t1000"]
    lines += [f"UUID:          \t{UUID}", ""]
    for slot in range(8):
        if slot in slots:
            lines += [f"Key Slot {slot}: ENABLED", f"\tIterations:         \t{slots[slot]}"]
            lines += ["\tSalt:               \t00 11 ", "\t                      \t22 33 "]
            start = 4096 + slot * 258048
            lines += [f"\tKey material offset:\t{start // 512}", "\tAF stripes:            \t4000"]
        else:
            lines.append(f"Key Slot {slot}: DISABLED")
    return "\n".join(lines) + "\n"


def dump2(slots: t.Mapping[int, int], hash_: str = "sha256") -> str:
    kdf, cipher = {"type": "pbkdf2", "hash": hash_}, "aes-xts-plain64"
    return json.dumps(
        {
            "keyslots": {
                str(slot): {
                    "type": "luks2",
                    "key_size": 64,
                    "af": {"type": "luks1", "hash": hash_},
                    "kdf": {**kdf, "iterations": iterations},
                    "area": {
                        "type": "raw",
                        "encryption": cipher,
                        "offset": "32768",
                        "size": "258048",
                    },
                }
                for slot, iterations in slots.items()
            },
            "tokens": {},
            "segments": {"0": {"type": "crypt", "offset": "16777216", "encryption": cipher}},
            "digests": {"0": {"type": "pbkdf2", "hash": hash_, "iterations": 1000}},
            "config": {"json_size": "12288", "keyslots_size": "16744448"},
        }
    )


class Talk:
    """Adds the expected commands of one run."""

    def __init__(self, script: t.Any, work: pathlib.Path) -> None:
        self.script, self.work = script, work
        self.image = work / "disk.raw"
        self.hash = "sha256"

    def key(self, name: str) -> str:
        return str(self.work / f"{name}.key")

    def attach(self) -> None:
        argv = ["losetup", "--find", "--show", "--offset", str(OFFSET), "--sizelimit", str(SIZE)]
        self.script.expect([*argv, str(self.image)], stdout=f"{LOOP}\n")

    def detach(self) -> None:
        self.script.expect(["losetup", "--detach", LOOP])
        columns = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
        self.script.expect(["losetup", "--list", "--json", "--output", columns])

    def header(self, slots: t.Mapping[int, int]) -> None:
        self.script.expect(["cryptsetup", "luksDump", LOOP], stdout=dump(slots))

    def header2(self, slots: t.Mapping[int, int]) -> None:
        self.script.expect(
            ["cryptsetup", "luksDump", LOOP],
            stdout=f"Version:       \t2\nUUID:          \t{UUID}\n",
        )
        self.script.expect(
            ["cryptsetup", "luksDump", "--dump-json-metadata", LOOP],
            stdout=dump2(slots, self.hash),
        )

    def opens(self, name: str, slot: int, yes: bool = True) -> None:
        argv = ["cryptsetup", "open", "--test-passphrase", "--verbose"]
        argv += ["--key-file", self.key(name), "--key-slot", str(slot), LOOP]
        said = f"Key slot {slot} unlocked.\n" if yes else ""
        self.script.expect(argv, rc=0 if yes else 2, stdout=said)

    def opens_nothing(self, name: str, slot: int | None = None) -> None:
        argv = [
            "cryptsetup",
            "open",
            "--test-passphrase",
            "--verbose",
            "--key-file",
            self.key(name),
        ]
        said = "" if slot is None else f"Key slot {slot} unlocked.\n"
        self.script.expect([*argv, LOOP], rc=2 if slot is None else 0, stdout=said)

    def add(self, slot: int, name: str, unlock: str, iterations: int = 1000) -> None:
        argv = ["cryptsetup", "luksAddKey", "--batch-mode", "--key-slot", str(slot)]
        argv += ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(iterations)]
        argv += ["--hash", self.hash, "--key-file", self.key(unlock), LOOP, self.key(name)]
        self.script.expect(argv)

    def kill(self, slot: int, unlock: str) -> None:
        argv = ["cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", self.key(unlock)]
        self.script.expect([*argv, LOOP, str(slot)])


@pytest.fixture
def talk(script: t.Any, tmp_path: pathlib.Path) -> Talk:
    it = Talk(script, tmp_path)
    it.image.write_bytes(b"")
    with it.image.open("r+b") as file:
        file.truncate(OFFSET + SIZE)
    for name in ("build", "boot", "recovery", "old"):
        path = pathlib.Path(it.key(name))
        path.touch(mode=0o600)
        path.write_text(f"the {name} key")
    return it


@pytest.fixture
def rotate(talk: Talk, run_module: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    def run(recovery_iterations: int = 1000, **more: t.Any) -> t.Any:
        args: dict[str, t.Any] = {
            "path": str(talk.image),
            "offset": OFFSET,
            "size": SIZE,
            "unlock_key_files": [talk.key("build")],
            "keys": [
                {"slot": 0, "key_file": talk.key("boot"), "iterations": 1000},
                {"slot": 1, "key_file": talk.key("recovery"), "iterations": recovery_iterations},
            ],
        }
        return run_module("keyfile_rotate", **{**args, **more})

    return run


def test_another_key_is_replaced(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    talk.attach()
    talk.header({0: 1000})
    talk.opens("boot", 0, yes=False)
    talk.opens("recovery", 0, yes=False)
    talk.opens("build", 0)
    talk.add(7, "boot", "build")
    talk.opens("boot", 7)
    talk.kill(0, "boot")
    talk.add(0, "boot", "boot")
    talk.opens("boot", 0)
    talk.add(1, "recovery", "boot", 600000)
    talk.opens("recovery", 1)
    talk.kill(7, "boot")
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.header({0: 1000, 1: 600000})
    talk.detach()
    outcome = rotate(recovery_iterations=600000)
    assert not outcome.failed
    assert {key: outcome[key] for key in ("changed", "uuid", "slots", "added", "removed")} == {
        "changed": True,
        "uuid": UUID,
        "slots": {"0": 1000, "1": 600000},
        "added": [7, 0, 1],
        "removed": [0, 7],
    }
    assert outcome["diff"] == {
        "before": {"slots": {"0": 1000}},
        "after": {"slots": {"0": 1000, "1": 600000}},
    }
    assert "the boot key" not in json.dumps(outcome.result)


def test_a_second_run_changes_nothing(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    talk.attach()
    talk.header({0: 1000, 1: 1000})
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.header({0: 1000, 1: 1000})
    talk.detach()
    outcome = rotate()
    assert not outcome.failed
    assert outcome["changed"] is False
    assert outcome["added"] == outcome["removed"] == []


def test_check_mode_predicts(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    talk.attach()
    talk.header({7: 1000})
    talk.opens("boot", 7, yes=False)
    talk.opens("recovery", 7, yes=False)
    talk.opens("build", 7)
    talk.detach()
    outcome = rotate(_check=True, _diff=True)
    assert outcome["changed"] is True
    assert (outcome["added"], outcome["removed"]) == ([0, 1], [7])
    assert outcome["diff"]["after"] == {"slots": {"0": 1000, "1": 1000}}


def test_luks2_slots_get_the_hash_of_the_header(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    # cryptsetup would take sha256, which an image's GRUB for sha512 does not carry.
    talk.hash = "sha512"
    talk.attach()
    talk.header2({0: 1000})
    talk.opens("boot", 0)
    talk.opens("recovery", 0, yes=False)
    talk.opens("build", 0, yes=False)
    talk.script.expected.pop()  # every slot is explained: the other key is not tried
    talk.script.expected.pop()
    talk.add(1, "recovery", "boot", 600000)
    talk.opens("recovery", 1)
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.header2({0: 1000, 1: 600000})
    talk.detach()
    assert rotate(recovery_iterations=600000)["added"] == [1]


def test_a_luks2_slot_that_makes_grub_wait_is_made_again(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header2({1: 600000, 0: 1000})
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.add(31, "recovery", "boot", 600000)
    talk.opens("recovery", 31)
    talk.kill(1, "boot")
    talk.add(1, "recovery", "boot", 600000)
    talk.opens("recovery", 1)
    talk.kill(31, "boot")
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.header2({0: 1000, 1: 600000})
    talk.detach()
    assert rotate(recovery_iterations=600000)["changed"] is True


def test_an_argon2_slot_is_never_right(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    text = json.loads(dump2({0: 1000, 1: 1000}))
    text["keyslots"]["1"]["kdf"] = {"type": "argon2id", "time": 1000, "memory": 64, "cpus": 1}
    talk.attach()
    talk.header2({})
    talk.script.expected[-1].stdout = json.dumps(text)
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.detach()
    assert rotate(_check=True)["removed"] == [1, 31]


def test_a_key_that_was_added_but_does_not_open_removes_nothing(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({7: 1000})
    talk.opens("boot", 7, yes=False)
    talk.opens("recovery", 7, yes=False)
    talk.opens("build", 7)
    talk.add(0, "boot", "build")
    talk.opens("boot", 0, yes=False)
    talk.detach()
    outcome = rotate()
    assert outcome.failed
    assert "slot 0" in outcome["msg"]


def test_the_loop_device_goes_when_a_command_fails(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({7: 1000})
    talk.opens("boot", 7, yes=False)
    talk.opens("recovery", 7, yes=False)
    talk.opens("build", 7)
    talk.add(0, "boot", "build")
    talk.script.expected[-1].rc = 5
    talk.script.expected[-1].stderr = "Device /dev/loop9 is in use."
    talk.detach()
    outcome = rotate()
    assert outcome.failed
    assert "is in use" in outcome["msg"]


def test_no_key_opens(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    talk.attach()
    talk.header({3: 1000})
    for name in ("boot", "recovery", "build"):
        talk.opens(name, 3, yes=False)
    talk.detach()
    outcome = rotate()
    assert outcome.failed
    assert "none of the given keys opens" in outcome["msg"]


def test_no_header(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    talk.attach()
    talk.script.expect(["cryptsetup", "luksDump", LOOP], rc=1)
    talk.detach()
    outcome = rotate()
    assert outcome.failed
    assert f"no LUKS header in {talk.image} at offset {OFFSET}" in outcome["msg"]


def test_other_slots_than_wished_are_an_error(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    talk.attach()
    talk.header({0: 1000, 1: 1000})
    talk.opens("boot", 0)
    talk.opens("recovery", 1)
    talk.header({0: 1000, 1: 1000, 4: 1000})
    talk.detach()
    outcome = rotate()
    assert outcome.failed
    assert "instead of" in outcome["msg"]


def boot_only(talk: Talk, **more: t.Any) -> dict[str, t.Any]:
    """Arguments that exchange the boot key and leave the recovery key alone."""
    return {
        "unlock_key_files": [],
        "keys": [{"slot": 0, "key_file": talk.key("boot"), "iterations": 1000}],
        "keep_slots": [1],
        "revoke_key_files": [talk.key("old")],
        **more,
    }


def test_a_kept_slot_needs_no_key_and_the_old_key_is_proved_dead(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({0: 1000, 1: 600000, 7: 1000})
    talk.opens("boot", 0, yes=False)
    talk.opens("boot", 7)
    talk.opens("old", 0)
    talk.opens("old", 1, yes=False)
    talk.kill(0, "boot")
    talk.add(0, "boot", "boot")
    talk.opens("boot", 0)
    talk.kill(7, "boot")
    talk.opens("boot", 0)
    talk.opens_nothing("old")
    talk.header({0: 1000, 1: 600000})
    talk.detach()
    outcome = rotate(**boot_only(talk))
    assert not outcome.failed
    assert (outcome["added"], outcome["removed"]) == ([0], [0, 7])
    assert outcome["slots"] == {"0": 1000, "1": 600000}
    assert outcome["diff"]["after"] == {"slots": {"0": 1000, "1": 600000}}
    assert "warnings" not in outcome.result


def test_a_key_that_still_opens_is_not_called_dead(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({0: 1000})
    talk.opens("boot", 0)
    talk.opens_nothing("old", slot=3)
    talk.detach()
    outcome = rotate(**boot_only(talk))
    assert outcome.failed
    assert f"the key in {talk.key('old')} still opens slot 3" in outcome["msg"]


def test_an_old_key_in_a_kept_slot_is_refused_before_anything_is_changed(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({0: 1000, 1: 1000})
    talk.opens("boot", 0, yes=False)
    talk.opens("old", 0)
    talk.opens("old", 1)
    talk.detach()
    outcome = rotate(**boot_only(talk))
    assert outcome.failed
    assert "opens slot 1, which keep_slots leaves alone" in outcome["msg"]


def test_one_key_cannot_be_kept_and_revoked(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    pathlib.Path(talk.key("old")).write_text("the boot key")
    outcome = rotate(**boot_only(talk))
    assert outcome.failed
    assert "hold the same key" in outcome["msg"]


def test_the_key_of_a_kept_slot_lets_in_when_nothing_else_does(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({0: 1000, 1: 1000})
    talk.opens("boot", 0, yes=False)
    talk.opens("recovery", 0, yes=False)
    talk.opens("recovery", 1)
    talk.detach()
    arguments = boot_only(talk, unlock_key_files=[talk.key("recovery")], revoke_key_files=[])
    outcome = rotate(_check=True, **arguments)
    assert (outcome["added"], outcome["removed"]) == ([7, 0], [0, 7])


def test_a_slow_kept_slot_that_luks2_tries_first_is_warned_of(
    talk: Talk, rotate: t.Callable[..., t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a controller was imported, as by other tests, its display would have it.
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: said.append(text))
    talk.attach()
    talk.header2({0: 1000, 1: 600000})
    talk.opens("boot", 0, yes=False)
    talk.opens("old", 0)
    talk.opens("old", 1, yes=False)
    talk.detach()
    assert not rotate(_check=True, **boot_only(talk)).failed
    assert len(said) == 1
    assert "GRUB tries slot 1" in said[0]


def test_kept_slots_are_checked_before_any_key_is_tried(
    talk: Talk, rotate: t.Callable[..., t.Any]
) -> None:
    talk.attach()
    talk.header({0: 1000})
    talk.detach()
    outcome = rotate(keep_slots=[9])
    assert outcome.failed
    assert "slots 0 to 7" in outcome["msg"]


@pytest.mark.parametrize("name", ["build", "boot"])
def test_a_key_file_that_others_can_read_is_refused_before_anything_runs(
    talk: Talk, rotate: t.Callable[..., t.Any], name: str
) -> None:
    pathlib.Path(talk.key(name)).chmod(0o644)
    outcome = rotate()
    assert outcome.failed
    assert f"chmod 0600 {talk.key(name)}" in outcome["msg"]


def test_an_image_that_is_not_there(talk: Talk, rotate: t.Callable[..., t.Any]) -> None:
    outcome = rotate(path=str(talk.image) + ".none")
    assert outcome.failed
    assert "does not exist" in outcome["msg"]
