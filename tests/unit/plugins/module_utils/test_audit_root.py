# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts on a root file system; each is met on a real one in tests/integration."""

from __future__ import annotations

import pathlib
import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _audit_root
from ansible_collections.sealedroot.image.plugins.module_utils._image_tree import Node, Volume

BOOT, OTHER = b"the boot key of the image", b"the recovery key of it"


class FakeTree:
    """Files by path; contents are kept by inode."""

    def __init__(
        self, work: pathlib.Path, files: dict[str, tuple[int, bytes] | tuple[int]]
    ) -> None:
        self.work, self.nodes, self.contents = work, {}, {}
        for number, (path, (mode, *content)) in enumerate(files.items(), 10):
            kind = stat.S_IFREG if content else stat.S_IFDIR
            data = content[0] if content else b""
            self.nodes[path] = Node(number, kind | mode, 0, len(data))
            self.contents[number] = data

    def find(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def entries(self, path: str) -> dict[str, Node]:
        inside = (name for name in self.nodes if name.rpartition("/")[0] == path)
        return {name.rpartition("/")[2]: self.nodes[name] for name in inside}

    def read(self, node: Node, *, most: int = 1 << 20) -> bytes:
        assert node.size <= most
        return self.contents[node.inode]

    def text(self, path: str) -> str | None:
        node = self.find(path)
        return self.read(node).decode() if node else None

    def dump(self, node: Node) -> str:
        path = self.work / f"inode-{node.inode}"
        path.write_bytes(self.read(node))
        return str(path)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> t.Callable[..., t.Any]:
    def make(files: dict[str, tuple[int, bytes] | tuple[int]]) -> t.Any:
        return FakeTree(tmp_path, files)

    return make


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        (Volume("xfs", "aaaa", "root"), []),
        (Volume("xfs", "bbbb", "root"), ["has the UUID bbbb, not aaaa"]),
        (Volume("xfs", "aaaa", "builder-7"), ["it names builder-7 of the builder"]),
        (Volume("xfs", "aaaa", "", ("it is damaged",)), ["it is damaged"]),
    ],
)
def test_filesystem(volume: Volume, says: list[str]) -> None:
    found = _audit_root.filesystem(volume, root_uuid="aaaa", words=["builder-7"])
    assert len(found) == len(says)
    assert all(text in problem for text, problem in zip(says, found, strict=True))


def test_kernels(tree: t.Any) -> None:
    files = {
        "/boot/vmlinuz-6.1": (0o644, b""),
        "/boot/vmlinux-7": (0o644, b""),
        "/boot/x": (0o644, b""),
    }
    assert _audit_root.kernels(tree(files)) == ["6.1", "7"]


def newc(name: str, content: bytes, mode: int) -> bytes:
    archive = b""
    for entry, data in ((name, content), ("TRAILER!!!", b"")):
        fields = [1, 0o100000 | mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(entry) + 1, 0]
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        archive += entry.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + data
        archive += b"\0" * (-len(archive) % 4)
    return archive


GOOD = newc("cr_root.key", BOOT, 0o400)


@pytest.mark.parametrize(
    ("mode", "content", "says"),
    [
        (0o600, GOOD, None),
        (0o644, GOOD, "mode 0644"),
        (0o600, GOOD + newc("b", BOOT, 0o400), "2 times"),
        (0o600, newc("a", b"", 0o400), "0 times, not once: the machine would ask"),
        (0o600, GOOD + newc("b", b"x" + OTHER, 0o400), "the recovery key is in it"),
        (0o600, newc("a", BOOT, 0o440), "a can be read by others"),
        (0o600, newc("a", BOOT + b"\n", 0o400), "not a file of its own"),
        (0o600, b"unknown", "compressed in an unknown way"),
    ],
)
def test_initramfs(
    runner: t.Any, tree: t.Any, tmp_path: pathlib.Path, mode: int, content: bytes, says: str | None
) -> None:
    found = _audit_root.initramfs(
        runner,
        tree({"/boot/initrd.img-6": (mode, content), "/boot/initrd.img": (0o777,)}),
        loaded=["/boot/initrd.img-6"],
        boot_key=BOOT,
        others={"recovery key": OTHER},
    )
    assert bool(found) is bool(says)
    assert says is None or any(says in problem for problem in found)
    assert list(tmp_path.iterdir()) == []


