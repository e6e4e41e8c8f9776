# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""From the keys that a LUKS header has to exactly the keys that it shall have: pure.

The plan is made of steps after each of which at least one known key opens the container, so a kill between
any two of them leaves a container that the same task brings to its goal when it runs again:

1. every wanted key gets a place: its own slot where that is free, else a spare slot;
2. each is proved to open its slot before anything is removed;
3. everything that is not wanted goes, and spare copies move to their slots the same way.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

MAX_SLOTS = {"luks1": 8, "luks2": 32}


@dataclasses.dataclass(frozen=True)
class WantedKey:
    """One key that the header shall have; *key* names it (its file)."""

    slot: int
    key: str
    iterations: int


@dataclasses.dataclass(frozen=True)
class State:
    """What the header has: iterations of each active slot, and which known key opens it, if any."""

    slots: t.Mapping[int, int]
    opens: t.Mapping[int, str]


@dataclasses.dataclass(frozen=True)
class Step:
    """``add`` key to slot, ``prove`` that key opens slot, or ``remove`` slot; unlocked by *unlock*."""

    verb: str
    slot: int
    key: str = ""
    iterations: int = 0
    unlock: str = ""


def check(wanted: t.Sequence[WantedKey], type_: str) -> None:
    """Refuse a wish that no header can fulfil."""
    slots = [key.slot for key in wanted]
    if not wanted:
        raise SealedRootError("keys is empty: a container without a key is lost; name at least one")
    if len(set(slots)) != len(slots):
        raise SealedRootError("two keys are to have the same slot: give each key its own")
    if len({key.key for key in wanted}) != len(wanted):
        raise SealedRootError("one key file is named twice: give each slot its own key")
    limit = MAX_SLOTS[type_]
    if any(not 0 <= slot < limit for slot in slots):
        raise SealedRootError(f"{type_} has the slots 0 to {limit - 1}")
    if len(wanted) >= limit:
        raise SealedRootError(f"keys fill all {limit} slots: one must stay free for the exchange")
    if any(key.iterations < 1000 for key in wanted):
        raise SealedRootError("iterations must be at least 1000 (the minimum of cryptsetup)")


def is_right(state: State, want: WantedKey) -> bool:
    """Say whether the key is in its slot with its iterations."""
    return (
        state.opens.get(want.slot) == want.key and state.slots.get(want.slot) == want.iterations
    )


def plan(state: State, wanted: t.Sequence[WantedKey], type_: str) -> t.List[Step]:
    """Return the steps from *state* to exactly *wanted*; none when it is there already."""
    check(wanted, type_)
    if not state.opens:
        raise SealedRootError("none of the given keys opens the container")
    slots, opens = dict(state.slots), dict(state.opens)
    steps: t.List[Step] = []

    def unlock(*, but: t.Optional[int] = None) -> str:
        return next(key for slot, key in sorted(opens.items()) if slot != but)

    def add(slot: int, want: WantedKey) -> None:
        steps.append(Step("add", slot, want.key, want.iterations, unlock()))
        steps.append(Step("prove", slot, want.key))
        slots[slot], opens[slot] = want.iterations, want.key

    def remove(slot: int) -> None:
        steps.append(Step("remove", slot, unlock=unlock(but=slot)))
        del slots[slot]
        opens.pop(slot, None)

    def now() -> State:
        return State(slots, opens)

    def spare() -> int:
        taken = set(slots) | {want.slot for want in wanted}
        free = [slot for slot in range(MAX_SLOTS[type_]) if slot not in taken]
        if not free:
            # Every slot is taken: one that opens with no wanted key makes room.
            victim = next(
                slot
                for slot in sorted(slots, reverse=True)
                if slot not in {want.slot for want in wanted} and len(set(opens) - {slot}) > 0
            )
            remove(victim)
            return victim
        return free[-1]

    missing = [want for want in wanted if not is_right(now(), want)]
    if not missing and set(slots) == {want.slot for want in wanted}:
        return []
    for want in missing:
        if want.slot not in slots:
            add(want.slot, want)
    # What is left stands in a slot that something else holds: keep a proved copy while it changes hands.
    for want in [want for want in wanted if not is_right(now(), want)]:
        copies = [s for s, key in opens.items() if key == want.key and s != want.slot]
        if not [s for s in copies if s not in {w.slot for w in wanted}]:
            add(spare(), want)
        remove(want.slot)
        add(want.slot, want)
    for slot in sorted(set(slots) - {want.slot for want in wanted}):
        remove(slot)
    steps.extend(Step("prove", want.slot, want.key) for want in wanted)
    return steps


__all__ = ("MAX_SLOTS", "State", "Step", "WantedKey", "check", "is_right", "plan")
