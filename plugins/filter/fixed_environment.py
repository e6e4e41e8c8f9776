# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter for shell commands on the builder."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.plugin_utils._fixed_environment import (
    fixed_environment,
)


class FilterModule:
    """The filter of this file; its documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., str]]:
        return {"fixed_environment": fixed_environment}