def test_no_initramfs(runner: t.Any, tree: t.Any) -> None:
    found = _audit_root.initramfs(
        runner, tree({}), loaded=["/boot/initrd"], boot_key=BOOT, others={}
    )
    assert found == [
        "grub.cfg loads /boot/initrd, which is not there",
        "there is no initramfs in /boot",
    ]


KEYS: dict[str, t.Any] = {
    "/etc/cryptsetup-keys.d": (0o700,),
    "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
    "/etc/initramfs-tools/conf.d": (0o755,),
    "/etc/initramfs-tools/conf.d/umask": (0o644, b"UMASK=0077\n"),
    "/usr/sbin/update-initramfs": (0o755,),
    "/usr/sbin/mkinitramfs": (0o755,),
}
CONF = "/etc/dracut.conf.d/sealedroot.conf"
ITEMS = b'install_items+=" /etc/crypttab /etc/cryptsetup-keys.d/luks-1.key "\n'
DRACUT: dict[str, t.Any] = {
    "/etc/cryptsetup-keys.d": (0o700,),
    "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
    # Left behind when dracut took its place.
    "/etc/initramfs-tools/conf.d": (0o755,),
    "/etc/kernel/postinst.d/initramfs-tools": (0o755,),
    "/etc/kernel/postinst.d/dracut": (0o755,),
    "/usr/bin/dracut": (0o755,),
    "/usr/sbin/update-initramfs": (0o755,),
    CONF: (0o644, ITEMS),
}
ROW = [["cr_root", "UUID=1", "/etc/cryptsetup-keys.d/luks-1.key", "luks"]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"/etc/cryptsetup-keys.d": (0o755,)}, "mode 0755"),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o600, BOOT)}, None),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o440, BOOT)}, "mode 0440"),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT + b"\n")}, "is not the boot key"),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o400, OTHER)}, "holds the recovery key"),
        ({"/etc/initramfs-tools/conf.d/umask": (0o644, b"#UMASK=0077\n")}, "UMASK=0077"),
        ({"/etc/initramfs-tools/conf.d/zz": (0o644, b"UMASK=0022\n")}, "UMASK=0077"),
    ],
)
def test_key_files(tree: t.Any, change: dict[str, t.Any], says: str | None) -> None:
    keys = {"boot key": BOOT, "recovery key": OTHER}
    found = _audit_root.key_files(tree({**KEYS, **change}), ROW, keys=keys)
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({CONF: (0o644, b"install_items=' /etc/cryptsetup-keys.d/* '\n")}, None),
        ({CONF: (0o644, b"# " + ITEMS)}, "a rebuild loses the key"),
        ({"/etc/dracut.conf.d/zz.conf": (0o644, b"install_items=/x\n")}, "a rebuild loses the key"),
        ({"/etc/dracut.conf.d/zz.conf": (0o644, b"install_items+=/x\n")}, None),
        ({"/etc/dracut.conf.d/zz.off": (0o644, b"install_items=/x\n")}, None),
        ({"/usr/lib/dracut/dracut.conf.d/zz.conf": (0o644, b"install_items=/x\n")}, "loses"),
    ],
)
def test_key_files_of_dracut(tree: t.Any, change: dict[str, t.Any], says: str | None) -> None:
    found = _audit_root.key_files(tree({**DRACUT, **change}), ROW, keys={"boot key": BOOT})
    assert bool(found) is bool(says)
    assert says is None or says in found[0]


def test_key_files_that_are_not_there(tree: t.Any) -> None:
    keys = {"boot key": BOOT}
    assert "is not there" in _audit_root.key_files(tree({}), ROW, keys=keys)[0]
    swap = [["swap", "/dev/x", "/dev/urandom", "swap"]]
    assert "no key file" in _audit_root.key_files(tree({}), swap, keys=keys)[0]


