# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for when an image reached its stages, and how long each took."""

from __future__ import annotations

import datetime
import typing as t


def reached(stages: t.Mapping[str, str], stage: str) -> t.Dict[str, str]:
    """Return *stages* with the present time for *stage*: UTC, in milliseconds (RFC 3339)."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return {**stages, stage: f"{now.isoformat(timespec='milliseconds')}Z"}


def took(stages: t.Mapping[str, str]) -> t.Dict[str, int]:
    """Return how many seconds each stage took, except the first, whose start is unknown.

    The manifest has these durations and no times, because some stages generate keys.
    """
    order = sorted(stages, key=stages.__getitem__)
    ends = [datetime.datetime.fromisoformat(stages[it].rstrip("Z")) for it in order]
    return {
        it: int((end - before).total_seconds())
        for it, end, before in zip(order[1:], ends[1:], ends)
    }


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Mapping[str, t.Any]]]:
        return {"reached": reached, "took": took}
