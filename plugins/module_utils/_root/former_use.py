# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a root brings from the container or machine that it was, and that would undo its encrypted boot: pure."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    drop_ins,
    identity,
    shell_defaults,
    units,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
)
from ansible_collections.sealedroot.image.plugins.module_utils._root import hooks, lost_links
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member

DIVERSIONS = "var/lib/dpkg/diversions"
# It has a list for each package, NAME.list or NAME:ARCHITECTURE.list (docs/facts.md: package-lists).
_LISTS = "var/lib/dpkg/info"
# By each of these, systemd takes the machine for a container (systemd: src/basic/virt.c).
CONTAINER_MARKS = (
    *(".dockerenv", ".dockerinit", "run/.containerenv", "run/host/container-manager"),
    "run/systemd/container",
)
# A link to /dev/null, or an empty file, masks a unit (docs/facts.md: masked-units). No machine works without the first;
# of the others one alone may be masked on purpose.
_UDEV = (
    *("systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket"),
    *("systemd-udev-trigger.service", "udev.service"),
)
_OTHER_UNITS = (
    *("systemd-remount-fs.service", "systemd-logind.service", "getty.target"),
    *("systemd-random-seed.service", "systemd-machine-id-commit.service"),
)
_OWN_UNITS = "etc/systemd/system"
# Tables and caches of disks of the old machine, which nothing of the image needs (docs/facts.md: disks-by-cache).
_OF_DISKS = re.compile(r"etc/(?:veritytab|integritytab|zfs/(?:zpool\.cache|zfs-list\.cache/[^/]+))")
# Settings that send memory to a disk (docs/facts.md: memory-to-disks).
_MEMORY_TO_DISK = {
    re.compile(
        r"(?:etc|usr/(?:local/)?lib)/systemd/zram-generator\.conf(?:\.d/[^/]+\.conf)?"
    ): re.compile(r"^[ \t]*writeback-device[ \t]*=[ \t]*\S", re.MULTILINE),
    re.compile(r"etc/kdump\.conf"): re.compile(
        r"^[ \t]*(?:raw|ext[234]|xfs|btrfs|minix|virtiofs)[ \t]+\S", re.MULTILINE
    ),
}
# What else runs at each boot.
_AT_BOOT = re.compile(
    r"etc/(?:systemd/system/[^/]+\.service(?:\.d/[^/]+\.conf)?|(?:rc\.d/)?rc\.local)"
)
# Programs that make what boots, when the build or an update of the machine runs them.
_BOOT_PROGRAMS = (
    *(name for names in generators.PROGRAMS.values() for name in names),
    *("cryptsetup", "grub-install", "grub-mkconfig", "grub-mkimage", "grub-probe", "update-grub"),
)
# A script of these lines only does nothing.
_STUB = re.compile(
    r"#.*|set\b.*|:|(?:/usr)?(?:/bin/)?(?:true|false)|exit(?:\s+\d+)?|echo\b[^|&;<>$`]*|"
)
# Such a script is short.
_MOST_STUB = 1 << 10
_PROGRAMS = dict.fromkeys(
    f"{top}/{name}" for top in ("usr/sbin", "sbin", "usr/bin", "bin") for name in _BOOT_PROGRAMS
)
# It forbids packages to start their services (Debian's invoke-rc.d).
_POLICY = "usr/sbin/policy-rc.d"
_ENVIRONMENT = "etc/environment"
_DROP_INS = {
    "initramfs_tools": drop_ins.INITRAMFS_TOOLS,
    "dracut": drop_ins.DRACUT,
    "mkinitcpio": drop_ins.MKINITCPIO,
}
# Their names are arguments of tar(1).
_MOST_HOOKS = 2000
# Where kernel-install(8) reads its layout: a file in one directory hides that of the same name in later ones.
_INSTALL_TOPS = ("etc/kernel", "usr/local/lib/kernel", "usr/lib/kernel")
_INSTALL_CONF = tuple(f"{top}/install.conf" for top in _INSTALL_TOPS)
_INSTALL_DROP_INS = re.compile(rf"(?:{'|'.join(_INSTALL_TOPS)})/install\.conf\.d/[^/]+\.conf")
_MACHINE_INFO = "etc/machine-info"
_PRESETS = re.compile(r"etc/mkinitcpio\.d/[^/]+\.preset")
# Packages have settings for mkinitramfs there.
_CONF_HOOKS = re.compile(r"usr/share/initramfs-tools/conf-hooks\.d/[^/]+")
# sshd_config(5). 'ssh-keygen -A' makes only the keys with the usual names.
_SSHD = re.compile(r"etc/ssh/sshd_config(?:\.d/[^/]+\.conf)?")
_HOST_KEY = re.compile(
    r'^[ \t]*HostKey(?:[ \t]*=[ \t]*|[ \t]+)"?/([^"\s]+)', re.MULTILINE | re.IGNORECASE
)
_USUAL_HOST_KEY = "etc/ssh/ssh_host_"
# Private keys of WireGuard in files that have other purposes as well (systemd.netdev(5), nm-settings-keyfile(5)).
_WIREGUARD = {
    re.compile(r"etc/systemd/network/[^/]+\.netdev"): re.compile(
        r"^PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}=", re.MULTILINE
    ),
    re.compile(r"etc/NetworkManager/system-connections/[^/]+"): re.compile(
        r"^private-key=[A-Za-z0-9+/]{43}=[ \t]*$", re.MULTILINE
    ),
}
_LAYOUT = re.compile(r"^[ \t]*((?:KERNEL_INSTALL_LAYOUT|layout)\s*=)\s*[\"']?(\w+)", re.MULTILINE)
_UKI = re.compile(r"^[ \t]*\w+_(?:uki|efi_image)=[\"']?/", re.MULTILINE)
# What applies to a network device by its address, which no other machine has (docs/facts.md: device-by-address).
_ADDRESSED = {
    re.compile(r"etc/netplan/[^/]+\.yaml"): re.compile(
        r"\bmatch:[ \t]*(?:\{[^{}]*|\n(?:[ \t]+[\w-]+:.*\n){0,8}[ \t]+)macaddress:"
    ),
    re.compile(r"etc/systemd/network/[^/]+\.(?:network|link)"): re.compile(
        r"^\[Match\][^\[]*^(?:Permanent)?MACAddress=\s*\S", re.MULTILINE
    ),
    re.compile(
        r"etc/NetworkManager/system-connections/[^/]+|etc/sysconfig/network-scripts/ifcfg-[^/]+"
    ): re.compile(r"^(?:mac-address|HWADDR)=", re.MULTILINE),
    re.compile(r"etc/udev/rules\.d/[^/]+\.rules"): re.compile(
        r"^[^#\n]*\bATTRS?\{address\}==\"[0-9A-Fa-f]{2}:", re.MULTILINE
    ),
}
_REFUSED = (_CONF_HOOKS, _INSTALL_DROP_INS, _PRESETS)
_READ = (
    *(*_REFUSED, _AT_BOOT, hooks.HOOKS, _SSHD),
    *(*_ADDRESSED, *_MEMORY_TO_DISK, *_WIREGUARD),
)
# A hook is a small script.
_MOST = 1 << 20

