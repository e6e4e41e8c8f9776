# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of the key slots: every start, every kill, on a model of a header."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_plan
from ansible_collections.sealedroot.image.plugins.module_utils._luks.key_plan import (
    State,
    Step,
    WantedKey,
    plan,
    slow_first,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

BOOT = WantedKey(0, "boot", 1000)
RECOVERY = WantedKey(1, "recovery", 1000)
PASSPHRASE = WantedKey(1, "recovery", 600000)
LOST = "nobody has it"


@dataclasses.dataclass(frozen=True)
class Header:
    """A model of a header: (slot, key, iterations) in the order in which GRUB sees LUKS2 slots."""

    slots: tuple[tuple[int, str, int], ...]

    def key(self, slot: int) -> str | None:
        return next((key for number, key, _ in self.slots if number == slot), None)

    def state(self, known: t.Collection[str]) -> State:
        return State(
            slots={slot: iterations for slot, _, iterations in self.slots},
            opens={slot: key for slot, key, _ in self.slots if key in known},
            order=tuple(slot for slot, _, _ in self.slots),
        )

    def without(self, slot: int) -> Header:
        return Header(tuple(entry for entry in self.slots if entry[0] != slot))

    def apply(self, step: Step, known: t.Collection[str]) -> t.Iterator[Header]:
        """Yield the headers that a kill during the step can leave, the finished one last."""
        if step.verb == "prove":
            assert self.key(step.slot) == step.key
            yield self
            return
        assert step.unlock in known
        unlocking = {slot for slot, key, _ in self.slots if key == step.unlock}
        if step.verb == "add":
            assert unlocking, "the unlocking key opens nothing"
            assert self.key(step.slot) is None, "the slot is taken"
            yield Header((*self.slots, (step.slot, step.key, step.iterations)))
            return
        assert step.verb == "remove"
        assert self.key(step.slot) is not None
        assert unlocking - {step.slot}, "the unlocking key must open a slot that stays"
        # cryptsetup wipes the key material first, so a killed removal leaves a slot that no key opens.
        wiped = [(s, LOST if s == step.slot else k, i) for s, k, i in self.slots]
        yield Header(tuple(wiped))
        yield self.without(step.slot)


def header(*slots: tuple[int, str, int]) -> Header:
    return Header(slots)


def is_goal(
    it: Header, wanted: t.Sequence[WantedKey], type_: str, kept: t.Collection[int] = ()
) -> bool:
    ours = [entry for entry in it.slots if entry[0] not in kept]
    if sorted(ours) != sorted((want.slot, want.key, want.iterations) for want in wanted):
        return False
    iterations = [entry[2] for entry in ours]
    return type_ == "luks1" or iterations == sorted(iterations)


def explore(
    starts: t.Iterable[Header],
    wanted: t.Sequence[WantedKey],
    type_: str,
    kept: t.Collection[int] = (),
) -> int:
    """Kill every plan at every moment, resume, kill again ...: always open, always at the goal.

    And never is a kept slot touched, be its key known or not.
    """
    known = {want.key for want in wanted} | {"build"}
    seen: set[Header] = set()
    todo = [it for it in starts if it.state(known).opens]
    while todo:
        it = todo.pop()
        if it in seen:
            continue
        seen.add(it)
        steps = plan(it.state(known), wanted, type_, kept)
        assert bool(steps) != is_goal(it, wanted, type_, kept)
        assert not {step.slot for step in steps} & {*kept}
        for step in steps:
            for after in it.apply(step, known):
                assert any(key in known for _, key, _ in after.slots), "locked out"
                if after not in seen:
                    todo.append(after)
            it = after
        assert is_goal(it, wanted, type_, kept)
    return len(seen)


def every_header(slots: int, contents: t.Sequence[tuple[str, int]]) -> t.Iterator[Header]:
    """Every assignment of *contents* (or nothing) to the slots."""
    for choice in itertools.product([None, *contents], repeat=slots):
        yield Header(tuple((slot, *content) for slot, content in enumerate(choice) if content))


WISHES = [
    (BOOT, RECOVERY),
    (RECOVERY, BOOT),
    (BOOT, PASSPHRASE),
    (WantedKey(0, "recovery", 600000), WantedKey(1, "boot", 1000)),
    (BOOT,),
    (WantedKey(2, "boot", 1000), WantedKey(0, "recovery", 1000)),
    (BOOT, WantedKey(1, "recovery", 1000), WantedKey(2, "third", 1000)),
    (BOOT, WantedKey(1, "recovery", 2000), WantedKey(3, "third", 3000)),
]
CONTENTS = [
    ("boot", 1000),
    ("boot", 5000),
    ("recovery", 1000),
    ("recovery", 600000),
    ("build", 1000),
    (LOST, 1000),
]


# The order of LUKS2 slots changes a plan only where iterations differ.
MIXED = [it for it in WISHES if len({want.iterations for want in it}) > 1]


@pytest.mark.parametrize(
    ("type_", "wanted"), [*(("luks1", it) for it in WISHES), *(("luks2", it) for it in MIXED)]
)
def test_every_kill_of_every_start_is_survived(
    monkeypatch: pytest.MonkeyPatch, type_: str, wanted: tuple[WantedKey, ...]
) -> None:
    monkeypatch.setattr(key_plan, "MAX_SLOTS", {"luks1": 4, "luks2": 4})
    assert explore(every_header(4, CONTENTS), wanted, type_) > 2000


@pytest.mark.parametrize("wanted", [WISHES[0], *MIXED[:2]])
def test_every_kill_is_survived_in_any_luks2_order(
    monkeypatch: pytest.MonkeyPatch, wanted: tuple[WantedKey, ...]
) -> None:
    monkeypatch.setattr(key_plan, "MAX_SLOTS", {"luks2": 4})
    contents = [("boot", 1000), ("recovery", 600000), ("build", 1000), (LOST, 1000)]
    starts = (
        Header(order)
        for start in every_header(4, contents)
        for order in itertools.permutations(start.slots)
    )
    assert explore(starts, wanted, "luks2") > 2000


@pytest.mark.parametrize("type_", ["luks1", "luks2"])
@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ((BOOT,), (1,)),
        ((BOOT,), (1, 2)),
        ((BOOT, WantedKey(2, "recovery", 600000)), (1,)),
        ((WantedKey(3, "boot", 1000),), (0,)),
    ],
)
def test_every_kill_is_survived_beside_kept_slots(
    monkeypatch: pytest.MonkeyPatch,
    type_: str,
    wanted: tuple[WantedKey, ...],
    kept: tuple[int, ...],
) -> None:
    monkeypatch.setattr(key_plan, "MAX_SLOTS", {"luks1": 4, "luks2": 4})
    assert explore(every_header(4, CONTENTS), wanted, type_, kept) > 1500


