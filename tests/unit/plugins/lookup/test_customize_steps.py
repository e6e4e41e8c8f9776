# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What customises an image is found, or named, before a build begins."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.sealedroot.image.plugins.lookup.customize_steps import LookupModule

ROLES = {
    "site": "dependencies: [{role: shared, x: 1}, web, {name: circle}, '{{ other }}']\n",
    "shared": "dependencies:\n  - src: web\n",
    "circle": "dependencies: [site]\n",
    "lost": "dependencies: [shared, lost2]\n",
    "lost2": "dependencies: [{role: gone}]\n",
}
TASKS = {
    "playbook.yml": "- hosts: all\n  tasks: []\n",
    "imports.yml": "- import_playbook: x.yml\n",
    "naem.yml": "- naem: x\n",
    "attribute.yml": "- name: Do\n  debug:\n  wehn: x\n",
    "nested.yml": "- block:\n    - command: x\n  rescue:\n    - name: Undo\n      nodule: x\n",
    "word.yml": "- debug\n",
    "good.yml": """
- name: All kinds
  when: x
  block:
    - ansible.builtin.command: {argv: [x]}
      loop: [1]
      loop_control: {label: x}
      register: y
    - action: "{{ module }}"
    - include_tasks: {file: x.yml, apply: {tags: a}}
    - import_tasks: y.yml
    - image_identity: {hostname: x}
    - meta: flush_handlers
    - set_fact: {a: 1}
      become: true
  always:
""",
    "brought.yml": "- include_role: {name: web}\n- of_the_role:\n",
}


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "roles/web/tasks").mkdir(parents=True)
    (tmp_path / "roles/web/tasks/main.yml").write_text("[]\n")
    (tmp_path / "tasks.yml").write_text("[]\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("words\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "broken").write_text("- {a: b\n")
    for name, text in ROLES.items():
        (tmp_path / f"roles/{name}/meta").mkdir(parents=True)
        (tmp_path / f"roles/{name}/meta/main.yml").write_text(text)
    for name, text in TASKS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def steps(*terms: t.Any, basedir: str = "/nonexistent") -> list[dict[str, str]]:
    loader = DataLoader()
    loader.set_basedir(basedir)
    return LookupModule(loader=loader).run(terms)


def test_what_is_there(place: pathlib.Path) -> None:
    found = steps(
        {"role": str(place / "roles/web")},
        {"role": "roles/web"},
        {"tasks": "tasks.yml", "vars": {"a": 1}},
        {"tasks": str(place / "tasks.yml")},
        {"role": "sealedroot.image.identity"},
    )
    assert [it["problem"] for it in found] == [""] * 5
    assert all(len(it["digest"]) == 64 for it in found)


def test_a_role_beside_the_playbook(place: pathlib.Path) -> None:
    assert steps({"role": "web"}, basedir=str(place))[0]["problem"] == ""


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"role": "nowhere"}, "role 'nowhere' was not found in"),
        ({"role": "nowhere"}, "set roles_path (ANSIBLE_ROLES_PATH)"),
        ({"role": "nobody.nothing.nowhere"}, "was not found in"),
        ({"tasks": "none.yml"}, "/none.yml. Correct the path."),
        ({"tasks": "roles"}, "/roles. Correct the path."),
        ({"tasks": "fifo"}, "/fifo. Correct the path."),
        ({"tasks": "text"}, "/text is no list of tasks. Write one"),
        ({"tasks": "binary"}, "/binary: YAML parsing failed"),
        ({"tasks": "broken"}, "/broken:2: YAML parsing failed"),
        ({"role": "./text"}, "/text is no directory of a role"),
        ({"role": "roles/lost"}, "/roles/lost2 depends on it: the role 'gone' was not found in"),
        ({"tasks": "playbook.yml"}, "/playbook.yml is a playbook: take the list of its tasks"),
        ({"tasks": "imports.yml"}, "/imports.yml is a playbook"),
        ({"tasks": "naem.yml"}, "/naem.yml:1: "),
        (
            {"tasks": "attribute.yml"},
            "/attribute.yml:3, task 'Do': 'wehn' is not a valid attribute for a Task. Correct it.",
        ),
        ({"tasks": "nested.yml"}, "/nested.yml:4, task 'Undo': couldn't resolve module/action"),
        ({"tasks": "word.yml"}, "/word.yml: 'debug' is no task. Correct it."),
        ({"role": "web", "tasks": "tasks.yml"}, "one of role and tasks"),
        ({"vars": {}}, "one of role and tasks"),
        ("web", "one of role and tasks"),
        ({"role": "web", "when": "x"}, "has when, which means nothing"),
        ({"tasks": "tasks.yml", "network": "yes"}, "has network 'yes': write true or false"),
        *(
            ({"tasks": "tasks.yml", "vars": {"a": 1, it: "x"}}, f"has vars for {it}, which are the")
            for it in (
                *("image_python", "image_network", "image_secrets", "image_root", "image_builder"),
                # Inputs and facts, which the stages after it would read.
                *("image_name", "image_debug_console", "image_luks_uuid", "image_keys"),
                *("ansible_connection", "ansible_python_interpreter"),
            )
        ),
    ],
)
def test_what_cannot_run_is_named(place: pathlib.Path, step: t.Any, problem: str) -> None:
    (_good, found) = steps({"tasks": "tasks.yml"}, step)
    assert problem in found["problem"]
    assert found["problem"].startswith("Step 2 of image_customize")


