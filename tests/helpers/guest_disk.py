# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk with a LUKS container for tests on a kernel with device-mapper."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import time
import typing as t

MIB = 1 << 20
OFFSET = 8 * MIB
SIZE = 32 * MIB


def sh(*argv: str | os.PathLike[str], check: bool = True, **kwargs: t.Any) -> str:
    """Run a tool and return all that it printed."""
    done = subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, **kwargs
    )
    text = str(done.stdout, "utf-8", "replace")
    assert not check or done.returncode == 0, text
    return text


def wait(what: t.Callable[[], t.Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclasses.dataclass
class Disk:
    """A file with room for a container in its middle, its keys, and the options to call modules with."""

    dir: pathlib.Path
    type: str = "luks1"

    def __post_init__(self) -> None:
        self.dir.mkdir(parents=True)
        self.file = self.dir / "disk.raw"
        with self.file.open("wb") as file:
            file.truncate(OFFSET + SIZE + 4 * MIB)
        self.name = f"test-{self.dir.parent.name}-{self.dir.name.partition(',')[0]}"
        self.node = pathlib.Path("/dev/mapper", self.name)
        self.key = self.add_key("build")

    def key_path(self, name: str) -> pathlib.Path:
        """Return the path of a key: a name that a teardown removes with the directory."""
        return self.dir / f"boot-{name}.key"

    def add_key(self, name: str) -> pathlib.Path:
        """Make a key file; no key is text that a terminal could show."""
        path = self.key_path(name)
        path.touch(0o600)
        path.write_bytes(f"the {name} key".encode() + b"\xff\x00\n")
        return path

    def region(self, **more: t.Any) -> dict[str, t.Any]:
        return {"path": str(self.file), "offset": OFFSET, "size": SIZE, **more}

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        options = {"name": self.name, "key_file": str(self.key), "type": self.type}
        return {**self.region(), **options, "work_dir": str(self.dir), **more}

    def loops(self) -> list[str]:
        rows = json.loads(sh("losetup", "--list", "--json", "-O", "NAME,BACK-FILE") or "{}")
        return [
            row["name"]
            for row in rows.get("loopdevices", [])
            if (row["back-file"] or "").startswith(f"{self.dir}/")
        ]

    def mounts(self) -> list[str]:
        rows = json.loads(sh("findmnt", "--json", "--list", "-o", "TARGET"))["filesystems"]
        return [row["target"] for row in rows if row["target"].startswith(f"{self.dir}/")]

    def held(self) -> list[str]:
        """All that an open container holds, in the kernel's own words."""
        listed = sh("dmsetup", "info", "-c", "--noheadings", "-o", "name").split("\n")
        names = [name for name in listed if name.startswith(self.name)]
        node = [str(self.node)] if os.path.lexists(self.node) else []
        return [*self.mounts(), *names, *node, *self.loops()]

    def clean(self) -> None:
        """Release everything without the modules."""
        for mount in reversed(self.mounts()):
            sh("umount", mount)
        for name in self.held():
            if name.startswith(self.name):
                sh("cryptsetup", "close", name)
        for loop in self.loops():
            sh("losetup", "--detach", loop, check=False)
