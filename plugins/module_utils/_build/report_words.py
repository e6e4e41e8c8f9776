# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The words of an image's report: what checks and stages mean, and how the page looks. Pure."""

from __future__ import annotations

# What each check of an audit proves; the names are those of _audit/reports.py.
CHECKS = {
    "format": "The file is one disk image that refers to no other file and hides no snapshot.",
    "layout": "The disk has an EFI system partition and a LUKS partition, and only zeros beside them.",
    "header": "The LUKS header has the requested cipher, hash and key slots, and no others.",
    "keys_open": "Each key opens its slot, as cryptsetup sees it; a slot whose key was not given is named.",
    "grub_opens": "The code of GRUB itself opens the disk with each key, and not with a wrong one.",
    "esp": "The unencrypted partition holds the boot files, nothing else, and no key.",
    "filesystem": "The root file system was closed properly and has no errors.",
    "grub_code": "Each module of the GRUB that opens the disk is a file of the root, unless that GRUB is signed.",
    "grub_cfg": "Every kernel starts from the encrypted root; nothing of the builder is in the menu.",
    "console": "Whoever has the console gets no shell, neither from GRUB nor after a failed boot.",
    "initramfs": "Each initramfs holds the boot key once and is readable only by root.",
    "key_files": "The key file in the root is the boot key, and only root can read it.",
    "pinned_header": "The initramfs opens the disk by a copy of the LUKS header that it holds, and the copy is right.",
    "mounts": "A boot mounts nothing that the host could supply.",
    "identity": "Nothing is in the image that two machines must not share, such as SSH host keys.",
    "host_agents": "No agent carries out what the host says, unless it was allowed.",
    "selinux": "The SELinux labels are those of the policy in the image, if it has one.",
    "clear_areas": "No key is in the clear anywhere on the disk.",
    "payload": "What should be encrypted looks random from the first to the last byte.",
    "published": "No file beside the disk that others may read has a key or a digest of one.",
}
# What happens until each stage is reached, in the order of a build.
STAGES = {
    "source": "The source becomes one tar, which is inspected.",
    "disk": "Keys, partitions, LUKS container and file system are made.",
    "packages": "Packages are installed in the image.",
    "customize": "The owner's roles and tasks run in the image.",
    "initramfs": "The root is unpacked, GRUB and the initramfs are made.",
    "selinux": "Every file gets its SELinux label.",
    "seal": "The disk is closed, converted, and compared with the result.",
    "audit": "The closed disk is examined.",
    "boot_test": "A machine boots the disk to its login prompt; GRUB takes each key, and no wrong one.",
}
# Without a font or a picture from elsewhere. Readable in light and dark.
STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#d5dae1;--page:#fff;
--clear:#f3d9a4;--sealed:#9fc9b4;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a0a8b3;--line:#3a414b;--page:#15181c;
--clear:#7a5b1e;--sealed:#2c6a50;--bad:#ff897d}}
body{font:16px/1.5 sans-serif;color:var(--ink);background:var(--page);max-width:64rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
h1,td,p,summary{overflow-wrap:anywhere}
td:first-child{min-width:9rem}
pre,code{font-family:monospace;font-size:.9em}
pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.6rem;border:1px solid var(--line)}
small{color:var(--soft)}
.failed{color:var(--bad);font-weight:bold}
svg{width:100%;height:auto}
svg text{font:13px sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}
svg .clear{fill:var(--clear)}
svg .sealed{fill:var(--sealed)}
"""

__all__ = ("CHECKS", "STAGES", "STYLE")
