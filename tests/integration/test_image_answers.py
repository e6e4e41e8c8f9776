# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every task of a role that runs in an image gets hostile answers, on Ansible's own executor, strategy and variables.

The tasks are found in the roles (tests/unit/roles/test_image_answers.py), so a new one is here without being named.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import hostile_answers
import pytest
import scripted_play
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers, _documented
from image_tasks import MODULES, RAW

# Modules of core that people run in an image; the filter of the connection is all that stands before them.
PEOPLES = ("command", "package", "setup")
ARGS: dict[str, t.Any] = {
    "root_info": {"facts": True, "secure_boot": {"hash": "sha256"}},
    "command": {"cmd": "true"},
    "package": {"name": "a"},
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    """What is left when every module has got every answer, each hostile image being a host."""
    place = tmp_path_factory.mktemp("hostile")
    canary = place / "canary"
    names: set[str] = set()
    for module in (*MODULES, *PEOPLES, "raw"):
        own = module in MODULES
        honest = (
            hostile_answers.example(_documented.returned(module), ARGS.get(module, {}))
            if own
            else {"a": "b"}
        )
        (place / "answers" / module).mkdir(parents=True)
        for name, data in hostile_answers.answers(honest, str(canary)).items():
            (place / "answers" / module / name).write_bytes(data)
            names.add(name)
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            # As in a build.
            "strategy": "ansible.builtin.host_pinned",
            "ignore_errors": True,
            "tasks": [
                *(
                    task(module, f"sealedroot.image.{module}", scripted_filtered=False)
                    for module in MODULES
                ),
                *(
                    task(name, f"ansible.builtin.{name}", scripted_filtered=True)
                    for name in PEOPLES
                ),
                {**task("raw", RAW, scripted_filtered=True), RAW: "true"},
                # A template that is in a value that a template takes from a value.
                {
                    "name": "Use all of it",
                    "ansible.builtin.set_fact": {"used": "{{ [" + ", ".join(answers_of()) + "] }}"},
                },
                {
                    "name": "Use it again",
                    "ansible.builtin.debug": {"msg": "{{ used | to_json | length }}"},
                },
            ],
        }
    ]
    hosts = {
        name: {
            "ansible_python_interpreter": "/nowhere/python3",
            "scripted_answers": str(place / "answers"),
            "scripted_name": name,
        }
        for name in names
    }
    found = scripted_play.run(place, plays, hosts)
    return {**found, "names": sorted(names), "canary": canary}


def answers_of() -> list[str]:
    return [f"answer_{module}" for module in (*MODULES, *PEOPLES, "raw")]


def task(name: str, module: str, **variables: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        module: ARGS.get(name, {}),
        "connection": "scripted",
        "register": f"answer_{name}",
        "vars": {"scripted_module": name, **variables},
    }


def test_no_host_group_or_number_is_added_and_no_image_gives_itself_up(
    left: dict[str, t.Any],
) -> None:
    assert left["hosts"] == left["names"]
    assert left["groups"] == ["all", "ungrouped"]
    assert left["custom"] == {}
    assert left["dark"] == {}
    # Every task ran on every host.
    ran = {(it["host"], it["task"]) for it in left["results"]}
    assert len(ran) == len(left["names"]) * (len(MODULES) + len(PEOPLES) + 3)
    assert all(it["how"] == "ok" for it in left["results"] if it["task"].startswith("Use "))


def test_no_template_is_evaluated_or_could_be(left: dict[str, t.Any]) -> None:
    assert not left["canary"].exists()
    assert left["trusted"] == []


def test_no_variable_is_set_but_facts_of_the_image(left: dict[str, t.Any]) -> None:
    for host in left["names"]:
        assert set(left["registered"][host]) == {"used", *answers_of()}
        for name, value in left["facts"][host].items():
            assert _answers._is_fact(name, value), (host, name)


@pytest.mark.parametrize("module", MODULES)
def test_of_each_result_only_what_is_documented_is_kept(
    left: dict[str, t.Any], module: str
) -> None:
    documented = {"changed", "diff", "warnings", *_documented.returned(module)}
    ends = set()
    for host in left["names"]:
        result = left["registered"][host][f"answer_{module}"]
        ends.add(bool(result["failed"]))
        if not result["failed"]:
            assert set(result) <= {*documented, "failed"}
            continue
        core = {
            "changed",
            "diff",
            "exception",
            "failed",
            "module_stderr",
            "module_stdout",
            "msg",
            "rc",
            "warnings",
        }
        assert set(result) <= core, host
        assert result["msg"]
        assert "Traceback" not in str(result)
    assert ends == {True, False}
    assert not left["registered"]["honest"][f"answer_{module}"]["failed"]


