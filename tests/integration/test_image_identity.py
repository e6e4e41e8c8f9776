# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The identity of a real Debian root that was somebody's machine, seen by the root's own tools."""

from __future__ import annotations

import os
import pathlib
import tempfile
import typing as t

import debian_root
import pytest
from debian_root import Image, run

ROOT_UUID = "0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10"
PASSWORD_HASH = "$6$saltsalt$" + "abcdefghij./" * 7 + "12"
OLD_ID = "0123456789abcdef0123456789abcdef\n"
OLD_FILES = {
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 old.example.org old\n192.0.2.7 peer\n",
    "etc/resolv.conf": "nameserver 192.0.2.1\n",
    "etc/machine-id": OLD_ID,
    "etc/ssh/ssh_host_ed25519_key": "PRIVATE",
    "etc/ssh/ssh_host_ed25519_key.pub": "PUBLIC",
    "etc/ssh/sshd_config": "PermitRootLogin yes\n",
    "var/lib/dbus/machine-id": OLD_ID,
    "var/lib/systemd/random-seed": "seed",
    "var/lib/systemd/credential.secret": "secret",
    "var/lib/dhcp/dhclient.eth0.leases": "lease",
    "var/lib/cloud/instances/i-1/user-data.txt": "x",
    "var/lib/cloud/seed/nocloud/meta-data": "kept",
    "usr/sbin/sshd": "",
    # Debian's, as far as the drop-in changes it.
    "usr/lib/systemd/system/ssh.service": (
        "[Service]\nExecStartPre=/usr/bin/true\nExecStart=/usr/bin/true\n"
    ),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with debian_root.in_memory(tmp_path_factory.mktemp("identity")) as image:
        for name, text in OLD_FILES.items():
            image.write(name, text)
        yield image


@pytest.fixture(scope="module")
def public_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "id"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@example.org", "-f", path)
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="module")
def done(image: Image, public_key: str) -> dict[str, t.Any]:
    return image.four_calls(
        "image_identity",
        hostname="web-1",
        root_password_hash=PASSWORD_HASH,
        authorized_keys=[public_key],
        grow=True,
    )


@pytest.mark.usefixtures("done")
def test_names(image: Image) -> None:
    assert image.text("etc/hostname") == "web-1\n"
    assert image.shell("getent hosts web-1").split() == ["127.0.1.1", "web-1"]
    assert image.shell("getent hosts peer").split() == ["192.0.2.7", "peer"]
    assert "old" not in image.text("etc/hosts")
    assert image.text("etc/resolv.conf") == OLD_FILES["etc/resolv.conf"]


@pytest.mark.usefixtures("done")
def test_who_may_log_in(image: Image, public_key: str) -> None:
    assert image.shell("passwd --status root").split()[:2] == ["root", "P"]
    assert image.shell("getent shadow root").split(":")[1] == PASSWORD_HASH
    owner = (image.root / "etc/shadow").stat()
    assert (image.mode("etc/shadow"), owner.st_uid, owner.st_gid) == (0o640, 0, 42)
    assert image.text("root/.ssh/authorized_keys") == f"{public_key}\n"
    assert image.mode("root/.ssh/authorized_keys") == 0o600
    assert image.mode("root/.ssh") == 0o700
    assert "me@example.org" in run("ssh-keygen", "-lf", image.root / "root/.ssh/authorized_keys")


@pytest.mark.usefixtures("done")
def test_what_another_machine_must_not_have_is_gone(image: Image) -> None:
    gone = ("ssh_host", "dbus/machine-id", "random-seed", "credential", "dhcp/", "instances/")
    for name in OLD_FILES:
        there = os.path.lexists(image.root / name)
        assert there is not any(word in name for word in gone), name


@pytest.mark.usefixtures("done")
def test_systemd_gives_each_machine_an_id_of_its_own(image: Image) -> None:
    """Empty, so nothing takes the boot for the first one of a factory reset: machine-id(5)."""
    path = image.root / "etc/machine-id"
    assert path.read_bytes() == b""
    assert image.mode("etc/machine-id") == 0o444
    ids = set()
    for _machine in range(2):
        image.shell("systemd-machine-id-setup 2>&1")
        ids.add(path.read_text())
        path.write_bytes(b"")
    assert len(ids) == 2
    assert all(len(machine_id) == 33 for machine_id in ids)


@pytest.mark.usefixtures("done")
def test_ssh_makes_its_host_keys(image: Image) -> None:
    """In place of the test of the configuration, which fails without keys; then that test."""
    image.shell("cp /usr/bin/true /usr/bin/ssh-keygen; cp /usr/bin/true /usr/sbin/sshd")
    image.shell("systemd-analyze verify --man=no ssh.service 2>&1")
    shown = image.shell("systemd-analyze cat-config systemd/system/ssh.service")
    lines = [line for line in shown.splitlines() if line.startswith("ExecStartPre=")]
    assert lines == [
        *("ExecStartPre=/usr/bin/true", "ExecStartPre="),
        *("ExecStartPre=/usr/bin/ssh-keygen -A", "ExecStartPre=/usr/sbin/sshd -t"),
    ]


@pytest.mark.usefixtures("done")
def test_systemd_grows_the_root(image: Image) -> None:
    """Until somebody disables it."""
    unit = "sealedroot-grow.service"
    image.shell(f"systemd-analyze verify --man=no {unit} 2>&1")
    assert image.mode("usr/local/sbin/sealedroot-grow") == 0o755
    assert image.shell(f"systemctl --root=/ is-enabled {unit}").strip() == "enabled"
    image.shell(f"systemctl --root=/ disable {unit} 2>&1")
    link = image.root / "etc/systemd/system/sysinit.target.wants" / unit
    assert not os.path.lexists(link)
    image.shell(f"systemctl --root=/ enable {unit} 2>&1")
    assert str(link.readlink()) == f"/etc/systemd/system/{unit}"


@pytest.mark.usefixtures("done")
def test_a_link_leads_nowhere_but_into_the_image(image: Image) -> None:
    # Not in /tmp, which the image has one of its own of.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        outside = pathlib.Path(directory) / "hosts"
        outside.write_text("the builder's\n")
        (image.root / "etc/hosts").unlink()
        (image.root / "etc/hosts").symlink_to(outside)
        done = image.task("image_identity", hostname="web-2")
        assert not done["failed"], done
        assert outside.read_text() == "the builder's\n"
        assert "127.0.1.1 web-2" in image.text(str(outside).lstrip("/"))


@pytest.mark.usefixtures("done")
def test_the_hash_is_shown_nowhere(image: Image, tmp_path: pathlib.Path) -> None:
    """Given as a build gives it, by a variable."""
    variables = tmp_path / "vars.json"
    variables.write_text(f'{{"wanted": "{PASSWORD_HASH.replace("a", "b")}"}}')
    printed = image.ansible(
        *("--module-name", "sealedroot.image.image_identity", "-vvvv", "--diff"),
        *("--extra-vars", f"@{variables}", "--args"),
        "hostname=web-1 root_password_hash={{ wanted }}",
    )
    assert "CHANGED" in printed
    assert "/etc/shadow" in printed
    assert PASSWORD_HASH not in printed
    assert PASSWORD_HASH.replace("a", "b") not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hostname": "a b"}, "is not a host name"),
        ({"hostname": "a", "root_password_hash": "secret"}, "is not a crypt(5) hash"),
    ],
)
def test_bad_input(image: Image, arguments: dict[str, str], words: str) -> None:
    refused = image.task("image_identity", **arguments)
    assert refused["failed"]
    assert words in refused["msg"]
