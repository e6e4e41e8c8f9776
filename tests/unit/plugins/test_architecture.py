# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arrows between packages point down, as docs/architecture.md says."""

from __future__ import annotations

import ast
import pathlib
import re
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "plugins"
UTILS = PLUGINS / "module_utils"
LAUNCHER = UTILS / "_launcher"
PREFIX = "ansible_collections.sealedroot.image.plugins."
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = re.findall(r"^### `(_[a-z]+)`$", PAGE, re.MULTILINE)


def imports(path: pathlib.Path) -> t.Iterator[str]:
    """Give what a file imports of the plugins, as module_utils._system.command."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if path.parent == LAUNCHER and node.level == 1:
                yield from (f"module_utils._launcher.{node.module or it.name}" for it in node.names)
                continue
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{it.name}" for it in node.names]
            ours = [it for it in names if it.startswith(("ansible_collections", "importlib"))]
            assert all(name.startswith(PREFIX) for name in ours), f"{path} hides what it uses"
            yield from (name[len(PREFIX) :] for name in ours)
        elif isinstance(node, ast.Import):
            names = [it.name for it in node.names]
            hidden = [it for it in names if it.startswith(("ansible_collections", "importlib"))]
            assert not hidden, f"{path} hides what it uses"


def test_every_package_has_its_paragraph_and_nothing_lies_beside_them() -> None:
    found = {it.name for it in UTILS.iterdir() if it.name != "__pycache__"}
    assert found == set(PACKAGES)
    assert not list(UTILS.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_paragraph_is_short(package: str) -> None:
    paragraph = PAGE.split(f"### `{package}`\n\n")[1].split("\n### ")[0]
    assert 1 < len(paragraph.strip().splitlines()) <= 5


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_down(package: str) -> None:
    below = PACKAGES[PACKAGES.index(package) :]
    up = {
        f"{path.name} uses {name}"
        for path in (UTILS / package).glob("*.py")
        for name in imports(path)
        if name.split(".")[:1] != ["module_utils"] or name.split(".")[1] not in below
    }
    assert not up


@pytest.mark.parametrize(
    "path", sorted(PLUGINS.glob("*/*.py")), ids=lambda it: f"{it.parent.name}.{it.stem}"
)
def test_no_plugin_uses_another(path: pathlib.Path) -> None:
    """What else a module imports, Ansible would not send along; the others run on the control node."""
    shared = {"module_utils"} if path.parent.name == "modules" else {"module_utils", "plugin_utils"}
    assert {name.split(".")[0] for name in imports(path)} <= shared


def test_the_launcher_needs_the_standard_library_only() -> None:
    """It runs where no Ansible is."""
    for path in LAUNCHER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [it.name for it in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {it.split(".")[0] for it in names} <= {*sys.stdlib_module_names}, path


def test_unit_tests_are_where_what_they_test_is() -> None:
    folder = pathlib.Path(__file__).parent / "module_utils"
    for path in folder.glob("_*/test_*.py"):
        tested = UTILS / path.parent.name / f"{path.stem[len('test_') :]}.py"
        assert tested.exists(), f"{path} tests nothing of that name"


def test_what_has_no_unit_test_of_its_path_is_used_by_what_has() -> None:
    """As tests/README.md says; by several steps, perhaps."""
    paths = {
        ".".join(it.relative_to(PLUGINS).with_suffix("").parts): it for it in PLUGINS.rglob("*.py")
    }
    tests = pathlib.Path(__file__).parent
    tested: set[str] = set()
    more = {
        name
        for name, path in paths.items()
        if (tests / path.parent.relative_to(PLUGINS) / f"test_{path.stem.lstrip('_')}.py").exists()
    }
    while more:
        tested |= more
        used = {name for it in more for name in imports(paths[it])}
        # A name is a file, or stands in one.
        more = (used | {it.rpartition(".")[0] for it in used}) & set(paths) - tested
    assert {it for it in paths if it.startswith("module_utils")} - tested == set()


PURE = re.compile(r"\b[Pp]ure\b(?!, but| but)")
# What a path says by itself.
WORDS = re.compile(
    r"os\.(path\.(abspath|basename|commonpath|dirname|isabs|join|normpath|relpath|split\w*)|fs(de|en)code|\w*[Ee]rror)"
)
DOES = {"fcntl", "random", "select", "shutil", "signal", "socket", "subprocess", "tempfile", "time"}


@pytest.mark.parametrize(
    "path",
    [it for it in sorted(PLUGINS.rglob("*.py")) if PURE.search(it.read_text().split('"""')[1])],
    ids=lambda it: f"{it.parent.name}.{it.stem}",
)
def test_what_calls_itself_pure_asks_nobody(path: pathlib.Path) -> None:
    """It gets what it judges: it starts no command, and reads no file, clock or process."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {it.name for it in node.names} & DOES
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if (
                re.fullmatch(r"os(\.\w+)+", name)
                and name != "os.path"
                and not WORDS.fullmatch(name)
            ):
                found.add(name)
        elif isinstance(node, ast.Name) and node.id in ("Runner", "open"):
            found.add(node.id)
    assert not found


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda it: it.name)
def test_a_file_is_read_in_one_sitting(path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", sorted(PLUGINS.glob("modules/*.py")), ids=lambda it: it.stem)
def test_a_module_is_for_people_or_says_that_it_is_for_the_roles(path: pathlib.Path) -> None:
    """README's table has those for people."""
    readme = (PLUGINS.parent / "README.md").read_text()
    table = readme.partition("| plugin | what it manages |")[2].partition("\n\n")[0]
    (short,) = re.findall(r"^short_description: (.*)$", path.read_text(), re.MULTILINE)
    assert (f"`{path.stem}`" in table) is not short.endswith(" (for the roles)")
