# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts on a root file system; each is met on a real one in tests/integration."""

from __future__ import annotations

import pathlib
import stat
import typing as t

import cpio
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    root as audit_root,
    systemd,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency, host_agents
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import archive_keys
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

BOOT, OTHER = b"the boot key of the image", b"the recovery key of it"


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
    found = audit_root.filesystem(volume, root_uuid="aaaa", words=["builder-7"])
    assert len(found) == len(says)
    assert all(text in problem for text, problem in zip(says, found, strict=True))


def test_kernels(tree: t.Any) -> None:
    files = {
        "/boot/vmlinuz-6.1": (0o644, b""),
        "/boot/vmlinux-7": (0o644, b""),
        "/boot/x": (0o644, b""),
    }
    assert audit_root.kernels(tree(files)) == ["6.1", "7"]


def newc(name: str, content: bytes, mode: int) -> bytes:
    return cpio.newc({name: (mode, content)})


UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
TOP = "/etc/cryptsetup-headers.d"
PINNED = f"{TOP}/luks-{UUID}.header"
HEADER = b"a LUKS header".ljust(4096, b"\0")
KEY_ALONE = newc("cr_root.key", BOOT, 0o400)
GOOD = KEY_ALONE + newc(PINNED[1:], HEADER, 0o400)


@pytest.mark.parametrize(
    ("mode", "content", "says"),
    [
        (0o600, GOOD, None),
        (0o644, GOOD, "mode 0644"),
        (0o600, GOOD + newc("b", BOOT, 0o400), "2 times"),
        (0o600, KEY_ALONE, f"it holds no pinned header, not {PINNED}: it would open whatever"),
        (
            0o600,
            KEY_ALONE + newc(PINNED[1:], b"x", 0o400),
            f"{PINNED} in it is another than in the",
        ),
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
    found = audit_root.initramfs(
        runner,
        tree({"/boot/initrd.img-6": (mode, content), "/boot/initrd.img": (0o777,)}),
        loaded=["/boot/initrd.img-6"],
        boot_key=BOOT,
        others={"recovery key": OTHER},
        header=archive_keys.same(PINNED, HEADER),
        files={},
    )
    assert bool(found) is bool(says)
    assert says is None or any(says in problem for problem in found)
    assert list(tmp_path.iterdir()) == []


def test_no_initramfs(runner: t.Any, tree: t.Any) -> None:
    found = audit_root.initramfs(
        runner,
        tree({}),
        loaded=["/boot/initrd"],
        boot_key=BOOT,
        others={},
        header=archive_keys.same(PINNED, HEADER),
        files={},
    )
    assert found == [
        "grub.cfg loads /boot/initrd, which is not there",
        "there is no initramfs in /boot",
    ]


HOOK = "/etc/initramfs-tools/hooks/sealedroot"
KEYS: dict[str, t.Any] = {
    "/etc/cryptsetup-keys.d": (0o700,),
    "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
    "/etc/initramfs-tools/conf.d": (0o755,),
    "/etc/initramfs-tools/conf.d/umask": (0o644, b"UMASK=0077\n"),
    "/usr/sbin/update-initramfs": (0o755,),
    "/usr/sbin/mkinitramfs": (0o755,),
    HOOK: (0o755, b"#!/bin/sh"),
}
CONF = "/etc/dracut.conf.d/sealedroot.conf"
ITEMS = (
    b'install_items+=" /etc/crypttab /etc/cryptsetup-keys.d/luks-1.key /etc/headers/1.header "\n'
)
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
ROW = [
    ["cr_root", "UUID=1", "/etc/cryptsetup-keys.d/luks-1.key", "luks,header=/etc/headers/1.header"]
]


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
        # initramfs-tools leaves out a hook that is no program.
        ({HOOK: (0o644, b"#!/bin/sh")}, f"{HOOK} is not there or is no program: a rebuild loses"),
    ],
)
def test_key_files(tree: t.Any, change: dict[str, t.Any], says: str | None) -> None:
    keys = {"boot key": BOOT, "recovery key": OTHER}
    found = audit_root.key_files(tree({**KEYS, **change}), ROW, keys=keys)
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({CONF: (0o644, b"install_items=' /etc/cryptsetup-keys.d/* /etc/headers/* '\n")}, None),
        # The machine would not boot with that initramfs.
        (
            {CONF: (0o644, b"install_items=' /etc/cryptsetup-keys.d/* '\n")},
            "does not have /etc/headers/1.header: a rebuild loses it",
        ),
        ({CONF: (0o644, b"# " + ITEMS)}, "a rebuild loses it"),
        ({"/etc/dracut.conf.d/zz.conf": (0o644, b"install_items=/x\n")}, "a rebuild loses it"),
        ({"/etc/dracut.conf.d/zz.conf": (0o644, b"install_items+=/x\n")}, None),
        ({"/etc/dracut.conf.d/zz.off": (0o644, b"install_items=/x\n")}, None),
        ({"/usr/lib/dracut/dracut.conf.d/zz.conf": (0o644, b"install_items=/x\n")}, "loses"),
    ],
)
def test_key_files_of_dracut(tree: t.Any, change: dict[str, t.Any], says: str | None) -> None:
    found = audit_root.key_files(tree({**DRACUT, **change}), ROW, keys={"boot key": BOOT})
    assert bool(found) is bool(says)
    assert says is None or says in found[0]


