# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import lease, report
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import secret_table


@pytest.fixture
def partial(tmp_path):
    path = tmp_path / ".web.partial"
    path.mkdir()
    (path / "disk.qcow2").write_bytes(b"disk")
    return path


def publish(run_module, partial, **more):
    return run_module(
        "image_publish",
        src_dir=str(partial),
        dest=str(partial.parent / "web"),
        manifest={"name": "web"},
        **more,
    )


def test_everything_appears_at_once(run_module, partial):
    outcome = publish(run_module, partial)
    assert outcome["changed"]
    final = partial.parent / "web"
    assert not partial.exists()
    manifest = json.loads((final / "manifest.json").read_text())
    digest = hashlib.sha256(b"disk").hexdigest()
    assert manifest.keys() == {"name", "files"}
    assert manifest["files"].keys() == {"disk.qcow2", "report.html"}
    assert manifest["files"]["disk.qcow2"] == {"sha256": digest, "size": 4}


def test_the_report_is_made_of_the_manifest_and_listed_in_it(run_module, partial):
    # One that was left by an interrupted call is not listed as a file of its own.
    (partial / "report.html").write_text("old")
    publish(run_module, partial, software=SOFTWARE)
    final = partial.parent / "web"
    manifest = json.loads((final / "manifest.json").read_text())
    page = (final / "report.html").read_bytes()
    assert page == report.page(manifest).encode()
    assert manifest["files"]["report.html"]["sha256"] == hashlib.sha256(page).hexdigest()
    assert (final / "report.html").stat().st_mode & 0o777 == 0o644
    assert run_module("published_image_info", path=str(final))["files"] == dict.fromkeys(
        ("bom.json", "disk.qcow2", "report.html"), True
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files away")
def test_what_sudo_publishes_is_the_callers(run_module, partial, monkeypatch):
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "12346")
    (partial / "boot.key").write_bytes(b"k" * 44)
    publish(run_module, partial, software=SOFTWARE)
    final = partial.parent / "web"
    there = {it.name: it.stat() for it in (final, *final.iterdir())}
    assert {name: it.st_uid for name, it in there.items()} == dict.fromkeys(
        ("web", "bom.json", "boot.key", "disk.qcow2", "manifest.json", "report.html"), 12345
    )
    assert {it.st_gid for it in there.values()} == {12346}


def test_nothing_of_a_key_is_published(run_module, partial):
    """By its digest a passphrase could be guessed at one hash a try, and its size says how many to try."""
    for name in ("boot.key", "recovery.key"):
        (partial / name).write_bytes(b"k" * 4321)
    files = publish(run_module, partial, digests={"boot.key": "known"})["files"]
    manifest = json.loads((partial.parent / "web" / "manifest.json").read_text())
    assert manifest["files"] == files
    assert files["boot.key"] == {"slot": 0}
    assert files["recovery.key"] == {"slot": 1}
    assert set(files) == {"boot.key", "disk.qcow2", "recovery.key", "report.html"}


def test_what_a_confidential_guest_is_started_from(run_module, partial, tmp_path):
    """Of the table with the key there is no more in the manifest than which key it holds."""
    (partial / "launch").mkdir()
    for name in ("core.efi", "hashes.bin"):
        (partial / "launch" / name).write_bytes(name.encode())
    keys = tmp_path / "keys"
    keys.mkdir()
    table = secret_table.build(b"k" * 44, 0xC00)
    for name, content in (("boot.key", b"k" * 44), ("secret.bin", table)):
        (keys / name).touch(0o600)
        (keys / name).write_bytes(content)
    files = publish(run_module, partial, key_files=[str(it) for it in keys.iterdir()])["files"]
    final = partial.parent / "web"
    manifest = json.loads((final / "manifest.json").read_text())
    assert manifest["files"] == files
    assert files["launch/secret.bin"] == {"holds": "boot.key"}
    digest = hashlib.sha256(b"core.efi").hexdigest()
    assert files["launch/core.efi"] == {"sha256": digest, "size": 8}
    assert {it.name for it in (final / "launch").iterdir()} == {
        "core.efi",
        "hashes.bin",
        "secret.bin",
    }
    assert (final / "launch/secret.bin").read_bytes() == table
    assert (final / "launch/secret.bin").stat().st_mode & 0o777 == 0o600
    assert "launch" not in files


