# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The caller's environment reaches no tool: the tools are real, and the environment is as bad as it can be."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import typing as t

import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.filter.fixed_environment import FilterModule
from ansible_collections.sealedroot.image.plugins.module_utils._source import tree_tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import edge
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import ModuleRunner

ROLES = pathlib.Path(__file__).parents[4] / "roles"
FIXED = FilterModule().filters()["fixed_environment"]
BAD = {
    "TAR_OPTIONS": "--exclude-vcs --exclude=adduser.conf",
    "POSIXLY_CORRECT": "1",
    "GZIP": "-1 --no-such-option",
    "GZIP_OPT": "-1",
    "XZ_OPT": "--no-such-option",
    "XZ_DEFAULTS": "--no-such-option",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "de_DE.UTF-8",
    "LANGUAGE": "de",
    "QUOTING_STYLE": "c",
    "TIME_STYLE": "full-iso",
    "TAPE": "/nonexistent",
    "BLOCK_SIZE": "human-readable",
    "CDPATH": "/",
}


class Module:
    params: t.ClassVar[dict[str, t.Any]] = {}

    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str:
        return name

    def exit_json(self, **outcome: t.Any) -> None:
        pass


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    for name, value in BAD.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("etc/adduser.conf", "srv/.git/config"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True)
        path.write_text("content")
    return tmp_path / "tree"


def packed(tree: pathlib.Path) -> bytes:
    path = tree.parent / "root.tar"
    names = tree_tar.scan(str(tree)).names
    tree_tar.pack(ModuleRunner(t.cast(t.Any, Module())), str(tree), names, str(path))
    return path.read_bytes()


def test_a_module_packs_what_it_packs_without(
    tree: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    plain = packed(tree)
    request.getfixturevalue("bad")
    assert packed(tree) == plain
    assert b"./etc/adduser.conf" in plain
    assert b"./srv/.git/config" in plain


@pytest.mark.usefixtures("bad")
def test_a_module_makes_files_with_its_own_umask(tmp_path: pathlib.Path) -> None:
    module = t.cast(t.Any, Module())
    made = tmp_path / "made"
    edge.run(module, lambda: {"said": ModuleRunner(module).run(["mkdir", str(made)])})
    assert made.stat().st_mode & 0o777 == 0o755


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize("pack", ["tar -cf", "tar -czf", "tar -cJf"])
def test_a_raw_task_unpacks_everything_for_everyone(
    tree: pathlib.Path, tmp_path: pathlib.Path, pack: str
) -> None:
    """The tar has no entries of directories, so tar makes them by the umask."""
    script = f"""cd {tree}
    {pack} ../a.tar etc/adduser.conf srv/.git/config
    mkdir ../out
    tar -C ../out -xf ../a.tar
    ls /nonexistent-here"""
    done = subprocess.run(
        ["sh", "-c", FIXED(script)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == "ls: cannot access '/nonexistent-here': No such file or directory\n"
    assert (tmp_path / "out/etc/adduser.conf").read_text() == "content"
    assert (tmp_path / "out/srv/.git/config").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out/srv").stat().st_mode & 0o777 == 0o755


def test_what_is_kept_may_have_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/a  b'\"$(false)")
    monkeypatch.delenv("TMPDIR", raising=False)
    line = FIXED('printf "%s|%s|" "$HOME" "${TMPDIR-none}"; umask')
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "/a  b'\"$(false)|none|0022\n"


def raw_tasks() -> list[tuple[str, dict[str, t.Any]]]:
    """Return every raw task of the roles."""
    found: list[tuple[str, dict[str, t.Any]]] = []

    def walk(path: pathlib.Path, tasks: t.Any) -> None:
        for task in tasks or ():
            for part in ("block", "rescue", "always"):
                walk(path, task.get(part))
            if "ansible.builtin.raw" in task:
                found.append((f"{path.relative_to(ROLES)}: {task['name']}", task))

    for path in sorted(ROLES.glob("*/tasks/*.yml")):
        walk(path, yaml.safe_load(path.read_text()))
    return found


def test_every_raw_task_has_an_environment_of_its_own() -> None:
    """In an image the sandbox gives it; on a builder the filter does."""
    tasks = raw_tasks()
    assert len(tasks) > 5
    wrong = [
        name
        for name, task in tasks
        if task.get("connection") != "sealedroot.image.chroot"
        and "sealedroot.image.fixed_environment" not in task["ansible.builtin.raw"]
    ]
    assert not wrong


def test_no_task_hands_a_module_anything_by_its_environment() -> None:
    """The commands of a module do not get it."""
    for path in ROLES.glob("*/tasks/*.yml"):
        assert not re.search(r"^\s*environment:", path.read_text(), re.MULTILINE), path
