# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run the checks inside the root file system, in order."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    checks,
    esp_mount,
    initramfs,
    mounts,
    root,
    selinux,
    systemd,
)
from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import (
    Report,
    Subject,
)
from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    emergency,
    fstab,
    identity,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import (
    btrfs,
    ext4,
    reader as filesystem_reader,
    xfs,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, core_image
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    archive_keys,
    generator_commands,
    guest,
    kernel_words,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

READERS: t.Mapping[str, t.Type[filesystem_reader.Tree]] = {
    "ext4": ext4.Tree,
    "xfs": xfs.Tree,
    "btrfs": btrfs.Tree,
}

# Directories that the checks read in most roots.
_DIRECTORIES = (
    *("/boot/efi", "/boot/grub", "/boot/grub/sealedroot"),
    *("/usr/bin", "/usr/sbin", "/usr/lib/sysctl.d", "/usr/share/initramfs-tools/conf-hooks.d"),
    *("/var/lib/dbus", "/var/lib/misc", "/var/lib/systemd"),
    *("/etc/cryptsetup-headers.d", "/etc/cryptsetup-keys.d", "/etc/kernel/postinst.d"),
    *("/etc/initramfs-tools/conf.d", "/etc/initramfs-tools/hooks", "/etc/selinux"),
    *("/etc/init.d", "/etc/udev/rules.d"),
)
# Directories of which the checks read all files.
_WHOLE = ("/etc/initramfs-tools/conf.d", "/usr/share/initramfs-tools/conf-hooks.d")
_FILES = (
    *emergency.FILES,
    *identity.MACHINE_IDS,
    *("/etc/passwd", "/etc/shadow", "/etc/fstab", "/etc/crypttab"),
    *("/etc/initramfs-tools/initramfs.conf", kernel_words.path("initramfs_tools")),
    *("/etc/systemd/system.conf", generator_commands.UPDATE_CONF),
    cfg.MENU_SCRIPT,
)
_UNITS = re.compile(
    r"getty@?\.service$|\.mount$|\.swap$|/(systemd-firstboot|debug-shell|emergency|rescue)\."
)


def open_tree(runner: Runner, device: str, work: str) -> filesystem_reader.Tree:
    """Return a reader for the file system on *device*; copies of files go to *work*."""
    with open(device, "rb") as handle:
        for name, reader in READERS.items():
            place, magic = filesystems.find(name).magic
            handle.seek(place)
            if handle.read(len(magic)) == magic:
                return reader(runner, device, work)
    raise SealedRootError(f"the root file system is none of {', '.join(READERS)}")


def _read_ahead(tree: filesystem_reader.Tree, luks_uuid: str) -> None:
    """Read ahead what the checks need of nearly every root. It only saves time."""
    code = [f"{cfg.LIBRARIES[0]}/{it.grub_platform}" for it in architectures.ARCHITECTURES.values()]
    key = fstab.key_path(guest.volume(luks_uuid))
    tree.load([*_DIRECTORIES, *systemd.DIRECTORIES, *code], files=[*_FILES, key])
    inside = {
        f"{top}/{name}": node
        for top in systemd.DIRECTORIES
        for name, node in tree.entries(top).items()
    }
    below = [path for path, node in inside.items() if node.is_directory]
    # All units of the owner, and a few of the distribution.
    units = [
        path
        for path, node in inside.items()
        if node.is_file and (path.startswith(systemd.OWN_DIRECTORIES) or _UNITS.search(path))
    ]
    whole = [f"{top}/{name}" for top in _WHOLE for name in tree.entries(top)]
    tree.load(below, links=[*systemd.DIRECTORIES, *below], files=[*units, *whole])


def examine(
    runner: Runner,
    subject: Subject,
    report: Report,
    *,
    device: str,
    work: str,
    luks_uuid: str,
    disk_header: t.Callable[[int], bytes],
    config: t.Optional[str],
    cores: t.Mapping[str, core_image.Core],
) -> None:
    """Run the checks of the decrypted file system on *device*; *config* is its grub.cfg.

    *cores* are the core images on the ESP, by file. *disk_header* returns the beginning of the LUKS partition:
    as many bytes as requested, and at least a whole header.
    """
    tree = open_tree(runner, device, work)
    _read_ahead(tree, luks_uuid)
    volume, units = tree.volume(), systemd.Units(tree)
    uuid = volume.uuid
    report.facts["root_uuid"] = uuid
    report.facts["filesystem"] = volume.type
    problems = root.filesystem(volume, root_uuid=subject.root_uuid, words=subject.builder_words)
    module = filesystems.find(volume.type).grub_module
    if any(module not in core.modules for core in cores.values()):
        problems.append(f"the GRUB on the ESP lacks the module {module}, so it cannot read it")
    report.add("filesystem", problems, f"{volume.type}, unmounted properly and without errors")
    with report.guard("grub_code"):
        problems = []
        if subject.launched:
            problems += root.launch_modules(tree, subject.launched)
            launched = core_image.parse(subject.launched.core)
            cores = {**cores, image_files.CORE: launched} if launched else cores
        problems += root.own_volume(tree, cores.values())
        # The files of a root can be newer than what its distribution has signed.
        said = "signed by the distribution, and not compared with the root"
        if not subject.secure_boot:
            problems += root.grub_code(tree, cores)
            said = f"the modules in {', '.join(sorted(cores)) or 'no core image'} are files of the root"
        report.add("grub_code", problems, said)
    generator = ""
    parts: t.Dict[str, str] = {}
    with report.guard("grub_cfg"):
        generator = root.generator(tree)
        if config is None:
            raise SealedRootError("GRUB could not read its configuration, see grub_opens")
        config, problems = root.menu(tree, config), root.environment(tree)
        parts = root.scripts(tree, config, luks_uuid=luks_uuid)
        root_device = guest.device(generator, luks_uuid)
        for name, text in {"grub.cfg": config, **parts}.items():
            file_problems = checks.grub_cfg(
                text,
                root_device=root_device,
                root_uuid=uuid,
                luks_uuid=luks_uuid,
                words=guest.words(
                    generator, luks_uuid=luks_uuid, debug_console=subject.debug_console
                ),
                builder_words=subject.builder_words,
                is_part=name in parts,
            )
            problems += [f"{name}: {it}" for it in file_problems]
        report.add("grub_cfg", problems, f"every kernel gets root={root_device} and its words")
    config = config or ""
    with report.guard("console"):
        if subject.debug_console:
            report.add("console", [], "open for development, as was asked for")
        else:
            problems = root.console(tree, config, parts, units)
            problems += root.insists(tree, generator, luks_uuid) if generator else []
            report.add(
                "console", problems, "no failure and no login gives a shell, and GRUB's is closed"
            )
    config = "\n".join([config, *parts.values()])
    secrets = subject.secrets()
    boot_key = secrets.pop("boot key")
    crypttab = mounts.table(tree.text("/etc/crypttab"))
    pinned = pinned_header.path(luks_uuid)
    header, content = tree.find(pinned), b""
    with report.guard("pinned_header"):
        if header and header.is_file:
            content = tree.read(header, most=pinned_header.MOST)
        problems = root.pinned(tree, header, content, luks_uuid, disk_header(len(content)))
        for name in root.tables(generator):
            rows = mounts.table(tree.text(name))
            problems += root.opened_with(name, rows, guest.mapping(generator, luks_uuid), pinned)
        report.add("pinned_header", problems, "the header of the disk, and what opens the root")
    with report.guard("initramfs"):
        report.facts["kernels"] = root.kernels(tree)
        check = {}
        if generator and not subject.debug_console:
            inside = kernel_words.path_inside(generator)
            check[inside] = kernel_words.text(generator, luks_uuid=luks_uuid)
        problems = initramfs.initramfs(
            runner,
            tree,
            loaded=checks.initrds(config),
            boot_key=boot_key,
            others={**secrets, **initramfs.foreign_keys(tree, crypttab, boot_key)},
            header=archive_keys.same(pinned, content),
            files=check,
        )
        report.add("initramfs", problems, "root's alone, with the boot key once and the header")
    with report.guard("key_files"):
        problems = initramfs.key_files(tree, crypttab, keys=subject.secrets())
        problems += esp_mount.examine(tree, subject.secrets())
        report.add(
            "key_files",
            problems,
            "the key file is the boot key, root's alone, and not where an ESP is mounted",
        )
    with report.guard("mounts"):
        problems = mounts.mounts(
            mounts.table(tree.text("/etc/fstab")),
            crypttab,
            luks_uuid=luks_uuid,
            root_device=guest.device(generator, luks_uuid),
            units=units,
        )
        report.add("mounts", problems, "nothing is mounted that the host could supply")
    with report.guard("identity"):
        problems = root.identity(tree)
        report.add(
            "identity", problems, f"no machine ID, and in the usual places no {identity.SHARED}"
        )
    with report.guard("host_agents"):
        problems = root.agents(tree, subject.host_agents)
        report.add("host_agents", problems, "nothing does what the host says, unless asked for")
    with report.guard("selinux"):
        problems, seen = selinux.examine(tree, config, wanted=subject.selinux)
        report.add("selinux", problems, seen)


__all__ = ("READERS", "examine", "open_tree")