Members = t.Mapping[str, Member]
Text = t.Callable[[str], str]


def wanted(members: t.Collection[Member]) -> t.List[t.Tuple[str, ...]]:
    """Return the files whose content the checks need, each with its possible names."""
    others = [
        (member.name,)
        for member in members
        if member.size <= _MOST and any(it.fullmatch(member.name) for it in _READ)
    ]
    # A root is refused for the first of them.
    others.sort(key=lambda names: not any(it.fullmatch(names[0]) for it in _REFUSED))
    others += [
        (it.name,)
        for it in members
        if it.size <= hooks.MOST_SCRIPT and hooks.OWN_SCRIPTS.fullmatch(it.name)
    ]
    names = (DIVERSIONS, *_INSTALL_CONF, _MACHINE_INFO, _POLICY, _ENVIRONMENT)
    stubs = [(it.name,) for it in members if it.size <= _MOST_STUB and it.name in _PROGRAMS]
    return [*((name,) for name in names), *stubs, *others[:_MOST_HOOKS]]


def left_out(members: Members, text: Text) -> t.Dict[str, str]:
    """Return the files that must not get into an image, each with the reason."""
    found = {
        name: "by it systemd takes the machine for a container"
        for name in CONTAINER_MARKS
        if name in members
    }
    for name, member in members.items():
        if member.type != "d" and boot_files.is_esp_payload(f"/{name}"):
            found[name] = "a kernel or an initramfs of the old EFI system partition"
        if member.type != "d" and _OF_DISKS.fullmatch(name):
            found[name] = "it names disks of the old machine"
        if _says(name, _MEMORY_TO_DISK, text):
            found[name] = "by it memory goes to what is not in the image"
    if _masked(members, _UDEV):
        masked = _masked(members, (*_UDEV, *_OTHER_UNITS))
        found.update(dict.fromkeys(masked, "as in a container, it masks what a machine needs"))
    return found


