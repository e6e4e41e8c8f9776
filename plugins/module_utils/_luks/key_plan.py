# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Plan the steps from the present key slots of a LUKS header to exactly the wanted ones: pure.

After each step at least one known key opens the container. So if the task is killed between two steps,
running it again reaches the goal:

1. a wanted key is added to its slot if that is free, otherwise to a spare slot first;
2. the spare copy is proved to open before the key's slot is emptied; then the key is added there and proved;
3. every slot that is not wanted is removed, spare copies included.

A slot in *kept* is neither emptied nor filled; if a known key opens it, it counts as a way to unlock.

Keys with few iterations are added first, because GRUB tries LUKS2 slots in the order of their creation.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks.metadata import (
    FEWEST_ITERATIONS,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MAX_SLOTS = {"luks1": 8, "luks2": 32}


@dataclasses.dataclass(frozen=True)
class WantedKey:
    """One key that the header must have; *key* is its file."""

    slot: int
    key: str
    iterations: int


@dataclasses.dataclass(frozen=True)
class State:
    """The header as it is: iterations of each active slot, and the known key that opens it, if any.

    *order* is the order in which GRUB tries the slots; by number if empty.
    """

    slots: t.Mapping[int, int]
    opens: t.Mapping[int, str]
    order: t.Tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Step:
    """``add`` *key* to *slot*, ``prove`` that it opens *slot*, or ``remove`` *slot*; *unlock* is another known key."""

    verb: str
    slot: int
    key: str = ""
    iterations: int = 0
    unlock: str = ""


def check(wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int] = ()) -> None:
    """Refuse a request that no header can satisfy."""
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
    if any(key.iterations < FEWEST_ITERATIONS for key in wanted):
        raise SealedRootError(
            f"iterations must be at least {FEWEST_ITERATIONS} (the minimum of cryptsetup)"
        )


def is_right(state: State, want: WantedKey) -> bool:
    """Say whether the key is in its slot with the wanted iterations."""
    return state.opens.get(want.slot) == want.key and state.slots.get(want.slot) == want.iterations


class _Plan:
    """The steps so far, and the header after them."""

    def __init__(
        self, state: State, wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int]
    ) -> None:
        self.wanted, self.type, self.kept = wanted, type_, set(kept)
        self.places = {want.slot for want in wanted}
        # Insertion order is the order of the slots in the header: a new slot comes last.
        order = state.order or sorted(state.slots)
        self.slots = {slot: state.slots[slot] for slot in order}
        self.opens = dict(state.opens)
        self.steps: t.List[Step] = []

    def is_settled(self, want: WantedKey) -> bool:
        """Say whether the key is right; in LUKS2, GRUB must try quicker keys before it (docs/facts.md: slot-order)."""
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
        """Return the slots to empty."""
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
        """Say whether the key opens a slot that no wanted key is for."""
        return any(key == want.key for slot, key in self.opens.items() if slot not in self.places)

    def spare(self) -> t.Optional[int]:
        """Return a free slot. If there is none, empty a surplus one, as long as another slot still opens."""
        taken = {*self.slots, *self.places, *self.kept}
        free = [slot for slot in range(MAX_SLOTS[self.type]) if slot not in taken]
        if free:
            return free[-1]
        victims = [slot for slot in self.surplus() if set(self.opens) - {slot}]
        if not victims:
            return None  # the only surplus slot is the only one that opens, so it stays
        victim = min(victims, key=lambda slot: (slot in self.opens, -slot))
        self.remove(victim)
        return victim


def plan(
    state: State, wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int] = ()
) -> t.List[Step]:
    """Return the steps from *state* to exactly *wanted* and *kept*; none if the header is already right."""
    check(wanted, type_, kept)
    if not state.opens:
        raise SealedRootError("none of the given keys opens the container: give one that does")
    planned = _Plan(state, wanted, type_, kept)
    if planned.is_done():
        return []
    for want in sorted(wanted, key=lambda want: (want.iterations, want.slot)):
        if planned.is_settled(want):
            continue
        if want.slot in planned.slots:
            # While its slot is exchanged, a proved copy in another slot holds the key.
            place = None if planned.has_copy(want) else planned.spare()
            if place is not None:
                planned.add(place, want)
            planned.remove(want.slot)
        planned.add(want.slot, want)
    for slot in planned.surplus():
        planned.remove(slot)
    return [*planned.steps, *(Step("prove", want.slot, want.key) for want in wanted)]


def slow_first(state: State, steps: t.Sequence[Step], kept: t.Collection[int]) -> t.List[int]:
    """Return the kept slots that GRUB will try before a quicker key that the steps add.

    Only LUKS2 has an order that steps change, and a kept slot cannot be made again without its key.
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
