# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether the GRUB of an image reads the disk that it is on.

The builder's GRUB may be newer, so it is not enough that this one reads the disk, which an audit shows.
"""

from __future__ import annotations

import os

from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files
from ansible_collections.sealedroot.image.plugins.module_utils._launcher.request import (
    DISK,
    IN_IMAGE,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import printable
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Whatever GRUB reads before it starts a kernel.
_GLOBS = (
    *(f"/boot/{it}" for it in (*boot_files.KERNEL_GLOBS, *boot_files.INITRAMFS_GLOBS)),
    "/boot/grub*/grub.cfg",
    "/boot/loader/entries/*.conf",
)
# For one file, and for all.
_FILE_SECONDS, _SECONDS = 300, 3600
# Runs in the image. All files at the same time, since a header with many iterations takes long.
SCRIPT = f"""
fstest=$(command -v grub-fstest || command -v grub2-fstest) || {{ echo 'no grub-fstest in the image'; exit 0; }}
read_file() {{
  {{ cat {IN_IMAGE}/boot.key; echo; }} |
    timeout {_FILE_SECONDS} "$fstest" -C {IN_IMAGE}/{DISK} cmp "(crypto0)$1" "$1" ||
    {{ echo "GRUB does not read $1"; exit 1; }}
}}
jobs='' failed=0
for file in {" ".join(_GLOBS)}; do
  [ -f "$file" ] || continue
  case ${{file##*/}} in {"|".join(boot_files.NOT_LOADED_GLOBS)}) continue ;; esac
  read_file "$file" &
  jobs="$jobs $!"
done
for job in $jobs; do wait "$job" || failed=1; done
exit "$failed"
"""


def prove(runner: Runner, *, sandbox: str, root: str, disk: str) -> None:
    """Let the image's GRUB read each file that a boot needs; *sandbox* is what image_runtime prepared.

    The root must be mounted read-only, because the disk is shown to the image.
    """
    argv = [os.path.join(sandbox, "sandbox", "launch"), f"root={root}", f"disk={disk}"]
    argv += ["secrets=1", f"deadline={_SECONDS}", "shell", SCRIPT]
    done = runner.run(argv, check=False, timeout=_SECONDS + 60)
    if done.rc != 0:
        # In one line: the image could print others that look like those of Ansible.
        lines = (done.stdout.strip() or done.stderr.strip())[-2000:].splitlines()
        said = printable.text("; ".join(lines))
        raise SealedRootError(
            f"The image's own GRUB cannot read its disk, so it would not boot: {said}. Use a file system and LUKS"
            " settings that this GRUB knows (image_filesystem, image_filesystem_features, image_luks)."
        )


__all__ = ("SCRIPT", "prove")
