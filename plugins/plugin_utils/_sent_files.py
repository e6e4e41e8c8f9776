# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which files of an image a remote builder sends to the control node, and who may read them there. Pure."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files

File = t.Dict[str, t.Any]
PUBLIC = "0644"


def sent(
    disks: t.Mapping[str, t.Mapping[str, t.Any]],
    digests: t.Mapping[str, str],
    keys: t.Mapping[str, str],
    launch: t.Mapping[str, t.Any],
) -> t.List[File]:
    """Return the files that `image_collect` takes, which gives a file without a mode to its owner alone.

    *disks* is what `image_convert` returned, *digests* are by name, *launch* is the fact `image_launch`, or empty.
    """
    files: t.List[File] = [{"src": keys[name]} for name in image_files.KEY_FILES]
    for disk in disks.values():
        digest = digests.get(posixpath.basename(disk["path"]))
        files.append(
            {"src": disk["path"], "mode": PUBLIC, "sha256": digest, "sparse": disk["is_flat"]}
        )
    for path in (it for it in launch.values() if isinstance(it, str)):
        name = f"launch/{posixpath.basename(path)}"
        mode = {} if name == image_files.SECRET else {"mode": PUBLIC}
        files.append({"src": path, "name": name, **mode})
    return files


__all__ = ("sent",)
