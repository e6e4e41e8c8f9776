# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The inputs of a build, as specified by the role image, misspellings of them, and what nobody may set."""

from __future__ import annotations

import difflib
import functools
import pathlib
import re
import typing as t

import yaml
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented, _input_problems

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
PREFIX = "image_"
# Facts by which the stages say to the connection where the image is.
PLACE = ("image_device", "image_root", "image_run")
# Similarity, at most 1: allows one wrong, missing or additional letter in a short name, two in a long one.
NEAR = 0.85

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.lru_cache(maxsize=None)
def options() -> t.Mapping[str, t.Mapping[str, t.Any]]:
    """Return the specification of all inputs by their names."""
    text = (ROLES / "image" / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found: t.Mapping[str, t.Mapping[str, t.Any]]
    found = yaml.load(text, _LOADER)["argument_specs"]["inputs"]["options"]  # noqa: S506
    return found


def inputs() -> t.List[str]:
    """Return the names of all inputs."""
    return list(options())


def used() -> t.Set[str]:
    """Return every name with the prefix that a role uses: inputs, facts, and variables for the connection."""
    names: t.Set[str] = set()
    for path in ROLES.rglob("*"):
        if path.suffix in (".yml", ".j2"):
            names.update(re.findall(rf"\b{PREFIX}\w+", path.read_text(encoding="utf-8")))
    return names


@functools.lru_cache(maxsize=None)
def of_connection() -> t.FrozenSet[str]:
    """Return every variable with the prefix that the connection into the image reads."""
    options = _documented.documentation("connection", "chroot")["options"].values()
    names = (it["name"] for option in options for it in option.get("vars", []))
    return frozenset(it for it in names if it.startswith(PREFIX))


def of_tasks() -> t.FrozenSet[str]:
    """Return those of them that only a task may set: for a host they would hold for every command in its image."""
    return of_connection() - set(options()) - set(PLACE)


def of_builds() -> t.FrozenSet[str]:
    """Return what no step of a person's may set: as a fact, it would hold for what the build does afterwards, too."""
    return of_connection() | {"ansible_connection", "ansible_python_interpreter"}


def misspelled(
    names: t.Iterable[str], known: t.Sequence[str], others: t.Container[str]
) -> t.Dict[str, str]:
    """Return those of *names* that are neither *known* nor among the *others*, with the most similar known name."""
    corrections = {}
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known and name not in others:
            # Without the prefix, which would make all names similar.
            rest = {it[len(PREFIX) :]: it for it in known}
            near = difflib.get_close_matches(name[len(PREFIX) :], rest, 1, NEAR)
            if near:
                corrections[name] = rest[near[0]]
    return corrections


def recorded(given: _input_problems.Inputs) -> t.Dict[str, t.Any]:
    """Return what an image is made from, without a secret: for those only whether they were given.

    What only some images have is not in the others' manifests. The digest of the root is not known yet.
    """
    is_set = _input_problems.is_set
    found = {
        "size": layout.size_bytes(given["image_size"]),
        "source": {"type": given["image_source"]["type"]},
        "architecture": given["image_architecture"],
        "hostname": given["image_hostname"],
        "filesystem": given["image_filesystem"],
        "filesystem_features": given["image_filesystem_features"],
        "luks": given["image_luks"],
        "formats": given["image_formats"],
        "kernel_cmdline": given["image_kernel_cmdline"],
        "packages": given["__image_packages"],
        "customize": len(given["image_customize"]),
        "selinux": given["__image_selinux"],
        # YAML's true is True, and that of the command line a word.
        "grow": str(given["image_grow"]).lower(),
        "root_password": "given" if given["image_root_password_hash"] else "left",
        "authorized_keys": given["image_authorized_keys"],
        "recovery": "given" if given["image_recovery_passphrase"] else "generated",
        "secure_boot": is_set(given["image_secure_boot"]),
        "host_agents": sorted(given["image_host_agents"]),
        "debug_console": is_set(given["image_debug_console"]),
        "boot_tested": is_set(given["image_boot_test"]),
    }
    if int(given["image_source_date_epoch"]):
        found["source_date_epoch"] = int(given["image_source_date_epoch"])
    if list(given["image_unlock"]) != [unlock_ways.PROMPT.name]:
        found["unlock"] = sorted(given["image_unlock"])
    if "launch_secret" in given["image_unlock"]:
        found["measurements"] = given["__image_measurements"]
    if given["image_uuid"]:
        found["uuid"] = given["image_uuid"]
    if given["image_boot_key"]:
        found["boot_key"] = "given"
    return found


__all__ = (
    "PLACE",
    "inputs",
    "misspelled",
    "of_builds",
    "of_connection",
    "of_tasks",
    "options",
    "recorded",
    "used",
)
