# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""From the keys that a LUKS header has to exactly the keys that it shall have: pure.

The plan is made of steps after each of which at least one known key opens the container, so a kill between
any two of them leaves a container that the same task brings to its goal when it runs again:

1. a wanted key whose slot is free goes there; one whose slot is taken goes to a spare slot first;
2. it is proved to open that before the slot is emptied, and then it is put and proved where it belongs;
3. everything that is not wanted goes, spare copies included.

Keys with few iterations come first: LUKS2 slots are tried by GRUB in the order in which they were made.
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
    """What the header has: iterations of each active slot, and which known key opens it, if any.

    *order* is the one in which GRUB tries the slots; by number, when it is left out.
    """

    slots: t.Mapping[int, int]
    opens: t.Mapping[int, str]
    order: t.Tuple[int, ...] = ()


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
    return state.opens.get(want.slot) == want.key and state.slots.get(want.slot) == want.iterations


def plan(state: State, wanted: t.Sequence[WantedKey], type_: str) -> t.List[Step]:
    """Return the steps from *state* to exactly *wanted*; none when it is there already."""
    check(wanted, type_)
    if not state.opens:
        raise SealedRootError("none of the given keys opens the container")
    # Insertion order is the order in which the header has the slots: what is added comes last.
    slots = {slot: state.slots[slot] for slot in state.order or sorted(state.slots)}
    opens = dict(state.opens)
    places = {want.slot for want in wanted}
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

    def spare() -> t.Optional[int]:
        free = [slot for slot in range(MAX_SLOTS[type_]) if slot not in {*slots, *places}]
        if free:
            return free[-1]
        # Every slot is taken: one that is not wanted makes room, if another one still opens without it.
        victims = [slot for slot in slots if slot not in places and set(opens) - {slot}]
        if not victims:
            return None
        victim = min(victims, key=lambda slot: (slot in opens, -slot))
        remove(victim)
        return victim

    def is_settled(want: WantedKey) -> bool:
        if not is_right(State(slots, opens), want):
            return False
        order = list(slots)
        # GRUB tries LUKS2 slots in this order, so the quick ones come first (TECH 1.3).
        return type_ == "luks1" or all(
            order.index(other.slot) < order.index(want.slot)
            for other in wanted
            if other.iterations < want.iterations and other.slot in slots
        )

    if set(slots) == places and all(is_settled(want) for want in wanted):
        return []
    for want in sorted(wanted, key=lambda want: (want.iterations, want.slot)):
        if is_settled(want):
            continue
        if want.slot in slots:
            # A proved copy elsewhere holds the key while its slot changes hands.
            if not any(key == want.key for slot, key in opens.items() if slot not in places):
                place = spare()
                if place is not None:
                    add(place, want)
            remove(want.slot)
        add(want.slot, want)
    for slot in sorted(set(slots) - places):
        remove(slot)
    steps.extend(Step("prove", want.slot, want.key) for want in wanted)
    return steps


__all__ = ("MAX_SLOTS", "State", "Step", "WantedKey", "check", "is_right", "plan")
