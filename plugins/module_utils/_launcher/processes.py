# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Descriptors, output and the end of the processes of one command."""

from __future__ import annotations

import os
import select
import time

from . import kernel, limits
from .request import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

MOST_OUTPUT = 64 * limits.MIB


def end_with_parent(parent: int = -1) -> None:
    """End when the parent does; *parent* is a pipe whose other end only the parent holds.

    The kernel forgets this when a process changes its user, so it has to be called again after that.
    """
    kernel.end_with_parent()
    if parent >= 0 and select.select([parent], [], [], 0)[0]:
        os._exit(STOPPED)  # the parent ended before the kernel was told


def close_on_exec() -> None:
    """Keep programs that are started from inheriting any descriptor but the three standard streams."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # the descriptor of listdir() itself


def wait_for(pid: int) -> int:
    """Wait for all children, and return the status of *pid*. When that ends, the kernel ends the others.

    *pid* is the init of their namespace, which cannot end before somebody has waited for the other processes in it.
    """
    found = 0
    while True:
        try:
            ended, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return found
        found = status if ended == pid else found


def pass_on(sources: t.List[int], deadline: int) -> str:
    """Copy two streams to our standard output and error until both end; return why that was stopped, if it was."""
    targets = dict(zip(sources, (1, 2)))
    left = dict.fromkeys(sources, MOST_OUTPUT)
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    until = time.monotonic() + deadline
    while targets:
        wait = until - time.monotonic()
        events = poll.poll(max(0, wait * 1000)) if wait > 0 else []
        if not events:
            return f"the command did not end within {deadline} seconds and was stopped"
        for source, _event in events:
            data = os.read(source, 65536)
            left[source] -= len(data)
            if left[source] < 0:
                return (
                    f"the command printed more than {MOST_OUTPUT // limits.MIB} MiB and was stopped"
                )
            if not data:
                poll.unregister(source)
                del targets[source]
            while data:
                # Write no more than a pipe takes without blocking: its reader can stop at any time.
                wait = max(0, until - time.monotonic())
                if not select.select([], [targets[source]], [], wait)[1]:
                    return f"what the command printed was not read for {deadline} seconds"
                data = data[os.write(targets[source], data[: select.PIPE_BUF]) :]
    return ""
