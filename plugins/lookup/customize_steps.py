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
  - Roles are found as C(include_role) finds them, with all roles that their C(meta) depends on.
  - Tasks and handlers, and what they import, are loaded as Ansible loads them.
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
        - A digest of the step and of all files of the role and of those it depends on, or of the file of tasks and of
          what is in C(files), C(templates) and C(vars) beside it.
      type: str
"""

import hashlib
import json
import os
import pathlib
import typing as t

from ansible.errors import AnsibleError
from ansible.playbook.role.definition import RoleDefinition
from ansible.playbook.role.requirement import RoleRequirement
from ansible.plugins.loader import add_all_plugin_dirs
from ansible.plugins.lookup import LookupBase
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs, _step_tasks

KEYS = {"role", "tasks", "vars", "network"}
# Where the tasks of a file find other files by relative names (docs/facts.md: task-search-path).
# They look beside the file as well, where anything else can be.
BESIDE = ("files", "templates", "vars")
# The modules of this collection have short names for the steps.
COLLECTIONS = ["sealedroot.image", "ansible.legacy"]


def digest(step: t.Mapping[str, t.Any], *paths: pathlib.Path) -> str:
    """Return a digest of a step and of its files at *paths*."""
    sha256 = hashlib.sha256(json.dumps(step, sort_keys=True, default=str).encode())
    for path in paths:
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


def _needed(meta: t.Any) -> t.List[str]:
    """Return the names of the roles on which one depends; a name that is made of variables is left to Ansible."""
    dependencies = meta.get("dependencies") if isinstance(meta, dict) else None
    names = []
    for it in dependencies if isinstance(dependencies, list) else []:
        name = it
        if isinstance(it, dict):
            name = (
                it.get("role") or it.get("name") or RoleRequirement.role_yaml_parse({**it})["name"]
            )
        names += [name] if isinstance(name, str) and "{{" not in name else []
    return names


def _collection(role: pathlib.Path) -> t.List[str]:
    """Return the collection that a role belongs to; none if it is a role alone."""
    parts = role.parts
    return [".".join(parts[-4:-2])] if "ansible_collections" in parts[-5:-4] else []


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: t.Sequence[t.Any], variables: t.Any = None, **kwargs: t.Any
    ) -> t.List[t.Dict[str, str]]:
        # A role can include others that bring modules, which are known only when it has run.
        self._modules_are_known = True
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
            problem = (
                f"{name} has vars for {', '.join(taken)}, which are the build's own: take them out."
            )
            return {"problem": problem, "digest": ""}
        try:
            paths = self._roles(step["role"]) if "role" in step else [self._tasks(step["tasks"])]
            found = digest(step, *paths)
        except _step_tasks.CannotRunError as exc:
            return {
                "problem": f"{name} cannot run, since Ansible would not load it: {exc}",
                "digest": "",
            }
        except AnsibleError as exc:
            return {"problem": f"{name} cannot be found: {exc}", "digest": ""}
        except OSError as exc:
            problem = f"{name} cannot be read: {exc.filename}: {exc.strerror}. Correct that."
            return {"problem": problem, "digest": ""}
        return {"problem": "", "digest": found}

    def _roles(self, role: str) -> t.List[pathlib.Path]:
        """Return the directories of a role and of all on which it depends."""
        asked: t.List[t.Tuple[str, str]] = [(role, "")]
        found: t.Dict[pathlib.Path, None] = {}
        while asked:
            name, dependent = asked.pop()
            try:
                path = self._role(name, beside=dependent)
            except AnsibleError as exc:
                said = f"{dependent} depends on it: {exc}" if dependent else str(exc)
                raise AnsibleError(said) from None
            if path not in found:
                found[path] = None
                asked += [(it, str(path)) for it in reversed(_needed(self._meta(path)))]
        self._check_roles([*found])
        return [*found]

    def _meta(self, role: pathlib.Path) -> t.Any:
        path = _step_tasks.main_of(role, "meta")
        return _step_tasks.load(self._loader, path) if path else {}

    def _check_roles(self, roles: t.Sequence[pathlib.Path]) -> None:
        """Let Ansible load the tasks of roles, as it will when the step runs."""
        for path in roles:
            if not _collection(path):
                # As it does itself; the modules of a role are known to those that depend on it.
                add_all_plugin_dirs(str(path))
        for path in roles:
            meta = self._meta(path)
            named = meta.get("collections") if isinstance(meta, dict) else None
            collections = [*_collection(path), *(named or []), *COLLECTIONS]
            how = _step_tasks.How(self._loader, collections, are_known=self._modules_are_known)
            _step_tasks.check_role(path, how)
        self._modules_are_known = False

    def _role(self, role: str, *, beside: str) -> pathlib.Path:
        # Only this private function of core knows where roles are.
        definition = RoleDefinition(
            loader=self._loader,
            role_basedir=os.path.dirname(beside) or None,
            collection_list=[*_collection(pathlib.Path(beside)), "sealedroot.image"],
        )
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
        entries = _step_tasks.load(self._loader, path) or []
        if not isinstance(entries, list):
            raise AnsibleError(f"{path} is no list of tasks. Write one, or correct the path.")
        if any(isinstance(it, dict) and {"hosts", "import_playbook"} & set(it) for it in entries):
            raise AnsibleError(f"{path} is a playbook: take the list of its tasks, without hosts.")
        if self._modules_are_known and "_role" not in path.read_text(errors="replace"):
            _step_tasks.check(path, entries, _step_tasks.How(self._loader, COLLECTIONS))
        return path