CONF_OF_MKINITCPIO = "/etc/mkinitcpio.conf"
FILES = b"FILES=(/etc/cryptsetup-keys.d/luks-1.key /etc/headers/1.header)\n"
MKINITCPIO: dict[str, t.Any] = {
    **{path: KEYS[path] for path in KEYS if "cryptsetup" in path},
    "/usr/bin/mkinitcpio": (0o755,),
    CONF_OF_MKINITCPIO: (0o644, FILES),
}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (FILES, None),
        (b"FILES=(/etc/headers/1.header)\n", "luks-1.key: a rebuild loses it"),
        (b"FILES=(/etc/cryptsetup-keys.d/luks-1.key)\n", "/etc/headers/1.header: a rebuild loses"),
        (b"# " + FILES, "a rebuild loses it"),
    ],
)
def test_key_files_of_mkinitcpio(tree: t.Any, files: bytes, says: str | None) -> None:
    root = tree({**MKINITCPIO, CONF_OF_MKINITCPIO: (0o644, files)})
    found = audit_root.key_files(root, ROW, keys={"boot key": BOOT})
    assert bool(found) is bool(says)
    assert says is None or says in found[0]


def test_key_files_that_are_not_there(tree: t.Any) -> None:
    keys = {"boot key": BOOT}
    assert "is not there" in audit_root.key_files(tree({}), ROW, keys=keys)[0]
    swap = [["swap", "/dev/x", "/dev/urandom", "swap"]]
    assert "no key file" in audit_root.key_files(tree({}), swap, keys=keys)[0]


def test_a_root_without_initramfs_tools_needs_no_umask(tree: t.Any) -> None:
    files = {path: file for path, file in KEYS.items() if "initramfs" not in path}
    assert audit_root.key_files(tree(files), ROW, keys={"boot key": BOOT}) == []


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
    found = audit_root.identity(tree(files))
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


def test_a_menu_without_entries_is_what_grub_read(tree: t.Any) -> None:
    assert audit_root.menu(tree({}), "linux /boot/vmlinuz-1 root=UUID=1\n") == (
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
    assert audit_root.menu(tree(files), "source ...\n") == (
        "insmod blscfg\nblscfg\n\nlinux /boot/vmlinuz-1 root=UUID=1 ro\ninitrd /boot/initramfs-1.img\n"
    )


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["kernelopts", "saved_entry", "boot_success"], []),
        (["root"], ["grubenv sets root: take it out"]),
        (["superusers", "x", "prefix"], ["grubenv sets superusers", "grubenv sets prefix"]),
    ],
)
def test_what_load_env_would_set(tree: t.Any, names: list[str], says: list[str]) -> None:
    text = "# GRUB Environment Block\n" + "".join(f"{name}=x\n" for name in names) + "####"
    found = audit_root.environment(tree({"/boot/grub/grubenv": (0o600, text.encode())}))
    assert len(found) == len(says)
    assert all(begin in problem for begin, problem in zip(says, found, strict=True))


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
    assert audit_root.key_files(tree(files), [root, VAULT, BACKUP], keys=keys) == []
    # Nothing is left that uses it.
    assert audit_root.key_files(tree(files), [root, VAULT], keys=keys) == [
        f"{top}/backup.key is not the boot key (a newline at its end counts)"
    ]


