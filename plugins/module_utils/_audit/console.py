# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find what gives a shell to anyone at a console of the machine, while it runs or when a boot fails.

This finds what administrators set up for their own machines: accounts without a password, automatic logins, a debug
shell, another handling of failed boots, SysRq keys. It cannot find a shell in an unknown program.
"""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import systemd
from ansible_collections.sealedroot.image.plugins.module_utils._audit.systemd import Units
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    emergency,
    units as etc_units,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Tree

# Programs that can be the shell of an account and give no shell.
_NO_SHELLS = ("false", "halt", "nologin", "shutdown", "sync", "true")
# systemd-firstboot treats this as a password that is still to be set (v254 and later).
_UNPROVISIONED = "!unprovisioned"
_GETTY = re.compile(r"(?:(?:serial-|container-)?getty|autovt)@.*\.service|console-getty\.service")
# Programs that ask for a login, by the names that distributions use.
_PROGRAMS = ("agetty", "getty", "mingetty")
# The options of login(1) that take a value.
_VALUES_OF_LOGIN = "dhr"
# Options of agetty(8) that matter, by letter; and letters without a value, which other letters can follow.
_OPTIONS = {"a": "autologin", "l": "login-program", "o": "login-options"}
# mingetty(8) has no one-letter options.
_OF_MINGETTY = "loginprog"
_FLAGS = "8EJLNRUchimnpsw"
# Service credentials with which agetty and login need no password (systemd.system-credentials(7)).
_CREDENTIALS = ("agetty.autologin", "login.noauth")
_CREDENTIAL_STORES = tuple(
    f"{top}/credstore{end}"
    for top in ("/etc", "/usr/local/lib", "/usr/lib")
    for end in ("", ".encrypted")
)
_SYSTEM_CONF = "/etc/systemd/system.conf"
_SYSTEM_DROP_INS = tuple(
    f"{top}/systemd/system.conf.d" for top in ("/etc", "/usr/local/lib", "/usr/lib")
)
_YES = ("1", "yes", "y", "true", "t", "on")
_SYSCTL = ("/etc/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
# procps reads this file after all others (sysctl --system). systemd reads it only if a symlink in sysctl.d names it.
_SYSCTL_OF_PROCPS = "/etc/sysctl.conf"


def examine(tree: Tree, units: Units) -> t.List[str]:
    """Nobody gets a shell without a password from what the root starts."""
    return [
        *accounts(tree.text("/etc/passwd") or "", tree.text("/etc/shadow") or ""),
        *first_boot(tree, units),
        *gettys(units),
        *credentials(tree),
        *debug_shell(units),
        *crash_shell(tree),
        *failed_boots(tree, units),
        *sysrq(tree),
    ]


def accounts(passwd: str, shadow: str) -> t.List[str]:
    """Every account that has a shell has a password or is locked (passwd(5), shadow(5))."""
    hashes: t.Dict[str, str] = {}
    for row in _rows(shadow):
        if len(row) > 1:
            # If a name occurs twice, the first one counts.
            hashes.setdefault(row[0], row[1])
    problems = []
    for row in _rows(passwd):
        if len(row) < 7 or row[0].startswith(("+", "-")):
            continue  # an entry for NIS
        name, password, shell = row[0], row[1], row[6].rpartition("/")[2]
        if shell not in _NO_SHELLS and "" in (
            password,
            hashes.get(name) if password == "x" else None,
        ):
            problems.append(
                f"the account {name} has no password and a shell: give it a password, or lock it (passwd -l {name})"
            )
    return problems


def _rows(text: str) -> t.List[t.List[str]]:
    # glibc ignores blanks before a name, and comment lines.
    lines = (line.lstrip() for line in text.split("\n"))
    return [line.split(":") for line in lines if line and not line.startswith("#")]


def first_boot(tree: Tree, units: Units) -> t.List[str]:
    """Nobody is asked at the console for a new password of root (systemd-firstboot(1))."""
    # systemd does not treat an empty machine-id as a first boot (machine-id(5)).
    machine_id, shadow = tree.text("/etc/machine-id"), tree.text("/etc/shadow")
    is_first = machine_id is None or machine_id.strip() == "uninitialized"
    is_open = shadow is None or ["root", _UNPROVISIONED] in (row[:2] for row in _rows(shadow))
    settings = units.settings("systemd-firstboot.service")
    runs = etc_units.listed(settings, "Service", "ExecStart")
    if is_first and is_open and any("--prompt" in it.value for it in runs):
        return [
            "systemd-firstboot asks at the console for root's password: lock it (passwd -l root)"
        ]
    return []


def gettys(units: Units) -> t.List[str]:
    """Every program that asks for a login at a console asks for a password."""
    problems = []
    for name in filter(_GETTY.fullmatch, units.names()):
        settings = units.settings(name)
        for it in etc_units.listed(settings, "Service", "ExecStart"):
            if it.key == "ExecStart":
                why = _opens(it.value)
                problems += [f"{it.path} {why}: leave that out"] if why else []
        problems += [
            f"{it.path} runs '{it.value}' ({it.key}) at a console: leave that out"
            for it in etc_units.listed(settings, "Service", "Exec")
            if it.key != "ExecStart" and it.path.startswith(systemd.OWN_DIRECTORIES)
        ]
        for it in etc_units.listed(settings, "Service", "ImportCredential"):
            if it.value.partition(":")[2].startswith(_CREDENTIALS):
                problems.append(f"{it.path} takes {it.value} for a login: leave that out")
        for key in ("SetCredential", "LoadCredential"):
            for it in etc_units.listed(settings, "Service", key):
                credential, colon, _value = it.value.partition(":")
                if colon and credential in _CREDENTIALS:
                    problems.append(f"{it.path} has the credential {credential}: leave that out")
    return list(dict.fromkeys(problems))


def _opens(command: str) -> t.Optional[str]:
    """Return why the command of a getty service asks for no password; None if it asks."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    program = words[0].lstrip("-@:+!|") if words else ""
    if program.rpartition("/")[2] not in _PROGRAMS:
        return f"starts {program}, which is none of {', '.join(_PROGRAMS)}"
    for option, value in _options(words[1:]):
        if option == "autologin":
            return "logs in without a password (--autologin)"
        if option in ("login-program", _OF_MINGETTY) and value.rpartition("/")[2] != "login":
            return f"starts {value} in place of a login"
        if option == "login-options" and any(map(_is_forced, value.split())):
            return "logs in without a password (login -f)"
    return None


