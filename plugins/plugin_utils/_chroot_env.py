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
    OWN,
    SAYS,
    STOPPED,
    USER,
)

PYTHON = f"{IN_IMAGE}/python3"
# The image's own Python, or that one where it has none.
IMAGE_PYTHON = f"{IN_IMAGE}/image-python3"
# Where Ansible puts what it transfers, on a tmpfs.
TRANSFERS = f"{IN_IMAGE}/tmp"
# Core's shell plugin appends this to each command.
_APPENDED = " && sleep 0"
# Tells of modules that would wait for a machine.
_REFUSED = {
    "reboot": "an image cannot reboot: let the role reboot only where ansible_facts.is_chroot is false, because the"
    " machine boots with all that was installed",
}
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)

# Starts a shell as the user that the start of our Python (python_runtime) has become.
SHELL = """
import os, sys
os.execve("/bin/sh", ["/bin/sh", "-c", sys.argv[1]], os.environ)
"""
# Waits for all other processes of the command; bwrap or a shell is process 1.
AWAIT = """
import os, time
def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] not in b"ZX"
    except OSError:
        return False
mine = {"1", str(os.getpid()), str(os.getppid())}
while any(is_alive(it) for it in os.listdir("/proc") if it.isdigit() and it not in mine):
    time.sleep(0.1)
"""
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
    network: bool = False
    secrets: bool = False
    output: bool = False
    lasting_tmp: bool = False
    deadline: int = 3600
    user: str = "root"
    environment: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

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
    if not words or words[0] not in (PYTHON, IMAGE_PYTHON):
        return None
    plain = " ".join(
        [*(f"{name}={shlex.quote(value)}" for name, value in environment.items())]
        + [shlex.quote(word) for word in words]
    )
    if plain != line:
        return None
    return ({**environment, **({OWN: "1"} if words[0] == IMAGE_PYTHON else {})}, words[1:])


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
    variables = {**options.pop("environment", {}), **(environment or {})}
    if options.pop("user") != "root":
        variables[USER] = sandbox.user
    given = [f"{name}={1 if value is True else value}" for name, value in options.items()]
    given += [f"env:{name}={value}" for name, value in variables.items()]
    return f"exec {' '.join(shlex.quote(word) for word in (program, *given, *words))}"


def command_line(sandbox: Sandbox, command: str) -> str:
    """Return the line for one of core's commands; a module is run without a shell of the image."""
    call = python_call(command)
    if call is None:
        return shell(sandbox, command)
    environment, arguments = call
    return launch(sandbox, "python", *arguments, environment=environment)


def shell(sandbox: Sandbox, command: str) -> str:
    """Return the line that runs a command line in the image."""
    if sandbox.user == "root":
        return launch(sandbox, "shell", command)
    return launch(sandbox, "python", "-c", SHELL, command)


def awaited_command(sandbox: Sandbox, command: str) -> str:
    """Return the line for one of core's commands of an async task, which ends with all that it starts."""
    await_all = f"{PYTHON} -c {shlex.quote(AWAIT)}"
    return shell(sandbox, f"{command}\nstatus=$?\n{await_all}\nexit $status")


def refused(task: t.Mapping[str, t.Any], *, is_detached: bool = False) -> str:
    """Return why a task with these keywords cannot run in an image; empty if it can."""
    action = str(task.get("action", ""))
    name = action.rpartition(".")[2]
    if is_detached and name not in ("", "raw"):
        # Its answer, and what it sends into the image, would be lost.
        return f"image_detach is for raw tasks, and this one is {action}: take the variable away from it"
    return _REFUSED.get(name, "")


__all__ = (
    "IMAGE_PYTHON",
    "PYTHON",
    "READ",
    "SAYS",
    "STOPPED",
    "TRANSFERS",
    "WRITE",
    "Sandbox",
    "awaited_command",
    "command_line",
    "launch",
    "python_call",
    "refused",
)