def test_keys_that_no_initramfs_may_hold(tree: t.Any) -> None:
    found = audit_root.foreign_keys(
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


def test_what_builds_the_initramfs(tree: t.Any) -> None:
    assert audit_root.generator(tree(KEYS)) == "initramfs_tools"
    assert audit_root.generator(tree(DRACUT)) == "dracut"
    with pytest.raises(SealedRootError, match="nothing that builds an initramfs"):
        audit_root.generator(tree({}))


CONSOLE = {path: (0o644, text.encode()) for path, text in emergency.FILES.items()}
CONSOLE[cfg.MENU_SCRIPT] = (0o755, cfg.MENU_SCRIPT_TEXT.encode())
MENU = f"{cfg.CLOSED[0]}\n{cfg.CLOSED[1]}\n{cfg.UNRESTRICTED}\nmenuentry x {{\n}}\n"
ENTRIES = "/boot/loader/entries"
BLS = f"{cfg.CLOSED[0]}\n{cfg.CLOSED[1]}\nblscfg\n"
OPEN_ENTRY = b"title a\nlinux /boot/vmlinuz-1\ngrub_arg --unrestricted\n"


@pytest.mark.parametrize(
    ("config", "change", "says"),
    [
        (MENU, {}, None),
        (MENU.replace('set superusers=""', ""), {}, "grub.cfg: it does not say 'set superusers"),
        (f"{MENU}unset superusers\n", {}, "grub.cfg: it says 'unset superusers'"),
        (MENU.replace(cfg.UNRESTRICTED, ""), {}, "its entries would ask for a password"),
        *(
            (MENU, {path: (0o644, b"[Service]\n")}, f"{path} is not what makes a boot that fails")
            for path in emergency.FILES
        ),
        (MENU, {cfg.MENU_SCRIPT: (0o755, b"")}, "is not what closes GRUB when its menu is made"),
        (BLS, {f"{ENTRIES}/a.conf": (0o644, OPEN_ENTRY)}, None),
        (
            BLS,
            {f"{ENTRIES}/a.conf": (0o644, OPEN_ENTRY.replace(b"grub_arg", b"grub_class"))},
            "a.conf has no 'grub_arg --unrestricted': GRUB would ask for a password",
        ),
        # GRUB reads no other file, and none at all where its menu has the entries itself.
        (BLS, {f"{ENTRIES}/a.conf.bak": (0o644, b"linux /boot/vmlinuz-1\n")}, None),
        (MENU, {f"{ENTRIES}/a.conf": (0o644, b"linux /boot/vmlinuz-1\n")}, None),
    ],
)
def test_console(tree: t.Any, config: str, change: dict[str, t.Any], says: str | None) -> None:
    files = {ENTRIES: (0o755,), **CONSOLE, **change}
    it = tree(files)
    found = audit_root.console(it, config, {}, systemd.Units(it))
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


def test_a_root_where_a_failed_boot_ends_in_sulogin(tree: t.Any) -> None:
    it = tree({})
    found = audit_root.console(it, MENU, {}, systemd.Units(it))
    assert len(found) == len(CONSOLE)


LUKS = "11111111-2222-4333-8444-555555555555"
READS = "source ${config_directory}/custom.cfg\nconfigfile ($root)/boot/other.cfg\n"


def test_what_grub_reads_beside_its_menu(tree: t.Any) -> None:
    files = {
        "/boot/grub/custom.cfg": (0o644, b"source $prefix/more.cfg\nsource $prefix/custom.cfg\n"),
        "/boot/grub/more.cfg": (0o644, b"echo more\n"),
        "/boot/grub/unread.cfg": (0o644, b""),
        "/boot/grub/grub.cfg": (0o644, READS.encode()),
    }
    found = audit_root.scripts(tree(files), READS, luks_uuid=LUKS)
    assert sorted(found) == ["/boot/grub/custom.cfg", "/boot/grub/more.cfg"]
    assert found["/boot/grub/more.cfg"] == "echo more\n"
    assert audit_root.scripts(tree({}), READS, luks_uuid=LUKS) == {}
    fedora = {"/boot/grub2/custom.cfg": (0o644, b"")}
    assert list(audit_root.scripts(tree(fedora), READS, luks_uuid=LUKS)) == list(fedora)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("echo x\n", None),
        ("menuentry x $menuentry_id_option x {\nlinux /x\n}\n", None),
        ("menuentry x {\nlinux /x\n}\n", "/custom.cfg: the entry 'x' would ask for a password"),
        ("unset superusers\n", "/custom.cfg: it says 'unset superusers'"),
    ],
)
def test_the_console_of_what_grub_reads(tree: t.Any, part: str, says: str | None) -> None:
    it = tree(CONSOLE)
    found = audit_root.console(it, MENU, {"/custom.cfg": part}, systemd.Units(it))
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


UNITS = "/usr/lib/systemd/system"
OWN = host_agents.OWN_DIRECTORY
DROP_IN = "ssh.service.d/ec2-instance-connect.conf"
AGENT = {f"{UNITS}/qemu-guest-agent.service": (0o644, b"")}