def test_a_root_without_initramfs_tools_needs_no_umask(tree: t.Any) -> None:
    files = {path: file for path, file in KEYS.items() if "initramfs" not in path}
    assert _audit_root.key_files(tree(files), ROW, keys={"boot key": BOOT}) == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, None),
        ({"/etc/machine-id": (0o644, b"")}, None),
        ({"/etc/machine-id": (0o644, b"uninitialized\n")}, None),
        ({"/etc/machine-id": (0o644, b"0123\n")}, "/etc/machine-id is set"),
        ({"/var/lib/dbus/machine-id": (0o644, b"0123\n")}, "/var/lib/dbus/machine-id is set"),
        ({"/etc/ssh/ssh_host_ed25519_key": (0o600, b"")}, "ssh_host_ed25519_key"),
        ({"/etc/ssh/ssh_config": (0o600, b"")}, None),
        ({"/var/lib/systemd/random-seed": (0o600, b"")}, "random-seed"),
        ({"/var/lib/systemd/credential.secret": (0o600, b"")}, "credential.secret"),
        ({"/var/lib/dhcp/dhclient.eth0.leases": (0o644, b"")}, "leases"),
    ],
)
def test_identity(tree: t.Any, files: dict[str, t.Any], says: str | None) -> None:
    found = _audit_root.identity(tree(files))
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


def test_a_menu_without_entries_is_what_grub_read(tree: t.Any) -> None:
    assert _audit_root.menu(tree({}), "linux /boot/vmlinuz-1 root=UUID=1\n") == (
        "linux /boot/vmlinuz-1 root=UUID=1\n"
    )


def test_entries_are_part_of_the_menu(tree: t.Any) -> None:
    files = {
        "/boot/grub2/grub.cfg": (0o600, b"insmod blscfg\nblscfg\n"),
        "/boot/grub2/grubenv": (
            0o600,
            b"# GRUB Environment Block\nkernelopts=root=UUID=1 ro\n####",
        ),
        "/boot/loader/entries": (0o755,),
        "/boot/loader/entries/a.conf": (
            0o644,
            b"linux /boot/vmlinuz-1\ninitrd /boot/initramfs-1.img $tuned_initrd\noptions $kernelopts\n",
        ),
        "/boot/loader/entries/a.conf.bak": (0o644, b"linux /boot/vmlinuz-2\n"),
    }
    assert _audit_root.menu(tree(files), "source ...\n") == (
        "insmod blscfg\nblscfg\n\nlinux /boot/vmlinuz-1 root=UUID=1 ro\ninitrd /boot/initramfs-1.img\n"
    )


VAULT = ["vault", "/srv/vault.img", "/etc/keys/vault.key", "luks"]
BACKUP = ["backup", "UUID=1", "none", "noauto"]


def test_keys_of_what_is_kept_are_not_taken_for_the_roots(tree: t.Any) -> None:
    top = "/etc/cryptsetup-keys.d"
    files = {
        top: (0o700,),
        f"{top}/luks-1.key": (0o400, BOOT),
        f"{top}/backup.key": (0o400, b"a key of its own"),
        "/etc/keys/vault.key": (0o400, b"another key"),
    }
    root = ["cr_root", "UUID=2", f"{top}/luks-1.key", "luks"]
    keys = {"boot key": BOOT}
    assert _audit_root.key_files(tree(files), [root, VAULT, BACKUP], keys=keys) == []
    # Nothing is left that uses it.
    assert _audit_root.key_files(tree(files), [root, VAULT], keys=keys) == [
        f"{top}/backup.key is not the boot key (a newline at its end counts)"
    ]


def test_keys_that_no_initramfs_may_hold(tree: t.Any) -> None:
    found = _audit_root.foreign_keys(
        tree(
            {
                "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
                "/etc/cryptsetup-keys.d/backup.key": (0o400, b"backup's key"),
                "/etc/keys/x509_ima.der": (0o644, b"a certificate"),
                "/etc/keys/old.key": (0o600, b"another machine's"),
                "/etc/keys/short.key": (0o600, b"2 short"),
                "/srv/vault.key": (0o644, b"the vault's key"),
            }
        ),
        [[*VAULT[:2], "/srv/vault.key"], BACKUP, ["x", "/srv/x.img", "/gone.key"]],
        BOOT,
    )
    assert found == {
        "key in /etc/cryptsetup-keys.d/backup.key": b"backup's key",
        "key in /etc/keys/old.key": b"another machine's",
        "key in /srv/vault.key": b"the vault's key",
    }
