# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How the modules that take secrets get them."""

from __future__ import annotations


class ModuleDocFragment:
    """What plugins/plugin_utils/_secret_arguments.py does."""

    DOCUMENTATION = r"""
options: {}
notes:
  - Secrets among the arguments go to the host by the connection's standard input, whatever C(ansible_pipelining) says,
    and C(ANSIBLE_DEBUG) does not show them. Where Ansible would write them to a file all the same, as with
    C(ANSIBLE_KEEP_REMOTE_FILES), C(async) or C(su) as C(become_method), the task fails before it does anything.
"""

    # For modules that look at a host before secrets go there.
    FOLLOW = r"""
options:
  secrets_follow:
    description:
      - Whether other modules of this collection will get secrets on this host. The task fails then at once where
        Ansible would write them to a file.
    type: bool
    default: false
notes:
  - Secrets among the arguments go to the host by the connection's standard input, whatever C(ansible_pipelining) says,
    and C(ANSIBLE_DEBUG) does not show them. Where Ansible would write them to a file all the same, as with
    C(ANSIBLE_KEEP_REMOTE_FILES), C(async) or C(su) as C(become_method), the task fails before it does anything.
"""
