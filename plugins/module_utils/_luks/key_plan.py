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

A slot that is kept is neither emptied nor filled; where a known key opens it, it counts as a way in.

Keys with few iterations come first: LUKS2 slots are tried by GRUB in the order in which they were made.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

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


def check(wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int] = ()) -> None:
    """Refuse a wish that no header can fulfil."""
    slots = [key.slot for key in wanted]
    if not wanted:
        raise SealedRootError("keys is empty: a container without a key is lost; name at least one")
    if len(set(slots)) != len(slots):
        raise SealedRootError("two keys are to have the same slot: give each key its own")
    if len({key.key for key in wanted}) != len(wanted):
        raise SealedRootError("one key file is named twice: give each slot its own key")
    limit = MAX_SLOTS[type_]
    if any(not 0 <= slot < limit for slot in (*slots, *kept)):
        raise SealedRootError(f"{type_} has the slots 0 to {limit - 1}")
    both = sorted({*slots} & {*kept})
    if both:
        raise SealedRootError(
            f"slot {both[0]} is in keep_slots, but keys has a key for it: take it out of one of them"
        )
    if len({*slots, *kept}) >= limit:
        what = "keys and keep_slots" if kept else "keys"
        raise SealedRootError(f"{what} fill all {limit} slots: one must stay free for the exchange")
    if any(key.iterations < 1000 for key in wanted):
        raise SealedRootError("iterations must be at least 1000 (the minimum of cryptsetup)")


def is_right(state: State, want: WantedKey) -> bool:
    """Say whether the key is in its slot with its iterations."""
    return state.opens.get(want.slot) == want.key and state.slots.get(want.slot) == want.iterations


class _Plan:
    """The steps so far, and the header as they leave it."""

    def __init__(
        self, state: State, wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int]
    ) -> None:
        self.wanted, self.type, self.kept = wanted, type_, set(kept)
        self.places = {want.slot for want in wanted}
        # Insertion order is the order in which the header has the slots: what is added comes last.
        order = state.order or sorted(state.slots)
        self.slots = {slot: state.slots[slot] for slot in order}
        self.opens = dict(state.opens)
        self.steps: t.List[Step] = []

    def is_settled(self, want: WantedKey) -> bool:
        """Say whether the key is right, and in LUKS2 tried after all that are quicker (docs/facts.md: slot-order)."""
        if not is_right(State(self.slots, self.opens), want):
            return False
        order = list(self.slots)
        return self.type == "luks1" or all(
            order.index(other.slot) < order.index(want.slot)
            for other in self.wanted
            if other.iterations < want.iterations and other.slot in self.slots
        )

    def is_done(self) -> bool:
        return not self.surplus() and all(map(self.is_settled, self.wanted))

    def surplus(self) -> t.List[int]:
        """Return the slots that are to be emptied."""
        return sorted(set(self.slots) - self.places - self.kept)

    def _unlock(self, *, but: t.Optional[int] = None) -> str:
        return next(key for slot, key in sorted(self.opens.items()) if slot != but)

    def add(self, slot: int, want: WantedKey) -> None:
        self.steps.append(Step("add", slot, want.key, want.iterations, self._unlock()))
        self.steps.append(Step("prove", slot, want.key))
        self.slots[slot], self.opens[slot] = want.iterations, want.key

    def remove(self, slot: int) -> None:
        self.steps.append(Step("remove", slot, unlock=self._unlock(but=slot)))
        del self.slots[slot]
        self.opens.pop(slot, None)

    def has_copy(self, want: WantedKey) -> bool:
        """Say whether the key opens a slot that no wanted key will take."""
        return any(key == want.key for slot, key in self.opens.items() if slot not in self.places)

    def spare(self) -> t.Optional[int]:
        """Return a free slot; empty one for it where all are taken and another one still opens."""
        taken = {*self.slots, *self.places, *self.kept}
        free = [slot for slot in range(MAX_SLOTS[self.type]) if slot not in taken]
        if free:
            return free[-1]
        victims = [slot for slot in self.surplus() if set(self.opens) - {slot}]
        if not victims:
            return None  # the one slot that opens is the only spare one, and it stays to the end
        victim = min(victims, key=lambda slot: (slot in self.opens, -slot))
        self.remove(victim)
        return victim


def plan(
    state: State, wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int] = ()
) -> t.List[Step]:
    """Return the steps from *state* to exactly *wanted* beside *kept*; none when it is there already."""
    check(wanted, type_, kept)
    if not state.opens:
        raise SealedRootError("none of the given keys opens the container")
    it = _Plan(state, wanted, type_, kept)
    if it.is_done():
        return []
    for want in sorted(wanted, key=lambda want: (want.iterations, want.slot)):
        if it.is_settled(want):
            continue
        if want.slot in it.slots:
            # A proved copy elsewhere holds the key while its slot changes hands.
            place = None if it.has_copy(want) else it.spare()
            if place is not None:
                it.add(place, want)
            it.remove(want.slot)
        it.add(want.slot, want)
    for slot in it.surplus():
        it.remove(slot)
    return [*it.steps, *(Step("prove", want.slot, want.key) for want in wanted)]


def slow_first(state: State, steps: t.Sequence[Step], kept: t.Collection[int]) -> t.List[int]:
    """Return the kept slots that GRUB will try before a quicker key that the steps add.

    Only LUKS2 has an order that steps change, and without its key a kept slot cannot be made again.
    """
    slots = {slot: state.slots[slot] for slot in state.order or sorted(state.slots)}
    for step in steps:
        if step.verb == "add":
            slots[step.slot] = step.iterations
        elif step.verb == "remove":
            slots.pop(step.slot)
    order = list(slots)
    return [
        slot
        for place, slot in enumerate(order)
        if slot in kept
        and any(slots[later] < slots[slot] for later in order[place:] if later not in kept)
    ]


__all__ = ("MAX_SLOTS", "State", "Step", "WantedKey", "check", "is_right", "plan", "slow_first")
