# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A short form of ./run fuzz, with the same inputs each time; and that no parser is forgotten in it."""

from __future__ import annotations

import ast
import contextlib
import pathlib
import time
import typing as t

import fuzz_engine
import fuzz_targets
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UTILS = pathlib.Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
# What a function that reads something calls that.
_READ = (
    *("blob", "config", "content", "crypttab", "data", "entry", "fork", "fstab", "head", "item"),
    *("line", "listing", "mountinfo", "passwd", "said", "start", "status", "table", "text"),
)
_BYTES = ("str", "bytes", "Data")
SEED = 15


@pytest.mark.parametrize("target", fuzz_targets.TARGETS, ids=lambda it: it.name)
def test_a_few_inputs(target: fuzz_engine.Target) -> None:
    tally = fuzz_engine.fuzz([target], SEED, examples=4 if target.is_slow else 15)
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.inputs > 0
    assert tally.peak < 1024


@pytest.mark.parametrize("target", fuzz_targets.TARGETS, ids=lambda it: it.name)
def test_its_samples_are_what_it_reads(target: fuzz_engine.Target) -> None:
    """A parser that refuses all that it is given is not tried at all."""
    fine = 0
    for sample in target.samples():
        try:
            target.run(sample)
        except SealedRootError:
            continue
        fine += 1
    assert fine


def test_no_entry_of_a_tree_leads_out_of_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_targets, "folder", lambda: contextlib.nullcontext(tmp_path))
    lines = b"l link\n link\nf ../out\nd ../folder\nl ../out2\nd a/../../b\nf link/x\nd d"
    with pytest.raises(SealedRootError, match="is a symbolic link"):
        fuzz_targets.nofollow(lines)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["beside", "tree"]
    assert (tmp_path / "beside").read_bytes() == b""
    assert sorted(it.name for it in (tmp_path / "tree").iterdir()) == ["d", "link"]


def functions(body: t.Sequence[ast.stmt]) -> t.Iterator[ast.FunctionDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node.body)


def is_parser(node: ast.FunctionDef) -> bool:
    arguments = [it for it in node.args.args if it.arg != "self"]
    if not arguments or arguments[0].annotation is None:
        return False
    said = ast.unparse(arguments[0].annotation)
    return node.name.startswith("parse") or (arguments[0].arg in _READ and said in _BYTES)


def test_every_module_with_a_parser_is_a_target() -> None:
    covered = {name for target in fuzz_targets.TARGETS for name in target.covers}
    found = {
        str(path.relative_to(UTILS).with_suffix(""))
        for path in UTILS.rglob("*.py")
        if any(map(is_parser, functions(ast.parse(path.read_text()).body)))
    }
    assert found - covered - set(fuzz_targets.EXEMPT) == set()
    assert set(fuzz_targets.EXEMPT) <= found
    assert {name for name in covered if not (UTILS / f"{name}.py").exists()} <= {"_etc"}


def target(run: t.Callable[[bytes], t.Any]) -> fuzz_engine.Target:
    return fuzz_engine.Target("x", (), run, lambda: [b"sample"])


def test_a_traceback_is_found_and_made_small() -> None:
    def parser(data: bytes) -> None:
        if len(data) > 9:
            raise KeyError(data[0])

    (failure,) = fuzz_engine.fuzz([target(parser)], 1, examples=300).failures
    assert (failure.kind, len(failure.data) < 40) == ("traceback", True)
    assert "KeyError" in str(failure)
    assert "--seed 1" in str(failure)


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_engine, "DEADLINE", 0.2)
    monkeypatch.setattr(fuzz_engine, "_PATIENCE", 2.0)

    def spin(_data: bytes) -> None:
        while True:
            pass

    found = fuzz_engine.fuzz([target(spin)], 1, examples=1)
    assert [it.kind for it in found.failures] == ["hang"]
    assert "0 tracebacks, 1 hangs" in found.line

    def wait(_data: bytes) -> None:
        time.sleep(60)

    found = fuzz_engine.fuzz([target(wait)], 1, examples=1)
    assert [it.what for it in found.failures] == ["nothing interrupts it"]


def test_memory_without_end_is_found() -> None:
    def greedy(data: bytes) -> int:
        return len(bytes(3 << 30)) + len(data)

    assert "MemoryError" in fuzz_engine.fuzz([target(greedy)], 1, examples=2).failures[0].what


def test_a_sentence_that_commands_the_terminal_is_found() -> None:
    class Raw(SealedRootError):
        def __str__(self) -> str:
            return "\x1b[2J"

    def rude(_data: bytes) -> None:
        raise Raw

    assert "Unprintable" in fuzz_engine.fuzz([target(rude)], 1, examples=2).failures[0].what


def test_the_same_seed_gives_the_same_inputs() -> None:
    seen: list[list[bytes]] = []
    for _number in range(2):
        inputs: list[bytes] = []
        board = fuzz_engine.mmap.mmap(-1, fuzz_engine.LONGEST + 4096)
        fuzz_engine._Child(target(inputs.append), 7, board).round(0, 20)
        seen.append(inputs)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 10
