# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The facts of a root, by those collectors of Ansible's setup that only read files."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import typing as t

from ansible.module_utils.facts.system.distribution import (
    DistributionFactCollector,
    DistributionFiles,
)
from ansible.module_utils.facts.system.pkg_mgr import PkgMgrFactCollector
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def gather(module: AnsibleModule, found: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return the facts of the root in which the module runs; *found* describes its content."""
    check_releases()
    gathered = {"system": "Linux", "is_chroot": True}
    gathered.update(DistributionFactCollector().collect(module))
    prefixed = {f"ansible_{name}": value for name, value in gathered.items()}
    gathered.update(PkgMgrFactCollector().collect(module, prefixed))
    gathered["architecture"] = gathered["machine"] = found["architecture"]
    gathered["kernel"] = newest(found["kernels"])
    # No service manager runs, so look at what is installed.
    gathered["service_mgr"] = "systemd" if found["has"]["systemd"] else "unknown"
    return {f"ansible_{name}": value for name, value in gathered.items()}


def newest(versions: t.Iterable[str]) -> str:
    """Return the newest kernel, by the numbers in its version; empty when there is none."""
    return max(versions, key=lambda it: [int(word) for word in re.findall(r"\d+", it)], default="")


def check_releases(root: str = "/") -> None:
    """Refuse a release file that the collectors would wait for or read without end, such as a pipe or a device."""
    known = {it["path"] for it in DistributionFiles.OSDIST_LIST}
    paths = {os.path.join(root, str(it).lstrip("/")) for it in (*known, "usr/lib/os-release")}
    for pattern in ("etc/*release", "etc/*version"):
        paths.update(glob.glob(os.path.join(root, pattern)))
    for path in sorted(paths):
        # SUSE has a directory with such a name, which no collector reads.
        if not os.path.isdir(path):
            with contextlib.suppress(FileNotFoundError):
                regular_file.read(path, most=regular_file.SMALL)


__all__ = ("check_releases", "gather", "newest")
