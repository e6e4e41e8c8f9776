# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check, by its tar, whether a root can become an image, and what of it must not get into one: pure."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    fstab,
    image_tables,
    units as etc_units,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
)
from ansible_collections.sealedroot.image.plugins.module_utils._root import former_use, mounting
from ansible_collections.sealedroot.image.plugins.module_utils._root.members import Root
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import (
    Member,
    links,
    plain,
    real,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import printable

FSTAB, CRYPTTAB = "etc/fstab", "etc/crypttab"
GRUB_PROBES = ("usr/sbin/grub-probe", "usr/sbin/grub2-probe", "usr/bin/grub-probe")
SHELLS = ("bin/sh", "usr/bin/sh")
_BUILTIN = re.compile(r"(?:usr/)?lib/modules/([^/]+)/modules\.builtin")
_MODULE = re.compile(r"(?:usr/)?lib/modules/([^/]+)/(?:.+/)?([^/]+)\.ko(?:\.(?:gz|xz|zst|bz2))?")
# Their names are arguments of tar(1). The audit reads all units of the image.
_MOST_UNITS = 2000
_LARGEST_UNIT = 1 << 16
# cloud-init would use this old key, then remove the slot it names from our header (cc_growpart.py).
GROWPART_KEY = "/cc_growpart_keydata"
# No machine runs without these. A lost file system on another mount point may have held only data.
_ESSENTIAL = ("/usr", "/var", "/var/lib")


@dataclasses.dataclass
class Findings:
    """What to report about a root.

    *problems* are reasons to refuse it, *notes* are not. *excluded* are members, by their names in the tar, that must
    not get into an image; *left_out* reports them, and lines of tables, with the reason.
    """

    problems: t.List[str] = dataclasses.field(default_factory=list)
    notes: t.List[str] = dataclasses.field(default_factory=list)
    left_out: t.List[str] = dataclasses.field(default_factory=list)
    excluded: t.List[str] = dataclasses.field(default_factory=list)
    # Whether a problem already explains why there is no kernel.
    tells_of_kernel: bool = False


def wanted(members: t.Iterable[Member]) -> t.List[t.Tuple[str, ...]]:
    """Return the files whose content the checks need, each with its possible names."""
    members = [*members]
    files = [it.name for it in members if it.type in "-h" or it.link]
    builtin = [(it,) for it in files if _BUILTIN.fullmatch(it)]
    units = [(it,) for it in files if etc_units.is_member(it)][:_MOST_UNITS]
    small = [it.name for it in members if it.type in "-h" and it.size <= _LARGEST_UNIT]
    units += [(it,) for it in small if etc_units.can_ask(it)][:_MOST_UNITS]
    found = links(members)
    return [
        # A link is read by the name of the file to which it leads.
        tuple(dict.fromkeys(name for it in names for name in (it, real(found, it))))
        for names in [
            *((FSTAB,), (CRYPTTAB,), GRUB_PROBES),
            *builtin,
            *units,
            *former_use.wanted(members),
        ]
    ]


def judge(root: Root, kernels: t.Sequence[str], filesystem: str) -> Findings:
    """Check a root that has the complete *kernels* and is to be put on a *filesystem*."""
    found = Findings()
    # Find what to leave out first, because lines of tables that need it must be removed as well.
    _swap(root, found)
    _tables(root, found)
    _initramfs(root, found)
    _former_use(root, found)
    _hard_links(root, found)
    _spellings(root, found)
    _boot(root, found)
    _kernels(root, kernels, filesystem, found)
    return found


def _is_in(found: Findings, member: Member) -> bool:
    return plain(member.raw) not in found.excluded


def _leave_out(found: Findings, member: Member, reason: str) -> None:
    if _exclude(found, member, reason):
        found.left_out.append(f"/{plain(member.name)}: {reason}")


def _exclude(found: Findings, member: Member, reason: str) -> bool:
    """Exclude a member whose name reaches tar(1) as it is, by way of a module's result; of any other say so."""
    name = plain(member.raw)
    if printable.text(name) != name or "\n" in name:
        found.problems.append(
            f"The name {member.raw} is not UTF-8 or has control characters, but it has to be named: {reason}. Rename"
            " it, or remove it."
        )
        return False
    found.excluded.append(name)
    return True


def _swap(root: Root, found: Findings) -> None:
    """Leave swap files out: they contain memory of another machine."""
    units = [fstab.path_of(it.row[0]) for it in root.units() if it.row[2] == "swap"]
    for path in [*fstab.swap_files(root.text(FSTAB)), *filter(None, units)]:
        member = root.file(path)
        if member and _is_in(found, member):
            size = f"{member.size / (1 << 20):.0f} MiB"
            reason = f"{size} of another machine's memory; make a swap file in the machine"
            _leave_out(found, member, reason)


def _tables(root: Root, found: Findings) -> None:
    """Report what to remove of fstab, crypttab and units, and leave out the keys of disks that are gone."""

    def exists(path: str) -> bool:
        member = root.members.get(path.lstrip("/"))
        return root.has_below(path) if member is None else _is_in(found, member)

    # The names of the image are not known yet, and no message contains them.
    unknown = {"name": "", "luks_uuid": "", "key_file": "", "options": ""}
    _table, closed = image_tables.crypttab(root.text(CRYPTTAB), exists=exists, **unknown)
    entries = fstab.rows(root.text(CRYPTTAB))
    kept = [row for row in entries if image_tables.stays_in_crypttab(row, exists)]
    lines, own = fstab.rows(root.text(FSTAB)), fstab.own_mappings(kept, "")
    unmounted = image_tables.going(lines, own, exists=exists, crypttab=kept)
    reasons = [(row, unmounted.get(tuple(row), "")) for row in lines]
    found.left_out += closed
    found.left_out += [image_tables.said("fstab", row, why) for row, why in reasons if why]
    _units(root, found, lines, mounting.Gone(unmounted, own, exists, kept))
    used = {fstab.key_of(row) for row in kept}
    named = {fstab.key_of(row) for row in entries} - used
    for path in sorted(name for name in root.members if _is_old_key(root, name, named, used)):
        _leave_out(found, root.members[path], "the key of a disk of the old machine")
    for row, why in reasons:
        point = fstab.point_of(row)
        _empty(root, found, point, gone=why.startswith(fstab.OLD_DISK), place=FSTAB)


def _empty(root: Root, found: Findings, point: str, *, gone: bool, place: str) -> None:
    """Report a mount point whose file system is not in the tar; *place* names what mounted it."""
    if not point or root.holds(point):
        return
    if point in _ESSENTIAL and (gone or point in image_tables.OWN_POINTS):
        found.problems.append(elsewhere(point, place))
    elif gone:
        found.notes.append(f"{point} is empty, since its file system is not in the tar.")


def _units(root: Root, found: Findings, lines: mounting.Lines, unmounted: mounting.Gone) -> None:
    """Leave out the units that mount what goes; of the *lines* of fstab, those of *unmounted* go."""
    gone, problems = mounting.going(root.mounting, lines, unmounted)
    found.problems += problems
    for unit, why in gone:
        found.left_out.append(image_tables.said(f"unit {unit.name}", unit.row, why))
        for path in unit.members:
            if _is_in(found, root.members[path]):
                _exclude(found, root.members[path], f"of the unit {unit.name}, which goes")
        is_disk = why.startswith(fstab.OLD_DISK)
        _empty(root, found, fstab.point_of(unit.row), gone=is_disk, place=unit.members[0])


def _is_old_key(root: Root, name: str, named: t.Container[str], used: t.Container[str]) -> bool:
    path = f"/{name}"
    member = root.file(path)
    if member is None or path in used:
        return False
    if path.startswith(f"{fstab.KEY_DIRECTORY}/") or path == GROWPART_KEY:
        return True
    # Only its owner may read a key; a file that others may read serves another purpose.
    return path in named and member.mode[3:] == "------"


def elsewhere(point: str, place: str = FSTAB) -> str:
    """Report that the file system that was mounted on *point* is not in the tar; *place* names what mounted it."""
    return (
        f"{point} was a file system of its own ({place}), and nothing of it is in the tar. Mount it and pack the"
        " root again, without tar's --one-file-system."
    )


def _initramfs(root: Root, found: Findings) -> None:
    """Refuse a root with two initramfs generators, and leave out initramfs without a kernel."""

    def runs(hook: str) -> bool:
        # run-parts(8) runs only executable files; pacman reads its hooks.
        member = root.members.get(hook)
        return member is not None and ("/kernel/" not in hook or "x" in member.mode)

    hooked = {name for hook, name in generators.HOOKS if runs(hook)}
    both = [
        name.replace("_", "-")
        for name in generators.PROGRAMS
        if name in hooked and generators.has(root.members.__contains__, name)
    ]
    if len(both) > 1:
        found.problems.append(
            f"Both {' and '.join(both)} build an initramfs at every kernel update, so it would be left to chance which"
            " one boots. Remove the package of one of them."
        )
    # The build makes every initramfs again. Blocks of an old one would stay in the image, with any key it contains.
    in_boot = _in_boot(root)
    kernels = boot_files.kernels(in_boot)
    for name in filter(boot_files.INITRAMFS.fullmatch, in_boot):
        member, versions = root.members[f"boot/{name}"], boot_files.versions(name)
        is_rescue = any(it.startswith(boot_files.RESCUE) for it in versions)
        if is_rescue or member.type not in "-h":
            continue
        if any(it in kernels for it in versions):
            _exclude(found, member, "an initramfs, which is made anew")
        else:
            _leave_out(found, member, "an initramfs that no kernel has")


def _in_boot(root: Root) -> t.List[str]:
    return [name[len("boot/") :] for name in root.members if name.startswith("boot/")]


def _former_use(root: Root, found: Findings) -> None:
    """Report what the root brings from the container or machine that it was."""
    for name, reason in former_use.left_out(root.members, root.text).items():
        _leave_out(found, root.members[name], reason)
    found.problems += former_use.problems(root.members, root.text)
    found.notes += former_use.notes(root.members, root.text)


def _hard_links(root: Root, found: Findings) -> None:
    """Leave out hard links whose target is left out."""
    for member in root.members.values():
        if plain(member.target) in found.excluded and _is_in(found, member):
            _leave_out(found, member, f"a hard link to {plain(member.target)}")


def _spellings(root: Root, found: Findings) -> None:
    """Leave out every member that unpacks to the name of one that is left out (``./x`` and ``x``)."""
    names = {plain(member.name) for member in root.all if not _is_in(found, member)}
    for member in root.all:
        if plain(member.name) in names and _is_in(found, member):
            found.excluded.append(plain(member.raw))


def _boot(root: Root, found: Findings) -> None:
    # The root's own tools are scripts, and so are steps of the build.
    if not any(name in root.members for name in SHELLS):
        found.problems.append(
            "It has no shell (/bin/sh). Install one in the root and pack it again."
        )
    places = {fstab.point_of(it.row): it.members[0] for it in root.units()}
    places.update((fstab.point_of(row), FSTAB) for row in fstab.rows(root.text(FSTAB)))
    if "/boot" in places and not any(name.startswith("boot/vmlinu") for name in root.members):
        said = elsewhere("/boot", places["/boot"])
        found.problems.append(said.replace("nothing of it", "no kernel"))
        found.tells_of_kernel = True


def drivers(root: Root) -> t.Dict[str, t.Set[str]]:
    """Return the modules of each kernel version, built in or not, under the kernel's own names."""
    have: t.Dict[str, t.Set[str]] = {}
    for name in root.members:
        match = _MODULE.fullmatch(name)
        if match:
            have.setdefault(match.group(1), set()).add(match.group(2).replace("-", "_"))
    for name in root.data:
        match = _BUILTIN.fullmatch(name)
        if match:
            words = re.findall(r"([^/\s]+)\.ko$", root.text(name), re.MULTILINE)
            have.setdefault(match.group(1), set()).update(it.replace("-", "_") for it in words)
    return have


def disks(modules: t.Container[str]) -> t.List[str]:
    """Name the disks from which a kernel with these modules can boot."""
    return [disk for disk, needs in boot_files.DISKS.items() if all(it in modules for it in needs)]


def _kernels(root: Root, kernels: t.Sequence[str], filesystem: str, found: Findings) -> None:
    have = drivers(root)
    for version in kernels:
        if not boot_files.VERSION.fullmatch(version):
            found.problems.append(
                f"The version of a kernel, {version[:128]!r}, has other characters than letters, digits and . _ + ~ -,"
                " or too many. Remove this kernel, and pack the root again."
            )
            continue
        modules = have.get(version, set())
        if "dm_crypt" not in modules:
            found.problems.append(
                f"Kernel {version} has no dm-crypt, neither as a module nor built in, so it could not open its disk."
                " Install all of its modules, or remove this kernel."
            )
        if filesystem not in modules:
            found.problems.append(
                f"Kernel {version} has no driver for {filesystem}, neither as a module nor built in, so it could not"
                " mount its root. Choose another image_filesystem, install all of its modules, or remove this kernel."
            )
        can = disks(modules)
        if not can:
            found.problems.append(
                f"Kernel {version} has no driver for a disk of a virtual machine ({', '.join(boot_files.DISKS)})."
                " Install all of its modules, or remove this kernel."
            )
        elif not {"virtio_blk", "virtio_scsi"} & set(can):
            found.notes.append(
                f"Kernel {version} has no virtio_blk and no virtio_scsi, so it boots only from {' or '.join(can)}."
            )
    for version in boot_files.kernels(_in_boot(root)):
        # Skip kernels that Arch names by package: a version begins with a digit.
        is_version = version[:1].isdigit() and not version.startswith(boot_files.RESCUE)
        if version not in kernels and is_version:
            found.problems.append(
                f"Kernel {version} in /boot has no modules in /lib/modules/{version}, but GRUB would offer it."
                " Install its modules, or remove it."
            )
            found.tells_of_kernel = True


def grub_install_knows_luks2(root: Root) -> bool:
    """Say whether the root's own grub-install recognises LUKS2; True if unknown.

    GRUB 2.06 looks only for the device-mapper UUID of LUKS1, and writes a core image that cannot open the disk,
    without an error (docs/facts.md: grub-install-device-mapper); grub-probe contains the same code.
    """
    code = next((root.data[name] for name in GRUB_PROBES if name in root.data), b"")
    return b"CRYPT-LUKS1-" not in code or b"CRYPT-LUKS2-" in code


__all__ = (
    "CRYPTTAB",
    "FSTAB",
    "GROWPART_KEY",
    "GRUB_PROBES",
    "SHELLS",
    "Findings",
    "Root",
    "disks",
    "drivers",
    "elsewhere",
    "grub_install_knows_luks2",
    "judge",
    "wanted",
)
