# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The inputs of a build, as specified by the role image, misspellings of them, and what nobody may set."""

from __future__ import annotations

import functools
import pathlib
import re
import typing as t

import yaml
from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented, _specified

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
PREFIX = "image_"
# Roles that have inputs of their own, which begin with the role's name.
OWN = ("audit", "boot_test", "rotate", "teardown")
# Inputs of playbooks that are of no role, by the first word of their names.
OF_PLAYBOOKS = {
    "enroll_": ("enroll_hosts", "enroll_tpm_pcrs", "enroll_tpm_reboot", "enroll_tpm_timeout"),
    "launch_": (
        *("launch_expected", "launch_key", "launch_measurements", "launch_policy"),
        *("launch_session", "launch_socket", "launch_timeout", "launch_type", "launch_types"),
        *("launch_vcpu_counts", "launch_vcpu_type", "launch_vcpu_types", "launch_vcpus"),
    ),
    "rotate_": ("rotate_hosts",),
}
# Facts by which the stages say to the connection where the image is.
PLACE = ("image_device", "image_root", "image_run")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.lru_cache(maxsize=None)
def options() -> t.Mapping[str, t.Mapping[str, t.Any]]:
    """Return the specification of all inputs by their names."""
    return _of_role("image", "inputs")


def _of_role(role: str, entry_point: str) -> t.Mapping[str, t.Mapping[str, t.Any]]:
    text = (ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found: t.Mapping[str, t.Mapping[str, t.Any]]
    found = yaml.load(text, _LOADER)["argument_specs"][entry_point]["options"]  # noqa: S506
    return found


def inputs() -> t.List[str]:
    """Return the names of all inputs."""
    return list(options())


@functools.lru_cache(maxsize=None)
def used() -> t.FrozenSet[str]:
    """Return every name that a role uses and an input could have: inputs, facts, and variables for the connection."""
    prefixes = "|".join((PREFIX, *(f"{role}_" for role in OWN)))
    names: t.Set[str] = set()
    for path in ROLES.rglob("*"):
        if path.suffix in (".yml", ".j2"):
            # Not the modules, of which some are called as inputs could be.
            text = re.sub(r"sealedroot\.image\.\w+", "", path.read_text(encoding="utf-8"))
            # Nor what a comment says.
            text = re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
            names.update(re.findall(rf"\b(?:{prefixes})\w+", text))
    return frozenset(names)


def facts() -> t.FrozenSet[str]:
    """Return what one stage hands to the next (docs/stages.md)."""
    names = used() - set(options()) - of_tasks()
    return frozenset(it for it in names if it.startswith(PREFIX))


@functools.lru_cache(maxsize=None)
def of_connection() -> t.FrozenSet[str]:
    """Return every variable with the prefix that the connection into the image reads."""
    options = _documented.documentation("connection", "chroot")["options"].values()
    names = (it["name"] for option in options for it in option.get("vars", []))
    return frozenset(it for it in names if it.startswith(PREFIX))


def of_tasks() -> t.FrozenSet[str]:
    """Return those of them that only a task may set, because a host's would apply to every command in its image."""
    return of_connection() - set(options()) - set(PLACE)


def of_builds() -> t.FrozenSet[str]:
    """Return what a step of the user must not set as a fact, because the fact would change later steps of the build."""
    ways = {"ansible_connection", "ansible_python_interpreter"}
    return of_connection() | facts() | set(options()) | ways


def misspelled(names: t.Iterable[str]) -> t.Dict[str, str]:
    """Return those of *names* that nothing here knows and that resemble an input, each with that input."""
    inputs_of: t.Dict[str, t.List[str]] = {PREFIX: inputs()}
    inputs_of.update((f"{role}_", [*_of_role(role, "main")]) for role in OWN)
    for prefix, more in OF_PLAYBOOKS.items():
        inputs_of.setdefault(prefix, []).extend(more)
    found: t.Dict[str, str] = {}
    for prefix, known in inputs_of.items():
        others = [it for it in names if it.startswith(prefix) and it not in {*used(), *known}]
        # A word alone is often a person's own, but not with the other prefixes.
        part = _specified.PART if prefix == PREFIX else 1
        near = {it: _specified.nearest(it, known, prefix, part) for it in sorted(others)}
        found.update((it, right) for it, right in near.items() if right)
    return found


__all__ = (
    "OF_PLAYBOOKS",
    "PLACE",
    "facts",
    "inputs",
    "misspelled",
    "of_builds",
    "of_connection",
    "of_tasks",
    "options",
    "used",
)
