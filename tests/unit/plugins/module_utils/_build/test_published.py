# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import json
import os

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    image_files,
    input_mac,
    published,
)
from ansible_collections.sealedroot.image.plugins.module_utils._disk import view
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata

BOOT, RECOVERY = "a boot key with no end of newline", "correct horse battery staple 42"
GIVEN = {
    "boot_key": "",
    "recovery_passphrase": RECOVERY,
    "root_password_hash": "$6$salt$hash",
    "customize": ["c" * 64],
}
ROTATED = "has the disk as it was built, but not the keys that open it ({})"


class Image:
    """A published image; *tries* says what the commands of its look are to answer."""

    def __init__(self, path, script, work):
        self.path, self.script, self.work = path, script, work
        self.key("boot", BOOT)
        self.key("recovery", RECOVERY)
        (path / "disk.qcow2").write_bytes(b"disk")
        self.manifest = {
            "name": "web-1",
            "inputs_mac": input_mac.macs(
                BOOT.encode(), "web-1", root_password_hash="$6$salt$hash", customize=["c" * 64]
            ),
            "luks_region": {"offset": 100 << 20, "size": 1 << 30},
            "files": {
                "boot.key": {"slot": 0},
                "recovery.key": {"slot": 1},
                "disk.qcow2": {"size": 4, "sha256": hashlib.sha256(b"disk").hexdigest()},
            },
        }

    def key(self, name, text):
        path = self.path / f"{name}.key"
        path.write_text(text)
        path.chmod(0o600)

    def tries(self, **answers):
        """Expect that the header is copied and these keys are tried on it."""
        node = {
            "driver": "raw",
            "read-only": True,
            "offset": 100 << 20,
            "size": metadata.MOST_BYTES,
            "file": {
                "driver": "qcow2",
                "read-only": True,
                "file": {
                    "driver": "file",
                    "filename": f"{self.path}/disk.qcow2",
                    "read-only": True,
                },
                "backing": None,
            },
        }
        header = f"{self.work}/header"
        convert = ["qemu-img", "convert", "-O", "raw", f"json:{json.dumps(node)}", header]
        self.script.expect(convert)
        for name, status in answers.items():
            argv = ["cryptsetup", "open", "--test-passphrase", "--verbose"]
            argv += ["--key-file", f"{self.path}/{name}.key"]
            argv += ["--key-slot", str(image_files.KEY_FILES[f"{name}.key"]), header]
            self.script.expect(argv, rc=status)

    def look(self, runner, **given):
        (self.path / "manifest.json").write_text(json.dumps(self.manifest))
        return published.read(runner, str(self.path), {**GIVEN, **given})


@pytest.fixture
def image(tmp_path, script, monkeypatch):
    @contextlib.contextmanager
    def private_directory(wanted):
        assert wanted is None
        yield str(tmp_path / "work")

    monkeypatch.setattr(view, "private_directory", private_directory)
    path = tmp_path / "web-1"
    path.mkdir()
    return Image(path, script, tmp_path / "work")


def test_keys_that_open_the_disk(image, runner):
    image.tries(boot=0, recovery=0)
    seen = image.look(runner)
    assert seen["files"] == {"boot.key": True, "recovery.key": True, "disk.qcow2": True}
    assert (seen["intact"], seen["problem"], seen["keys_tried"]) == (True, "", True)
    assert (seen["other_inputs"], seen["warnings"]) == ([], [])


@pytest.mark.parametrize(
    ("answers", "bad"),
    [
        ({"boot": 2, "recovery": 0}, ["boot.key"]),
        ({"boot": 2, "recovery": 2}, ["boot.key", "recovery.key"]),
        ({"boot": 0, "recovery": 2}, ["recovery.key"]),
    ],
)
def test_keys_of_the_running_machine(image, runner, answers, bad):
    """As rotate_keys leaves them: what is said is neither 'remove it' nor that the inputs are others."""
    for name, status in answers.items():
        if status:
            image.key(name, "a newer key")
    image.tries(**answers)
    seen = image.look(runner)
    assert [name for name, good in seen["files"].items() if not good] == bad
    assert not seen["intact"]
    assert ROTATED.format(", ".join(bad)) in seen["problem"]
    assert "remove it" not in seen["problem"]
    assert seen["other_inputs"] == []


def test_a_recovery_key_that_became_a_passphrase(image, runner):
    """After rotate_keys with rotate_recovery_passphrase there is no such file any more."""
    image.key("boot", "a newer key")
    (image.path / "recovery.key").unlink()
    image.tries(boot=2)
    assert ROTATED.format("boot.key, recovery.key") in image.look(runner)["problem"]


