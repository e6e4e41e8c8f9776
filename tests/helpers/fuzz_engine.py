# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives parsers what hypothesis makes of valid samples, and watches: time, memory, and what comes out."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import json
import mmap
import multiprocessing
import os
import pathlib
import resource
import signal
import struct
import time
import traceback
import typing as t
import zlib

import hypothesis
from ansible_collections.sealedroot.image.plugins.module_utils._system import printable
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from hypothesis import strategies as st

# Not in the checkout, which is checked for files without a licence.
hypothesis.configuration.set_hypothesis_home_dir(
    pathlib.Path(__file__).resolve().parents[2] / ".cache" / "hypothesis"
)

# What one input may take: seconds of processor time, which a busy machine has no say in, and bytes of memory beside
# what was there before.
DEADLINE, MEMORY = 5.0, 1 << 30
# And seconds in all, for one that waits.
_PATIENCE = 60.0
# How long an input is at the most: as long as the longest file of text that is read.
LONGEST = 4 << 20
# Inputs at a time, and how long a bad one is made smaller.
_ROUND, _SHRINK_SECONDS = 200, 10.0
# What an input is made of, in bytes.
_DRAWN = 128
_EXTREMES = (
    *(0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
_BINARY = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"\n",
    b"\x1b[31m",
    b"\xc2\x9b",
)
T = t.TypeVar("T")
_NODES: tuple[t.Any, ...] = (
    *(None, True, -1, 0, 1 << 62, 1 << 200, 1e300, "", "x", "\x1b[2J", "\ud800", "9" * 60),
    *([], {}, [None], {"": {}}, [[]], "../../../etc/shadow"),
)


@dataclasses.dataclass(frozen=True)
class Target:
    """A parser: its name, the modules that it covers, a call of it, valid samples, and words of its language."""

    name: str
    covers: tuple[str, ...]
    run: t.Callable[[bytes], t.Any]
    samples: t.Callable[[], t.Sequence[bytes]]
    tokens: tuple[bytes, ...] = ()
    # It starts programs, so it gets fewer inputs.
    is_slow: bool = False
    json: bool = False


@dataclasses.dataclass(frozen=True)
class Failure:
    """What should not have happened, and the input that made it happen."""

    target: str
    seed: int
    kind: str
    what: str
    data: bytes

    def __str__(self) -> str:
        packed = base64.b85encode(zlib.compress(self.data, 9)).decode()
        return (
            f"{self.target}: {self.kind} with --seed {self.seed}: {self.what}\n"
            f"  {len(self.data)} bytes: zlib.decompress(base64.b85decode({packed!r}))"
        )


@dataclasses.dataclass
class Tally:
    """What was tried, and what came of it."""

    inputs: int = 0
    peak: int = 0
    failures: list[Failure] = dataclasses.field(default_factory=list)
    say: t.Callable[[Failure], t.Any] = str

    def add(self, *failures: Failure) -> None:
        """Take failures, and say each."""
        for failure in failures:
            self.failures.append(failure)
            self.say(failure)

    def count(self, kind: str) -> int:
        """Return how many failures are hangs, or are none."""
        return len([it for it in self.failures if (it.kind == "hang") == (kind == "hang")])

    @property
    def line(self) -> str:
        """The result in one line."""
        return (
            f"fuzz: {self.inputs} inputs, {self.count('traceback')} tracebacks, {self.count('hang')} hangs,"
            f" peak {self.peak} MiB"
        )


class Hang(BaseException):
    """An input took too long."""


class Unprintable(Exception):
    """A sentence has characters in it that a terminal would obey."""


class Dice:
    """Decisions out of bytes that hypothesis drew at once: one draw for each would cost more than most parsers."""

    def __init__(self, drawn: bytes) -> None:
        self._drawn, self._at = drawn, 0

    def bytes(self, size: int) -> bytes:
        """Return the next bytes; zeros when there are no more."""
        self._at += size
        return self._drawn[self._at - size : self._at].ljust(size, b"\0")

    def number(self, below: int) -> int:
        """Return a number that is less."""
        return int.from_bytes(self.bytes(1 if below <= 16 else 3), "big") % max(below, 1)

    def choice(self, among: t.Sequence[T]) -> T:
        """Return one of these."""
        return among[self.number(len(among))]


def made(drawn: bytes, samples: t.Sequence[bytes], target: Target) -> bytes:
    """Make an input: a sample or words of the language, changed some times."""
    dice, tokens = Dice(drawn), (*target.tokens, *_BINARY)
    kind = dice.number(12)
    if kind == 11:
        data = dice.bytes(dice.number(100))
    elif kind >= 9:
        data = b"".join(dice.choice(tokens) for _number in range(dice.number(40)))
    else:
        data = dice.choice(samples)
    if target.json and dice.number(2):
        data = json_changed(data, dice)
    for _number in range(dice.number(4) + (not target.json)):
        data = changed(data, samples, tokens, dice)[:LONGEST]
    return data


def changed(
    data: bytes, samples: t.Sequence[bytes], tokens: t.Sequence[bytes], dice: Dice
) -> bytes:
    """Change bytes in one of the ways in which files are damaged and forged."""
    at = dice.number(len(data) + 1)
    how = dice.choice(["cut", "end", "flip", "insert", "number", "splice", "repeat", "many"])
    if how == "flip" and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << dice.number(8))]) + data[at + 1 :]
    if how == "end":
        return data[:at]
    if how == "insert":
        piece = dice.choice(tokens) if dice.number(2) else dice.bytes(dice.number(16))
        return data[:at] + piece + data[at:]
    if how == "number":
        form = dice.choice("BHIQ")
        size = struct.calcsize(form)
        value = dice.choice(_EXTREMES) & ((1 << 8 * size) - 1)
        return data[:at] + struct.pack(dice.choice("<>") + form, value) + data[at + size :]
    if how == "splice":
        other = dice.choice(samples)
        return data[:at] + other[dice.number(len(other) + 1) :]
    if how == "repeat":
        until = min(len(data), at + 1 + dice.number(64))
        return data[:at] + data[at:until] * (2 + dice.number(50)) + data[until:]
    if how == "many":
        # What is slow by its square shows only when it is long.
        piece = dice.choice(tokens) + dice.choice((b"", *tokens))
        times = dice.choice((100, 1000, 3000, 100_000))
        return data[:at] + piece * min(times, (1 << 16) // len(piece)) + data[at:]
    return data[:at] + data[at + 1 + dice.number(64) :]


def json_changed(data: bytes, dice: Dice) -> bytes:
    """Put something else in the place of a value somewhere in a JSON document."""
    try:
        document = json.loads(data)
    except ValueError:
        return data
    if not dice.number(20):
        return dice.choice([b"[", b'{"a":']) * dice.choice([100, 5000, 200_000])
    top: t.List[t.Any] = [document]
    for _number in range(1 + dice.number(3)):
        holder: t.Any = top
        key: t.Any = 0
        while isinstance(holder[key], (dict, list)) and holder[key] and dice.number(6):
            holder = holder[key]
            key = dice.choice(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[key] = copy.deepcopy(dice.choice(_NODES))
    return json.dumps(top[0]).encode()


def _alarm(_number: int, _frame: t.Any) -> None:
    raise Hang


def attempt(target: Target, data: bytes) -> None:
    """Give a parser an input; a result and a sentence are fine."""
    signal.setitimer(signal.ITIMER_PROF, DEADLINE)
    try:
        target.run(data)
    except SealedRootError as exc:
        if printable.text(str(exc)) != str(exc) or len(str(exc)) > 7 * printable.LONGEST:
            raise Unprintable(ascii(str(exc))[:300]) from exc
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _where(exc: BaseException) -> str:
    """Say what happened in the code of the collection: two failures of one place are one."""
    frames = [it for it in traceback.extract_tb(exc.__traceback__) if "/plugins/" in it.filename]
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(exc).__name__}{place}"


class _Found(Exception):
    """Tells hypothesis that an input is worth being made smaller."""


class _Child:
    """What runs in a process of its own: one target, for some rounds."""

    def __init__(self, target: Target, seed: int, board: mmap.mmap) -> None:
        self.target, self.seed, self.board = target, seed, board
        self.samples = list(target.samples())
        self.inputs = 0
        self.known: set[str] = set()
        self.last: dict[str, Failure] = {}
        self.shrinking = ""
        self.since = 0.0

    def one(self, drawn: bytes) -> None:
        """Try an input; tell hypothesis of a failure that is new."""
        data = made(drawn, self.samples, self.target)
        self.inputs += 1
        self.board[:24] = struct.pack("<dQQ", time.monotonic(), self.inputs, len(data))
        self.board[24 : 24 + len(data)] = data
        try:
            attempt(self.target, data)
        except Hang:
            self.last["hang"] = self._failure("hang", f"it took more than {DEADLINE:.0f} s", data)
        except Exception as exc:
            where = _where(exc)
            if where in self.known or (self.shrinking and where != self.shrinking):
                return
            if not self.shrinking:
                self.shrinking, self.since = where, time.monotonic()
            elif time.monotonic() > self.since + _SHRINK_SECONDS:
                return
            said = f"{where}: {ascii(str(exc))[:200]}"
            self.last[where] = self._failure("traceback", said, data)
            raise _Found from exc

    def _failure(self, kind: str, what: str, data: bytes) -> Failure:
        return Failure(self.target.name, self.seed, kind, what, data)

    def round(self, number: int, examples: int) -> None:
        """Try so many inputs, which follow from the seed, the target and the number."""
        text = f"{self.seed}:{self.target.name}:{number}".encode()
        start = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
        settings = hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            print_blob=False,
            verbosity=hypothesis.Verbosity.quiet,
        )
        strategy = st.binary(min_size=_DRAWN, max_size=_DRAWN)
        try:
            hypothesis.seed(start)(settings(hypothesis.given(strategy)(self.one)))()
        except Exception:  # what hypothesis makes of it
            if not self.shrinking:
                raise
            self.known.add(self.shrinking)
            self.shrinking = ""


