# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples of the documentation run as they stand."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pathlib
import subprocess
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.testing import patch_module_args

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "plugins"
PREFIX = "sealedroot.image."


def examples(path: pathlib.Path) -> str:
    """Return the examples of a plugin, or of the file beside it that documents it."""
    if path.suffix == ".yml":
        return str(yaml.safe_load(path.read_text())["EXAMPLES"])
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    return ""


FILES = [
    path
    for kind in ("connection", "filter", "lookup", "modules", "test")
    for path in sorted((PLUGINS / kind).iterdir())
    if path.suffix in (".py", ".yml") and examples(path)
]


def tasks(of: t.Sequence[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """Give the tasks of plays, blocks and lists of tasks."""
    for it in of:
        inner = [it.get(key) or [] for key in ("tasks", "block", "rescue", "always")]
        if any(inner):
            yield from tasks([task for part in inner for task in part])
        else:
            yield it


CALLS = [
    pytest.param(key[len(PREFIX) :], task[key] or {}, id=f"{path.stem}: {task['name']}")
    for path in FILES
    for task in tasks(yaml.safe_load(examples(path)))
    for key in task
    if key.startswith(PREFIX)
]


def test_every_module_has_one() -> None:
    shown = {str(call.values[0]) for call in CALLS}
    assert shown == {path.stem for path in (PLUGINS / "modules").glob("*.py")}


def test_all_are_playbooks(tmp_path: pathlib.Path) -> None:
    """What is no play is put into one."""
    namespace = tmp_path / "ansible_collections" / "sealedroot"
    namespace.mkdir(parents=True)
    (namespace / "image").symlink_to(ROOT)
    plays: list[t.Any] = []
    for path in FILES:
        found = yaml.safe_load(examples(path))
        are_plays = "hosts" in found[0]
        plays += found if are_plays else [{"name": path.stem, "hosts": "all", "tasks": found}]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    done = subprocess.run(
        ["ansible-playbook", "--syntax-check", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def specification(documented: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the specification of options as they are documented."""
    return {
        name: {
            **{key: it[key] for key in ("type", "elements", "required", "default") if key in it},
            **({"options": specification(it["suboptions"])} if "suboptions" in it else {}),
        }
        for name, it in documented.items()
    }


# The examples that say in check mode what they would do on any machine; the others are about files that must be there,
# or a build that may run.
ANYWHERE = {
    *("Wait for a turn", "Look at the builder", "Fetch a root tar"),
    *(
        "Generate a boot key and a recovery key",
        "Make the next boot key",
        "Look at what is published",
    ),
}


@pytest.mark.parametrize(
    ("name", "options"), [call for call in CALLS if str(call.id).split(": ")[1] in ANYWHERE]
)
def test_it_runs_in_check_mode(
    name: str, options: dict[str, t.Any], real_module: t.Callable[..., dict[str, t.Any]]
) -> None:
    outcome = real_module(name, _check=True, **options)
    assert not outcome.get("failed"), outcome["msg"]


def test_every_name_of_these_is_that_of_an_example() -> None:
    assert {str(call.id).split(": ")[1] for call in CALLS} >= ANYWHERE


def filled(value: t.Any) -> t.Any:
    """Return options with a value in place of each template; as text or number it is one for most types."""
    if isinstance(value, dict):
        return {name: filled(it) for name, it in value.items()}
    if isinstance(value, list):
        return [filled(it) for it in value]
    return "1" if str(value).startswith("{{") else value


class Accepted(Exception):
    """The module took its options."""


@pytest.mark.parametrize(("name", "options"), CALLS)
def test_the_module_takes_the_options(
    name: str,
    options: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = importlib.import_module(f"ansible_collections.sealedroot.image.plugins.modules.{name}")
    if not hasattr(
        module, "main"
    ):  # It is an action, whose options are those of its documentation.
        documented = yaml.safe_load(module.DOCUMENTATION)["options"]
        assert not ArgumentSpecValidator(specification(documented)).validate(options).error_messages
        return

    def accept(_module: t.Any, _act: t.Any) -> t.NoReturn:
        raise Accepted

    monkeypatch.setattr(module, "run", accept)
    with patch_module_args(filled(options)), pytest.raises((Accepted, SystemExit)) as caught:
        module.main()
    assert caught.type is Accepted, capsys.readouterr().out