@pytest.mark.parametrize("missing", ["qemu-img", "cryptsetup"])
def test_keys_that_cannot_be_tried(image, runner, missing):
    """They are there, and that is all that is said of them."""
    runner.missing.add(missing)
    if missing == "cryptsetup":
        image.tries()
    seen = image.look(runner)
    assert (seen["intact"], seen["keys_tried"]) == (True, False)
    (warning,) = seen["warnings"]
    assert "were not tried on its disk: " in warning
    assert missing in warning


def test_another_boot_key_is_known_without_any_tool(image, runner):
    image.key("boot", "a newer key")
    runner.missing.add("qemu-img")
    seen = image.look(runner)
    assert ROTATED.format("boot.key") in seen["problem"]
    assert seen["other_inputs"] == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"boot_key": BOOT}, []),
        ({"recovery_passphrase": ""}, []),
        ({"boot_key": f"{BOOT}."}, ["boot_key"]),
        ({"recovery_passphrase": f"{RECOVERY}."}, ["recovery"]),
        ({"root_password_hash": "$6$salt$hasj"}, ["root_password"]),
        ({"customize": []}, ["customize"]),
        (
            {"boot_key": "x", "recovery_passphrase": "y", "root_password_hash": ""},
            ["boot_key", "recovery", "root_password"],
        ),
    ],
)
def test_other_inputs_are_named(image, runner, given, names):
    image.tries(boot=0, recovery=0)
    seen = image.look(runner, **given)
    assert seen["intact"]
    assert seen["other_inputs"] == names


def test_inputs_are_not_compared_unless_they_are_given(image, runner):
    image.tries(boot=0, recovery=0)
    image.look(runner)
    image.tries(boot=0, recovery=0)
    assert published.read(runner, str(image.path))["other_inputs"] == []


@pytest.mark.parametrize("how", ["missing", "empty", "link", "readable"])
def test_a_file_that_is_no_key_file(image, runner, how):
    path = image.path / "boot.key"
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_text("")
    elif how == "link":
        path.rename(image.path / "other")
        path.symlink_to("other")
    else:
        path.chmod(0o644)
    image.tries(recovery=0)
    seen = image.look(runner)
    assert not seen["intact"]
    assert f"{image.path} exists and is not whole (boot.key)" in seen["problem"]


def test_a_disk_that_changed_is_not_opened(image, runner):
    (image.path / "disk.qcow2").write_bytes(b"disc")
    seen = image.look(runner)
    assert "is not whole (disk.qcow2)" in seen["problem"]
    assert not seen["keys_tried"]


def test_a_manifest_leads_nowhere_else(image, runner):
    os.rename(image.path / "boot.key", image.path.parent / "boot.key")
    image.manifest["files"] = {"../boot.key": {"slot": 0}}
    assert image.look(runner)["files"] == {"../boot.key": False}


def test_nothing_that_was_compared_is_returned(image, runner):
    image.tries(boot=0, recovery=0)
    said = str(image.look(runner, boot_key="x" * 43, recovery_passphrase="y" * 20))
    for secret in (BOOT, RECOVERY, "$6$salt$hash", "x" * 43, "y" * 20, "c" * 64):
        assert secret not in said


def launched(image):
    """Add what a confidential guest is started from."""
    (image.path / "launch").mkdir()
    (image.path / "launch/core.efi").write_bytes(b"core")
    secret = image.path / "launch/secret.bin"
    secret.write_bytes(secret_table.build(BOOT.encode(), 0xC00))
    secret.chmod(0o600)
    image.manifest["files"]["launch/core.efi"] = {
        "size": 4,
        "sha256": hashlib.sha256(b"core").hexdigest(),
    }
    image.manifest["files"]["launch/secret.bin"] = {"holds": "boot.key"}
    return secret


def test_what_a_guest_is_started_from_is_compared(image, runner):
    launched(image)
    image.tries(boot=0, recovery=0)
    found = image.look(runner)
    assert found["intact"]
    assert found["files"]["launch/core.efi"]
    assert found["files"]["launch/secret.bin"]


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.write_bytes(secret_table.build(b"another key", 0xC00)),
        lambda it: it.chmod(0o644),
        lambda it: it.unlink(),
    ],
)
def test_a_launch_secret_with_another_key_is_noticed(image, runner, change):
    change(launched(image))
    image.tries(boot=0, recovery=0)
    found = image.look(runner)
    assert not found["intact"]
    assert "is not whole (launch/secret.bin)" in found["problem"]


def test_after_a_rotation_the_secret_is_that_of_the_image(image, runner):
    """It holds the old key, boot.key the new one: nothing is damaged."""
    launched(image)
    image.key("boot", "a new boot key")
    image.tries(boot=2, recovery=0)
    assert ROTATED.format("boot.key, launch/secret.bin") in image.look(runner)["problem"]