def test_what_is_not_refused_is_what_the_image_can_say_anyway(left: dict[str, t.Any]) -> None:
    """An honest result with orders beside it is as good as the honest one alone."""
    for host in ("facts", "orders", "undocumented", "orders_in_a_loop", "invocation"):
        for module in MODULES:
            honest = left["registered"]["honest"][f"answer_{module}"]
            found = dict(left["registered"][host][f"answer_{module}"])
            found.pop("warnings", None)
            assert found == honest, (host, module)


def test_no_control_character_reaches_a_terminal_or_a_variable(left: dict[str, t.Any]) -> None:
    for host in left["names"]:
        for name, value in left["registered"][host].items():
            own = name.removeprefix("answer_") in MODULES
            pattern = _answers._CONTROL if own else _answers._TERMINAL
            assert not pattern.search(text_of(value)), (host, name)
    found = _answers._TERMINAL.search(left["output"])
    assert not found, left["output"][max(0, found.start() - 300) : found.end() + 20]


def text_of(value: t.Any) -> str:
    """Return all that is text in a value."""
    if isinstance(value, dict):
        return "".join(text_of(it) for pair in value.items() for it in pair)
    if isinstance(value, list):
        return "".join(text_of(it) for it in value)
    return value if isinstance(value, str) else ""


def test_what_the_roles_do_with_hostile_answers(tmp_path: pathlib.Path) -> None:
    """The roles' own tasks: what an image says of itself chooses no role, and becomes no word of a command."""
    looked = hostile_answers.example(_documented.returned("root_info"), {})
    looked["root"]["has"]["selinux"] = {"mode": "", "type": "", "policy": "", "setfiles": False}
    looked["root"].update(kernel_disks={}, missing_packages=[], missing_growth_packages=[])
    key = hostile_answers.example(_documented.returned("initramfs_unlock"), {})
    changed = {
        "family": {**looked, "root": {**looked["root"], "family": "../../evil"}},
        "generator": {**looked, "root": {**looked["root"], "initramfs": "mkinitcpio"}},
        "kernel": {**looked, "root": {**looked["root"], "kernels": ["$(touch canary)"]}},
        "dracut": {**key, "initramfs": [{"path": "/boot/../a", "version": "6.1"}]},
        "role": {**key, "initramfs": [{"path": "/boot/a", "version": "6.1"}]},
        "packages": None,
    }
    said = {
        "family": "and now it is '../../evil'",
        "generator": "what builds the initramfs is 'mkinitcpio'",
        "kernel": "a kernel is '$(touch canary)'",
        "dracut": "an initramfs is '/boot/../a'",
        "packages": "lists a package as 'a; touch canary'",
        "role": "what builds the initramfs is '../../evil'",
        "no_family": "no role is for the family ../../evil",
    }
    (tmp_path / "answers/a").mkdir(parents=True)
    for name in said:
        text = json.dumps(changed[name]) if changed.get(name) else "a; touch canary"
        (tmp_path / "answers/a" / name).write_text(text)
    roles = {
        **dict.fromkeys(("family", "generator", "kernel"), ("source", "again")),
        # Hosts that include one role with different files get the same one from Ansible.
        **dict.fromkeys(("dracut", "role"), ("initramfs", "start")),
        **dict.fromkeys(("packages", "no_family"), ("family", "finish")),
    }
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            "tasks": [
                {
                    "name": "Run the role",
                    "ansible.builtin.include_role": {
                        "name": "sealedroot.image.{{ tested_role }}",
                        "tasks_from": "{{ tested_tasks }}",
                    },
                }
            ],
        }
    ]
    hosts: dict[str, t.Any] = {}
    for name in said:
        role, file = roles[name]
        hosts[name] = {
            "ansible_connection": "scripted",
            "ansible_python_interpreter": "/nowhere/python3",
            "image_builder": name,
            "image_luks_uuid": "u",
            "image_root_tar": {
                **looked["root"],
                "path": "/t.tar",
                **{
                    "no_family": {"family": "../../evil"},
                    "role": {"initramfs": "../../evil"},
                    "packages": {"initramfs": "mkinitcpio"},
                }.get(name, {}),
            },
            "image_run": "/nowhere",
            "image_root": "/nowhere",
            "image_source": {"type": "tar", "path": "/t.tar"},
            "scripted_answers": str(tmp_path / "answers"),
            "scripted_module": "a",
            "scripted_name": name,
            "tested_role": role,
            "tested_tasks": file,
        }
    left = scripted_play.run(tmp_path, plays, hosts)
    failed = {it["host"]: it["result"] for it in left["results"] if it["how"] == "failed"}
    for name, text in said.items():
        assert text in str(failed.get(name, left["output"])), (name, failed.get(name))
