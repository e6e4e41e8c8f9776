# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Commands that run in the background on the builder while the play does something else."""

from __future__ import annotations

import shlex

# The file descriptor that holds the lock on the log.
LOCK = "8"
# How many bytes of a log the control node gets: a program in the image can write any amount.
SHOWN = 1 << 20


def detached(command: str, log: str) -> str:
    """Return the line that starts *command* in the background.

    *log* gets the output and then ``exit status N``. It is locked (flock(2)) until then, starting before
    this line ends, so whoever needs the result waits for the lock.

    The line ignores SIGHUP, which everything that setsid has not yet moved to another session gets when a terminal
    ends (ssh gives one to raw tasks).
    """
    # Begin a new line, in case the output does not end with one.
    inner = f"({command}\n) {LOCK}>&-; printf '\\nexit status %s\\n' $? >&{LOCK}"
    return (
        f"set -e; trap '' HUP; exec {LOCK}>{shlex.quote(log)}; flock {LOCK};"
        f" setsid sh -c {shlex.quote(inner)} </dev/null >&{LOCK} 2>&1 &"
    )


def awaited(log: str, timeout: int = 3600) -> str:
    """Return the line that waits for a detached command, prints the end of its log and removes the log.

    It fails if the command failed, or did not end within *timeout* seconds. Only the last line is
    trusted: the command can have printed the lines before it.
    """
    path = shlex.quote(log)
    return (
        f"set -e; timeout {int(timeout)} flock {path} true;"
        # Only ASCII, so that a terminal obeys nothing of it.
        f" tail -c {SHOWN} {path} | LC_ALL=C tr -cd '\\11\\12\\40-\\176';"
        f" tail -n 1 {path} | grep -qx 'exit status 0'; rm {path}"
    )


__all__ = ("LOCK", "awaited", "detached")
