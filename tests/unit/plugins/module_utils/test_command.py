# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    LOCALE,
    CommandError,
    MissingToolError,
    ModuleRunner,
)


class FakeModule:
    def __init__(self, answer=(0, "", "")):
        self.answer = answer
        self.calls = []

    def run_command(self, args, **kwargs):
        self.calls.append((args, kwargs))
        return self.answer

    def get_bin_path(self, name, opt_dirs):
        return f"/sbin/{name}" if name == "there" else None


def fake(*answer: t.Any) -> t.Any:
    return FakeModule(*answer)


def test_key_reaches_standard_input_unchanged_and_never_argv():
    module = fake()
    ModuleRunner(module).run(["cryptsetup", "open"], stdin=b"k$HOME~")
    ((argv, kwargs),) = module.calls
    assert argv == ["cryptsetup", "open"]
    assert kwargs["data"] == b"k$HOME~"
    assert kwargs["binary_data"] is True
    assert kwargs["expand_user_and_vars"] is False
    assert kwargs["environ_update"] == LOCALE


def test_failure_says_what_the_tool_said():
    module = fake((2, "", "No key available\n"))
    with pytest.raises(CommandError, match="'a b' failed with exit status 2: No key available"):
        ModuleRunner(module).run(["a", "b"], stdin=b"secret")


def test_unchecked_failure_is_returned():
    assert ModuleRunner(fake((1, "out", "err"))).run(["a"], check=False).rc == 1


def test_deadline_is_said():
    module = fake((124, "", ""))
    with pytest.raises(CommandError, match="no answer within 7 seconds"):
        ModuleRunner(module).run(["slow"], timeout=7)
    assert module.calls[0][0] == ["timeout", "--kill-after=5", "7", "slow"]


def test_find_takes_the_first_that_is_there():
    runner = ModuleRunner(fake())
    assert runner.find("absent", "there") == "/sbin/there"
    with pytest.raises(MissingToolError, match="absent or gone is not installed"):
        runner.find("absent", "gone")
