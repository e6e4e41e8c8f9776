# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How each generator of initramfs is run, in a build and on a running machine. Pure."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# What a running machine runs, by a program that only the generator has; the first that the machine has.
# update-initramfs replaces an initramfs by one rename. dracut writes over it, and a machine that stops meanwhile does
# not boot again: so it is given another file, and running_root.py renames it. mkinitcpio writes where its presets say.
TOOLS: t.Dict[str, t.Tuple[str, ...]] = {
    "mkinitramfs": ("update-initramfs", "-u", "-k", "all"),
    "dracut": ("dracut", "--force"),
    "mkinitcpio": ("mkinitcpio", "--allpresets"),
}
SECONDS = 1800
UPDATE_CONF = "/etc/initramfs-tools/update-initramfs.conf"


class _Build(t.NamedTuple):
    """The command of a build, in shell; *each* says whether it is for one kernel or for all.

    *setup* comes before it, *reproducible* are its options where the time is given.
    """

    setup: str
    command: str
    each: bool = True
    reproducible: str = ""


# TMPDIR, --tmpdir: what is unpacked would leave its blocks in the image as ciphertext.
# hostonly: dracut would look at the builder, should the root's own configuration ask for it. It compresses as the root
# is configured, with all threads where the program has any (dracut.conf(5)).
# ZSTD_NBTHREADS: mkinitramfs compresses with one thread else (zstd(1)).
_BUILDS = {
    "dracut": _Build(
        "umask 077",
        "dracut --force --no-hostonly --no-hostonly-cmdline --tmpdir /tmp{options} {path} {version}",
        reproducible=" --reproducible",
    ),
    "initramfs_tools": _Build(
        "export TMPDIR=/tmp ZSTD_NBTHREADS=0", "update-initramfs -c -k {version}"
    ),
    "mkinitcpio": _Build("export TMPDIR=/tmp; umask 077", "mkinitcpio --allpresets", each=False),
}
# Those that a build has commands for.
GENERATORS = tuple(_BUILDS)


def script(generator: str, kernels: t.Sequence[t.Mapping[str, str]], epoch: int = 0) -> str:
    """Return the shell script by which a build makes the initramfs of each kernel, in the image.

    *kernels* are those of `initramfs_unlock`, *epoch* is SOURCE_DATE_EPOCH. The files come first, empty: for a kernel
    without one, grub-mkconfig, which runs meanwhile, would write no initrd. One that is there stays until the new one
    takes its place.
    """
    if generator not in _BUILDS:
        raise SealedRootError(f"nothing is known of a generator of initramfs called '{generator}'")
    build = _BUILDS[generator]
    lines = ["set -e", build.setup]
    if epoch:
        lines.append(f"export SOURCE_DATE_EPOCH={epoch}")
    for kernel in kernels:
        # dracut keeps the mode of a file that is there.
        path = shlex.quote(kernel["path"])
        lines.append(f": >>{path}; chmod 0600 {path}")
    for kernel in kernels if build.each else kernels[:1]:
        words = {name: shlex.quote(kernel[name]) for name in ("path", "version")}
        options = build.reproducible if epoch else ""
        lines.append(f"timeout {SECONDS} {build.command.format(options=options, **words)}")
    return "\n".join(lines)


def updates(conf: str) -> bool:
    """Say whether ``update-initramfs -u`` does anything with this UPDATE_CONF, which is shell.

    With "no" it does nothing, and reports no error (docs/facts.md: update-initramfs-conf).
    """
    return shell_defaults.values(conf).get("update_initramfs", "yes") != "no"


__all__ = ("GENERATORS", "TOOLS", "UPDATE_CONF", "script", "updates")
