# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root directory of a few programs of this machine, for tests of what runs in an image."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import typing as t

import processes
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
)
from ansible_collections.sealedroot.image.plugins.modules import image_runtime
from distribution_tools import Here

# A shell, what it takes to look around, and what Ansible itself calls.
TOOLS = (
    *("sh", "cat", "chmod", "dd", "env", "id", "ls", "mkdir", "mknod", "mount", "readlink"),
    *("rm", "sleep", "touch", "tr", "true"),
)


def make(root: pathlib.Path, *more: str) -> pathlib.Path:
    """Fill *root* with TOOLS and *more* programs, their libraries, and nothing else."""
    for folder in ("bin", "etc", "root", "run", "proc", "dev", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    for tool in (*TOOLS, *more):
        program = pathlib.Path(shutil.which(tool) or "").resolve()
        shutil.copy(program, root / "bin" / tool)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                target = root / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copy(pathlib.Path(word).resolve(), target)
    return root


class Installed(Here):
    """The tools of this machine, by their paths."""

    def find(self, *names: str) -> str:
        for name in names:
            path = shutil.which(name)
            if path:
                return path
        raise MissingToolError(f"{' or '.join(names)} is not installed")


def runtime_arguments(directory: pathlib.Path, root: pathlib.Path) -> dict[str, t.Any]:
    """Return the options of image_runtime, whose secrets are made beside *directory* when they are not there."""
    secrets = {name: directory.parent / name for name in ("boot.key", "luks.header")}
    for path in secrets.values():
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(b"x" * 44)
    return {
        "path": str(directory),
        "root": str(root),
        "key_file": str(secrets["boot.key"]),
        "header_file": str(secrets["luks.header"]),
        "network": False,
    }


@contextlib.contextmanager
def sandbox(directory: pathlib.Path, root: pathlib.Path) -> t.Iterator[dict[str, t.Any]]:
    """Prepare the sandbox of *root* in *directory*, and release it in the end."""
    directory.mkdir(exist_ok=True)
    try:
        yield image_runtime.ensure(
            Installed(), runtime_arguments(directory, root), check_mode=False
        )
    finally:
        if os.path.ismount(directory / "own"):
            subprocess.run(["umount", directory / "own"], check=True)


def left_running(marker: str) -> list[str]:
    """Return the command lines of processes that have *marker* in theirs."""
    return [line for line in processes.command_lines().values() if marker in line]
