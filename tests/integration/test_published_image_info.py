# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""published_image_info tries the keys of real images on their disks, in every format, and believes no file."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import input_mac

Module = t.Callable[..., dict[str, t.Any]]
KEYS = {"boot": b"the boot key of this test", "recovery": b"the recovery key of this test"}
GIVEN = {"root_password_hash": "$6$salt$hash", "customize": []}
MIB = 1 << 20
OFFSET, SIZE = 1 * MIB, 40 * MIB
CONVERT = {
    "qcow2": ("qcow2",),
    "raw": ("raw",),
    "vhd": ("vpc", "-o", "subformat=fixed,force_size=on"),
    "vhdx": ("vhdx",),
    "vmdk": ("vmdk", "-o", "subformat=streamOptimized"),
}


def sh(*argv: str | pathlib.Path) -> None:
    subprocess.run(argv, check=True, timeout=120, capture_output=True)


class Image:
    """A directory like one that is published."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path / "web-1"
        self.path.mkdir()
        for name, key in KEYS.items():
            (self.path / f"{name}.key").touch(0o600)
            (self.path / f"{name}.key").write_bytes(key)
        self.raw = path / "disk"

    def encrypt(self, kind: str) -> None:
        """Make a disk with a LUKS partition."""
        luks, boot, recovery = (
            self.path.parent / "luks",
            *(self.path / f"{name}.key" for name in KEYS),
        )
        luks.touch()
        os.truncate(luks, SIZE)
        iterations = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "-q")
        sh("cryptsetup", "luksFormat", "--type", kind, *iterations, luks, boot)
        sh("cryptsetup", "luksAddKey", *iterations, "--key-file", boot, luks, recovery)
        with self.raw.open("wb") as disk:
            disk.truncate(OFFSET + SIZE + MIB)
            disk.seek(OFFSET)
            disk.write(luks.read_bytes())

    def publish(self, name: str, source: pathlib.Path | None = None) -> None:
        """Give a disk its name, and list all files as image_publish does."""
        path = self.path / f"disk.{name}"
        driver, *options = CONVERT[name]
        if source is None:
            sh("qemu-img", "convert", "-f", "raw", "-O", driver, *options, self.raw, path)
        else:
            shutil.copy(source, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest = {
            "name": "web-1",
            "inputs_mac": input_mac.macs(
                KEYS["boot"], "web-1", root_password_hash="$6$salt$hash", customize=[]
            ),
            "luks_region": {"offset": OFFSET, "size": SIZE},
            "files": {
                "boot.key": {"slot": 0},
                "recovery.key": {"slot": 1},
                path.name: {"sha256": digest, "size": path.stat().st_size},
            },
        }
        (self.path / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Image:
    return Image(tmp_path)


def look(image: Image, real_module: Module, **given: t.Any) -> dict[str, t.Any]:
    seen = real_module(
        "published_image_info", path=str(image.path), secret_inputs={**GIVEN, **given}
    )
    assert not seen.get("failed"), seen["msg"]
    return seen


@pytest.mark.parametrize("kind", ["luks1", "luks2"])
@pytest.mark.parametrize("name", CONVERT)
def test_keys_are_tried_on_every_format(
    image: Image, real_module: Module, name: str, kind: str
) -> None:
    image.encrypt(kind)
    image.publish(name)
    seen = look(image, real_module)
    assert set(seen["files"].values()) == {True}
    assert (seen["intact"], seen["keys_tried"], seen["other_inputs"]) == (True, True, [])
    # A key opens its own slot, or it is another key.
    (image.path / "recovery.key").write_bytes(KEYS["boot"])
    seen = look(image, real_module)
    assert [it for it, good in seen["files"].items() if not good] == ["recovery.key"]
    assert "has the disk as it was built, but not the keys" in seen["problem"]


def test_other_inputs(image: Image, real_module: Module) -> None:
    image.encrypt("luks1")
    image.publish("qcow2")
    secret = "correct horse battery staple 42"
    seen = look(image, real_module, recovery_passphrase=secret, root_password_hash="")
    assert seen["intact"]
    assert seen["other_inputs"] == ["recovery", "root_password"]
    assert secret not in json.dumps(seen)
    assert "$6$salt$hash" not in json.dumps(look(image, real_module))


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a module warns of, which Ansible prints itself where its controller's code was loaded before."""
    from ansible.module_utils.basic import AnsibleModule

    found: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: found.append(text))
    return found


def test_no_file_leads_to_another(
    image: Image, real_module: Module, tmp_path: pathlib.Path, warned: list[str]
) -> None:
    """Neither by a backing file nor by what a raw disk begins with."""
    image.encrypt("luks1")
    base = shutil.copy(image.raw, tmp_path / "base")
    overlay = tmp_path / "overlay"
    backing = ("-b", base, "-F", "raw")
    sh("qemu-img", "create", "-f", "qcow2", *backing, overlay)
    # As long as the disk it claims to be, or a raw one would end before its header.
    os.truncate(overlay, image.raw.stat().st_size)
    for name in ("qcow2", "raw"):
        image.publish(name, overlay)
        seen = look(image, real_module)
        assert not seen["keys_tried"]
        assert "is not a valid LUKS device" in warned[-1]


def test_where_the_tools_are_not_installed(
    image: Image, real_module: Module, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    from ansible.module_utils.basic import AnsibleModule

    image.encrypt("luks1")
    image.publish("qcow2")
    monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda *_args, **_options: None)
    seen = look(image, real_module)
    assert (seen["intact"], seen["keys_tried"]) == (True, False)
    assert "qemu-img is not installed on this machine" in warned[-1]
