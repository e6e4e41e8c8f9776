# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an owner runs: images are measured again, and guests that a program plays get their keys."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import typing as t

import efi
import firmware
import pytest
import qmp_peer
import yaml
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    secret_table,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The collection, for plays that are elsewhere.
LINKED = str(ROOT / "playbooks" / "collections")
CORE = efi.program(efi.grub(["luks"]))
KEY = b"K3y+" * 11


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where an owner works: an image, two sessions and a firmware."""
    image = tmp_path / "out" / "web"
    (image / "launch").mkdir(parents=True)
    (image / "launch" / "core.efi").write_bytes(CORE)
    (image / "launch" / "hashes.bin").write_bytes(kernel_hashes.table(CORE))
    (image / "manifest.json").write_text(json.dumps({"launch": qmp_peer.launch()}))
    secrets = {image / "boot.key": KEY}
    for name in ("web-1", "web-2"):
        secrets[tmp_path / f"{name}_tik.bin"] = qmp_peer.TIK
        secrets[tmp_path / f"{name}_tek.bin"] = qmp_peer.TEK
    for path, data in secrets.items():
        path.touch(0o600)
        path.write_bytes(data)
    (image / "launch" / "firmware.fd").write_bytes(firmware.ovmf())
    return tmp_path


def play(name: str, place: pathlib.Path, *words: str, **env: str) -> str:
    """Run a playbook of the clone, and return all that was said."""
    done = subprocess.run(
        ["ansible-playbook", str(ROOT / "playbooks" / f"{name}.yml"), *words],
        cwd=place,
        env={
            **{key: value for key, value in os.environ.items() if "ANSIBLE" not in key},
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "PWD": str(place),
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return f"{done.stdout}{done.stderr}\nrc={done.returncode}"


def test_every_variable_is_known_and_documented() -> None:
    read = {
        name
        for playbook in (ROOT / "playbooks").glob("*.yml")
        for line in playbook.read_text().splitlines()
        if re.search(r"{{|}}|when:", line)
        for name in re.findall(r"\b(?:enroll|launch|rotate)_\w+", re.sub(r"'[^']*'", "", line))
    }
    assert read == {it for names in _inputs.OF_PLAYBOOKS.values() for it in names}
    tables = (ROOT / "docs/deploy.md").read_text().split("| variable | what it is |")[1:]
    rows = [row for table in tables for row in table.partition("\n\n")[0].splitlines()]
    cells = [row.split("|")[1] for row in rows if "`" in row]
    documented = {name for cell in cells for name in re.findall(r"`((?:enroll|launch)_\w+)`", cell)}
    # The playbook of the last one says what it is.
    assert read - {"rotate_hosts"} == documented


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("enroll_tpm", "enroll_tpm_pcr", "enroll_tpm_pcrs"),
        ("inject_launch_secret", "launch_vcpu", "launch_vcpus"),
        ("measure_image", "launch_measurments", "launch_measurements"),
        ("rotate_keys", "rotate_hots", "rotate_hosts"),
        ("teardown", "image_nmae", "image_name"),
        ("verify_image", "image_output_directory", "image_output_dir"),
    ],
)
def test_a_misspelled_input_is_refused_before_anything_is_done(
    place: pathlib.Path, name: str, wrong: str, right: str
) -> None:
    (place / "machines.ini").write_text("[machines]\nlocalhost ansible_connection=local\n")
    given = (
        "-i",
        "machines.ini",
        "-e",
        "image_name=web",
        "-e",
        f"{wrong}=2",
        "-e",
        "launch_socket=x",
    )
    before = sorted(place.rglob("*"))
    said = play(name, place, *given, "-e", "launch_session=x", "-e", "ansible_become=false")
    assert f"No input is called {wrong}: write {right}." in said
    assert "rc=2" in said
    assert [it for it in sorted(place.rglob("*")) if "home" not in it.parts] == before


def test_a_misspelled_input_is_refused_wherever_it_is(place: pathlib.Path) -> None:
    """In a play, in its files, with a role, or with the builder."""
    (place / "more.yml").write_text("image_secureboot: true\n")
    (place / "hosts.ini").write_text("builder ansible_connection=local image_build_at_once=4\n")
    name = "sealedroot.image.preflight"
    given = {"image_name": "web", "image_builder": "builder", "image_source": {"type": "tar"}}
    plays = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {**given, "image_sise": "9GiB"},
            "vars_files": ["more.yml"],
            "roles": ["sealedroot.image.image"],
            "tasks": [
                {
                    "ansible.builtin.import_role": {"name": name, "tasks_from": "inputs"},
                    "vars": {"image_fs": "xfs"},
                }
            ],
        }
    ]
    (place / "play.yml").write_text(json.dumps(plays))
    said = play(str(place / "play"), place, "-i", "hosts.ini", ANSIBLE_COLLECTIONS_PATH=LINKED)
    assert (
        "No input is called image_build_at_once or image_fs or image_secureboot or image_sise:"
        " write image_builds_at_once and image_filesystem and image_secure_boot and image_size."
    ) in said


def test_whose_tpm_it_is_is_said_before_it_gets_the_key() -> None:
    (enrolment,) = yaml.safe_load((ROOT / "playbooks/enroll_tpm.yml").read_text())
    _info, look, said, seal, *_proof = enrolment["tasks"]
    module = "sealedroot.image.tpm_seal"
    assert (look["check_mode"], "check_mode" in seal) == (True, False)
    assert look[module] == seal[module]
    assert f"{look['register']}.says" in said["ansible.builtin.debug"]["msg"]


def test_an_image_is_measured_and_compared(place: pathlib.Path) -> None:
    given = ("-e", "image_name=web")
    types = {"launch_types": ["sev", "sev-es"], "launch_vcpu_counts": [1, 2]}
    more = ("-e", json.dumps({**types, "launch_vcpu_types": ["EPYC-v4", "EPYC-Milan"]}))
    before = sorted(place.rglob("*"))
    other = play("measure_image", place, *given, *more)
    assert "manifest.json says something else: by_vcpu_type.EPYC-Milan.sev_es.1," in other
    written = ("-e", "launch_measurements=found.json")
    said = play("measure_image", place, *given, *more, *written, "-e", "launch_expected=")
    assert "rc=0" in said, said
    found = json.loads((place / "found.json").read_text())
    assert list(found) == sorted(["by_vcpu_type", "firmware", "kernel", "pcrs", "sev", "sev_es"])
    # With what is right in the manifest, nothing is written.
    (place / "out/web/manifest.json").write_text(json.dumps({"launch": found}))
    (place / "found.json").unlink()
    said = play("measure_image", place, *given)
    assert "rc=0" in said, said
    assert found["sev"] in said
    assert [it for it in sorted(place.rglob("*")) if "home" not in it.parts] == before


def test_an_image_made_earlier_is_measured_without_key_and_disk(place: pathlib.Path) -> None:
    """Of a disk of any format nothing is read. An earlier manifest has fewer measurements."""
    image = place / "out/web"
    (image / "boot.key").unlink()
    digests = {
        name: {"sha256": hashlib.sha256(data).hexdigest()}
        for name, data in (("firmware", firmware.ovmf()), ("kernel", CORE))
    }
    (image / "manifest.json").write_text(json.dumps({"launch": digests}))
    said = play("measure_image", place, "-e", "image_name=web")
    assert "rc=0" in said, said
    assert digests["kernel"]["sha256"] in said


NO_MANIFEST = "out/other/manifest.json is no manifest of an image: put the right one back."


@pytest.mark.parametrize(
    ("name", "manifest", "says"),
    [
        (
            "other",
            b"{}",
            "out/other has no launch/core.efi: only an image with launch_secret or tpm2 in",
        ),
        ("wbe", b"", "out/wbe has no manifest.json, so no image is there: correct image_name or"),
        ("other", b'{"inputs": {"unlock": ["tpm2", "prompt"]}}', NO_MANIFEST),
        ("other", b'{"inputs": ', NO_MANIFEST),
        ("other", b"\xff", NO_MANIFEST),
    ],
)
def test_what_is_not_measured(place: pathlib.Path, name: str, manifest: bytes, says: str) -> None:
    (place / "out/other").mkdir()
    (place / "out/other/manifest.json").write_bytes(manifest)
    said = play("measure_image", place, "-e", f"image_name={name}")
    assert "rc=2" in said
    assert says in said


def test_two_machines_of_one_image_get_its_key(place: pathlib.Path) -> None:
    """One of them is another: it gets nothing, and the other one is not kept waiting."""
    hosts = {
        name: {"launch_socket": f"{name}.qmp", "launch_session": name}
        for name in ("web-1", "web-2")
    }
    common = {"image_name": "web", "launch_type": "sev-es", "launch_vcpus": 2}
    inventory = {"images": {"hosts": hosts, "vars": common}}
    (place / "machines.json").write_text(json.dumps(inventory))
    right = qmp_peer.Guest(place / "web-1.qmp", policy=15)
    data = qmp_peer.signed(b"\x11" * 32, policy=15)
    wrong = qmp_peer.Guest(place / "web-2.qmp", policy=15, measurement=data)
    log = place / "log"
    with contextlib.ExitStack() as stack:
        for guest in (right, wrong):
            stack.enter_context(guest.listening())
        words = ("-i", "machines.json", "-vvvv", "--diff")
        kept: dict[str, t.Any] = {"ANSIBLE_LOG_PATH": str(log), "ANSIBLE_KEEP_REMOTE_FILES": "1"}
        said = play("inject_launch_secret", place, *words, **kept)
    assert right.table == secret_table.build(KEY, 0xC00), said
    assert right.state["status"] == "running"
    assert (wrong.table, wrong.state["status"]) == (b"", "prelaunch")
    assert "was started with sev-es and 1 processor: start it as it was measured" in said
    # Neither the key nor those of the session are in what was said, kept or sent.
    texts = [said.encode(), log.read_bytes(), json.dumps([right.heard, wrong.heard]).encode()]
    texts += [it.read_bytes() for it in (place / "home").rglob("*") if it.is_file()]
    for secret in (KEY, qmp_peer.TIK, qmp_peer.TEK, right.table):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert not any(form in text for text in texts)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        (
            "inject_launch_secret",
            ("-e", "launch_socket=x"),
            "launch_session is missing: give NAME of sevctl session --name NAME",
        ),
        (
            "inject_launch_secret",
            ("-e", "launch_session=x"),
            "launch_socket is missing: give the monitor of QEMU",
        ),
    ],
)
def test_what_is_missing(
    place: pathlib.Path, name: str, words: tuple[str, ...], message: str
) -> None:
    assert message in play(name, place, "-e", "image_name=web", *words)