@pytest.mark.parametrize(
    "terms",
    [
        [{"tasks": "good.yml"}],
        [{"tasks": "brought.yml"}],
        # The role can bring the module.
        [{"role": "roles/web"}, {"tasks": "nested.yml"}],
        [{"role": "roles/site"}],
    ],
)
def test_what_can_run(place: pathlib.Path, terms: list[t.Any]) -> None:
    assert [it["problem"] for it in steps(*terms)] == [""] * len(terms)


# The files of a role, and what is said of it; nothing where it can run, or where only the image can tell.
ROLE_TASKS: dict[str, tuple[dict[str, str], str]] = {
    "no tasks": ({}, ""),
    "empty": ({"tasks/main.yml": "---\n"}, ""),
    "a word": ({"tasks/main.yaml": "debug\n"}, "/tasks/main.yaml is no list of tasks"),
    "an entry": ({"tasks/main.yml": "- debug\n"}, "/tasks/main.yml: 'debug' is no task"),
    "yaml": (
        {"tasks/main.yml": "- name: x\n  debug: {\n"},
        "/tasks/main.yml:3: YAML parsing failed",
    ),
    "an attribute": (
        {"tasks/main.yml": "- name: Do\n  debug:\n  wehn: x\n"},
        "/tasks/main.yml:3, task 'Do': 'wehn' is not a valid attribute for a Task. Correct it.",
    ),
    "of a block": (
        {"tasks/main.yml": "- name: All\n  wehn: x\n  block: [{debug: }]\n"},
        "/tasks/main.yml:2, task 'All': 'wehn' is not a valid attribute for a Block",
    ),
    "in a block": (
        {"tasks/main.yml": "- block: [{nodule: x}]\n"},
        "couldn't resolve module/action",
    ),
    "two modules": (
        {"tasks/main.yml": "- debug:\n  copy:\n"},
        "/tasks/main.yml:1: conflicting action",
    ),
    "a handler": ({"handlers/main.yml": "- debug:\n  lisen: x\n"}, "/handlers/main.yml:2: 'lisen'"),
    "good handlers": ({"handlers/main.yml": "- debug:\n  listen: x\n"}, ""),
    "its own module": ({"tasks/main.yml": "- odd_own:\n", "library/odd_own.py": "#\n"}, ""),
    "a dependency's": (
        {
            "tasks/main.yml": "- odd_needed:\n",
            "meta/main.yml": "dependencies: [needed]\n",
            "../needed/library/odd_needed.py": "#\n",
        },
        "",
    ),
    "of a dependency": (
        {"meta/main.yml": "dependencies: [bad]\n", "../bad/tasks/main.yml": "- nodule:\n"},
        "/roles/bad/tasks/main.yml:1: couldn't resolve module/action 'nodule'",
    ),
    "a collection": (
        {
            "tasks/main.yml": "- builder_info:\n- block: [{builder_info: }]\n",
            "meta/main.yml": "collections: [sealedroot.image]\n",
        },
        "",
    ),
    "an import": (
        {"tasks/main.yml": "- import_tasks: a.yml\n", "tasks/a.yml": "- debug:\n  wehn: x\n"},
        "/tasks/a.yml:2: 'wehn'",
    ),
    "an import's": (
        {
            "tasks/main.yml": "- ansible.builtin.import_tasks: {file: deep/a.yml}\n",
            "tasks/deep/a.yml": "- import_tasks: b.yml\n- import_tasks: deep/b.yml\n",
            "tasks/deep/b.yml": "- nodule:\n",
        },
        "/tasks/deep/b.yml:1: couldn't",
    ),
    "a circle": (
        {"tasks/main.yml": "- import_tasks: a.yml\n", "tasks/a.yml": "- import_tasks: main.yml\n"},
        "",
    ),
    "a lost import": (
        {"tasks/main.yml": "- import_tasks: lots.yml\n"},
        "/tasks/main.yml imports lots.yml, which is not there. Correct the name.",
    ),
    "a name of variables": ({"tasks/main.yml": "- import_tasks: '{{ x }}.yml'\n"}, ""),
    "an include": (
        {"tasks/main.yml": "- include_tasks: a.yml\n", "tasks/a.yml": "- nodule:\n"},
        "",
    ),
    "an imported role": ({"tasks/main.yml": "- import_role: {name: web}\n- of_the_role:\n"}, ""),
}