@pytest.mark.parametrize(
    ("files", "allowed", "says"),
    [
        ({f"{UNITS}/ssh.service": (0o644, b"")}, (), None),
        (AGENT, (), "qemu-guest-agent.service of qemu-guest-agent is on, so the host is root"),
        (AGENT, ("qemu-guest-agent",), None),
        (AGENT, ("cloud-init",), "qemu-guest-agent.service of qemu-guest-agent is on"),
        ({**AGENT, f"{OWN}/qemu-guest-agent.service": (0o777, "/dev/null")}, (), None),
        ({**AGENT, f"{OWN}/qemu-guest-agent.service": (0o777, "/etc/x")}, (), "is on"),
        ({**AGENT, f"{OWN}/qemu-guest-agent.service": (0o644, b"[Service]")}, (), "is on"),
        # Another one that is masked does not do for it.
        ({**AGENT, f"{OWN}/cloud-init.service": (0o777, "/dev/null")}, (), "is on"),
        ({f"{OWN}/waagent.service": (0o644, b"[Service]")}, (), "waagent.service of azure is on"),
        ({f"/usr/local/lib/systemd/system/{DROP_IN}": (0o644, b"")}, (), f"{DROP_IN} of ec2-inst"),
        (
            {f"{UNITS}/{DROP_IN}": (0o644, b""), f"{OWN}/{DROP_IN}": (0o777, "/dev/null")},
            (),
            None,
        ),
    ],
)
def test_agents(
    tree: t.Any, files: dict[str, t.Any], allowed: tuple[str, ...], says: str | None
) -> None:
    found = audit_root.agents(tree({OWN: (0o755,), **files}), allowed)
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


@pytest.mark.parametrize(
    ("change", "on_disk", "says"),
    [
        ({}, HEADER, None),
        ({PINNED: (0o600, HEADER)}, HEADER, None),
        ({TOP: (0o755,)}, HEADER, f"{TOP} has mode 0755, not 0700"),
        ({PINNED: (0o440, HEADER)}, HEADER, "mode 0440 and owner 0, not 0400 and root"),
        ({}, HEADER[:-1] + b"x", "is not the header of the disk: keys were changed in one of them"),
        ({PINNED: (0o400, b"")}, b"", "is not the header of the disk"),
        ({f"{TOP}/luks-2.header": (0o400, HEADER)}, HEADER, f"{TOP} has also luks-2.header"),
        (
            {PINNED: (0o777, "/run/header")},
            HEADER,
            f"{PINNED} is not there, so the initramfs would",
        ),
    ],
)
def test_pinned(tree: t.Any, change: dict[str, t.Any], on_disk: bytes, says: str | None) -> None:
    root = tree({TOP: (0o700,), PINNED: (0o400, HEADER), **change})
    node = root.find(PINNED)
    found = audit_root.pinned(root, node, root.read(node) if node else b"", UUID, on_disk)
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


def test_no_pinned_header(tree: t.Any) -> None:
    (problem,) = audit_root.pinned(tree({}), None, b"", UUID, b"")
    assert problem.startswith(f"{PINNED} is not there")


def test_a_pinned_header_of_another_user(tree: t.Any) -> None:
    node = Node(1, stat.S_IFREG | 0o400, 1000, len(HEADER))
    (problem,) = audit_root.pinned(tree({}), node, HEADER, UUID, HEADER)
    assert "owner 1000, not 0400 and root" in problem


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (f"luks,discard,header={PINNED}", None),
        (f"header={PINNED}", None),
        ("luks,discard", f"opens cr_root with the header on the disk: add header={PINNED}"),
        ("luks,header=/other", "with the header on the disk"),
        (f"luks,noheader={PINNED}", "with the header on the disk"),
        (f"luks,header={PINNED}.old", "with the header on the disk"),
        # Of several, the last one counts.
        (f"luks,header={PINNED},header=/dev/vdb", "with the header on the disk"),
        ("", "with the header on the disk"),
    ],
)
def test_opened_with(options: str, says: str | None) -> None:
    row = ["cr_root", "UUID=1", "/key", *([options] if options else [])]
    found = audit_root.opened_with("/etc/crypttab", [VAULT, row], "cr_root", PINNED)
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


def test_a_table_that_does_not_open_the_root() -> None:
    found = audit_root.opened_with("/etc/crypttab", [VAULT], "cr_root", PINNED)
    assert found == ["/etc/crypttab has no line for cr_root"]


def test_the_table_of_each_initramfs() -> None:
    assert audit_root.tables("dracut") == ["/etc/crypttab"]
    assert audit_root.tables("mkinitcpio") == ["/etc/crypttab", "/etc/crypttab.initramfs"]
