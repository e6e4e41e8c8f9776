# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What to do if the image is already published, and whether the builder has room for it. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible_collections.sealedroot.image.plugins.plugin_utils import _input_problems

Inputs = _input_problems.Inputs

# Space that a build needs besides the unpacked root, which it holds once as a disk and once for each format.
SPARE_BYTES = 256 << 20
_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Output:
    """An image that may be already published, and the one to build.

    *published* is the result of `published_image_info`, *inputs* the recorded ones with the digest of the root. *free*
    is the space in *work_dir*, *unpacked* the size of the root, both in bytes.
    """

    published: t.Mapping[str, t.Any]
    inputs: Inputs
    directory: str
    work_dir: str
    free: int
    unpacked: int
    formats: t.Sequence[str]
    replace: bool

    @property
    def other_inputs(self) -> t.List[str]:
        """Return the names of inputs that differ; the secret ones were compared where the keys are."""
        was = (self.published["manifest"] or {}).get("inputs")
        if not isinstance(was, dict):
            return ["all"]
        other = {
            name
            for name in {*was, *self.inputs}
            if was.get(name, _ABSENT) != self.inputs.get(name, _ABSENT)
        }
        return sorted({*other, *self.published["other_inputs"]})

    @property
    def is_same(self) -> bool:
        return bool(self.published["intact"]) and not self.other_inputs

    @property
    def needed(self) -> int:
        """Return the space for the disk and for the image in each format, all sparse, and for a larger initramfs."""
        return (1 + len(self.formats)) * self.unpacked + SPARE_BYTES


def plan(output: Output) -> t.Dict[str, t.Any]:
    """Return *same*, whether the image already exists, and *problems*, otherwise the reasons against building it."""
    problems = []
    if not output.is_same:
        if output.published["exists"] and not output.replace:
            problems.append(
                output.published["problem"]
                or f"{output.directory} exists and was made from other inputs"
                f" ({', '.join(output.other_inputs)}): remove it, choose another image_name, or set image_replace=true."
            )
        if output.free <= output.needed:
            free, needed = bytes_to_human(output.free), bytes_to_human(output.needed)
            problems.append(
                f"{output.work_dir} has room for {free}, but building this image needs {needed}: free some, or choose"
                " another image_work_dir."
            )
    return {"same": output.is_same, "problems": problems}


__all__ = ("Output", "plan")
