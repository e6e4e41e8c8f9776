# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module documents of its result is what is kept of it."""

from __future__ import annotations

import time
import typing as t

import hostile_answers
import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers, _documented

ROUTES = yaml.safe_load((_documented.PLUGINS.parent / "meta/runtime.yml").read_text())
MODULES = ["root_info", *ROUTES["plugin_routing"]["modules"]]
ARGS: dict[str, t.Any] = {"facts": True, "path": "/a", "secure_boot": {"hash": "sha256"}}


def kept(module: str, **answer: t.Any) -> dict[str, t.Any]:
    return _documented.kept(module, answer, ARGS)


@pytest.mark.parametrize("module", MODULES)
def test_an_honest_answer_is_kept_whole(module: str) -> None:
    honest = hostile_answers.example(_documented.returned(module), ARGS)
    assert honest
    assert kept(module, **honest) == {"changed": False, **honest}


@pytest.mark.parametrize("module", MODULES)
def test_of_each_key_a_value_of_another_type_is_refused(module: str) -> None:
    spec = _documented.returned(module)
    honest = hostile_answers.example(spec, ARGS)
    for key, what in spec.items():
        for value in (
            None,
            1.5,
            True,
            -1 << 70,
            "a",
            ["a"],
            {"a": 1},
            {"a": {"b": object()}},
            [["a"]],
        ):
            fits = {
                "str": isinstance(value, str) and "choices" not in what,
                "list": value == ["a"] and what.get("elements") == "str",
                "dict": value == {"a": 1} and "contains" not in what,
                "bool": value is True,
                "path": isinstance(value, str),
            }
            if fits.get(what["type"]):
                continue
            with pytest.raises(_documented.UnfitError, match=key):
                kept(module, **{**honest, key: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"initramfs": "busybox"}, "root.initramfs is none of '', 'initramfs_tools'"),
        ({"kernels": "6.1"}, "root.kernels is no list"),
        ({"kernels": ["a"] * 20_001}, "root.kernels has more than 20000 elements"),
        ({"family": "a" * 5000}, "root.family has more than 4096 characters"),
        ({"os_release": {"a b": "c"}}, "root.os_release has a key with other characters"),
        ({"os_release": {"_ansible_x": "c"}}, "root.os_release has a key with other characters"),
        ({"unpacked_bytes": True}, "root.unpacked_bytes is no int"),
        ({"has": {}}, "root.has.grub_platforms is missing"),
        ({"secure_boot": {"shim": 1}}, "root.secure_boot.shim is no str"),
    ],
)
def test_what_a_dict_contains_is_judged_as_well(change: t.Any, said: str) -> None:
    honest = hostile_answers.example(_documented.returned("root_info"), ARGS)
    with pytest.raises(_documented.UnfitError, match=said):
        kept("root_info", **{**honest, "root": {**honest["root"], **change}})


def test_facts_are_kept_only_when_they_are_asked_for_and_only_the_documented_ones() -> None:
    honest = hostile_answers.example(_documented.returned("root_info"), ARGS)
    honest["ansible_facts"].update(hostile_answers.VARIABLES)
    facts = kept("root_info", **honest)["ansible_facts"]
    assert set(facts) <= set(_documented.returned("root_info")["ansible_facts"]["contains"])
    assert all(_answers._is_fact(name, value) for name, value in facts.items())
    assert "ansible_facts" not in _documented.kept("root_info", honest, {"facts": False})
    assert "secure_boot" not in _documented.kept("root_info", honest, {})["root"]
    assert "tar" not in _documented.kept("root_info", honest, {})
    assert "tar" not in _documented.kept("root_info", honest, {"path": None})


def test_core_s_own_keys_are_plain_text() -> None:
    found = kept(
        "chroot_prep",
        files=[],
        changed=True,
        diff={
            "before": "a\x1b",
            "after": {"/\x1b": [1]},
            "prepared": {"a": 1},
            "before_header": 1,
            "x": "y",
        },
        warnings=["a\x1b", {"event": {"msg": "b"}}, 1],
        invocation={"module_args": {}},
        evil=1,
    )
    assert found == {
        "changed": True,
        "diff": [{"before": "a\ufffd", "after": {"/\ufffd": [1]}}],
        "files": [],
        "warnings": ["a\ufffd", "b"],
    }


def test_a_failure_is_text_of_a_bounded_length() -> None:
    found = kept(
        "chroot_prep", failed=True, msg="a" * 10_000, rc="1", exception=[1], files=["x"], evil=1
    )
    assert set(found) == {"failed", "msg"}
    assert len(found["msg"]) < 4200
    assert kept("chroot_prep", failed=True)["msg"] == "it gave no reason"
    assert kept("chroot_prep", failed=True, msg={"a": 1}, rc=3) == {
        "failed": True,
        "msg": "{'a': 1}",
        "rc": 3,
    }


def test_the_lists_of_choices_are_those_that_facts_have() -> None:
    facts = _documented.returned("root_info")["ansible_facts"]["contains"]
    assert tuple(facts["ansible_pkg_mgr"]["choices"]) == _answers.PACKAGE_MANAGERS
    assert set(facts["ansible_service_mgr"]["choices"]) <= set(_answers.SERVICE_MANAGERS)


def test_reading_what_a_module_documents_takes_no_time_that_a_person_sees() -> None:
    _documented.returned.cache_clear()
    start = time.process_time()
    _documented.returned("root_info")
    # 9 ms were measured on a quiet machine.
    assert time.process_time() - start < 0.5
