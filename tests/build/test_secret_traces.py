# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing public is made of a secret, and other secrets under the same name are noticed all the same."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import pathlib
import secrets
import subprocess
import typing as t

import pytest
import secret_traces
import waiting
from ansible_collections.sealedroot.image.plugins.lookup.customize_steps import digest
from builds import PLAYBOOK, Place, Run, fresh_place, playbook

SECRET = {"passphrase": b"correct horse battery staple 42", "key": b"x" * 44}


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        (hashlib.sha256(SECRET["passphrase"]).hexdigest(), "hex sha256 of passphrase"),
        (hashlib.sha1(SECRET["passphrase"]).hexdigest()[:16], "hex sha1 of passphrase"),
        (
            hashlib.sha512(SECRET["passphrase"] + b"\n").hexdigest().upper()[:20],
            "HEX sha512 of passphrase and newline",
        ),
        (
            base64.b64encode(hashlib.blake2b(SECRET["key"]).digest()).decode(),
            "base64 blake2b of key",
        ),
        (
            base64.urlsafe_b64encode(hashlib.sha3_256(SECRET["key"]).digest())[:16].decode(),
            "base64url sha3_256 of key",
        ),
        (
            base64.b32encode(hashlib.md5(SECRET["key"]).digest()).decode(),
            "base32 md5 of key",
        ),
        *((hashlib.shake_128(SECRET["key"]).hexdigest(n), "hex shake_128 of key") for n in (8, 99)),
        (SECRET["passphrase"].decode(), "raw of passphrase"),
        (SECRET["passphrase"].hex(), "hex of passphrase"),
    ],
)
def test_what_is_planted_is_found(tmp_path: pathlib.Path, planted: str, what: str) -> None:
    """The control of all that finds nothing below: in a file, in the output, and in a name."""
    assert secret_traces.in_public(tmp_path, "nothing", SECRET) == []
    text = json.dumps({"files": {"recovery.key": {"digest": f"0{planted}0"}}})
    (tmp_path / "manifest.json").write_text(text)
    assert f"manifest.json: {what}" in secret_traces.in_public(tmp_path, "", SECRET)
    assert f"output: {what}" in secret_traces.in_public(tmp_path, f"ok: {planted}", SECRET)
    if "/" not in planted:
        (tmp_path / "manifest.json").rename(tmp_path / planted)
        (found,) = {it.partition(": ")[2] for it in secret_traces.in_public(tmp_path, "", SECRET)}
        assert found == what


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"files": {"recovery.key": {"size": 31}}}, ["files.recovery.key.size is 31"]),
        ({"inputs": {"passphrase_length": 32}}, ["inputs.passphrase_length is 32"]),
        ({"files": {"recovery.key": {"slot": 1}}, "audit": {"checks": 31}}, []),
    ],
)
def test_a_size_is_found(document: dict[str, t.Any], found: list[str]) -> None:
    assert secret_traces.sizes(document, SECRET) == found


class Keys(waiting.Watcher):
    """Reads the keys of a build while it runs, that which is forgotten at its end as well."""

    def __init__(self, work: pathlib.Path) -> None:
        super().__init__()
        self.work = work
        self.seen: dict[str, bytes] = {}

    def look(self) -> None:
        for path in self.work.glob("web-1/private/keys/*.key"):
            with contextlib.suppress(OSError):
                self.seen[path.name] = path.read_bytes()


class Built(t.NamedTuple):
    """A finished build, and every secret that went into it."""

    place: Place
    run: Run
    given: dict[str, str]
    secrets: dict[str, bytes]

    @property
    def directory(self) -> pathlib.Path:
        return self.place.out / "web-1"

    @property
    def tasks(self) -> pathlib.Path:
        return self.place.path / "tasks.yml"

    def again(self, *arguments: str, **other: str) -> Run:
        return build(self.place, {**self.given, **other}, *arguments)


