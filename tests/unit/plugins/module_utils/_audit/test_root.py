# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts on a root file system; each is met on a real one in tests/integration."""

from __future__ import annotations

import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    root as audit_root,
    systemd,
)
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    emergency,
    host_agents,
    identity,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    core_image,
    install,
    own_volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


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


BODY = b"\x7fELF \xff luks\0\0\0"
X64, ARM64 = "/usr/lib/grub/x86_64-efi", "/usr/lib/grub/arm64-efi"


@pytest.mark.parametrize(
    ("code", "files", "says"),
    [
        ([("luks", BODY)], {f"{X64}/luks.mod": BODY.rstrip(b"\0")}, []),
        ([("luks", BODY)], {f"{X64}/luks.mod": b"an older one", f"{ARM64}/luks.mod": BODY}, []),
        ([("luks", BODY)], {"/usr/share/grub2/x86_64-efi/luks.mod": BODY}, []),
        # Without the package there is its copy; with it, that counts.
        ([("luks", BODY)], {"/boot/grub2/x86_64-efi/luks.mod": BODY}, []),
        (
            [("luks", BODY)],
            {f"{X64}/luks.mod": BODY[:-4] + b"X\0\0\0", "/boot/grub/x86_64-efi/luks.mod": BODY},
            [f"the GRUB module luks in core.efi is not {X64}/luks.mod of the root: build the"],
        ),
        (
            [("luks", BODY)],
            {f"{X64}/lvm.mod": BODY},
            ["the root has no file of the GRUB module luks in core.efi, so it is not known what"],
        ),
        ([("luks", BODY)], {}, ["the root has no file of the GRUB module luks in core.efi"]),
        # Of two with one name, each counts; GRUB also runs one without a name.
        (
            [("luks", BODY), ("luks", b"evil"), ("", b"evil")],
            {f"{X64}/luks.mod": BODY},
            [
                "the GRUB module luks in core.efi is not",
                "the root has no file of the GRUB module without a name in core.efi",
            ],
        ),
    ],
)
def test_the_code_of_grub(
    tree: t.Any, code: list[tuple[str, bytes]], files: dict[str, bytes], says: list[str]
) -> None:
    core = core_image.Core("", "", frozenset({"luks"}), code=tuple(code))
    root = tree({name: (0o644, data) for name, data in files.items()})
    found = audit_root.grub_code(root, {"core.efi": core})
    assert len(found) == len(says)
    assert all(it.startswith(text) for text, it in zip(says, found, strict=True))


def test_kernels(tree: t.Any) -> None:
    files = {
        "/boot/vmlinuz-6.1": (0o644, b""),
        "/boot/vmlinux-7": (0o644, b""),
        # SUSE's, for crash(8).
        "/boot/vmlinux-6.1.gz": (0o644, b""),
        "/boot/x": (0o644, b""),
    }
    assert audit_root.kernels(tree(files)) == ["6.1", "7"]


UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
TOP = "/etc/cryptsetup-headers.d"
PINNED = f"{TOP}/luks-{UUID}.header"
HEADER = b"a LUKS header".ljust(4096, b"\0")


INITRAMFS_TOOLS = {"/usr/sbin/update-initramfs": (0o755,), "/usr/sbin/mkinitramfs": (0o755,)}
DRACUT = {
    # Left behind when dracut took its place.
    "/etc/kernel/postinst.d/initramfs-tools": (0o755,),
    "/etc/kernel/postinst.d/dracut": (0o755,),
    "/usr/bin/dracut": (0o755,),
    "/usr/sbin/update-initramfs": (0o755,),
}


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
        *(
            ({path: (0o600, b"")}, path)
            for path in (
                *("/boot/loader/random-seed", "/boot/efi/loader/random-seed"),
                *("/efi/loader/random-seed", "/var/lib/seedrng/seed.credit"),
                *("/etc/venv-salt-minion/pki/minion/minion.pem", "/etc/venv-salt-minion/minion_id"),
                *("/var/lib/dhcpv6/dhcp6c_duid", "/var/db/dhcpcd/duid"),
                "/var/lib/dhcpcd5/dhcpcd-eth0.lease",
            )
        ),
        ({"/var/lib/systemd/credential.secret": (0o600, b"")}, "credential.secret"),
        ({"/var/lib/dhcp/dhclient.eth0.leases": (0o644, b"")}, "leases"),
        ({"/var/lib/cloud/instances": (0o755,)}, None),
        ({"/var/lib/cloud/instances/i-1": (0o755,)}, "instances/i-1"),
    ],
)
def test_identity(tree: t.Any, files: dict[str, t.Any], says: str | None) -> None:
    found = audit_root.identity(tree(files))
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


@pytest.mark.parametrize("pattern", identity.SHARED_BY_CLONES)
def test_all_that_is_taken_out_of_a_root_is_looked_for(tree: t.Any, pattern: str) -> None:
    name = pattern.replace("*", "x")
    assert audit_root.identity(tree({name: (0o644, b"")})) == [
        f"{name} would be the same in every clone: remove it"
    ]


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
        # What is in those blocks is not examined.
        (["saved_entry", "env_block"], ["grubenv sets env_block: take it out"]),
        (["superusers", "x", "prefix"], ["grubenv sets superusers", "grubenv sets prefix"]),
    ],
)
def test_what_load_env_would_set(tree: t.Any, names: list[str], says: list[str]) -> None:
    text = "# GRUB Environment Block\n" + "".join(f"{name}=x\n" for name in names) + "####"
    found = audit_root.environment(tree({"/boot/grub/grubenv": (0o600, text.encode())}))
    assert len(found) == len(says)
    assert all(begin in problem for begin, problem in zip(says, found, strict=True))


VAULT = ["vault", "/srv/vault.img", "/etc/keys/vault.key", "luks"]


def test_what_builds_the_initramfs(tree: t.Any) -> None:
    assert audit_root.generator(tree(INITRAMFS_TOOLS)) == "initramfs_tools"
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
        ({"/etc/init.d/xe-daemon": (0o755, b"#!/bin/sh")}, (), "xe-daemon.service of xen is on"),
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


@pytest.mark.parametrize(
    ("content", "known", "is_own"),
    [
        (b"\xff" * 32, [b"\xff" * 32], True),
        (b"\xff" * 32, [b"\xff" * 32, b"\xff" * 31], False),
        (b"other", [b"\xff" * 32], False),
        (None, [b"\xff" * 32], False),
        # One whose GRUB asks for the key compares nothing.
        (None, [None], True),
        (b"\xff" * 32, [None], True),
    ],
)
@pytest.mark.parametrize("directory", ["/boot/grub", "/boot/grub2"])
def test_own_volume(
    tree: t.Any, content: bytes | None, known: list[bytes | None], is_own: bool, directory: str
) -> None:
    files = {f"{directory}/sealedroot/own_volume": (0o600, content)} if content else {}
    cores = [
        core_image.Core(
            *("", "", frozenset()),
            install.memdisk("x\n", own_volume.checksum(it) if it else ""),
        )
        for it in known
    ]
    found = audit_root.own_volume(tree(files), cores)
    assert found == (
        []
        if is_own
        else ["GRUB would not take this volume for its own, and halt: build the image again"]
    )