def _masked(members: Members, names: t.Iterable[str]) -> t.List[str]:
    """Return the files that mask the units *names*."""

    def masks(name: str) -> bool:
        member = members.get(name)
        if member is None or member.type == "d":
            return False
        if member.link and member.type == "l":
            target = os.path.join(f"/{os.path.dirname(name)}", member.link)
            return os.path.normpath(target) == "/dev/null"
        return member.type == "-" and not member.size

    return [name for name in (f"{_OWN_UNITS}/{it}" for it in names) if masks(name)]


def problems(members: Members, text: Text) -> t.List[str]:
    """Return what would undo the settings of the build, or carry out what it encrypts."""
    generator = generators.active(members.__contains__)
    own = [drop_ins.GRUB, *(_DROP_INS[it] for it in [generator] if it)]
    return [
        *(
            f"{path} is read after the build's own {name}, and could undo it. Give it a name that begins with a digit."
            for name in own
            for path in drop_ins.later(name, (f"/{it}" for it in members))
        ),
        *_conf_hooks(members, text, generator),
        *_diverted(members, text(DIVERSIONS)),
        *_switched_off(members, text),
        *_unified(members, text, generator),
        *lost_links.problems(members),
    ]


def _conf_hooks(members: Members, text: Text, generator: str) -> t.List[str]:
    """Return the settings of packages for mkinitramfs that undo ours (docs/facts.md: drop-in-order)."""
    names = sorted(filter(_CONF_HOOKS.fullmatch, members))
    have = [(name, shell_defaults.values(text(name))) for name in names]
    return [
        f"/{name} sets {key}, and is read after the build's own {drop_ins.INITRAMFS_TOOLS}. Take the line out: it must"
        f" stay {' or '.join(values)}."
        for name, found in (have if generator == "initramfs_tools" else [])
        for key, values in drop_ins.INITRAMFS_SETTINGS.items()
        if found.get(key, values[0]) not in values
    ]


def _diverted(members: Members, text: str) -> t.List[str]:
    """Return the boot programs that somebody diverted; packages divert programs for a purpose (dpkg-divert(1)).

    A live medium diverts them in the name of a package that it does not have.
    """
    lists = [name for name in members if name.startswith(f"{_LISTS}/") and name.endswith(".list")]
    packages = {os.path.basename(name)[: -len(".list")].partition(":")[0] for name in lists}
    lines = text.splitlines()
    return [
        f"{path} is diverted (to {other}), so neither the build nor an update of the machine would run it. Undo it in"
        f" the root (rm -f {path}; dpkg-divert {_by(package)} --rename --remove {path}), and pack the root again."
        for path, other, package in zip(lines[::3], lines[1::3], lines[2::3])
        if package not in packages and os.path.basename(path) in _BOOT_PROGRAMS
    ]


def _by(package: str) -> str:
    return "--local" if package == ":" else f"--package {package}"


def _switched_off(members: Members, text: Text) -> t.List[str]:
    """Return the boot programs that are links to true(1) or false(1), or scripts that do nothing."""

    def instead(path: str) -> str:
        if os.path.basename(members[path].link) in ("true", "false"):
            return f"a link to {members[path].link}"
        lines = text(path).splitlines() if members[path].size <= _MOST_STUB else []
        is_script = bool(lines) and lines[0].startswith("#!")
        stubs = all(_STUB.fullmatch(it.strip()) for it in lines)
        return "a script that does nothing" if is_script and stubs else ""

    found = {path: instead(path) for path in _PROGRAMS if path in members}
    return [
        f"/{path} is {what}, so neither the build nor an update of the machine would make what boots. Put the program"
        " back (install its package again), and pack the root again."
        for path, what in found.items()
        if what
    ]


def _unified(members: Members, text: Text, generator: str) -> t.List[str]:
    """Return the settings by which an update writes a unified kernel image, which holds the boot key, to the ESP."""
    found = _layouts(members, text)
    if generator == "mkinitcpio":
        found += [
            f"/{name} makes a unified kernel image"
            for name in sorted(members)
            if _PRESETS.fullmatch(name) and _UKI.search(text(name))
        ]
    return [
        f"{it}: it would hold the boot key, and the EFI system partition is not encrypted. GRUB boots a kernel and an"
        " initramfs: let the root make these."
        for it in found
    ]


