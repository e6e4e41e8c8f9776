# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Say on the terminal that a long step is still at work: a module itself can say nothing before it ends."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

# How often it is said, in seconds.
PERIOD = 25.0


@contextlib.contextmanager
def spoken(say: t.Callable[[str], t.Any], words: str, period: float = PERIOD) -> t.Iterator[None]:
    """Say *words* and how long it has taken so far, again and again until the block ends."""
    ended = threading.Event()
    begun = time.monotonic()

    def speak() -> None:
        while not ended.wait(period):
            say(f"{words}, {time.monotonic() - begun:.0f} seconds so far")

    # A daemon, so that it never keeps the process of a task alive.
    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def words(variables: t.Optional[t.Mapping[str, t.Any]], task: str) -> str:
    """Return what is said of a task."""
    return f"still at work: [{(variables or {}).get('inventory_hostname', '')}] {task}"


class SpokenAction(NormalAction):
    """The action of a module that can take longer than a person likes to wait without a word."""

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Run the module."""
        with spoken(Display().display, words(task_vars, self._task.get_name())):
            result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        return result


__all__ = ("SpokenAction", "spoken", "words")