def _is_forced(word: str) -> bool:
    """Say whether arguments of login(1) include -f, for a user who is already authenticated."""
    flags = re.split(f"[{_VALUES_OF_LOGIN}]", word)[0]
    return flags.startswith("-") and not flags.startswith("--") and "f" in flags


def _options(words: t.Sequence[str]) -> t.Iterator[t.Tuple[str, str]]:
    """Yield the options of _OPTIONS in *words* by their long names, each with its value."""
    for word, following in zip(words, [*words[1:], ""]):
        value = following
        found: t.Iterable[str] = ()
        if word.startswith("--") and len(word) > 2:
            name, equals, given = word[2:].partition("=")
            value = given if equals else following
            # getopt_long(3) accepts abbreviated option names.
            found = (it for it in (*_OPTIONS.values(), _OF_MINGETTY) if it.startswith(name))
        elif word.startswith("-"):
            letters = word[1:].lstrip(_FLAGS)
            value = letters[1:] or following
            found = (it for letter, it in _OPTIONS.items() if letters.startswith(letter))
        yield from ((it, value) for it in found)


def credentials(tree: Tree) -> t.List[str]:
    """No service credential lets anybody log in without a password."""
    return [
        f"{store}/{name} logs in without a password: remove it"
        for store in _CREDENTIAL_STORES
        for name in _CREDENTIALS
        if name in tree.entries(store)
    ]


