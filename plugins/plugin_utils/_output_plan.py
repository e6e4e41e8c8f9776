# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What to do if the image is already published, and whether there is room for it. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.module_utils.common.text.formatters import bytes_to_human

Inputs = t.Mapping[str, t.Any]

# Space that each place needs besides the unpacked root, which a build holds once as a disk and once for each format.
SPARE_BYTES = 256 << 20
_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Output:
    """An image that may be already published, and the one to build.

    *published* is the result of `published_image_info`, *inputs* the recorded ones with the digest of the root. *free*
    is the space in *work_dir*, *unpacked* the size of the root, both in bytes. *together* says whether *directory* is
    in the file system of *work_dir*, *collected* whether it is on another machine, to which the formats go at the end.
    """

    published: t.Mapping[str, t.Any]
    inputs: Inputs
    directory: str
    work_dir: str
    free: int
    unpacked: int
    formats: t.Sequence[str]
    replace: bool
    together: bool
    collected: bool

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

    def lacks(self, directory: str, free: int, copies: int, choose: str) -> str:
        """Return what to change if *free* bytes do not hold sparse *copies* of the root and a larger initramfs."""
        needed = copies * self.unpacked + SPARE_BYTES
        if free > needed:
            return ""
        return (
            f"{directory} has room for {bytes_to_human(free)}, but building this image needs {bytes_to_human(needed)}"
            f" there: free some, or choose another {choose}."
        )

    @property
    def places(self) -> t.List[str]:
        """Say where there is no room: the disk is made in *work_dir*, and the formats are beside it or published."""
        formats = len(self.formats)
        beside = formats if self.together or self.collected else 0
        found = [self.lacks(self.work_dir, self.free, 1 + beside, "image_work_dir")]
        if not self.together:
            free = self.published["free_bytes"]
            found.append(self.lacks(self.directory, free, formats, "image_output_dir"))
        return [it for it in found if it]


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
        problems += output.places
    return {"same": output.is_same, "problems": problems}


__all__ = ("Output", "plan")