@pytest.mark.parametrize("kept", [(1,), (0,), (1, 3)])
def test_every_kill_is_survived_beside_slow_kept_slots_in_any_luks2_order(
    monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...]
) -> None:
    monkeypatch.setattr(key_plan, "MAX_SLOTS", {"luks2": 4})
    contents = [("boot", 1000), ("recovery", 600000), ("build", 1000), (LOST, 600000)]
    starts = (
        Header(order)
        for start in every_header(4, contents)
        for order in itertools.permutations(start.slots)
    )
    assert explore(starts, [WantedKey(2, "boot", 1000)], "luks2", kept) > 2000


def test_a_boot_key_is_exchanged_beside_a_recovery_key_that_is_not_here() -> None:
    start = header((0, "old", 1000), (1, LOST, 600000)).state({"old"})
    assert plan(start, [BOOT], "luks1", [1]) == [
        Step("add", 7, "boot", 1000, "old"),
        Step("prove", 7, "boot"),
        Step("remove", 0, unlock="boot"),
        Step("add", 0, "boot", 1000, "boot"),
        Step("prove", 0, "boot"),
        Step("remove", 7, unlock="boot"),
        Step("prove", 0, "boot"),
    ]


def test_a_kept_slot_that_is_empty_stays_empty() -> None:
    start = header((0, "boot", 1000)).state({"boot"})
    assert plan(start, [BOOT], "luks1", [1]) == []
    old = header((0, "old", 1000)).state({"old"})
    assert {step.slot for step in plan(old, [BOOT], "luks1", [7])} == {0, 6}


def test_the_key_of_a_kept_slot_may_be_the_way_in() -> None:
    start = header((0, LOST, 1000), (1, "recovery", 600000)).state({"recovery"})
    steps = plan(start, [BOOT], "luks1", [1])
    assert steps[0] == Step("add", 7, "boot", 1000, "recovery")
    assert {step.slot for step in steps} == {0, 7}


@pytest.mark.parametrize(
    ("order", "kept", "slow"),
    [
        ((0, 1), [1], [1]),  # slot 0 is made again, and that puts it behind
        ((1, 0), [1], [1]),
        ((0, 1), [], []),
    ],
)
def test_a_slow_kept_slot_that_grub_tries_first_is_named(
    order: tuple[int, ...], kept: list[int], slow: list[int]
) -> None:
    entries = {0: (0, "old", 1000), 1: (1, "recovery", 600000)}
    start = header(*(entries[slot] for slot in order)).state({"old", "recovery"})
    wanted = [BOOT] if kept else [BOOT, PASSPHRASE]
    assert slow_first(start, plan(start, wanted, "luks2", kept), kept) == slow


def test_a_kept_slot_that_is_as_quick_is_not_named() -> None:
    start = header((0, "old", 1000), (1, LOST, 1000)).state({"old"})
    assert slow_first(start, plan(start, [BOOT], "luks2", [1]), [1]) == []
    done = header((0, "boot", 1000), (1, LOST, 600000)).state({"boot"})
    assert slow_first(done, plan(done, [BOOT], "luks2", [1]), [1]) == []


