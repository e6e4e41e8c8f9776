# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a build holds on its builder, found again from the kernel by the build's directory.

Nothing is remembered: mounts come from mountinfo, loop devices from their backing files, daemons from
their command lines. So releasing works after any crash, from any process, and twice.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _backend_userspace, _loop
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    CommandError,
    Runner,
    SealedRootError,
)

MAPPER_DIR = "/dev/mapper"
UMOUNT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Holds:
    """Everything that has to be released, in the order in which it is released."""

    processes: t.Tuple[int, ...]
    mounts: t.Tuple[str, ...]
    nodes: t.Tuple[str, ...]
    loops: t.Tuple[str, ...]
    daemons: t.Tuple[int, ...]

    def any(self) -> bool:
        """Say whether anything is held."""
        return any(dataclasses.asdict(self).values())


def below(path: str, directory: str) -> bool:
    """Say whether *path* is *directory* or in it; ``/a/b2`` is not in ``/a/b``."""
    return path == directory or path.startswith(f"{directory}/")


def parse_mounts(text: str, directory: str) -> t.List[str]:
    """Return the mount points below *directory*, the last mounted first (proc(5), mountinfo)."""
    points = []
    for line in text.splitlines():
        escaped = line.split()[4]
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), escaped)
        if below(point, directory):
            points.append(point)
    return points[::-1]


def find(runner: Runner, directory: str) -> Holds:
    """Look for all that belongs to the build in *directory*."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = parse_mounts(file.read(), directory)
    loops = [
        loop.device
        for loop in _loop.list_all(runner)
        if below(loop.backing_file.replace(" (deleted)", ""), directory)
    ]
    return Holds(
        processes=tuple(_sandboxes(directory)),
        mounts=tuple(mounts),
        nodes=tuple(_nodes(runner, loops)),
        loops=tuple(loops),
        daemons=tuple(_backend_userspace.daemons(directory)),
    )


def _nodes(runner: Runner, loops: t.Sequence[str]) -> t.List[str]:
    """The nodes in /dev/mapper that stand for one of *loops* or for a mapping on one."""
    numbers = {os.stat(loop).st_rdev for loop in loops}
    holders = {
        f"{entry}"
        for loop in loops
        for entry in _listdir(f"/sys/block/{os.path.basename(loop)}/holders")
    }
    nodes = []
    for name in _listdir(MAPPER_DIR):
        path = os.path.join(MAPPER_DIR, name)
        info = os.stat(path)
        held = os.path.basename(os.path.realpath(path)) in holders
        if stat.S_ISBLK(info.st_mode) and (info.st_rdev in numbers or held):
            nodes.append(path)
    return nodes


def _listdir(path: str) -> t.List[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def _sandboxes(directory: str) -> t.List[int]:
    """The bubblewrap processes that run commands in the image of this build."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                argv = file.read().decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            continue  # ended meanwhile
        named = any(below(word, directory) for word in argv[1:])
        if os.path.basename(argv[0]) == "bwrap" and named:
            found.append(int(entry))
    return found


def release(runner: Runner, holds: Holds) -> None:
    """Let go of everything, each thing before what carries it; never lazily."""
    for pid in holds.processes:
        _end(pid)
    for point in holds.mounts:
        # The FUSE export goes with its daemon, which flushes first.
        if holds.daemons and os.path.basename(point) == "payload":
            continue
        _umount(runner, point)
    for node in holds.nodes:
        if os.path.islink(node) or _is_device_mapper(node):
            runner.run([runner.find("cryptsetup"), "close", os.path.basename(node)], timeout=60)
        else:
            os.unlink(node)
    for loop in holds.loops:
        _loop.detach(runner, loop)
    for pid in holds.daemons:
        _backend_userspace.stop(pid)


def _is_device_mapper(node: str) -> bool:
    number = os.stat(node).st_rdev
    return os.path.exists(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/dm")


def _end(pid: int) -> None:
    """End a sandbox; its pid namespace takes everything in it along."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
        time.sleep(0.02)


def _umount(runner: Runner, point: str) -> None:
    """Unmount, giving a process that is just ending the time to do so."""
    argv = [runner.find("umount"), point]
    deadline = time.monotonic() + UMOUNT_SECONDS
    while True:
        result = runner.run(argv, check=False, timeout=UMOUNT_SECONDS)
        if result.rc == 0 or "not mounted" in result.stderr:
            return
        if "busy" not in result.stderr or time.monotonic() > deadline:
            try:
                raise CommandError(argv, result)
            except CommandError as exc:
                raise SealedRootError(
                    f"{point} is still in use: end the programs that use it ('fuser -vm {point}' names"
                    f" them). {exc}"
                ) from exc
        time.sleep(0.2)


__all__ = ("Holds", "below", "find", "parse_mounts", "release")