def test_check_mode_publishes_nothing(run_module, partial):
    assert publish(run_module, partial, _check=True)["changed"]
    assert [path.name for path in partial.iterdir()] == ["disk.qcow2"]


def test_an_image_that_is_there_is_not_replaced(run_module, partial):
    (partial.parent / "web").mkdir()
    outcome = publish(run_module, partial)
    assert outcome.failed
    assert "set replace" in outcome["msg"]
    assert partial.exists()


def test_an_image_that_is_there_is_replaced_on_demand(run_module, partial):
    (partial.parent / "web").mkdir()
    (partial.parent / "web" / "old").touch()
    assert publish(run_module, partial, replace=True)["changed"]
    assert sorted(path.name for path in partial.parent.iterdir()) == ["web"]
    assert not (partial.parent / "web" / "old").exists()


def test_nothing_to_publish_is_said(run_module, tmp_path):
    outcome = publish(run_module, tmp_path / "gone")
    assert outcome.failed
    assert "nothing to publish" in outcome["msg"]


def test_a_known_digest_is_not_computed_again(run_module, partial):
    outcome = publish(run_module, partial, digests={"disk.qcow2": "known"})
    assert outcome["files"]["disk.qcow2"]["sha256"] == "known"


SOFTWARE = {
    "type": "deb",
    "packages": ["bash 5.2.15-2+b8 amd64"],
    "os_release": {"ID": "debian", "VERSION_ID": "12"},
    "image_uuid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
}


def test_the_software_is_listed_beside_the_manifest(run_module, partial):
    files = publish(run_module, partial, software=SOFTWARE)["files"]
    text = (partial.parent / "web" / "bom.json").read_bytes()
    assert files["bom.json"]["sha256"] == hashlib.sha256(text).hexdigest()
    assert json.loads(text)["components"][0]["name"] == "bash"


def test_check_mode_writes_no_list(run_module, partial):
    publish(run_module, partial, software=SOFTWARE, _check=True)
    assert [path.name for path in partial.iterdir()] == ["disk.qcow2"]


def test_a_uuid_that_is_none_is_said_before_anything_is_written(run_module, partial):
    outcome = publish(run_module, partial, software={**SOFTWARE, "image_uuid": "web-1"})
    assert outcome.failed
    assert "image_uuid 'web-1' is no UUID" in outcome["msg"]
    assert [path.name for path in partial.iterdir()] == ["disk.qcow2"]


def test_only_who_has_the_lease_publishes(run_module, partial):
    final = partial.parent / "web"
    outcome = publish(run_module, partial, lease="1234")
    assert outcome.failed
    assert "has lost the lease" in outcome["msg"]
    assert not final.exists()
    file = lease.path_of(str(final))
    with open(file, "w") as handle:
        json.dump({"id": "1234", "who": "x", "doing": "built", "since": "y"}, handle)
    assert publish(run_module, partial, lease="12").failed
    assert publish(run_module, partial, lease="1234")["changed"]
    assert final.exists()
    # It is given back.
    assert sorted(path.name for path in final.parent.iterdir()) == ["web"]


def test_keys_come_to_the_disk_when_it_is_published(run_module, partial, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("boot.key", "recovery.key"):
        (keys / name).touch(0o600)
        (keys / name).write_text(f"the {name}")
    paths = [str(path) for path in sorted(keys.iterdir())]
    checked = publish(run_module, partial, key_files=paths, _check=True)
    assert [path.name for path in partial.iterdir()] == ["disk.qcow2"]
    made = publish(run_module, partial, key_files=paths)
    assert checked["files"] == made["files"]
    final = partial.parent / "web"
    assert (final / "boot.key").read_text() == "the boot.key"
    assert (final / "recovery.key").stat().st_mode & 0o777 == 0o600
    assert set(made["files"]) == {"boot.key", "disk.qcow2", "recovery.key", "report.html"}


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("boot.key", 0o644, "can be read by others"),
        (
            "build.key",
            0o600,
            "is no key of an image, which are called boot.key, recovery.key, secret.bin",
        ),
    ],
)
def test_a_key_file_that_cannot_be_published(run_module, partial, tmp_path, name, mode, words):
    path = tmp_path / name
    path.write_text("key")
    path.chmod(mode)
    outcome = publish(run_module, partial, key_files=[str(path)])
    assert outcome.failed
    assert words in outcome["msg"]
    assert [path.name for path in partial.iterdir()] == ["disk.qcow2"]


