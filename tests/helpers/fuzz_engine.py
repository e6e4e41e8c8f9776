# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives parsers what hypothesis makes of valid samples, and watches: time, memory, and what comes out."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import mmap
import multiprocessing
import os
import resource
import signal
import struct
import time
import traceback
import typing as t
import zlib

import hypothesis
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from hypothesis import strategies as st

# What one input may take: seconds of processor time, which a busy machine has no say in, and bytes of memory beside
# what was there before.
DEADLINE, MEMORY = 5.0, 1 << 30
# And seconds in all, for one that waits.
_PATIENCE = 30.0
# How long an input is at the most: as long as the longest file of text that is read.
LONGEST = 4 << 20
# Inputs at a time, and how long a bad one is made smaller.
_ROUND, _SHRINK_SECONDS = 60, 10.0
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


@st.composite
def inputs(draw: t.Any, samples: t.Sequence[bytes], target: Target) -> bytes:
    """Make an input: a sample or words of the language, changed some times."""
    tokens = (*target.tokens, *_BINARY)
    kind = draw(st.integers(0, 11))
    if kind == 0:
        data: bytes = draw(st.binary(max_size=400))
    elif kind <= 2:
        data = b"".join(draw(st.lists(st.sampled_from(tokens), max_size=40)))
    else:
        data = draw(st.sampled_from(samples))
    if target.json and draw(st.booleans()):
        data = draw(json_changed(data))
    for _number in range(draw(st.integers(0 if target.json else 1, 4))):
        data = draw(changed(data, samples, tokens))[:LONGEST]
    return data


@st.composite
def changed(
    draw: t.Any, data: bytes, samples: t.Sequence[bytes], tokens: t.Sequence[bytes]
) -> bytes:
    """Change bytes in one of the ways in which files are damaged and forged."""
    at = draw(st.integers(0, len(data)))
    how = draw(
        st.sampled_from(["flip", "cut", "end", "insert", "number", "splice", "repeat", "many"])
    )
    if how == "flip" and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    if how == "end":
        return data[:at]
    if how == "insert":
        piece = draw(st.one_of(st.sampled_from(tokens), st.binary(max_size=16)))
        return data[:at] + piece + data[at:]
    if how == "number":
        form = draw(st.sampled_from("BHIQ"))
        size = struct.calcsize(form)
        value = draw(st.sampled_from(_EXTREMES)) & ((1 << 8 * size) - 1)
        packed = struct.pack(draw(st.sampled_from("<>")) + form, value)
        return data[:at] + packed + data[at + size :]
    if how == "splice":
        other = draw(st.sampled_from(samples))
        return data[:at] + other[draw(st.integers(0, len(other))) :]
    if how == "repeat":
        until = min(len(data), at + draw(st.integers(1, 64)))
        return data[:at] + data[at:until] * draw(st.integers(2, 50)) + data[until:]
    if how == "many":
        # What is slow by its square shows only when it is long.
        piece = draw(st.sampled_from(tokens)) + draw(st.sampled_from((b"", *tokens)))
        times = draw(st.sampled_from([100, 3000, 100_000]))
        return data[:at] + piece * min(times, (1 << 18) // len(piece)) + data[at:]
    return data[:at] + data[at + draw(st.integers(1, 64)) :]


@st.composite
def json_changed(draw: t.Any, data: bytes) -> bytes:
    """Put something else in the place of a value somewhere in a JSON document."""
    try:
        document = json.loads(data)
    except ValueError:
        return data
    if draw(st.integers(0, 20)) == 0:
        return draw(st.sampled_from([b"[", b'{"a":'])) * draw(st.sampled_from([100, 5000, 200_000]))
    top: list[t.Any] = [document]
    for _number in range(draw(st.integers(1, 3))):
        holder: t.Any = top
        key: t.Any = 0
        while isinstance(holder[key], (dict, list)) and holder[key] and draw(st.integers(0, 5)):
            holder = holder[key]
            names = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            key = draw(st.sampled_from(names))
        holder[key] = draw(st.sampled_from(_NODES))
    return json.dumps(top[0]).encode()


def _alarm(_number: int, _frame: t.Any) -> None:
    raise Hang


def attempt(target: Target, data: bytes) -> None:
    """Give a parser an input; a result and a sentence are fine."""
    signal.setitimer(signal.ITIMER_PROF, DEADLINE)
    try:
        target.run(data)
    except SealedRootError as exc:
        if not all(it.isprintable() for it in str(exc)):
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

    def one(self, data: bytes) -> None:
        """Try an input; tell hypothesis of a failure that is new."""
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
        strategy = inputs(self.samples, self.target)
        try:
            hypothesis.seed(start)(settings(hypothesis.given(strategy)(self.one)))()
        except (_Found, hypothesis.errors.Flaky, ExceptionGroup):
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
        child.round(number, examples or (_ROUND // 6 if target.is_slow else _ROUND))
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
