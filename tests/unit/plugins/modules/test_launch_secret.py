# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""launch_secret on real files; what is in them is checked with another tool in tests/integration/test_launch.py."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import pathlib
import sys
import typing as t

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    secret_table,
    session,
)

Run = t.Callable[..., t.Any]
KEY, TIK, TEK = b"K3y+" * 11, b"integrity-key-16", b"encryption-key16"
DIGEST = bytes(range(32))
OUT = ("header", "secret", "table")
# It starts programs of a disk, as the firmware that a build is given does.
STARTS = firmware.ovmf(
    front=firmware.dxe(firmware.driver(firmware.FAT, firmware.FILES, name="Fat"))
)


def blob(policy: int = 0xB, digest: bytes = DIGEST) -> str:
    """Return what query-sev-launch-measure answers for a guest."""
    nonce = b"n" * 16
    platform = session.Platform(1, 51, 3)
    return base64.b64encode(
        session.signature(TIK, digest, nonce, platform=platform, policy=policy) + nonce
    ).decode()


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """The files that are given."""
    for name, data in (("boot.key", KEY), ("tik", TIK), ("tek", TEK)):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "x.fd").write_bytes(firmware.ovmf())
    return tmp_path


def options(place: pathlib.Path, **change: t.Any) -> dict[str, t.Any]:
    """Return all options; those of the session are changed by session_NAME."""
    within = {
        "tik": f"{place}/tik",
        "tek": f"{place}/tek",
        "measurement": blob(),
        "launch_digest": DIGEST.hex(),
        "api_major": 1,
        "api_minor": 51,
        "build_id": 3,
    }
    outside = {
        "key_file": f"{place}/boot.key",
        "firmware": f"{place}/x.fd",
        "packet_header": f"{place}/header",
        "packet_secret": f"{place}/secret",
        "table": f"{place}/table",
    }
    for name, value in change.items():
        if name.startswith("session_"):
            within[name[len("session_") :]] = value
        else:
            outside[name] = value
    given = {"session": within, **outside}
    return {name: value for name, value in given.items() if value is not None}


def content(place: pathlib.Path) -> dict[str, bytes]:
    return {name: (place / name).read_bytes() for name in OUT if (place / name).exists()}


def test_four_calls(place: pathlib.Path, run_module: Run) -> None:
    given = options(place)
    planned = run_module("launch_secret", _check=True, **given)
    assert content(place) == {}
    done = run_module("launch_secret", **given)
    assert {**planned.result, "invocation": 0} == {**done.result, "invocation": 0}
    assert (done["changed"], done["address"]) == (True, 0x810000)
    paths = [f"{place}/{name}" for name in OUT]
    assert done["diff"] == {
        "before": dict.fromkeys(paths, "absent"),
        "after": dict.fromkeys(paths, "this secret"),
    }
    made = content(place)
    assert made["table"] == secret_table.build(KEY, 0xC00)
    assert {(place / name).stat().st_mode & 0o777 for name in OUT} == {0o600}
    for check in (False, True):
        again = run_module("launch_secret", _check=check, **given)
        assert not again["changed"]
        assert again["diff"]["before"] == again["diff"]["after"]
    assert content(place) == made
    assert sorted(os.listdir(place)) == sorted([*OUT, "boot.key", "tik", "tek", "x.fd"])


def test_no_key_is_in_a_result(place: pathlib.Path, run_module: Run) -> None:
    said = json.dumps(run_module("launch_secret", **options(place)).result)
    for secret in (KEY, TIK, TEK):
        for form in (secret.decode(), secret.hex(), base64.b64encode(secret).decode()):
            assert form not in said


def test_each_secret_has_an_iv_of_its_own(place: pathlib.Path, run_module: Run) -> None:
    given = options(place)
    run_module("launch_secret", **given)
    first = content(place)
    (place / "boot.key").write_bytes(KEY[:-1] + b"x")
    assert run_module("launch_secret", **given)["changed"]
    second = content(place)
    for name in ("header", "secret", "table"):
        (place / name).unlink()
    run_module("launch_secret", **given)
    third = content(place)
    ivs = {session.parse_iv(it["header"].decode()) for it in (first, second, third)}
    assert len(ivs) == 3
    assert second["secret"] != third["secret"]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in OUT for how in ("removed", "changed")),
        *(("header", "mode"), ("secret", "mode")),
    ],
)
def test_one_file_is_made_again(place: pathlib.Path, name: str, how: str, run_module: Run) -> None:
    given = options(place)
    run_module("launch_secret", **given)
    path = place / name
    if how == "removed":
        path.unlink()
    elif how == "changed":
        path.write_bytes(b"x")
    else:
        path.chmod(0o644)
    done = run_module("launch_secret", **given)
    said = {"removed": "absent", "changed": "another secret", "mode": "this secret, mode 0644"}
    assert done["diff"]["before"][str(path)] == said[how]
    assert path.stat().st_mode & 0o777 == 0o600
    assert not run_module("launch_secret", **given)["changed"]


def test_parts(place: pathlib.Path, run_module: Run) -> None:
    without = {"session": None, "packet_header": None, "packet_secret": None}
    given = {key: it for key, it in options(place, **without).items() if key != "session"}
    assert run_module("launch_secret", **given)["changed"]
    assert set(content(place)) == {"table"}
    (place / "table").unlink()
    assert run_module("launch_secret", **options(place, table=None))["changed"]
    assert set(content(place)) == {"header", "secret"}


def test_the_digest_of_a_guest_with_any_kernel(place: pathlib.Path, run_module: Run) -> None:
    digest = hashlib.sha256((place / "x.fd").read_bytes()).digest()
    change = {"session_launch_digest": digest.hex(), "session_measurement": blob(digest=digest)}
    said = run_module("launch_secret", **options(place, **change))
    assert said["msg"].startswith("launch_digest is that of the firmware without the hash of a")
    assert not any((place / name).exists() for name in OUT)


