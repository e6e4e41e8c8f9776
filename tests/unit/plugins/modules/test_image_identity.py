# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.modules import image_identity

HASH = "$6$salt$abcdefghijklmnopqrstuvwxyz"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ0 me@example.org"


@pytest.fixture
def root(tmp_path):
    """A root that was somebody's machine."""
    for name, text in {
        "etc/fstab": "UUID=old / ext4 defaults 0 1\n",
        "etc/hostname": "old\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 old\n",
        "etc/shadow": "root:*:1:0:99999:7:::\nbin:*:1::::::\n",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\n",
        "etc/ssh/ssh_host_ed25519_key": "PRIVATE",
        "var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n",
        "var/lib/systemd/random-seed": "seed",
        "var/lib/dhcp/dhclient.eth0.leases": "lease",
        "var/lib/cloud/instances/i-1/user-data.txt": "x",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "etc/shadow").chmod(0o640)
    return tmp_path


def ensure(root, *, check_mode=False, **params):
    params = {
        "hostname": "web-1",
        "root_uuid": "abcd",
        "filesystem": "ext4",
        "esp_label": "ESP",
        "root_password_hash": None,
        "authorized_keys": [],
        **params,
    }
    return image_identity.ensure(params, root=str(root), check_mode=check_mode)


def test_the_image_is_itself(root):
    outcome = ensure(root, root_password_hash=HASH, authorized_keys=[KEY])
    assert outcome["changed"]
    assert outcome["dropped"] == ["UUID=old / ext4 defaults 0 1"]
    assert (root / "etc/hostname").read_text() == "web-1\n"
    assert (root / "etc/hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 web-1\n"
    assert (root / "etc/shadow").read_text().splitlines()[0] == f"root:{HASH}:1:0:99999:7:::"
    assert stat.S_IMODE((root / "etc/shadow").stat().st_mode) == 0o640
    keys = root / "root/.ssh/authorized_keys"
    assert keys.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.parent.stat().st_mode) == 0o700
    assert (root / "etc/machine-id").read_bytes() == b""


def test_what_clones_must_not_share_is_gone(root):
    ensure(root)
    for name in (
        *("etc/ssh/ssh_host_ed25519_key", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"),
        *("var/lib/dhcp/dhclient.eth0.leases", "var/lib/cloud/instances/i-1"),
    ):
        assert not (root / name).exists(), name


def test_resolv_conf_stays(root):
    assert "/etc/resolv.conf" not in ensure(root)["files"]
    assert (root / "etc/resolv.conf").read_text() == "nameserver 192.0.2.1\n"


def test_four_calls(root):
    assert ensure(root, check_mode=True)["changed"]
    assert (root / "etc/hostname").read_text() == "old\n"
    assert ensure(root)["changed"]
    assert not ensure(root)["changed"]
    assert not ensure(root, check_mode=True)["changed"]


def test_the_password_hash_is_not_in_the_diff(root):
    assert HASH not in str(ensure(root, root_password_hash=HASH)["diff"])


def test_ssh_gets_host_keys_of_its_own(root):
    for name in ("usr/sbin/sshd", "usr/lib/systemd/system/ssh.service"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    ensure(root)
    unit = root / "etc/systemd/system/ssh.service.d/sealedroot-host-keys.conf"
    assert "ssh-keygen -A" in unit.read_text()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"hostname": "no spaces"}, "is not a host name"),
        ({"root_password_hash": "plain text"}, "is not a crypt"),
        ({"authorized_keys": ["-----BEGIN"]}, "is not an SSH public key"),
    ],
)
def test_bad_input_touches_nothing(root, params, words):
    with pytest.raises(SealedRootError, match=words):
        ensure(root, **params)
    assert (root / "etc/hostname").read_text() == "old\n"