def test_the_build_is_released_when_the_image_is_published(run_module, partial, tmp_path):
    work = tmp_path / "work" / "web"
    (work / "root").mkdir(parents=True)
    publish(run_module, partial, work_dir=str(work), _check=True)
    assert work.exists()
    publish(run_module, partial, work_dir=str(work))
    assert (partial.parent / "web").exists()
    assert not work.exists()


def test_an_image_is_published_whose_build_cannot_be_released(run_module, partial, tmp_path):
    work = tmp_path / "work" / "web"
    work.mkdir(parents=True)
    (work / "foreign").touch()
    outcome = publish(run_module, partial, work_dir=str(work))
    assert outcome.failed
    assert (
        f"{partial.parent}/web is published, but its build could not be released" in outcome["msg"]
    )
    assert (partial.parent / "web").exists()
    assert (work / "foreign").exists()


def test_a_refusal_leaves_no_key_on_the_disk(run_module, partial, tmp_path):
    key = tmp_path / "boot.key"
    key.touch(0o600)
    key.write_text("a key that is long enough to be found, 44 chars")
    for check in (False, True):
        outcome = run_module(
            "image_publish",
            _check=check,
            src_dir=str(partial),
            dest=str(partial.parent / "web"),
            manifest={"name": key.read_text()},
            key_files=[str(key)],
        )
        assert "others may read that" in outcome["msg"]
        assert [path.name for path in partial.iterdir()] == ["disk.qcow2"]


def test_no_key_is_written_through_a_hard_link(run_module, partial, tmp_path):
    victim, key = tmp_path / "victim", tmp_path / "boot.key"
    victim.write_text("precious")
    victim.chmod(0o600)
    (partial / "boot.key").hardlink_to(victim)
    key.touch(0o600)
    key.write_text("the key")
    publish(run_module, partial, key_files=[str(key)])
    assert victim.read_text() == "precious"
    assert (partial.parent / "web" / "boot.key").read_text() == "the key"


def test_one_key_file_is_given_twice(run_module, partial, tmp_path):
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "boot.key"
        path.touch(0o600)
        path.write_text(name)
        paths.append(str(path))
    outcome = publish(run_module, partial, key_files=paths)
    assert "key_files has boot.key twice" in outcome["msg"]


@pytest.mark.parametrize("work", [".", "web", "web/build"])
def test_no_image_is_published_where_it_would_go_with_its_build(
    work, run_module, partial, tmp_path
):
    outcome = publish(run_module, partial, work_dir=str(tmp_path / work), replace=True)
    assert outcome.failed
    assert "publish it elsewhere" in outcome["msg"]
    assert partial.exists()


def test_an_image_called_old_stays(run_module, partial):
    """It is somebody's own name for a backup."""
    (partial.parent / "web").mkdir()
    for name in ("web.old", ".web.replaced"):
        (partial.parent / name).mkdir()
        (partial.parent / name / "disk.qcow2").touch()
    # The slash is no part of the name.
    outcome = run_module(
        "image_publish",
        src_dir=f"{partial}/",
        dest=f"{partial.parent}/web/",
        manifest={"name": "web"},
        replace=True,
    )
    assert outcome["changed"]
    assert (partial.parent / "web.old" / "disk.qcow2").exists()
    assert sorted(path.name for path in partial.parent.iterdir()) == ["web", "web.old"]


def test_check_mode_names_the_same_files(run_module, partial):
    software = {"type": "deb", "packages": [], "image_uuid": "x"}
    for check in (False, True):
        outcome = publish(run_module, partial, software=software, _check=check)
        assert "is no UUID" in outcome["msg"]
    software["image_uuid"] = "11111111-2222-4333-8444-555555555555"
    checked = publish(run_module, partial, software=software, _check=True)
    made = publish(run_module, partial, software=software)
    assert set(checked["files"]) == set(made["files"]) == {"bom.json", "disk.qcow2", "report.html"}
