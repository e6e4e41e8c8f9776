# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: customize_steps
short_description: Where the roles and tasks are that customise an image
version_added: 1.0.0
description:
  - Finds each role and each file of tasks before a build begins, and says which of them cannot be found.
  - Roles are found as C(include_role) finds them.
author: The sealedroot.image authors (@sealedroot)
options:
  _terms:
    description: The steps, each with C(role) or C(tasks), and C(vars) and C(network) if wanted; see C(image_customize).
    type: list
    elements: dict
"""

EXAMPLES = r"""
- name: Say what would not be found
  ansible.builtin.debug:
    msg: "{{ query('sealedroot.image.customize_steps', {'role': 'web'}) | map(attribute='problem') }}"
"""

RETURN = r"""
_list:
  description: For each step, what is to be known of it.
  type: list
  elements: dict
  contains:
    problem:
      description: Why it cannot run, with what to change; empty when it can.
      type: str
    digest:
      description:
        - A digest of the step and of all files of the role, or of the file of tasks and of what is in C(files),
          C(templates) and C(vars) beside it.
      type: str
"""

import hashlib
import json
import os
import pathlib
import typing as t

from ansible.errors import AnsibleError
from ansible.playbook.role.definition import RoleDefinition
from ansible.plugins.lookup import LookupBase
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

KEYS = {"role", "tasks", "vars", "network"}
# Where the tasks of a file find other files by relative names (docs/facts.md: task-search-path).
# They look beside the file as well, where anything else can be.
BESIDE = ("files", "templates", "vars")


def digest(step: t.Mapping[str, t.Any], path: pathlib.Path) -> str:
    """Return a digest of a step and of its files at *path*."""
    sha256 = hashlib.sha256(json.dumps(step, sort_keys=True, default=str).encode())
    if path.is_file():
        base, folders = path.parent, [path.parent / name for name in BESIDE]
    else:
        base, folders = path, [path]
    files = sorted(it for folder in folders for it in folder.rglob("*") if it.is_file())
    for file in ([path] if path.is_file() else []) + files:
        name = str(file.relative_to(base)) if file != path else ""
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        sha256.update(f"\0{name}\0{content}".encode("utf-8", "surrogateescape"))
    return sha256.hexdigest()


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: t.Sequence[t.Any], variables: t.Any = None, **kwargs: t.Any
    ) -> t.List[t.Dict[str, str]]:
        return [self._step(step, number) for number, step in enumerate(terms, start=1)]

    def _step(self, step: t.Any, number: int) -> t.Dict[str, str]:
        name = f"Step {number} of image_customize"
        if not isinstance(step, dict) or len({"role", "tasks"} & set(step)) != 1:
            problem = f"{name} has to have one of role and tasks, such as {{role: web}}."
            return {"problem": problem, "digest": ""}
        unknown = ", ".join(sorted(set(step) - KEYS))
        if unknown:
            problem = (
                f"{name} has {unknown}, which means nothing: use role or tasks, vars and network."
            )
            return {"problem": problem, "digest": ""}
        if not isinstance(step.get("network", False), bool):
            problem = f"{name} has network '{step['network']}': write true or false."
            return {"problem": problem, "digest": ""}
        variables = step.get("vars", {})
        taken = sorted(set(variables) & _inputs.of_builds()) if isinstance(variables, dict) else []
        if taken:
            problem = f"{name} has vars for {', '.join(taken)}, which say how a build reaches the image: take them out."
            return {"problem": problem, "digest": ""}
        try:
            path = self._role(step["role"]) if "role" in step else self._tasks(step["tasks"])
            found = digest(step, path)
        except AnsibleError as exc:
            return {"problem": f"{name} cannot be found: {exc}", "digest": ""}
        except OSError as exc:
            problem = f"{name} cannot be read: {exc.filename}: {exc.strerror}. Correct that."
            return {"problem": problem, "digest": ""}
        return {"problem": "", "digest": found}

    def _role(self, role: str) -> pathlib.Path:
        # Only this private function of core knows where roles are.
        definition = RoleDefinition(loader=self._loader, collection_list=["sealedroot.image"])
        definition._ds = role
        try:
            _name, path = definition._load_role_path(role)
        except AnsibleError as exc:
            raise AnsibleError(
                f"{exc}. Install the role, write its directory, or set roles_path (ANSIBLE_ROLES_PATH)."
            ) from exc
        if not os.path.isdir(path):
            raise AnsibleError(f"{path} is no directory of a role. Correct the name.")
        return pathlib.Path(path)

    def _tasks(self, file: str) -> pathlib.Path:
        path = pathlib.Path(os.environ.get("PWD", ".")) / file
        if not path.is_file():
            raise AnsibleError(f"there is no file {path}. Correct the path.")
        # Do not use the cache, because include_tasks would then use the copy that is read here.
        loader = t.cast(t.Any, self._loader)
        if not isinstance(loader.load_from_file(str(path), cache="none") or [], list):
            raise AnsibleError(f"{path} is no list of tasks. Write one, or correct the path.")
        return path
