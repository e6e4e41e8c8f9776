# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Compare the inputs of a build with their specification, the one of the role image. Pure."""

from __future__ import annotations

import copy
import difflib
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.module_utils.parsing.convert_bool import boolean

Options = t.Mapping[str, t.Mapping[str, t.Any]]

# Inputs that YAML can give another type: 4294967296, true, and off, which is false.
_ALSO: t.Mapping[str, t.Tuple[type, ...]] = {
    "image_grow": (bool,),
    "image_packages": (str,),
    "image_selinux": (bool,),
    "image_size": (int, float),
}
# Similarity, at most 1: allows one missing or additional letter in a short name, two wrong ones in a long one.
NEAR = 0.82
# A part of a name that is long enough to stand for it, as cmdline for kernel_cmdline.
PART = 7
# The word of inputs for what many write instead.
_SAME = {
    "arch": "architecture",
    "args": "cmdline",
    "auth": "authorized",
    "directory": "dir",
    "distro": "distribution",
    "folder": "dir",
    "fs": "filesystem",
    "fstype": "filesystem",
    "fw": "firmware",
    "out": "output",
    "outdir": "output_dir",
    "params": "cmdline",
    "pass": "passphrase",
    "passwd": "password",
    "pkg": "packages",
    "pkgs": "packages",
    "working": "work",
}
# Words that say no more of an input than its name.
_EMPTY = ("enabled", "gb", "gib", "list", "mb", "mib")
_WORDS = ("true", "yes", "on", "1", "false", "no", "off", "0")


def type_problem(name: str, value: t.Any, kind: str) -> str:
    """Report a wrong type. The argument specification accepts it, because it converts a copy; roles get the original.

    The sentence does not contain the value, because it may be secret.
    """
    if isinstance(value, _ALSO.get(name, ())):
        return ""
    if kind in ("str", "path") and not isinstance(value, str):
        # YAML changes what was typed: 0123 is 83, and 1_000 is 1000.
        return f"{name} is no text but {_called(value)}: put it in quotes."
    if kind == "list" and not isinstance(value, list):
        extra = f'--extra-vars \'{{"{name}": ["..."]}}\''
        return (
            f"{name} is no list but {_called(value)}: write [...], and on the command line {extra}."
        )
    if kind == "dict" and not isinstance(value, dict):
        extra = f"--extra-vars '{{\"{name}\": {{...}}}}'"
        return f"{name} is no dictionary but {_called(value)}: write {{...}}, and on the command line {extra}."
    if kind == "bool" and not isinstance(value, bool) and str(value).lower() not in _WORDS:
        return f"{name} is neither true nor false: write one of the two."
    if kind == "int" and whole(value) is None:
        return f"{name} is no whole number: write digits alone."
    return ""


def is_set(value: t.Any) -> bool:
    """Return the value of a switch, which is a word if it comes from an extra variable."""
    return bool(boolean(value, strict=False))


def _called(value: t.Any) -> str:
    kinds = ((bool, "true or false"), ((int, float), "a number"), (str, "text"), (list, "a list"))
    return next(
        (it for kind, it in kinds if isinstance(value, kind)),
        "nothing" if value is None else "a dictionary",
    )


def whole(value: t.Any) -> t.Optional[int]:
    """Return the number that Jinja's filter *int* makes of a value, if the value is a whole number."""
    try:
        return None if isinstance(value, bool) or int(value) != float(value) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def once_each(name: str, values: t.Sequence[str], noun: str, example: str, default: str) -> str:
    """Return a sentence if a list is empty or has something twice, or ''."""
    if values and len(set(values)) == len(values):
        return ""
    wrong = f"a {noun} twice" if values else f"no {noun}"
    return (
        f"{name} [{', '.join(values)}] names {wrong}: name each that you want once, such as [{example}], or leave it"
        f" out for [{default}]."
    )


def problems(given: t.Mapping[str, t.Any], options: Options) -> t.List[str]:
    """Return a sentence for each value that is not as specified, by core's own check of arguments.

    Values of a wrong type are reported alone. No sentence has a value that may be secret.
    """
    named = {name: value for name, value in given.items() if name in options}
    found = [type_problem(name, it, options[name].get("type", "str")) for name, it in named.items()]
    if any(found):
        return [*filter(None, found)]
    # A copy, because the validator adds to what is a default.
    validator = ArgumentSpecValidator(copy.deepcopy(dict(options)))
    errors = validator.validate({name: _plain(it) for name, it in named.items()}).errors
    # It does not say which name may be meant.
    others = [it for it in errors if not isinstance(it, UnsupportedError)]
    return [*_unknown(named, options), *(f"{str(error).rstrip('.')}." for error in others)]


def _plain(value: t.Any) -> t.Any:
    """Return a value in containers of Python's own.

    The validator copies what it gets, and a copy of one of Ansible's containers includes all variables of the host.
    """
    if isinstance(value, dict):
        return {name: _plain(it) for name, it in value.items()}
    return [_plain(it) for it in value] if isinstance(value, (list, tuple)) else value


def _unknown(given: t.Mapping[str, t.Any], options: Options) -> t.Iterator[str]:
    for name, value in given.items():
        known = sorted(options[name].get("options", ()))
        for one in value if isinstance(value, list) else [value]:
            for wrong in sorted(set(one) - set(known)) if known and isinstance(one, dict) else ():
                near = nearest(wrong, known)
                right = f"write {name}.{near}" if near else f"it has {', '.join(known)}"
                yield f"No option is called {name}.{wrong}: {right}."


def nearest(name: str, known: t.Iterable[str], prefix: str = "", part: int = PART) -> str:
    """Return the most similar known name, or nothing if none is similar; *part* letters can stand for it."""
    # Without the prefix, which would make all names similar.
    given = name[len(prefix) :].lower()
    rest, inputs = _words(given), {_words(it[len(prefix) :]): it for it in known}
    # Where words are divided says nothing: file_system, secureboot.
    letters = {it.replace("_", ""): right for it, right in inputs.items()}
    joined = rest.replace("_", "")
    alike = [it for it in letters if sorted(it) == sorted(joined) or _differ(it, joined) == 1]
    near = [letters[it] for it in alike]
    near += [letters[it] for it in difflib.get_close_matches(joined, letters, 1, NEAR)]
    whole, _dash, last = rest.rpartition("_")
    near += [inputs[whole]] if whole in inputs and last in _EMPTY else []
    near += [inputs[rest[len("disk_") :]]] if rest in {f"disk_{it}" for it in inputs} else []
    if min(len(given), len(rest)) >= part:
        near += [right for it, right in inputs.items() if f"_{it}_".startswith(f"_{rest}_")]
        near += [right for it, right in inputs.items() if it.endswith(f"_{rest}")]
    return near[0] if near else ""


def _words(name: str) -> str:
    """Return a name in the words of inputs."""
    return "_".join(_SAME.get(it, it) for it in name.split("_"))


def _differ(one: str, other: str) -> int:
    """Return how many letters of two names of one length differ; 0 if they are too short to say."""
    is_long = len(one) == len(other) >= len("size")
    return sum(a != b for a, b in zip(one, other)) if is_long else 0


__all__ = ("PART", "Options", "is_set", "nearest", "once_each", "problems", "type_problem", "whole")
