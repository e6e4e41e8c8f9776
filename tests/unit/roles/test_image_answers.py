# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every task of a role that runs in an image answers is data; tests/integration/test_image_answers.py runs them.

The tasks are found in the roles, so a new one is judged without being named, or has no case and fails.
"""

from __future__ import annotations

import pathlib
import re
import typing as t

import yaml
from ansible_collections.sealedroot.image.plugins.lookup.families import ROLES
from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented
from image_tasks import CORES, IN_IMAGE, MODULES, RAW, tasks

ROOT = pathlib.Path(ROLES).parent
ROUTES = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["plugin_routing"]["modules"]
# What becomes of what each raw task prints: nothing but its end is looked at; its lines pass a filter.
RAW_TASKS = {
    ("customize", "Prepare what lasts for the build"): "nothing",
    ("family", "List the packages"): "package_list",
    ("initramfs", "Start to build the initramfs of every kernel"): "nothing",
    ("packages", "Install packages by the image's own package manager"): "a line is compared",
}


def test_every_module_of_a_task_in_an_image_is_one_whose_result_is_kept() -> None:
    assert len(MODULES) >= 6
    assert set(MODULES) <= {"root_info", *ROUTES}
    assert {it["action_plugin"] for it in ROUTES.values()} == {"sealedroot.image.root_info"}
    assert all(_documented.returned(module) for module in MODULES)
    # Its facts are for a person's own roles.
    assert {"ansible.builtin.setup"} == CORES


def test_every_raw_task_in_an_image_is_known() -> None:
    found = {(role, task["name"]): task for role, task in IN_IMAGE if RAW in task}
    assert set(found) == set(RAW_TASKS)
    for (role, name), task in found.items():
        if RAW_TASKS[role, name] == "nothing":
            assert "register" not in task
        if RAW_TASKS[role, name] == "package_list":
            text = (pathlib.Path(ROLES) / role / "tasks/finish.yml").read_text()
            used = re.findall(rf"{{{{ *{task['register']}.*}}}}", text)
            assert len(used) == 1
            assert f"{task['register']}.stdout_lines | sealedroot.image.package_list(" in used[0]


def test_no_name_of_a_role_or_a_file_is_made_from_data() -> None:
    """Each template in the place of a name is one of these, which choose from a list, or a person's own input."""
    allowed = {
        *("{{ customize_step.role }}", "{{ __image_publish_tasks }}"),
        "{{ [lookup('ansible.builtin.env', 'PWD'), customize_step.tasks] | path_join }}",
        "{{ 'present' if __plan_decided.same else 'show' }}",
        "{{ 'collect' if __image_collected | bool else 'here' }}",
    }
    files = [*pathlib.Path(ROLES).glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml")]
    words = (
        "include_role",
        "import_role",
        "include_tasks",
        "import_tasks",
        "include_vars",
        "import_playbook",
    )
    seen = set()
    for path in files:
        for task in tasks(play_tasks(yaml.safe_load(path.read_text()))):
            for word in words:
                what = task.get(f"ansible.builtin.{word}", "")
                names = (
                    [what]
                    if isinstance(what, str)
                    else [str(it) for key, it in what.items() if key != "apply"]
                )
                seen |= {template for name in names for template in re.findall(r"{{.*?}}", name)}
    assert seen == allowed


def play_tasks(document: t.Any) -> list[t.Any]:
    """Return the tasks of a file, which may be a playbook."""
    return [task for it in document for task in (it.get("tasks", []) if "hosts" in it else [it])]
