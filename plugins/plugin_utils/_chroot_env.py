# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Build the commands with which the connection runs the launcher on the builder: pure functions."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import shlex
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._launcher.request import (
    IN_IMAGE,
    SAYS,
    STOPPED,
)

PYTHON = f"{IN_IMAGE}/python3"
# Core's shell plugin appends this to each command.
_APPENDED = " && sleep 0"
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)

READ = """
import os, stat, sys
handle = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
if not stat.S_ISREG(os.fstat(handle).st_mode):
    sys.exit("not a regular file")
os.lseek(handle, int(sys.argv[2]), os.SEEK_SET)
left = int(sys.argv[3])
while left:
    data = os.read(handle, min(left, 65536))
    if not data:
        break
    sys.stdout.buffer.write(data)
    left -= len(data)
"""
WRITE = """
import os, stat, sys
flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
handle = os.open(sys.argv[1], flags, 0o666)
if not stat.S_ISREG(os.fstat(handle).st_mode):
    sys.exit("not a regular file")
if sys.argv[2] == "0":
    os.ftruncate(handle, 0)
os.lseek(handle, 0, os.SEEK_END)
with open(handle, "wb") as file:
    for data in iter(lambda: sys.stdin.buffer.read(65536), b""):
        file.write(data)
"""


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """Where the image is on the builder, and what a task needs besides it."""

    root: str
    run_dir: str
    device: str = ""
    root_device: str = ""
    disk: str = ""
    network: bool = False
    secrets: bool = False
    output: bool = False
    deadline: int = 3600

    def problem(self) -> str:
        """Return what is wrong with the options; empty if nothing is."""
        for name, path in (("root", self.root), ("run_dir", self.run_dir)):
            if not path:
                return f"the option {name} is not set (variable image_{name.replace('_dir', '')})"
            if not path.startswith("/") or not posixpath.normpath(path).strip("/"):
                return f"the option {name} is '{path}': it must be an absolute path, and not /"
        for name, path in (("device", self.device), ("root_device", self.root_device)):
            if path and (not path.startswith("/dev/") or posixpath.normpath(path) != path):
                return f"the option {name} is '{path}': it must be a path below /dev"
        return ""


def python_call(command: str) -> t.Optional[t.Tuple[t.Dict[str, str], t.List[str]]]:
    """Return environment and arguments if core's *command* only starts our Python, else None.

    Such a command is a module, which needs no shell of the image. Unless it matches exactly, it is any other command.
    """
    try:
        words = shlex.split(command)
        if len(words) != 3 or words[1] != "-c":
            return None
        line = words[2].strip()
        line = line[: -len(_APPENDED)].strip() if line.endswith(_APPENDED) else line
        words = shlex.split(line)
    except ValueError:
        return None
    environment = {}
    while words:
        match = _ASSIGNMENT.fullmatch(words[0])
        if not match:
            break
        environment[match.group(1)] = match.group(2)
        words = words[1:]
    if not words or words[0] != PYTHON:
        return None
    plain = " ".join(
        [*(f"{name}={shlex.quote(value)}" for name, value in environment.items())]
        + [shlex.quote(word) for word in words]
    )
    return (environment, words[1:]) if plain == line else None


def launch(
    sandbox: Sandbox,
    *words: str,
    environment: t.Optional[t.Mapping[str, str]] = None,
) -> str:
    """Return the line for the builder's shell that runs ``shell COMMAND`` or ``python ARGUMENT ...`` in the image.

    The launcher replaces the shell (exec), and ends when the process that started the shell ends.
    """
    options = {name: value for name, value in dataclasses.asdict(sandbox).items() if value}
    program = f"{options.pop('run_dir')}/sandbox/launch"
    given = [f"{name}={1 if value is True else value}" for name, value in options.items()]
    given += [f"env:{name}={value}" for name, value in (environment or {}).items()]
    return f"exec {' '.join(shlex.quote(word) for word in (program, *given, *words))}"


def command_line(sandbox: Sandbox, command: str) -> str:
    """Return the line for one of core's commands; a module is run without a shell of the image."""
    call = python_call(command)
    if call is None:
        return launch(sandbox, "shell", command)
    environment, arguments = call
    return launch(sandbox, "python", *arguments, environment=environment)


__all__ = (
    "PYTHON",
    "READ",
    "SAYS",
    "STOPPED",
    "WRITE",
    "Sandbox",
    "command_line",
    "launch",
    "python_call",
)
