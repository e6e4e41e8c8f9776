# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root directory of a few programs of this machine, for tests of what runs in an image."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

# A shell, what it takes to look around, and what Ansible itself calls.
TOOLS = (
    *("sh", "cat", "chmod", "dd", "env", "id", "ls", "mkdir", "mknod", "mount", "readlink"),
    *("rm", "sleep", "tr", "true"),
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


def left_running(marker: str) -> list[str]:
    """Return the command lines of processes that have *marker* in theirs."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker in line:
            found.append(line)
    return found
