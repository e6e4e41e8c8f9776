# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages name exists: links, inputs, playbooks, formats, and the messages that one of them explains."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(
    it
    for folder, pattern in (
        (".", "*.md"),
        ("docs", "*.md"),
        ("tests", "*.md"),
        ("roles", "**/*.md"),
    )
    for it in (ROOT / folder).glob(pattern)
)
GUIDES = sorted((ROOT / "docs/docsite/rst").glob("*.rst"))
BLOB = "https://github.com/sealedroot/image/blob/main/"
MESSAGES = re.findall(
    r"^``(.+)``$", (ROOT / "docs/docsite/rst/guide_troubleshooting.rst").read_text(), re.MULTILINE
)
# What is installed with the collection, and the only directories that its content may use.
INSTALLED = ("meta", "playbooks", "plugins", "roles")
OTHERS = re.compile(r"(?:^|/)(?:tests/|(?:docs|examples|extensions|changelogs)(?:/|$))")
PLUGIN_TYPES = {
    *("action", "connection", "doc_fragments", "filter", "lookup", "modules", "module_utils"),
    *("plugin_utils", "test"),
}


def names(paths: t.Iterable[pathlib.Path]) -> list[str]:
    return [str(it.relative_to(ROOT)) for it in paths]


@functools.cache
def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors of a page of Markdown, as GitHub makes them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        found.add(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return found


def broken(base: pathlib.Path, links: t.Iterable[str]) -> list[str]:
    """Return the links that lead to no file, or to no heading of a page."""
    found = []
    for link in links:
        name, _, anchor = link.partition("#")
        path = (base / name).resolve() if name else base
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    text = re.sub(r"^    .*$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE)
    links = [it for it in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in it]
    assert not broken(page.parent, [it for it in links if not it.startswith("#")])
    assert not broken(page, [it for it in links if it.startswith("#")])


@pytest.mark.parametrize("guide", GUIDES, ids=names(GUIDES))
def test_guides_link_to_what_is_there(guide: pathlib.Path) -> None:
    links = re.findall(rf"<{re.escape(BLOB)}([^>]+)>", guide.read_text())
    assert not broken(ROOT, links)
    front = re.findall(r"<https://github.com/sealedroot/image#([^>]+)>", guide.read_text())
    assert not [it for it in front if it != "readme" and it not in anchors(ROOT / "README.md")]


def test_the_table_of_contents_has_every_page() -> None:
    contents = (ROOT / "docs/README.md").read_text()
    listed = set(re.findall(r"\]\(([^)]+)\)", contents))
    pages = {it.name for it in (ROOT / "docs").glob("*.md")} - {"README.md"}
    guides = {f"docsite/rst/{it.name}" for it in GUIDES}
    assert {it for it in listed if not it.startswith("../")} == pages | guides
    extra = yaml.safe_load((ROOT / "docs/docsite/extra-docs.yml").read_text())
    assert sorted(extra["sections"][0]["toctree"]) == [it.stem for it in GUIDES]


@pytest.mark.parametrize("guide", GUIDES, ids=names(GUIDES))
def test_guides_name_what_exists(guide: pathlib.Path) -> None:
    text = guide.read_text()
    known = {*_inputs.inputs(), "image_publication", "image_", "image_audit"}
    assert {it for it in re.findall(r"(?<![.\w])image_\w*", text) if it not in known} == set()
    called = set(re.findall(r"sealedroot\.image\.(\w+)", text)) - {"docsite"}
    content = {
        it.stem
        for it in (
            *(ROOT / "playbooks").glob("*.yml"),
            *(ROOT / "roles").iterdir(),
            *(ROOT / "plugins/modules").glob("*.py"),
        )
    }
    assert called <= content
    assert {*re.findall(r"\bdisk\.([a-z]\w*)", text)} <= FORMATS.keys()
    assert f"docsite.{guide.stem}:" in text


def test_what_nobody_tried_is_called_so() -> None:
    run, clouds = (
        (ROOT / f"docs/docsite/rst/guide_{it}.rst").read_text() for it in ("run", "clouds")
    )
    for host in ("libvirt", "Proxmox VE"):
        section = re.split(rf"^{host}\n-+\n", run, flags=re.MULTILINE)[1]
        assert re.match(r"\s*\*Nobody here has (tried|booted)", section)
    assert "*Nobody here has tried any of this page*" in clouds.split("\n---")[0]
    where = (ROOT / "docs/deploy.md").read_text().partition("## Where it works\n\n")[2]
    assert where.startswith("Nobody here has tried any of these on a machine with SEV.")


def said(node: ast.AST) -> str:
    """Return a text of the code, with dots for each value in it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(said, node.values))
    return str(node.value) if isinstance(node, ast.Constant) else "..."


@functools.cache
def texts() -> list[str]:
    """Return what the collection can say: texts of plugins, and of tasks and templates of roles."""
    found = []
    for path in (ROOT / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Constant, ast.JoinedStr)):
                found.append(said(node))
    for path in (*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "roles").glob("*/templates/*")):
        found.append(
            " ".join(re.sub(r"\{\{.*?\}\}", "...", path.read_text(), flags=re.DOTALL).split())
        )
        # A message can be a text in an expression, too.
        found += re.findall(r"'([^'\n]{20,})'", path.read_text())
    return found


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_in_the_code(message: str) -> None:
    parts = [it for it in message.split("...") if it]
    assert sum(map(len, parts)) >= 15
    pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
    assert any(parts[0] in it and pattern.search(it) for it in texts())


NAMED = [
    (page.name, *found)
    for page in PAGES
    for found in re.findall(r"`(\w+)` in `([\w/]+\.py)`", page.read_text())
]


@pytest.mark.parametrize(("page", "name", "file"), NAMED)
def test_a_name_that_a_page_finds_in_a_file_is_there(page: str, name: str, file: str) -> None:
    paths = [it for it in (ROOT / "plugins").rglob("*.py") if f"/{it}".endswith(f"/{file}")]
    assert paths, page
    for path in paths:
        assert re.search(rf"^(def |class )?{name}\b", path.read_text(), re.MULTILINE), page


def test_pages_name_functions() -> None:
    assert len(NAMED) > 5


def test_the_page_explains_many_messages() -> None:
    assert len(set(MESSAGES)) == len(MESSAGES) >= 30


def documentation(tree: ast.Module) -> set[ast.AST]:
    """Return the texts that are documentation."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            found.add(node.value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").isupper():
            found |= {it for it in [node.value] if isinstance(it, ast.Constant)}
    return found


def plain(value: t.Any) -> t.Iterator[str]:
    """Give every text of a YAML document but descriptions."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("description", "short_description"):
                yield from plain(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from plain(inner)
    elif isinstance(value, str):
        yield value


def test_what_is_installed_uses_nothing_else_of_the_archive() -> None:
    """A collection has to work when only these directories are installed (docs/ansible_requirements.md)."""
    found = []
    for folder in INSTALLED:
        for path in (ROOT / folder).rglob("*"):
            used: list[str] = []
            if path.suffix == ".py":
                tree = ast.parse(path.read_text())
                skipped = documentation(tree)
                used = [
                    str(node.value)
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Constant) and node not in skipped
                ]
            elif path.suffix == ".yml":
                used = [*plain([*yaml.safe_load_all(path.read_text())])]
            found += [(path.name, it) for it in used if "\n" not in it and OTHERS.search(it)]
    assert [it for it in found if not it[1].startswith(("/", "http"))] == []


def test_plugins_are_of_known_types() -> None:
    assert {it.name for it in (ROOT / "plugins").iterdir()} <= PLUGIN_TYPES | {"__pycache__"}


def test_the_page_of_the_tests_has_every_session() -> None:
    """Except for parts of `check`, and for the one that builds images."""
    text = (ROOT / "noxfile.py").read_text()
    sessions = {*re.findall(r"^@nox\.session.*\ndef (\w+)", text, re.MULTILINE)}
    page = (ROOT / "tests/README.md").read_text()
    named = {word.removeprefix("./run ") for word in re.findall(r"`([^`]+)`", page)}
    assert sessions - {"image", "lint", "unit"} <= named