def test_a_fresh_container_is_done_in_few_steps() -> None:
    start = header((0, "build", 1000)).state({"build", "boot", "recovery"})
    assert plan(start, [BOOT, RECOVERY], "luks1") == [
        Step("add", 7, "boot", 1000, "build"),
        Step("prove", 7, "boot"),
        Step("remove", 0, unlock="boot"),
        Step("add", 0, "boot", 1000, "boot"),
        Step("prove", 0, "boot"),
        Step("add", 1, "recovery", 1000, "boot"),
        Step("prove", 1, "recovery"),
        Step("remove", 7, unlock="boot"),
        Step("prove", 0, "boot"),
        Step("prove", 1, "recovery"),
    ]


def test_a_build_key_that_stands_aside_needs_no_spare_copy() -> None:
    start = header((7, "build", 1000)).state({"build"})
    verbs = [(step.verb, step.slot) for step in plan(start, [BOOT, RECOVERY], "luks1")]
    changes = [entry for entry in verbs if entry[0] != "prove"]
    assert changes == [("add", 0), ("add", 1), ("remove", 7)]


@pytest.mark.parametrize("type_", ["luks1", "luks2"])
def test_what_is_right_stays(type_: str) -> None:
    start = header((0, "boot", 1000), (1, "recovery", 1000)).state({"boot", "recovery"})
    assert plan(start, [BOOT, RECOVERY], type_) == []
    assert plan(start, [RECOVERY, BOOT], type_) == []


def test_luks2_order_matters_only_where_iterations_differ() -> None:
    known = {"boot", "recovery"}
    same = header((1, "recovery", 1000), (0, "boot", 1000)).state(known)
    assert plan(same, [BOOT, RECOVERY], "luks2") == []
    slow = header((1, "recovery", 600000), (0, "boot", 1000)).state(known)
    assert plan(slow, [BOOT, PASSPHRASE], "luks1") == []
    removed = [
        step.slot for step in plan(slow, [BOOT, PASSPHRASE], "luks2") if step.verb == "remove"
    ]
    assert removed[0] == 1
    assert 0 not in removed


def test_one_key_is_rotated_and_the_other_left_alone() -> None:
    start = header((0, "old", 1000), (1, "recovery", 1000)).state({"recovery"})
    steps = plan(start, [BOOT, RECOVERY], "luks1")
    assert {step.slot for step in steps if step.verb in ("add", "remove")} == {0, 7}
    assert {step.unlock for step in steps if step.verb == "remove"} <= {"recovery", "boot"}


def test_a_slot_of_nobody_makes_room_before_one_that_is_known() -> None:
    entries = [
        (0, "build", 1000),
        *((slot, LOST, 1000) for slot in range(1, 7)),
        (7, "build", 1000),
    ]
    steps = plan(header(*entries).state({"build"}), [BOOT, RECOVERY], "luks1")
    assert steps[0] == Step("remove", 6, unlock="build")


def test_a_full_header_with_all_but_one_slot_wanted() -> None:
    # The only key that opens is the only one in a slot that is not wanted: there is no spare.
    wanted = [WantedKey(slot, f"key {slot}", 1000) for slot in range(7)]
    start = header(*((slot, LOST, 1000) for slot in range(7)), (7, "build", 1000))
    assert explore([start], wanted, "luks1") > 7


@pytest.mark.parametrize(
    ("wanted", "type_", "words"),
    [
        ([], "luks1", "keys is empty"),
        ([BOOT, WantedKey(0, "recovery", 1000)], "luks1", "the same slot"),
        ([BOOT, WantedKey(1, "boot", 1000)], "luks1", "named twice"),
        ([WantedKey(8, "boot", 1000)], "luks1", "slots 0 to 7"),
        ([WantedKey(32, "boot", 1000)], "luks2", "slots 0 to 31"),
        ([WantedKey(-1, "boot", 1000)], "luks2", "slots 0 to 31"),
        ([WantedKey(n, f"key {n}", 1000) for n in range(8)], "luks1", "one must stay free"),
        ([WantedKey(0, "boot", 999)], "luks1", "at least 1000"),
    ],
)
def test_impossible_wishes_are_refused(wanted: list[WantedKey], type_: str, words: str) -> None:
    with pytest.raises(SealedRootError, match=words):
        plan(header((0, "build", 1000)).state({"build"}), wanted, type_)


@pytest.mark.parametrize(
    ("wanted", "kept", "words"),
    [
        ([BOOT], [0], "slot 0 is in keep_slots, but keys has a key for it"),
        ([BOOT], [8], "slots 0 to 7"),
        ([BOOT], [-1], "slots 0 to 7"),
        ([BOOT], list(range(1, 8)), "keys and keep_slots fill all 8 slots"),
    ],
)
def test_impossible_kept_slots_are_refused(
    wanted: list[WantedKey], kept: list[int], words: str
) -> None:
    with pytest.raises(SealedRootError, match=words):
        plan(header((0, "build", 1000)).state({"build"}), wanted, "luks1", kept)


def test_a_container_that_no_key_opens_is_refused() -> None:
    with pytest.raises(SealedRootError, match="none of the given keys"):
        plan(header((0, LOST, 1000)).state({"build"}), [BOOT], "luks1")
