# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Commands that go on by themselves on the builder while the play does something else."""

from __future__ import annotations

import shlex

# The descriptor that the log is locked by.
LOCK = "8"
# How much of a log the control node gets, in bytes: what runs in an image can fill one.
SHOWN = 1 << 20


def detached(command: str, log: str) -> str:
    """Return the line that starts *command* and leaves it to itself.

    *log* gets the output and then ``exit status N``. It is locked (flock(2)) until then, from before
    this line ends, so who wants the outcome waits for the lock.

    It ignores the hangup that the end of a terminal (ssh gives raw tasks one) is for all that setsid has not
    taken out of its session yet.
    """
    # A line of its own, wherever the output ends.
    inner = f"({command}\n) {LOCK}>&-; printf '\\nexit status %s\\n' $? >&{LOCK}"
    return (
        f"set -e; trap '' HUP; exec {LOCK}>{shlex.quote(log)}; flock {LOCK};"
        f" setsid sh -c {shlex.quote(inner)} </dev/null >&{LOCK} 2>&1 &"
    )


def awaited(log: str, timeout: int = 3600) -> str:
    """Return the line that waits for a detached command, prints the end of its log and removes that.

    It fails when the command did, and when *timeout* seconds were not enough. The last line alone is
    believed: what is before it, the command may have printed.
    """
    path = shlex.quote(log)
    return (
        f"set -e; timeout {int(timeout)} flock {path} true;"
        # ASCII alone: a terminal obeys nothing of it.
        f" tail -c {SHOWN} {path} | LC_ALL=C tr -cd '\\11\\12\\40-\\176';"
        f" tail -n 1 {path} | grep -qx 'exit status 0'; rm {path}"
    )


__all__ = ("LOCK", "awaited", "detached")