def _layouts(members: Members, text: Text) -> t.List[str]:
    """Return the settings by which kernel-install(8) makes unified kernel images (docs/facts.md: kernel-layout)."""
    drop_ins: t.Dict[str, str] = {}
    for name in sorted(filter(_INSTALL_DROP_INS.fullmatch, members), key=_install_place):
        drop_ins.setdefault(os.path.basename(name), name)
    conf = [name for name in _INSTALL_CONF if name in members][:1]
    both = [*conf, *(drop_ins[name] for name in sorted(drop_ins))]
    # An older systemd reads no drop-ins, and /etc/machine-info counts where all else says nothing.
    readings = [
        [(name, *found) for name in names for found in _LAYOUT.findall(text(name))]
        for names in (conf, both)
    ]
    if not readings[-1]:
        readings = [[(_MACHINE_INFO, *found) for found in _LAYOUT.findall(text(_MACHINE_INFO))]]
    effective = [reading[-1] for reading in readings if reading]
    found = (
        f"/{name} sets {key.replace(' ', '')}uki" for name, key, it in effective if it == "uki"
    )
    return list(dict.fromkeys(found))


def _install_place(name: str) -> int:
    return next(n for n, top in enumerate(_INSTALL_TOPS) if name.startswith(f"{top}/"))


def notes(members: Members, text: Text) -> t.List[str]:
    """Return what the user should know: what clones share, what may carry the key out, and what a boot may lack."""
    return [
        *(
            f"Every machine of the image would have the same {what} ({', '.join(paths)}): remove it from the root, or"
            " make it anew in each machine."
            for what, paths in _shared(members, text).items()
            if paths
        ),
        *hooks.notes(members, text),
        *(
            f"/{name} is for a network device of one address, which another machine does not have: it could be without"
            " a network. Remove the file from the root, or name the device in another way."
            for name in sorted(members)
            # The build removes what clones would share.
            if _says(name, _ADDRESSED, text) and f"/{name}" not in identity.SHARED_BY_CLONES
        ),
        *(
            f"/{name} mounts a disk, or swaps to it, by a name that a disk of the host can have. It would get what the"
            " machine writes there, memory included: take the line out."
            for name in sorted(members)
            if _AT_BOOT.fullmatch(name) and (".service" in name or "x" in members[name].mode)
            if units.uses_disk(hooks.COMMENT.sub("", text(name)), "mount", "swapon")
        ),
        *_of_container(members, text),
        *lost_links.notes(members),
    ]


def _shared(members: Members, text: Text) -> t.Dict[str, t.List[str]]:
    """Return the files that clones would share and nothing makes anew, by what they are."""
    directories = {os.path.dirname(it) for its in identity.NOT_MADE_ANEW.values() for it in its}
    inside: t.Dict[str, t.List[str]] = {}
    for name, member in members.items():
        directory, base = os.path.split(f"/{name}")
        if directory in directories and member.type in "-h":
            inside.setdefault(directory, []).append(base)
    shared = {
        what: identity.present(patterns, lambda directory: inside.get(directory, []))
        for what, patterns in identity.NOT_MADE_ANEW.items()
    }
    keys = {it for name in filter(_SSHD.fullmatch, members) for it in _HOST_KEY.findall(text(name))}
    shared["SSH host key"] = [
        f"/{it}" for it in sorted(keys) if it in members and not it.startswith(_USUAL_HOST_KEY)
    ]
    shared["WireGuard key"] += [f"/{it}" for it in sorted(members) if _says(it, _WIREGUARD, text)]
    return shared


def _says(name: str, table: t.Mapping[t.Pattern[str], t.Pattern[str]], text: Text) -> bool:
    """Say whether a file is one of a *table*, and has the words that stand there beside it."""
    return any(files.fullmatch(name) and words.search(text(name)) for files, words in table.items())


def _of_container(members: Members, text: Text) -> t.List[str]:
    """Return the habits of a container that a machine may not want."""
    found = []
    if re.search(r"^[ \t]*exit[ \t]+101\b", text(_POLICY), re.MULTILINE):
        found.append(
            f"/{_POLICY} forbids packages to start their services when they are installed, as in a container: remove"
            " it, unless that is wanted."
        )
    if re.search(r"^[ \t]*(?:export[ \t]+)?container=\S", text(_ENVIRONMENT), re.MULTILINE):
        found.append(f"/{_ENVIRONMENT} sets container=, but a machine is none: take the line out.")
    if not _masked(members, _UDEV):
        found += [
            f"/{name} masks this unit, as in a container: remove it, unless that is wanted."
            for name in _masked(members, _OTHER_UNITS)
        ]
    return found


__all__ = ("CONTAINER_MARKS", "DIVERSIONS", "left_out", "notes", "problems", "wanted")
