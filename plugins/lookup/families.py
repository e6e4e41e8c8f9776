# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: families
short_description: What is known of each family of distributions
version_added: 1.0.0
description:
  - Reads the file C(vars/family.yml) of every role C(family_*) beside this plugin, so that a family is one directory.
author: The sealedroot.image authors (@sealedroot)
options:
  _terms:
    description: Names of families; all of them when there is none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Say which distributions can become images
  ansible.builtin.debug:
    msg: "{{ query('sealedroot.image.families') | map(attribute='ids') | flatten }}"
"""

RETURN = r"""
_list:
  description: The families; docs/families.md says what each key is.
  type: list
  elements: dict
"""

import functools
import pathlib
import typing as t

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

# Both are safe loaders; the one in C takes a fifth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"


@functools.lru_cache(maxsize=None)
def known() -> t.Dict[str, t.Dict[str, t.Any]]:
    """Return the families by name. The result is cached, because a task can ask several times."""
    found = {}
    for path in sorted(ROLES.glob("family_*/vars/family.yml")):
        # The file has one variable, whose name begins with that of its role.
        (family,) = yaml.load(path.read_text(encoding="utf-8"), _LOADER).values()  # noqa: S506
        found[family["name"]] = family
    return found


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: t.Sequence[str], variables: t.Any = None, **kwargs: t.Any
    ) -> t.List[t.Dict[str, t.Any]]:
        families = known()
        unknown = sorted(set(terms) - set(families))
        if unknown:
            raise AnsibleError(
                f"no role is for the family {', '.join(unknown)}: {', '.join(families)} are"
            )
        return [families[name] for name in (terms or families)]
