# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_audit as a module: its questions and answers. What it examines is in tests/integration."""

from __future__ import annotations

import hashlib
import json
import pathlib
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._audit import order, reports
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

KEY = b"a key that can be typed"
RunModule = t.Callable[..., t.Any]


@pytest.fixture
def args(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    for name, content in (("disk", b"x"), ("boot", KEY), ("recovery", KEY + b"2")):
        (tmp_path / name).write_bytes(content)
    return {
        "path": str(tmp_path / "disk"),
        "keys": {"boot": str(tmp_path / "boot"), "recovery": str(tmp_path / "recovery")},
    }


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[reports.Subject]:
    """Let every check pass, and keep what was to be examined."""
    subjects: list[reports.Subject] = []

    def examine(_runner: object, subject: t.Any, report: reports.Report) -> None:
        subjects.append(subject)
        for name in reports.CHECKS:
            report.add(name, [], "fine")

    monkeypatch.setattr(order, "examine", examine)
    return subjects


def test_what_was_not_tried_is_a_warning(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(_runner: object, _subject: t.Any, report: reports.Report) -> None:
        report.warnings.append("slot 1 was not tried")
        for name in reports.CHECKS:
            report.add(name, [], "fine")

    said: list[str] = []
    monkeypatch.setattr(order, "examine", examine)
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: said.append(text))
    assert not run_module("image_audit", **args).failed
    assert said == ["slot 1 was not tried"]


@pytest.mark.parametrize("check", [True, False])
def test_defaults(
    run_module: RunModule,
    args: dict[str, t.Any],
    examined: list[reports.Subject],
    check: bool,
) -> None:
    outcome = run_module("image_audit", _check=check, **args)
    assert not outcome.failed
    assert not outcome["changed"]
    assert all(it["verdict"] == "ok" for it in outcome["checks"])
    (subject,) = examined
    assert subject.slots == {0: 1000, 1: 1000}
    assert (subject.esp_files, subject.secure_boot) == ((), False)
    # What is not asked for is closed.
    assert (subject.debug_console, subject.host_agents, subject.public_files) == (False, (), ())
    assert subject.keys == {"boot": KEY, "recovery": KEY + b"2"}
    assert KEY.decode() not in json.dumps(outcome.result)


def test_expectations(
    run_module: RunModule, args: dict[str, t.Any], examined: list[reports.Subject]
) -> None:
    args["keys"].pop("recovery")
    args["expected"] = {"slots": {"0": 1000, "1": 600000}, "luks_uuid": "1"}
    args["dead_key_files"] = [args["keys"]["boot"]]
    assert not run_module("image_audit", **args).failed
    assert examined[0].slots == {0: 1000, 1: 600000}
    assert examined[0].luks_uuid == "1"
    assert list(examined[0].keys) == ["boot"]
    assert examined[0].dead_keys == (KEY,)


def test_what_may_be_open(
    run_module: RunModule, args: dict[str, t.Any], examined: list[reports.Subject]
) -> None:
    args["expected"] = {"debug_console": True, "host_agents": ["cloud-init"]}
    assert not run_module("image_audit", **args).failed
    assert examined[0].debug_console is True
    assert examined[0].host_agents == ("cloud-init",)


def test_what_is_published_is_what_lies_beside_the_image(
    run_module: RunModule, args: dict[str, t.Any], examined: list[reports.Subject]
) -> None:
    directory = pathlib.Path(args["path"]).parent
    dead = directory / "dead"
    dead.write_bytes(KEY + b"3")
    files = {
        # Meant for others, whatever its mode is now.
        "manifest.json": (0o600, 1),
        "bom.json": (0o644, 2),
        "notes.txt": (0o640, 3),
        "private.txt": (0o600, 0),
        "disk.vmdk": (0o644, 0),
    }
    for name, (mode, size) in files.items():
        (directory / name).write_bytes(bytes(size))
        (directory / name).chmod(mode)
    (directory / "link").symlink_to("private.txt")
    (directory / "more").mkdir()
    args["dead_key_files"] = [str(dead)]
    assert not run_module("image_audit", **args).failed
    # Small ones first.
    names = ("manifest.json", "bom.json", "notes.txt")
    assert examined[0].public_files == tuple(f"{directory}/{name}" for name in names)
    assert not run_module("image_audit", **args, public_files=[f"{directory}/private.txt"]).failed
    assert examined[1].public_files == (f"{directory}/private.txt",)
    assert not run_module("image_audit", **args, public_files=[]).failed
    assert examined[2].public_files == ()


def published(
    run_module: RunModule, script: t.Any, args: dict[str, t.Any], text: str, **more: t.Any
) -> dict[str, str]:
    """Return the verdict on a manifest; what is wrong with the image ends the audit after that."""
    manifest = pathlib.Path(args["path"]).with_name("manifest.json")
    manifest.write_text(text)
    script.expect(
        ["qemu-img", "info", "--output=json", args["path"]],
        stdout='{"format": "qcow2", "backing-filename": "/base"}',
    )
    outcome = run_module("image_audit", **args, **more)
    (check,) = (it for it in outcome["checks"] if it["name"] == "published")
    assert KEY.decode() not in check["detail"]
    return {"verdict": check["verdict"], "detail": check["detail"]}


def test_nothing_of_a_key_is_published(
    run_module: RunModule, script: t.Any, args: dict[str, t.Any]
) -> None:
    found = published(run_module, script, args, '{"name": "an image"}')
    assert found == {"verdict": "ok", "detail": "no key and no digest of one: manifest.json"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (KEY.decode(), "manifest.json has the boot key (as it is)"),
        (hashlib.sha256(KEY).hexdigest(), "boot key (sha256 of it, in hexadecimal)"),
        (hashlib.sha1(KEY + b"2").hexdigest(), "recovery key (sha1 of it, in hexadecimal)"),
        (hashlib.sha256(KEY).hexdigest()[-20:], "boot key (sha256 of it, in hexadecimal)"),
    ],
)
def test_a_key_or_a_digest_of_one_is_found_in_what_is_published(
    run_module: RunModule, script: t.Any, args: dict[str, t.Any], text: str, says: str
) -> None:
    found = published(run_module, script, args, json.dumps({"x": text}))
    assert found["verdict"] == "failed"
    assert says in found["detail"]


