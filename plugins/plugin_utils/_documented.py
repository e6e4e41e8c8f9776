# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Keep only those parts of a module's result that its RETURN documents, each with its documented type.

RETURN is the only place for types, elements, choices and the content of dicts. A key must be there
if its ``returned`` is missing, always or success.
"""

from __future__ import annotations

import functools
import math
import pathlib
import re
import typing as t

import yaml
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers

PLUGINS = pathlib.Path(__file__).resolve().parent.parent
MOST_ITEMS = 20_000
MOST_TEXT = 4096
# Limit for a diff, which contains whole files.
MOST_DIFF = 1 << 20

Spec = t.Mapping[str, t.Any]
Values = t.Dict[str, t.Any]

# The names in a dict of which no key is documented: kernels, platforms, fields of os-release(5), facts.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~:-]{0,127}")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnfitError(Exception):
    """The result is not what the module documents."""


@functools.lru_cache(maxsize=None)
def returned(module: str) -> Spec:
    """Return the documented result of *module*."""
    return _block("RETURN", "modules", module)


def documentation(kind: str, name: str) -> Spec:
    """Return the documentation of the plugin *name* of a *kind*, such as connection."""
    return _block("DOCUMENTATION", kind, name)


def _block(block: str, kind: str, name: str) -> Spec:
    text = (PLUGINS / kind / f"{name}.py").read_text(encoding="utf-8")
    match = re.search(rf'^{block} = r"""\n(.*?)^"""', text, re.DOTALL | re.MULTILINE)
    spec: t.Dict[str, t.Any] = yaml.load(match.group(1) if match else "{}", _LOADER)  # noqa: S506
    return spec


def kept(module: str, result: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any]) -> Values:
    """Return the part of the result that *module* documents, and those keys of core that only describe the run.

    *args* are the task's: a key that is returned only if an option is given is kept only then.
    """
    if not isinstance(result.get("failed", False), bool):
        raise UnfitError("failed is no bool")
    if result.get("failed"):
        return _failure(result)
    changed = result.get("changed", False)
    if not isinstance(changed, bool):
        raise UnfitError("changed is no bool")
    values = {"changed": changed, **_contents("", result, returned(module), args)}
    values.update({key: value for key, value in _core(result).items() if value})
    return values


def _failure(result: t.Mapping[str, t.Any]) -> Values:
    """Return a module's description of its failure, as text."""
    values: Values = {
        "failed": True,
        "msg": _answers.short(result.get("msg") or "it gave no reason"),
    }
    # Core's description of a module that crashed; core rebuilds its other objects from the message.
    for key in ("module_stderr", "module_stdout", "exception"):
        if isinstance(result.get(key), str) and result[key]:
            values[key] = _answers.short(result[key])
    if _is_int(result.get("rc")):
        values["rc"] = result["rc"]
    values.update({key: value for key, value in _core(result).items() if value})
    return values


def _core(result: t.Mapping[str, t.Any]) -> Values:
    """Return warnings and diff, which every module can have."""
    diff = result.get("diff", [])
    entries = [diff] if isinstance(diff, dict) else diff
    if not isinstance(entries, list) or len(entries) > MOST_ITEMS:
        raise UnfitError("diff is no list")
    return {
        "diff": [_difference(it) for it in entries if isinstance(it, dict)],
        "warnings": _answers.warnings(result.get("warnings")),
    }


def _difference(entry: t.Mapping[str, t.Any]) -> Values:
    """Return the parts of a diff that core shows: texts, and dicts that it converts to text."""
    parts: Values = {}
    for key in ("after", "after_header", "before", "before_header", "prepared"):
        value = entry.get(key)
        if isinstance(value, str):
            parts[key] = _answers.short(value, MOST_DIFF)
        elif isinstance(value, dict) and key in ("after", "before"):
            # Its keys can be any names, such as paths.
            parts[key] = _answers.data(value)
    return parts


def _contents(
    path: str, values: t.Mapping[str, t.Any], spec: Spec, args: t.Mapping[str, t.Any]
) -> Values:
    """Return the documented keys of a dict."""
    found: Values = {}
    for key, what in spec.items():
        name = f"{path}.{key}" if path else key
        must = _must_be_there(what.get("returned", "always"), args)
        if must is False or (must is None and values.get(key) is None):
            continue
        if key not in values:
            raise UnfitError(f"{name} is missing")
        found[key] = _value(name, values[key], what, args)
    return found


def _must_be_there(when: str, args: t.Mapping[str, t.Any]) -> t.Optional[bool]:
    """Say whether a key must be there, by its ``returned``; None if it is optional.

    ``returned`` can depend on an option of the task that is true, or given.
    """
    match = re.fullmatch(r"when O\((\w+)\) is (given|true)", when)
    if not match:
        return True if when in ("always", "success") else None
    value = args.get(match.group(1))
    return value is not None if match.group(2) == "given" else boolean(value, strict=False)


def _value(name: str, value: t.Any, what: Spec, args: t.Mapping[str, t.Any]) -> t.Any:
    kind = what["type"]
    if kind == "list":
        if not isinstance(value, list):
            raise UnfitError(f"{name} is no list")
        if len(value) > MOST_ITEMS:
            raise UnfitError(f"{name} has more than {MOST_ITEMS} elements")
        element = {**what, "type": what.get("elements", "str")}
        return [_value(f"an element of {name}", it, element, args) for it in value]
    if kind == "dict":
        if not isinstance(value, dict):
            raise UnfitError(f"{name} is no dict")
        return (
            _contents(name, value, what["contains"], args)
            if "contains" in what
            else _free(name, value)
        )
    value = _scalar(name, value, kind)
    if "choices" in what and value not in what["choices"]:
        raise UnfitError(f"{name} is none of {', '.join(map(repr, what['choices']))}")
    return value


def _scalar(name: str, value: t.Any, kind: str) -> t.Any:
    if kind in ("path", "str") and isinstance(value, str):
        if len(value) > MOST_TEXT:
            raise UnfitError(f"{name} has more than {MOST_TEXT} characters")
        return _answers.clean(value)
    fits = {
        "bool": isinstance(value, bool),
        "float": isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value),
        "int": _is_int(value),
    }
    if not fits.get(kind):
        raise UnfitError(f"{name} is no {kind}")
    return value


def _is_int(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _free(name: str, values: t.Mapping[str, t.Any]) -> Values:
    """Return a dict whose keys are not documented; its values are plain, or lists or dicts of plain values."""
    if len(values) > MOST_ITEMS:
        raise UnfitError(f"{name} has more than {MOST_ITEMS} keys")
    found: Values = {}
    for key, value in values.items():
        if not _NAME.fullmatch(key) or key.startswith(("_ansible", "__ansible")):
            raise UnfitError(f"{name} has a key with other characters than those of a name")
        where = f"{name}.{key}"
        if isinstance(value, dict):
            found[key] = _free(where, value)
        elif isinstance(value, list):
            found[key] = [_plain(f"an element of {where}", it) for it in value[:MOST_ITEMS]]
        else:
            found[key] = _plain(where, value)
    return found


def _plain(name: str, value: t.Any) -> t.Any:
    if value is None or isinstance(value, bool) or _is_int(value):
        return value
    return _scalar(name, value, "str")


__all__ = ("UnfitError", "documentation", "kept", "returned")