def debug_shell(units: Units) -> t.List[str]:
    """Nothing starts systemd's debug shell, which is root's and asks for no password."""
    name = "debug-shell.service"
    starter = units.starter(name) if units.settings(name) else None
    return (
        [f"{starter} starts {name}, a shell of root: remove it, or mask {name}"] if starter else []
    )


def crash_shell(tree: Tree) -> t.List[str]:
    """systemd gives no shell where it fails itself (systemd-system.conf(5))."""
    drop_ins = systemd.merged(tree, _SYSTEM_DROP_INS)
    files = [_SYSTEM_CONF, *(path for name, path in drop_ins.items() if name.endswith(".conf"))]
    settings = [it for path in files for it in etc_units.parse(path, tree.text(path) or "")]
    it = etc_units.last(settings, "Manager", "CrashShell")
    return (
        [f"{it.path} has CrashShell={it.value}, a shell of root: leave it out"]
        if it and it.value.lower() in _YES
        else []
    )


def failed_boots(tree: Tree, units: Units) -> t.List[str]:
    """No file that is read besides ours changes what happens after a failed boot."""
    problems = []
    for path in emergency.UNITS:
        name = path.split("/")[-2][: -len(".d")]
        if tree.text(path) == emergency.UNIT_TEXT and not units.is_masked(name):
            problems += _ends(
                name, units.settings(name), etc_units.parse(path, emergency.UNIT_TEXT)
            )
        target = name.replace(".service", ".target")
        other = units.path(target)
        if other and other.startswith(systemd.OWN_DIRECTORIES) and not units.is_masked(target):
            problems.append(
                f"{other} takes the place of systemd's own for a boot that fails: remove it"
            )
        problems += [
            f"{drop_in} changes systemd's own for a boot that fails: remove it"
            for drop_in in units.drop_ins(target)
            if not units.is_masked(target)
        ]
    return problems


def _ends(
    name: str, settings: t.Sequence[etc_units.Setting], ours: t.Sequence[etc_units.Setting]
) -> t.List[str]:
    runs = etc_units.listed(settings, "Service", "Exec")
    wanted = etc_units.listed(ours, "Service", "Exec")
    if not set(wanted) <= set(runs):
        last = [it.path for it in settings if it.key == "ExecStart"][-1:]
        return [
            f"{name} does not restart the machine, because of {''.join(last)}: remove that file"
        ]
    return [
        f"{it.path} lets {name} run '{it.value}' ({it.key}): remove that line"
        for it in runs
        if it not in wanted
    ]


def sysrq(tree: Tree) -> t.List[str]:
    """No file that is read after ours enables the SysRq keys again (sysctl.d(5))."""
    files = systemd.merged(tree, _SYSCTL)
    names = [name for name in files if name.endswith(".conf")]
    own = emergency.SYSCTL.rpartition("/")[2]
    # Patterns (kernel.*) do not matter: our file sets the full name, which takes precedence.
    later = [
        files[name] for name in names if name > own and not systemd.is_masked(tree, files[name])
    ]
    problems = []
    for path in [*later, _SYSCTL_OF_PROCPS]:
        for value in _values(tree.text(path) or "", "kernel.sysrq"):
            if not re.fullmatch(r"0+|0x0+", value):
                problems.append(
                    f"{path} is read after {emergency.SYSCTL} and sets kernel.sysrq to {value}: remove that line"
                )
    return problems


def _values(text: str, key: str) -> t.List[str]:
    lines = (line.strip().partition("=") for line in text.split("\n"))
    return [
        value.strip()
        for name, equals, value in lines
        if equals and name.strip().lstrip("-").strip().replace("/", ".") == key
    ]


__all__ = (
    "accounts",
    "crash_shell",
    "credentials",
    "debug_shell",
    "examine",
    "failed_boots",
    "first_boot",
    "gettys",
    "sysrq",
)