def hashed(password: str) -> str:
    argv = ("openssl", "passwd", "-6", "-salt", secrets.token_hex(8), "-stdin")
    done = subprocess.run(argv, input=password, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def build(place: Place, given: dict[str, str], *arguments: str) -> Run:
    """Run the playbook with inputs that no command line has."""
    vault = place.path / "vault.json"
    vault.write_text(json.dumps(given))
    variables = place.variables(
        image_source={"type": "tar", "path": str(place.path / "root.tar")},
        image_customize=[{"tasks": str(place.path / "tasks.yml")}],
    )
    return playbook(PLAYBOOK, variables, "--extra-vars", f"@{vault}", *arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, root_tar: pathlib.Path) -> t.Iterator[Built]:
    with fresh_place(tmp_path_factory) as place:
        given = {
            "image_boot_key": base64.b64encode(secrets.token_bytes(33)).decode(),
            "image_recovery_passphrase": f"{secrets.token_hex(8)} is what I say",
            "image_root_password_hash": hashed(secrets.token_hex(8)),
        }
        (place.path / "root.tar").symlink_to(root_tar)
        tasks = place.path / "tasks.yml"
        task = {"ansible.builtin.file": {"path": "/etc/made", "state": "touch", "mode": "0644"}}
        # In JSON, which is YAML, behind a comment that has the secret.
        tasks.write_text(f"# {secrets.token_hex(16)}\n{json.dumps([{'name': 'Touch', **task}])}\n")
        with Keys(place.path / "work") as keys:
            run = build(place, given, "-vvv", "--diff")
        assert run.rc == 0, run.output[-6000:]
        assert set(keys.seen) == {"boot.key", "recovery.key"}
        found = {**keys.seen, "tasks": tasks.read_bytes()}
        found["digest of the tasks"] = digest({"tasks": str(tasks)}, tasks).encode()
        found.update((name, value.encode()) for name, value in given.items())
        yield Built(place, run, given, found)


def test_nothing_public_is_made_of_a_secret(built: Built) -> None:
    assert len(built.run.output) > 100_000  # it really was verbose
    assert built.secrets["boot.key"] == built.secrets["image_boot_key"]
    assert secret_traces.in_public(built.directory, built.run.output, built.secrets) == []


def test_no_secret_is_in_the_clear_areas_of_the_disk(built: Built, tmp_path: pathlib.Path) -> None:
    data = secret_traces.clear_areas(built.directory / "disk.qcow2", tmp_path / "raw")
    assert b"LUKS\xba\xbe" in data
    wanted = secret_traces.needles(built.secrets, plain=True)
    assert secret_traces.search(data, wanted) == []


def test_the_manifest_lists_the_keys(built: Built) -> None:
    manifest = json.loads((built.directory / "manifest.json").read_text())
    assert manifest["files"]["boot.key"] == {"slot": 0}
    assert manifest["files"]["recovery.key"] == {"slot": 1}
    assert manifest["inputs"]["root_password"] == manifest["inputs"]["recovery"] == "given"
    assert set(manifest["inputs_mac"]) == {"boot_key", "customize", "root_password"}


def test_the_same_secrets_change_nothing(built: Built) -> None:
    run = built.again("-vvv")
    assert (run.rc, run.changed) == (0, 0), run.output[-3000:]
    assert run.said("is there, whole, and made from these inputs")
    assert secret_traces.in_public(built.directory, run.output, built.secrets) == []


def test_other_secrets_are_noticed_and_named(built: Built) -> None:
    before = built.tasks.read_text()
    other = {
        "image_boot_key": base64.b64encode(secrets.token_bytes(33)).decode(),
        "image_recovery_passphrase": "correct horse battery staple 42",
        "image_root_password_hash": hashed("another"),
    }
    try:
        built.tasks.write_text(f"{before}# And more\n")
        run = built.again("-vvv", **other)
    finally:
        built.tasks.write_text(before)
    assert run.rc != 0
    names = "boot_key, customize, recovery, root_password"
    assert run.said(f"was made from other inputs ({names}): remove it"), run.output[-3000:]
    given = {**built.secrets, **{name: value.encode() for name, value in other.items()}}
    assert secret_traces.in_public(built.directory, run.output, given) == []


def test_the_keys_of_a_rotated_machine_are_not_taken_for_other_inputs(built: Built) -> None:
    """What rotate_keys leaves: another boot key beside the disk that was built."""
    key = built.directory / "boot.key"
    try:
        key.write_bytes(base64.b64encode(secrets.token_bytes(33)))
        run = built.again()
    finally:
        key.write_bytes(built.secrets["boot.key"])
    assert run.rc != 0
    assert run.said("has the disk as it was built, but not the keys that open it (boot.key)")
    assert run.said("After rotate_keys the keys there are those of the running machine: keep them")
    assert "other inputs" not in run.output
