# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What one command of an image asks for, and what the launcher knows of the builder: pure, but for check_root."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

# The exit status when the launcher stopped the command or could not start it. The last line of standard error then
# begins with SAYS.
STOPPED = 125
SAYS = "sandbox: "

IN_IMAGE = "/run/sealedroot"
PYTHON = f"{IN_IMAGE}/python"
# Variables of the environment that only the start of our Python sees: run as this user of the image, and leave the rest
# to the Python of the image if it has one.
USER = "SEALEDROOT_USER"
OWN = "SEALEDROOT_OWN"

# In IN_IMAGE. A command that does not ask for them finds an empty file or directory.
SECRETS = ("boot.key", "luks.header")
OUTPUT = "esp"
# Beside what is /run: /tmp of the commands that share one.
LASTING_TMP = "lasting-tmp"
DISK = "disk.raw"

# If one of these were a link, the mount would go where the link leads.
MOUNT_POINTS = ("dev", "proc", "run", "sys", "tmp")


class SandboxError(Exception):
    """The sandbox cannot be made; the message says why."""


class Options:
    """What one command asks for; the options of the connection plugin have the same names and are documented there."""

    root = ""
    device = ""
    root_device = ""
    disk = ""
    network = ""
    secrets = ""
    output = ""
    lasting_tmp = ""
    # Only try whether the ids of the root can be mapped; nothing is created in the root.
    probe = ""
    deadline = "3600"

    def __init__(self, words: t.Sequence[str]) -> None:
        """Read ``NAME=VALUE ... [env:NAME=VALUE ...]``, then ``shell COMMAND`` or ``python ARGUMENT ...``."""
        self.environment: t.Dict[str, str] = {}
        self.is_python = False
        self.arguments: t.List[str] = []
        for index, word in enumerate(words):
            if word in ("shell", "python"):
                self.is_python = word == "python"
                self.arguments = list(words[index + 1 :])
                return
            name, _equals, value = word.partition("=")
            if name.startswith("env:"):
                self.environment[name[len("env:") :]] = value
            elif hasattr(Options, name):
                setattr(self, name, value)
        raise SandboxError("neither shell nor python is asked for")


class Settings:
    """What image_runtime found out about the builder, read from lines ``NAME=VALUE``."""

    def __init__(self, text: str) -> None:
        values = dict(line.partition("=")[::2] for line in text.splitlines())
        self.bwrap = values["bwrap"]
        self.loader = values["loader"]
        self.keyctl = int(values["keyctl"])
        self.slirp4netns = values["slirp4netns"]
        self.maps_ids = values["maps_ids"] == "True"


class Places:
    """Where on the builder bwrap finds the parts of the sandbox."""

    DIRECTORIES = ("root", "given", "secrets", "own")

    def __init__(self, runtime: str, options: Options) -> None:
        self.root = options.root
        self.given = f"{runtime}/given"
        self.secrets = f"{runtime}/secrets"
        self.own = f"{runtime}/own"
        self.empty = f"{runtime}/sandbox/empty"
        # A copy of bwrap: the image sees the program as /proc/1/exe. Where root of the image is root of the builder, it
        # could change the mode or the capabilities of the original.
        self.bwrap = f"{runtime}/sandbox/bwrap"
        self.disk = options.disk
        self.device = ""


def check_root(options: Options, at: Places) -> None:
    """Refuse a root where a mount point is missing or would lead the mount elsewhere."""
    if not os.path.isdir(options.root):
        raise SandboxError(
            f"{options.root} is not a directory: set image_root to the root of the image"
        )
    for name in MOUNT_POINTS:
        path = os.path.join(options.root, name)
        if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
            raise SandboxError(f"/{name} of the image is not a directory: make it one in the root")
    gate = f"{at.own}/run{IN_IMAGE[len('/run') :]}"
    if not os.path.isdir(gate) or os.path.islink(gate):
        raise SandboxError(
            f"{gate} is not there: run the module image_runtime for this directory first"
        )
