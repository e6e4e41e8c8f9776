# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: inputs
short_description: The inputs of a build, with what they come to
version_added: 1.0.0
description:
  - Gives every input of the role P(sealedroot.image.image#role) as one dictionary, for filters that judge
    inputs together.
  - The values have the types in which they were given. Secrets are among them.
  - An input that nobody gave and that has no default is left out.
author: The sealedroot.image authors (@sealedroot)
options:
  _terms:
    description: Names of further variables.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the formats
  ansible.builtin.debug:
    msg: "{{ lookup('sealedroot.image.inputs').image_formats }}"
"""

RETURN = r"""
_raw:
  description: One dictionary, of names and values.
  type: list
  elements: dict
"""

import typing as t

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: t.Sequence[str], variables: t.Any = None, **kwargs: t.Any
    ) -> t.List[t.Dict[str, t.Any]]:
        # image_source has no default, and only a build needs it.
        names = [*(it for it in _inputs.inputs() if it in variables), *terms]
        variable = lookup_loader.get("ansible.builtin.vars", self._loader, self._templar)
        return [dict(zip(names, variable.run(names, variables)))]
