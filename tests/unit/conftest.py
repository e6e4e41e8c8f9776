# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the unit tests: commands are scripted, modules run through their main()."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import pathlib
import shutil
import subprocess
import sys
import typing as t

import documented_results
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import bwrap, limits
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined, seccomp
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    command as system_command,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MOST_OUTPUT,
    SECONDS,
    CommandError,
    Result,
    Runner,
)


@dataclasses.dataclass
class Command:
    """One expected call: the exact argv and standard input, and what the tool answers."""

    argv: list[str]
    rc: int = 0
    stdout: str = ""
    stderr: str = ""
    stdin: bytes | None = None
    env: dict[str, str] | None = None
    # Called when the command "runs", to leave what the real tool would leave.
    effect: t.Callable[[], t.Any] | None = None


class Script:
    """An ordered list of expected commands; any other call, or one left over, fails the test."""

    def __init__(self) -> None:
        self.expected: list[Command] = []
        self.position = 0

    def expect(self, argv: list[str], **answer: t.Any) -> None:
        """Add the next expected command."""
        self.expected.append(Command(argv, **answer))

    def answer(self, argv: t.Sequence[str], stdin: bytes | None, env: t.Any = None) -> Result:
        """Match one call against the script."""
        if self.position >= len(self.expected):
            pytest.fail(f"unexpected command: {list(argv)}")
        want = self.expected[self.position]
        self.position += 1
        assert list(argv) == want.argv
        assert stdin == want.stdin
        if want.env is not None:
            assert {k: v for k, v in (env or {}).items() if k in want.env} == want.env
        if want.effect:
            want.effect()
        return Result(want.rc, want.stdout, want.stderr)

    def finish(self) -> None:
        """Fail when an expected command was never run."""
        left = [command.argv for command in self.expected[self.position :]]
        assert not left, f"commands never run: {left}"


class ScriptedRunner(Runner):
    """A Runner that plays a Script; every tool is installed unless it is named in *missing*."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.missing: set[str] = set()

    def find(self, *names: str) -> str:
        for name in names:
            if name not in self.missing:
                return name
        from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
            MissingToolError,
        )

        raise MissingToolError(f"{' or '.join(names)} is not installed on this machine")

    def run(
        self,
        argv: t.Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: int = SECONDS,
        env: t.Mapping[str, str] | None = None,
        most: int = MOST_OUTPUT,
    ) -> Result:
        result = self.script.answer(argv, stdin, env)
        if check and result.rc != 0:
            raise CommandError(argv, result)
        return result


@pytest.fixture
def script() -> t.Iterator[Script]:
    """The scripted commands of one test; checked to be used up at its end."""
    it = Script()
    yield it
    it.finish()


@pytest.fixture
def runner(script: Script) -> ScriptedRunner:
    """A Runner for code below the modules."""
    return ScriptedRunner(script)


@dataclasses.dataclass
class Confinement:
    """What a module's commands are confined by, without libseccomp and control groups."""

    runner: ScriptedRunner
    filter_path: str = "/filter"

    def tool(self, device: str, command: t.Sequence[str], output: str | None = None) -> list[str]:
        """Return the whole argv of a tool that reads a device."""
        argv = (self.runner, self.filter_path, (), device, command)
        return confined.tool_argv(*argv, output=output)

    def program(self, root: str, command: t.Sequence[str]) -> list[str]:
        """Return the whole argv of a program of an image."""
        return confined.program_argv(self.runner, self.filter_path, (), root, command)


@pytest.fixture
def confinement(runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch) -> Confinement:
    it = Confinement(runner)
    monkeypatch.setattr(seccomp, "exported", lambda **_: contextlib.nullcontext(it.filter_path))
    monkeypatch.setattr(limits.ControlGroup, "BASE", "/nonexistent")
    monkeypatch.setattr(bwrap, "HIDDEN", ())
    return it


@dataclasses.dataclass
class Outcome:
    """What a module printed."""

    failed: bool
    result: dict[str, t.Any]

    def __getitem__(self, key: str) -> t.Any:
        return self.result[key]


@pytest.fixture
def run_module(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> t.Callable[..., Outcome]:
    """Run a module through its main() with scripted commands: ``run_module("luks_image", path=...)``.

    ``_check=True`` and ``_diff=True`` switch check and diff mode on. Tools are found by bare name.
    """

    def execute(argv: list[str], **kwargs: t.Any) -> Result:
        return script.answer(argv, kwargs["stdin"] or None, kwargs["env"])

    def get_bin_path(_self: AnsibleModule, arg: str, *_args: t.Any, **_kwargs: t.Any) -> str:
        return arg

    def run(name: str, /, _check: bool = False, _diff: bool = False, **args: t.Any) -> Outcome:
        module = importlib.import_module(
            f"ansible_collections.sealedroot.image.plugins.modules.{name}"
        )
        monkeypatch.setattr(system_command, "execute", execute)
        monkeypatch.setattr(AnsibleModule, "get_bin_path", get_bin_path)
        args = {**args, "_ansible_check_mode": _check, "_ansible_diff": _diff}
        capsys.readouterr()
        with patch_module_args(args), pytest.raises(SystemExit) as stop:
            module.main()
        printed = json.loads(capsys.readouterr().out)
        documented_results.check(name, printed, args)
        return Outcome(failed=bool(stop.value.code), result=printed)

    return run


@pytest.fixture
def shellcheck() -> t.Callable[[str], None]:
    """Let shellcheck and sh read a program of ours that has no file in this repository."""
    # Beside Python in the environment of ./run.
    found = shutil.which("shellcheck") or str(pathlib.Path(sys.executable).with_name("shellcheck"))

    def check(text: str) -> None:
        for argv in ([found, "-"], ["sh", "-n"]):
            done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    return check