def _peak() -> int:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) >> 10


def _work(
    target: Target,
    seed: int,
    board: mmap.mmap,
    pipe: t.Any,
    first: int,
    seconds: float,
    examples: int,
) -> None:
    """Run rounds until the time is over, or one of so many *examples*."""
    with open("/proc/self/statm", encoding="ascii") as file:
        have = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + MEMORY, have + MEMORY))
    signal.signal(signal.SIGPROF, _alarm)
    # What hypothesis says of a failure is said better here.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    child = _Child(target, seed, board)
    end, number = time.monotonic() + seconds, first
    while True:
        child.round(number, examples or (_ROUND // 20 if target.is_slow else _ROUND))
        number += 1
        pipe.send((child.inputs, _peak(), list(child.last.values()), number))
        child.inputs = 0
        child.last.clear()
        if examples or time.monotonic() >= end:
            return


def fuzz(
    targets: t.Sequence[Target],
    seed: int,
    *,
    seconds: float = 0.0,
    examples: int = 0,
    say: t.Callable[[Failure], t.Any] = str,
) -> Tally:
    """Try every target: for a part of the *seconds* each, or with so many *examples*."""
    tally = Tally(say=say)
    context = multiprocessing.get_context("fork")
    board = mmap.mmap(-1, LONGEST + 4096)
    begin = time.monotonic()
    for index, target in enumerate(targets):
        until = begin + seconds * (index + 1) / len(targets)
        number = 0
        while True:
            mine, theirs = context.Pipe(duplex=False)
            board[:24] = struct.pack("<dQQ", time.monotonic(), 0, 0)
            left = max(0.0, until - time.monotonic())
            child = context.Process(
                target=_work, args=(target, seed, board, theirs, number, left, examples)
            )
            child.start()
            theirs.close()
            number, ended = _watch(child, mine, board, tally, target, seed, number)
            child.join()
            if ended or examples or time.monotonic() >= until:
                break
    return tally


def _watch(
    child: t.Any,
    pipe: t.Any,
    board: mmap.mmap,
    tally: Tally,
    target: Target,
    seed: int,
    number: int,
) -> tuple[int, bool]:
    """Take what the child says, until it ends or is stuck where no signal reaches it."""
    while True:
        try:
            if pipe.poll(0.5):
                count, peak, failures, number = pipe.recv()
                tally.inputs += count
                tally.peak = max(tally.peak, peak)
                tally.add(*failures)
                continue
        except EOFError:
            child.join()
            if child.exitcode == 0:
                return number, True
            what = f"the process ended with {child.exitcode}"
            tally.add(Failure(target.name, seed, "traceback", what, _shown(board)))
            return number + 1, False
        began = struct.unpack("<d", board[:8])[0]
        if time.monotonic() - began > _PATIENCE:
            data = _shown(board)
            os.kill(child.pid, signal.SIGKILL)
            tally.add(Failure(target.name, seed, "hang", "nothing interrupts it", data))
            return number + 1, False


def _shown(board: mmap.mmap) -> bytes:
    _began, _count, size = struct.unpack("<dQQ", board[:24])
    return board[24 : 24 + size]
