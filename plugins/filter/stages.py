# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an image reached its stages."""

from __future__ import annotations

import datetime
import typing as t


def reached(stages: t.Mapping[str, str], stage: str) -> t.Dict[str, str]:
    """Return *stages* with *stage* in them, reached now: UTC, in milliseconds (RFC 3339)."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return {**stages, stage: f"{now.isoformat(timespec='milliseconds')}Z"}


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Dict[str, str]]]:
        return {"reached": reached}