@pytest.mark.parametrize("case", ROLE_TASKS)
def test_a_role_that_ansible_would_refuse(place: pathlib.Path, case: str) -> None:
    files, problem = ROLE_TASKS[case]
    role = place / "roles/odd"
    role.mkdir()
    for name, text in files.items():
        path = pathlib.Path(os.path.normpath(role / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (found,) = steps({"role": "roles/odd"})
    if not problem:
        assert found["problem"] == ""
        return
    assert found["problem"].startswith("Step 1 of image_customize cannot run, since Ansible would")
    assert problem in found["problem"]
    assert "\n" not in found["problem"]


def test_the_modules_after_a_role_are_known_when_it_has_run(place: pathlib.Path) -> None:
    (place / "roles/odd/tasks").mkdir(parents=True)
    (place / "roles/odd/tasks/main.yml").write_text("- nodule:\n- import_tasks: lots.yml\n")
    first, second = steps({"role": "roles/web"}, {"role": "roles/odd"})
    assert first["problem"] == ""
    assert "imports lots.yml" in second["problem"]


def test_the_digest_is_of_the_dependencies_too(place: pathlib.Path) -> None:
    seen = [steps({"role": "roles/site"})[0]["digest"]]
    (place / "roles/web/tasks/main.yml").write_text("- debug:\n")
    seen.append(steps({"role": "roles/site"})[0]["digest"])
    assert len(set(seen)) == 2


def test_the_digest_is_of_all_that_is_known(place: pathlib.Path) -> None:
    role, tasks = {"role": "roles/web"}, {"tasks": "tasks.yml"}

    def digests() -> list[str]:
        return [it["digest"] for it in steps(role, tasks, {**tasks, "vars": {"a": 1}})]

    first = digests()
    assert len(set(first)) == 3
    assert digests() == first
    (place / "roles/web/templates").mkdir()
    (place / "roles/web/templates/x").touch()
    second = digests()
    assert [a == b for a, b in zip(first, second, strict=True)] == [False, True, True]
    (place / "tasks.yml").write_text("- debug:\n")
    assert [a == b for a, b in zip(second, digests(), strict=True)] == [True, False, False]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("templates/motd.j2", True),
        ("files/web/index.html", True),
        ("vars/main.yml", True),
        ("notes.txt", False),
        ("out/web-1/disk.qcow2", False),
    ],
)
def test_what_is_beside_a_file_of_tasks(place: pathlib.Path, name: str, counts: bool) -> None:
    def digest() -> str:
        return steps({"tasks": "tasks.yml"})[0]["digest"]

    seen = [digest()]
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    for content in ("one", "two"):
        (place / name).write_text(content)
        seen.append(digest())
    (place / name).rename((place / name).with_suffix(".moved"))
    seen.append(digest())
    assert len(set(seen)) == (4 if counts else 1)
