# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Treat the answers of modules in an image as data: nothing in them may act on the control node. Pure functions.

Core obeys some keys of a result: it adds hosts and groups, sets statistics and variables, marks a host as
unreachable, ignores a failure, or builds its own objects again. An image can print anything, so these keys
are removed, and facts are kept only under names that core's own fact modules document.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text

# Core's own parser. It is private; tests/unit/plugins/plugin_utils/test_answers.py compares the result with core's.
from ansible.module_utils.json_utils import _filter_non_json_lines
from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE
from ansible_collections.sealedroot.image.plugins.plugin_utils._image_facts import ImageFacts

# Longest output that is parsed, and deepest nesting of a module's result.
MOST_BYTES = 16 << 20
MOST_DEPTH = 64
MOST_WARNINGS = 100
MOST_MESSAGE = 4096

# C0 and C1 except tabs and line ends; separators that some programs take for line ends; marks that change the text
# direction; and surrogates, which cannot be encoded.
_CONTROL = re.compile(
    "\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# The subset that terminals obey: lists of programs contain NUL and separators. C1 can also be single bytes.
_TERMINAL = re.compile(
    "\r(?!\n)|[\x01-\x08\x0b\x0c\x0e-\x1b\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]"
)

# Keys that core obeys. Keys that begin with ansible_, _ansible or __ansible are removed as well.
_OBEYED = frozenset(
    {
        *("add_group", "add_host", "attempts", "deprecations", "failed_when_result"),
        *("failed_when_suppressed_exception", "retries", "unreachable"),
    }
)
_INTERNAL = re.compile("_{0,2}ansible(_|$)")

# Core waits for this job of an async task, and the image looks for a file of this name.
_JOB = re.compile(r"j?[0-9]{1,20}\.[0-9]{1,20}")

# Facts of the modules setup, package_facts, service_facts, getent and mount_facts. Facts of network devices are
# excluded: they can have any name, and do not describe the image.
_FACTS = re.compile(
    "ansible_("
    "all_ipv[46]_addresses|apparmor|architecture|bios_(date|vendor|version)|board_[a-z_]+|chassis_[a-z_]+|cmdline"
    "|date_time|default_ipv[46]|device_links|devices|distribution(_[a-z_]+)?|dns|domain|effective_(group|user)_id|env"
    "|fibre_channel_wwn|fips|flags|form_factor|fqdn|hostname|hostnqn|interfaces|is_chroot|iscsi_iqn|kernel"
    "|kernel_version|loadavg|local|locally_reachable_ips|lsb|lvm|machine|machine_id|memfree_mb|memory_mb|memtotal_mb"
    "|mounts|nodename|os_family|pkg_mgr|proc_cmdline|processor(_[a-z_]+)?|product_[a-z_]+|python|python_version"
    "|real_(group|user)_id|selinux|selinux_python_present|service_mgr|ssh_host_key_[a-z0-9]+_public(_keytype)?"
    "|swapfree_mb|swaptotal_mb|system|system_capabilities|system_capabilities_enforced|system_vendor|systemd"
    "|uptime_seconds|user_(dir|gecos|gid|id|shell|uid)|userspace_(architecture|bits)|virtualization_[a-z_]+"
    ")|aggregate_mounts|gather_subset|getent_[a-z]+|module_setup|mount_points|packages|services"
)
# Core's actions package and service take the name of a module from these facts.
PACKAGE_MANAGERS = ("apk", "apt", "dnf", "dnf5", "pacman", "portage", "unknown", "xbps", "zypper")
SERVICE_MANAGERS = ("dinit", "openrc", "runit", "service", "systemd", "sysvinit", "unknown")
_CHOICES: t.Mapping[str, t.Tuple[str, ...]] = {
    "ansible_pkg_mgr": PACKAGE_MANAGERS,
    "ansible_service_mgr": SERVICE_MANAGERS,
}

# Roles build file names from these: setup-{{ ansible_facts.os_family }}.yml must stay a file of the role.
_NAMING = re.compile(
    "ansible_(architecture|distribution(_[a-z_]+)?|domain|fqdn|hostname|kernel|kernel_version|lsb|machine|nodename"
    "|os_family|system|userspace_architecture)"
)
_FILES = re.compile("/[A-Za-z0-9_-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")

Result = t.Dict[str, t.Any]


def shown(output: bytes) -> bytes:
    """Replace what a terminal would obey in the output of a command; keep every other byte."""
    text = output.decode("utf-8", "surrogateescape")
    return _TERMINAL.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def clean(text: str) -> str:
    """Replace control characters and characters that cannot be encoded."""
    return _CONTROL.sub("\ufffd", text)


def short(value: t.Any, most: int = MOST_MESSAGE) -> str:
    """Return a message of an image as text of limited length."""
    text = clean(value if isinstance(value, str) else repr(value)[: most + 1])
    return text if len(text) <= most else f"{text[:most]} [...]"


def plain(stdout: bytes, known: t.Optional[ImageFacts] = None) -> bytes:
    """Return a command's output in an image, without anything that core (in a module's result) or a terminal obeys.

    Facts are corrected by what is *known* of the image, if that is given.

    Neither core nor this function can tell a module's output from another command's: whatever core would parse as
    a result is one. Other output is returned unchanged. The returned bytes are exactly the checked ones, because
    replacing a character afterwards could turn other output into a result.
    """
    stdout = shown(stdout)
    text = _without_success(to_text(stdout, errors="surrogate_then_replace"))
    found = parsed(text)
    if found is None:
        return stdout
    # Core shows the text around the result as a warning.
    text = clean(text)
    again = parsed(text)
    if again is not None and _harmless(again, known) == again:
        return text.encode()
    # One line of ASCII can be parsed in only one way.
    return json.dumps(_harmless(found, known)).encode() + b"\n"


def without_orders(res: t.Mapping[str, t.Any]) -> Result:
    """Return core's record of a command, before core parses a result in it, without the parts that core would obey."""
    stdout = plain(clean(str(res.get("stdout", ""))).encode())
    return {**res, "stdout": stdout.decode()}


def parsed(text: str) -> t.Optional[Result]:
    """Return what core would parse as a module's result; None if there is none."""
    try:
        lines, _warnings = _filter_non_json_lines(text, objects_only=True)
    except ValueError:
        return None
    if len(text) > MOST_BYTES:
        raise AnsibleError(
            f"a task in the image printed more than {MOST_BYTES >> 20} MiB of JSON, which is not read: let it"
            " print less"
        )
    try:
        result = json.loads(lines)
    except ValueError:
        return None
    except RecursionError:
        raise _too_deep() from None
    _check_depth(result)
    return result if isinstance(result, dict) else None


def _without_success(text: str) -> str:
    """Drop the line that a become plugin prints, as core does before parsing."""
    if text.strip().startswith("BECOME-SUCCESS-"):
        return re.sub(r"^((\r)?\n)?BECOME-SUCCESS.*(\r)?\n", "", text)
    return text


def _too_deep() -> AnsibleError:
    return AnsibleError(
        f"a task in the image printed JSON that is nested more than {MOST_DEPTH} levels deep, which no module returns:"
        " look at what the root's programs print"
    )


def _check_depth(value: t.Any) -> None:
    level = [value]
    for _depth in range(MOST_DEPTH):
        level = [
            inner
            for it in level
            if isinstance(it, (dict, list))
            for inner in (it.values() if isinstance(it, dict) else it)
        ]
        if not level:
            return
    raise _too_deep()


def _harmless(result: t.Mapping[str, t.Any], known: t.Optional[ImageFacts] = None) -> Result:
    """Return a result without keys that core obeys; each item of a loop is a result as well."""
    kept: Result = {}
    for key, value in result.items():
        if key in ("changed", "failed", "skipped"):
            kept[key] = _is_true(value)
        elif key in ("stderr", "stdout", "exception", "msg"):
            # Core calls string methods of these.
            if isinstance(value, str) or key == "msg":
                kept[key] = data(value)
        elif key == "warnings":
            kept[key] = warnings(value)
        elif key == "results" and isinstance(value, list):
            kept[key] = [_harmless(it, known) if isinstance(it, dict) else data(it) for it in value]
        elif key not in _OBEYED and not _INTERNAL.match(key):
            kept[clean(key)] = data(value)
        elif key == "ansible_job_id" and known and known.awaits_job and _is_job(value):
            kept[key] = value
    _add_facts(result, kept, known)
    return kept


def _add_facts(result: t.Mapping[str, t.Any], kept: Result, known: t.Optional[ImageFacts]) -> None:
    facts = result.get("ansible_facts")
    if not isinstance(facts, dict):
        return
    facts = known.corrected(facts) if known else facts
    right = {key: value for key, value in facts.items() if _is_fact(key, value)}
    kept["ansible_facts"] = {_prefixed(key): data(value) for key, value in right.items()}
    names = sorted(key for key in facts if key not in right)
    names = [name for name in names if re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,63}", name)][:10]
    if names:
        said = (
            "The image set variables that are not its own, or to what no system is called, which was not done:"
            f" {', '.join(names)}."
        )
        kept["warnings"] = [*kept.get("warnings", []), said]


def _is_job(value: t.Any) -> bool:
    return isinstance(value, str) and bool(_JOB.fullmatch(value))


def _prefixed(name: str) -> str:
    """Return a name for a fact under which it cannot replace a variable of a role.

    Core makes every fact a variable, and finds ansible_facts.packages under ansible_packages as well.
    """
    return name if name.startswith("ansible_") else f"ansible_{name}"


def _is_fact(name: str, value: t.Any) -> bool:
    if not _FACTS.fullmatch(name) or (name in _CHOICES and value not in _CHOICES[name]):
        return False
    return _names_no_other_place(name, value) if _NAMING.fullmatch(name) else True


def _names_no_other_place(name: str, value: t.Any) -> bool:
    """Say whether a path built with this value stays in its directory; check lists and dicts recursively."""
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else [("", it) for it in value]
        return all(_names_no_other_place(f"{name}.{key}", it) for key, it in inner)
    if not isinstance(value, str):
        return True
    if name == "ansible_distribution_file_path":
        return bool(_FILES.fullmatch(value))
    # A distribution of the family can have "GNU/Linux" in its name.
    return "/" not in value.replace("GNU/Linux", "") and not value.startswith((".", "~"))


def _is_true(value: t.Any) -> bool:
    return bool(value) and not (isinstance(value, str) and value.lower() in BOOLEANS_FALSE)


def warnings(value: t.Any) -> t.List[str]:
    """Return a module's warnings as plain text; core's own form of a warning is an object with an event."""
    texts = []
    for it in (value if isinstance(value, list) else [])[:MOST_WARNINGS]:
        event = it.get("event") if isinstance(it, dict) else None
        text = event.get("msg") if isinstance(event, dict) else it
        if isinstance(text, str):
            texts.append(short(text))
    return texts


def data(value: t.Any) -> t.Any:
    """Return plain JSON without control characters, and without anything from which core makes objects."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [data(it) for it in value]
    if not isinstance(value, dict):
        return value
    if "__ansible_type" in value:
        # A value with core's tags, such as its origin; core's other objects have no value.
        return data(value.get("value"))
    return {
        clean(key): data(it)
        for key, it in value.items()
        if not key.startswith(("_ansible", "__ansible"))
    }


__all__ = (
    "PACKAGE_MANAGERS",
    "SERVICE_MANAGERS",
    "clean",
    "data",
    "parsed",
    "plain",
    "short",
    "shown",
    "warnings",
    "without_orders",
)