def test_sev_es(place: pathlib.Path, run_module: Run) -> None:
    given = options(place, type="sev-es", session_measurement=blob(0xF))
    assert run_module("launch_secret", **given)["changed"]
    given = options(place, session_measurement=blob(0x2B), session_policy=0x2B)
    assert run_module("launch_secret", **given)["changed"]


OTHER = "is not that of the expected launch digest, so no secret was made"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session_measurement": blob(digest=bytes(32))}, OTHER),
        ({"session_launch_digest": "00" * 32}, OTHER),
        ({"session_build_id": 4}, OTHER),
        ({"session_policy": 0x2B}, OTHER),
        ({"type": "sev-es"}, OTHER),
        ({"session_policy": 15}, "the policy 0xf is one of sev-es, not sev: correct type"),
        ({"session_policy": 1}, "the policy 0x1 lets the host share the key of the guest"),
        ({"session_policy": -1}, "policy is -1: give a number from 0 to 4294967295"),
        ({"session_api_minor": 256}, "api_minor is 256: give a number from 0 to 255"),
        ({"session_measurement": "x"}, "the measurement is not 48 bytes in base64"),
        ({"session_launch_digest": "x"}, "the launch digest is not 64 hexadecimal digits"),
        ({"packet_header": None}, "parameters are required together: session, packet_header"),
        ({"table": "tek"}, "table is the file of another option"),
        ({"packet_header": "boot.key"}, "packet_header is the file of another option"),
        ({"packet_secret": "header"}, "packet_secret is the file of another option"),
        ({"key_file": "/nonexistent"}, "the key file /nonexistent does not exist"),
        ({"firmware": "/nonexistent"}, "/nonexistent cannot be read: No such file"),
        ({"firmware": "boot.key"}, "boot.key is no firmware"),
        ({"table": "missing/table"}, "missing: make it, or correct table"),
        ({"packet_header": "x.fd/header"}, "x.fd: make it, or correct packet_header"),
    ],
    ids=lambda it: str(it)[:40],
)
def test_refused(
    place: pathlib.Path,
    change: dict[str, t.Any],
    message: str,
    run_module: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    found = run_module("launch_secret", **options(place, **change))
    assert found.failed
    assert message in found["msg"]
    assert content(place) == {}


@pytest.mark.parametrize(
    ("name", "data", "mode", "message"),
    [
        ("boot.key", KEY + b"\n", 0o600, "has no key that GRUB's script reads, 44 characters"),
        ("boot.key", b"a\0b", 0o600, "has no key that GRUB's script reads, 44 characters"),
        ("boot.key", b"x" * 255, 0o600, "has no key that GRUB's script reads, 44 characters"),
        ("boot.key", b"", 0o600, "is empty"),
        ("boot.key", KEY, 0o644, "boot.key can be read by others: set its mode to 0600"),
        ("tik", TIK, 0o640, "the TIK"),
        ("tek", TEK, 0o604, "the TEK"),
        ("tik", TIK[1:], 0o600, "has 15 bytes: give one with 16"),
        ("tek", TEK + b"\n", 0o600, "has 17 bytes: give one with 16"),
        ("x.fd", firmware.ovmf(code=b""), 0o644, "has a table for SEV, but no code"),
        ("x.fd", STARTS, 0o644, "x.fd can start programs of the host's disk, with a launch secret"),
        ("x.fd", firmware.ovmf(front=firmware.flash(b"")), 0o644, "x.fd has no DXE volume with"),
    ],
    ids=range(12),
)
def test_files_that_are_refused(
    place: pathlib.Path, name: str, data: bytes, mode: int, message: str, run_module: Run
) -> None:
    (place / name).write_bytes(data)
    (place / name).chmod(mode)
    found = run_module("launch_secret", **options(place))
    assert found.failed
    assert message in found["msg"]
    assert content(place) == {}


@pytest.mark.parametrize("room", [80, 95])
def test_a_firmware_with_too_little_room(place: pathlib.Path, room: int, run_module: Run) -> None:
    area = (0x810000).to_bytes(4, "little") + room.to_bytes(4, "little")
    (place / "x.fd").write_bytes(firmware.ovmf({firmware.SECRET: area}))
    found = run_module("launch_secret", **options(place))
    assert f"the firmware has {room} bytes for a launch secret" in found["msg"]


def test_a_table_that_others_could_read(place: pathlib.Path, run_module: Run) -> None:
    (place / "table").write_bytes(b"x")
    (place / "table").chmod(0o644)
    found = run_module("launch_secret", **options(place))
    assert "can be read by others: set its mode to 0600" in found["msg"]
    assert set(content(place)) == {"table"}


def test_a_result_that_is_a_link_is_not_followed(place: pathlib.Path, run_module: Run) -> None:
    (place / "victim").write_bytes(b"v")
    (place / "header").symlink_to(place / "victim")
    found = run_module("launch_secret", **options(place))
    assert "header is a symbolic link, which is not followed" in found["msg"]
    assert (place / "victim").read_bytes() == b"v"


def test_without_the_library(
    place: pathlib.Path, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
        importlib.reload(session)
        found = run_module("launch_secret", **options(place))
        given = options(place, packet_header=None, packet_secret=None)
        given.pop("session")
        table = run_module("launch_secret", **given)
    importlib.reload(session)
    assert "Failed to import the required Python library (cryptography)" in found["msg"]
    # The table needs no encryption.
    assert table["changed"]
    assert session.IS_INSTALLED