def test_no_more_is_read_of_what_is_published_than_is_said(
    run_module: RunModule, script: t.Any, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "_MOST_OF_A_FILE", 100)
    monkeypatch.setattr(order, "_MOST_PUBLISHED", 130)
    directory = pathlib.Path(args["path"]).parent
    (directory / "long.txt").write_bytes(bytes(100) + KEY)
    (directory / "longer.txt").write_bytes(bytes(28) + KEY + bytes(100))
    assert published(run_module, script, args, "{}") == {
        "verdict": "ok",
        "detail": "no key and no digest of one: manifest.json, long.txt, longer.txt; too long to be read to the end: "
        "long.txt, longer.txt",
    }


def test_what_is_published_and_cannot_be_read(
    run_module: RunModule, script: t.Any, args: dict[str, t.Any]
) -> None:
    found = published(run_module, script, args, "", public_files=["/nonexistent/x.json"])
    assert found["verdict"] == "failed"
    assert found["detail"] == "/nonexistent/x.json cannot be read: No such file or directory"


def test_failed_checks_are_all_named(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(_runner: object, _subject: object, report: reports.Report) -> None:
        for name in reports.CHECKS:
            report.add(name, ["change this"] if name in ("header", "esp") else [], "fine")
        report.facts["format"] = "raw"

    monkeypatch.setattr(order, "examine", examine)
    outcome = run_module("image_audit", **args)
    assert outcome.failed
    assert "2 checks failed: header: change this; esp: change this" in outcome["msg"]
    assert outcome["facts"] == {"format": "raw", "sha256": hashlib.sha256(b"x").hexdigest()}
    assert len(outcome["checks"]) == len(reports.CHECKS)


def test_an_audit_that_breaks_off(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(_runner: object, _subject: object, _report: object) -> None:
        raise SealedRootError("sfdisk is not installed on this machine")

    monkeypatch.setattr(order, "examine", examine)
    outcome = run_module("image_audit", **args)
    assert outcome["msg"] == "sfdisk is not installed on this machine"
    assert all(check["verdict"] == "failed" for check in outcome["checks"])


def test_the_image_has_a_backing_file(
    run_module: RunModule, script: t.Any, args: dict[str, t.Any]
) -> None:
    script.expect(
        ["qemu-img", "info", "--output=json", args["path"]],
        stdout='{"format": "qcow2", "backing-filename": "/base"}',
    )
    outcome = run_module("image_audit", **args)
    assert "format: it has the backing file /base" in outcome["msg"]


@pytest.mark.parametrize(
    "content", [b"", b"short", KEY + b"\n", KEY + b"\xc3\xa4", b"x" * 255], ids=repr
)
def test_keys_that_cannot_be_typed(
    run_module: RunModule, args: dict[str, t.Any], content: bytes
) -> None:
    pathlib.Path(args["keys"]["boot"]).write_bytes(content)
    assert "cannot be typed at GRUB" in run_module("image_audit", **args)["msg"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "/nonexistent"}, "is not a file"),
        ({"markers": ["short"]}, "fewer than 8 bytes"),
        ({"expected": {"slots": {"a": 1}}}, "must have numbers"),
        ({"dead_key_files": ["/nonexistent"]}, "cannot be read"),
    ],
)
def test_bad_questions(
    run_module: RunModule, args: dict[str, t.Any], change: dict[str, t.Any], says: str
) -> None:
    assert says in run_module("image_audit", **{**args, **change})["msg"]
