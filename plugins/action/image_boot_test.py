# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.sealedroot.image.plugins.plugin_utils._progress import SpokenAction


class ActionModule(SpokenAction):
    """Run the module, and say meanwhile that it is at work."""
