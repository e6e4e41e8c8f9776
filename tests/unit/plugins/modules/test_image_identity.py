# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import image_identity

HASH = "$6$salt$" + "ab./0123Za" * 8 + "abcdef"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@example.org"


@pytest.fixture
def root(tmp_path):
    """A root that was somebody's machine."""
    for name, text in {
        "etc/hostname": "old\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 old\n",
        "etc/shadow": "root:*:1:0:99999:7:::\nbin:*:1::::::\n",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\n",
        "etc/ssh/ssh_host_ed25519_key": "PRIVATE",
        "var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n",
        "var/lib/systemd/random-seed": "seed",
        "var/lib/dhcp/dhclient.eth0.leases": "lease",
        "var/lib/dhcpcd/duid": "00:01",
        "var/lib/dhcpcd/eth0.lease": "lease",
        "var/lib/cloud/instances/i-1/user-data.txt": "x",
        "var/lib/cloud/data/instance-id": "i-1",
        "var/lib/cloud/data/.hidden": "i-1",
        "etc/salt/pki/minion/minion.pem": "PRIVATE",
        "etc/salt/pki/minion/minion_master.pub": "PUBLIC",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "etc/shadow").chmod(0o640)
    return tmp_path


def ensure(root, *, check_mode=False, **params):
    params = {
        "hostname": "web-1",
        "root_password_hash": None,
        "authorized_keys": [],
        "grow": False,
        "host_agents": [],
        **params,
    }
    return image_identity.ensure(params, root=str(root), check_mode=check_mode)


def test_the_image_is_itself(root):
    outcome = ensure(root, root_password_hash=HASH, authorized_keys=[KEY])
    assert outcome["changed"]
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
        *("var/lib/dhcpcd/duid", "var/lib/dhcpcd/eth0.lease", "var/lib/cloud/data/instance-id"),
        *("var/lib/cloud/data/.hidden", "etc/salt/pki/minion/minion.pem"),
    ):
        assert not (root / name).exists(), name
    assert (root / "etc/salt/pki/minion/minion_master.pub").exists()


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


@pytest.mark.parametrize("units", ["usr/lib/systemd/system", "lib/systemd/system"])
def test_ssh_gets_host_keys_of_its_own(root, units):
    """The second is Debian 11 where /lib is no link."""
    for name in ("usr/sbin/sshd", f"{units}/ssh.service"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    ensure(root)
    unit = root / "etc/systemd/system/ssh.service.d/sealedroot-host-keys.conf"
    assert "ssh-keygen -A" in unit.read_text()


def test_no_ssh_no_unit(root):
    ensure(root)
    assert not (root / "etc/systemd").exists()


def test_what_makes_the_host_root_is_switched_off(root):
    for name in ("cloud-init", "cloud-final", "qemu-guest-agent", "cron"):
        unit = root / f"usr/lib/systemd/system/{name}.service"
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.touch()
    own = root / "etc/systemd/system"
    outcome = ensure(root, check_mode=True, host_agents=["qemu-guest-agent"])
    assert not own.exists()
    assert ensure(root, host_agents=["qemu-guest-agent"]) == outcome
    assert outcome["dropped"] == [
        "cloud-init: the host of the machine would be root by it (image_host_agents lets it)"
    ]
    assert sorted(path.name for path in own.iterdir()) == [
        *("cloud-final.service", "cloud-init.service")
    ]
    assert all(str(path.readlink()) == "/dev/null" for path in own.iterdir())
    assert not ensure(root, host_agents=["qemu-guest-agent"])["changed"]
    # Both of them are of this root.
    assert len(ensure(root)["dropped"]) == 2


def test_an_agent_that_is_not_known_is_refused(run_module):
    outcome = run_module("image_identity", hostname="x", host_agents=["no-such-agent"])
    assert outcome.failed
    assert "cloud-init" in outcome["msg"]


@pytest.mark.parametrize("systemd", ["usr/lib/systemd/systemd", "lib/systemd/systemd"])
def test_systemd_gets_a_file_for_its_id(root, systemd):
    (root / "etc/machine-id").unlink()
    (root / systemd).parent.mkdir(parents=True, exist_ok=True)
    (root / systemd).touch()
    ensure(root)
    assert (root / "etc/machine-id").read_bytes() == b""


def test_the_machine_id_of_dbus_may_be_a_link(root):
    (root / "var/lib/dbus/machine-id").unlink()
    (root / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    ensure(root)
    assert (root / "var/lib/dbus/machine-id").is_symlink()


@pytest.mark.parametrize("target", ["../var/lib/dbus/machine-id", "../run/nothing"])
def test_the_machine_id_of_systemd_is_no_link(root, target):
    """Without a file, systemd takes the first boot for one at which presets hold."""
    (root / "etc/machine-id").unlink()
    (root / "etc/machine-id").symlink_to(target)
    ensure(root)
    assert not (root / "etc/machine-id").is_symlink()
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not (root / "var/lib/dbus/machine-id").exists()
    assert not ensure(root)["changed"]


def test_a_private_key_given_by_mistake_is_not_shown(root):
    key = f"-----BEGIN OPENSSH {'PRIVATE'} KEY-----\nc2VjcmV0\n"  # torn, so that no scanner takes it for one
    with pytest.raises(SealedRootError) as caught:
        ensure(root, authorized_keys=[KEY, key])
    assert str(caught.value).startswith("entry 2 of authorized_keys is not an SSH public key")
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    "password_hash",
    [
        HASH.replace("salt", "rounds=5000$salt"),
        # 'openssl passwd -5' and -1.
        "$5$abc$sCOGUciM.GdmYMCUvmUcgu03oRH87O0clF96.9mwWGB",
        "$1$abc$OGyl6dDvZCDiGmIVbeuCq/",
        "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
        "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
    ],
)
def test_hashes_of_several_kinds(root, password_hash):
    ensure(root, root_password_hash=password_hash)
    assert f"root:{password_hash}:" in (root / "etc/shadow").read_text()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        # What a shell leaves of $6$salt$hash in double quotes, or a cut one: root could never log in.
        ({"root_password_hash": "$6$salt"}, "is not a crypt"),
        ({"root_password_hash": "$6$salt$short"}, "is not a crypt"),
        ({"root_password_hash": HASH[:-1]}, "is not a crypt"),
        ({"root_password_hash": f"{HASH}x"}, "is not a crypt"),
        ({"root_password_hash": HASH.replace("$6", "$5")}, "is not a crypt"),
        ({"root_password_hash": "$2b$12$abcdefghijklmnopqrstuu"}, "is not a crypt"),
        ({"root_password_hash": f"{HASH}:0:"}, "is not a crypt"),
        ({"hostname": "a..b"}, "is not a host name"),
        ({"hostname": "a.-b"}, "is not a host name"),
        ({"hostname": "web-1\n"}, "is not a host name"),
        ({"hostname": "a" * 63 + ".b"}, "is not a host name"),
        ({"hostname": "no spaces"}, "is not a host name"),
        ({"root_password_hash": "plain text"}, "is not a crypt"),
        ({"authorized_keys": ["-----BEGIN"]}, "is not an SSH public key"),
        ({"authorized_keys": [f"{KEY}\nssh-rsa AAAA second"]}, "is not an SSH public key"),
    ],
)
def test_bad_input_touches_nothing(root, params, words):
    with pytest.raises(SealedRootError, match=words):
        ensure(root, **params)
    assert (root / "etc/hostname").read_text() == "old\n"
