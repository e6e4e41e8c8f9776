# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""launch_inject with a program that plays QEMU and the secure processor: qmp_peer.py."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import threading
import time
import typing as t

import pytest
import qmp_peer
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    secret_table,
    session,
)
from qmp_peer import DIGEST, EVENT, FIRMWARE, HANG_UP, SILENCE, TEK, TIK, Guest, error, signed

Run = t.Callable[..., t.Any]
KEY = b"K3y+" * 11
TABLE = secret_table.build(KEY, 0xC00)
ASKED = ["qmp_capabilities", "query-sev", "query-status", "query-sev-launch-measure"]
INJECTED = [*ASKED, "sev-inject-launch-secret", "cont", "query-status"]
SEV = {"enabled": True, **qmp_peer.VERSION, "policy": 11, "handle": 1, "state": "launch-secret"}


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """What an owner has."""
    passphrase = b"correct horse battery staple"
    for name, data in (("boot.key", KEY), ("passphrase", passphrase), ("tik", TIK), ("tek", TEK)):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(data)
    manifest = {"name": "web-1", "launch": qmp_peer.launch()}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def options(place: pathlib.Path, **change: t.Any) -> dict[str, t.Any]:
    return {
        "socket": f"{place}/qmp",
        "expected": f"{place}/manifest.json",
        "key_file": f"{place}/boot.key",
        "tik": f"{place}/tik",
        "tek": f"{place}/tek",
        "timeout": 20,
        **change,
    }


def test_the_expected_guest(place: pathlib.Path, run_module: Run) -> None:
    with Guest(place / "qmp").listening() as guest:
        found = run_module("launch_inject", **options(place))
        assert not found.failed, found["msg"]
    assert {key: found[key] for key in ("changed", "status", "launch_digest", "policy")} == {
        "changed": True,
        "status": "running",
        "launch_digest": DIGEST.hex(),
        "policy": 11,
    }
    assert found["firmware_version"] == {"api_major": 1, "api_minor": 51, "build_id": 3}
    assert guest.commands == INJECTED
    # The secure processor has the table, by its own check of the packet.
    assert guest.table == TABLE
    assert guest.state["status"] == "running"


def test_no_secret_is_in_a_result_or_leaves_the_owner(place: pathlib.Path, run_module: Run) -> None:
    before = sorted(os.listdir(place))
    with Guest(place / "qmp").listening() as guest:
        said = json.dumps(run_module("launch_inject", _diff=True, **options(place)).result)
    assert guest.table == TABLE
    sent = json.dumps(guest.heard)
    for secret in (KEY, TIK, TEK, TABLE):
        for form in (secret.decode("latin-1"), secret.hex(), base64.b64encode(secret).decode()):
            assert form not in said
            assert form not in sent
    assert sorted(os.listdir(place)) == sorted([*before, "qmp"])


def test_check_mode_asks_and_injects_nothing(place: pathlib.Path, run_module: Run) -> None:
    with Guest(place / "qmp").listening() as guest:
        found = run_module("launch_inject", _check=True, **options(place))
        other = run_module("launch_inject", _check=True, **options(place, type="sev-es"))
    assert (found["changed"], found["status"]) == (True, "prelaunch")
    assert "has no launch digest for sev-es" not in other["msg"]
    assert other.failed
    assert guest.commands == [*ASKED, *ASKED[:3]]
    assert (guest.table, guest.state["status"]) == (b"", "prelaunch")


def test_a_second_call(place: pathlib.Path, run_module: Run) -> None:
    with Guest(place / "qmp").listening() as guest:
        assert run_module("launch_inject", **options(place))["changed"]
        again = run_module("launch_inject", **options(place))
    assert "the guest is not paused, and takes a secret only before its first step" in again["msg"]
    assert guest.commands == [*INJECTED, *ASKED[:3]]


def test_each_injection_has_an_iv_of_its_own(place: pathlib.Path, run_module: Run) -> None:
    headers = set()
    for number in range(2):
        with Guest(place / f"qmp{number}").listening() as guest:
            assert run_module("launch_inject", **options(place, socket=str(guest.path)))["changed"]
        headers.add(session.parse_iv(guest.heard[4]["arguments"]["packet-header"]))
    assert len(headers) == 2


def test_sev_es(place: pathlib.Path, run_module: Run) -> None:
    with Guest(place / "qmp", policy=15).listening() as guest:
        given = options(place, type="sev-es", vcpus=2, vcpu_type="EPYC-v4")
        assert run_module("launch_inject", **given)["changed"]
    assert guest.table == TABLE


def test_events_and_halves(place: pathlib.Path, run_module: Run) -> None:
    """Events come between answers, and a message comes in parts."""
    status = {"return": {"status": "paused", "running": False}}
    answers: dict[str, t.Any] = {
        "query-sev": [EVENT, EVENT, {"return": SEV}],
        "query-status": [[EVENT, status], [{"return": {"status": "running"}}]],
        "cont": [b'{"ret', b'urn": {}, "i', b'd": 6}', b"\n"],
    }
    with Guest(place / "qmp", answers).listening() as guest:
        found = run_module("launch_inject", **options(place))
    assert not found.failed, found["msg"]
    assert guest.commands == INJECTED


def test_it_waits_for_the_socket_and_for_the_guest(place: pathlib.Path, run_module: Run) -> None:
    early = {"return": {**SEV, "state": "launch-update"}}
    guest = Guest(place / "qmp", {"query-sev": [[early], [early], [{"return": SEV}]]})
    outcome: list[t.Any] = []

    def late() -> None:
        time.sleep(0.5)
        with guest.listening():
            while not outcome:
                time.sleep(0.05)

    thread = threading.Thread(target=late)
    thread.start()
    try:
        outcome.append(run_module("launch_inject", **options(place)))
    finally:
        outcome.append(None)
        thread.join(10)
    assert outcome[0]["status"] == "running", outcome[0]
    assert guest.commands == ["qmp_capabilities", *["query-sev", "query-status"] * 2, *INJECTED[1:]]


NOTHING = "nothing was injected, because "


# What QEMU says, the message, and the commands after the first.
@pytest.mark.parametrize(
    ("guest", "message", "asked"),
    [
        (
            {"measurement": signed(FIRMWARE)},
            NOTHING + "the guest was started without kernel-hashes=on, so from any kernel: start",
            3,
        ),
        (
            {"measurement": signed(bytes(32))},
            NOTHING + "the measurement is that of another firmware, kernel, policy, number or",
            3,
        ),
        (
            {"measurement": signed(tik=TEK)},
            NOTHING + "the measurement is that of another firmware, kernel, policy, number or",
            3,
        ),
        # The host hides a policy that lets it debug the guest.
        ({"measurement": signed(policy=2)}, NOTHING + "the measurement is that of another", 3),
        ({"policy": 1}, "with the policy 0x1, and its session is for 0xb: start it with this", 2),
        (
            {"measurement": signed(build=4)},
            NOTHING + "the host reports build 3 of the secure processor's firmware, and build 4",
            3,
        ),
        # The signature of another start, or with the number of another start.
        ({"measurement": signed()[:32] + b"n" * 16}, NOTHING + "the measurement is that of", 3),
        ({"measurement": b"short"}, "the measurement is not 48 bytes in base64", 3),
        (
            {"answers": {"query-sev": {"return": {**SEV, "enabled": False}}}},
            NOTHING + "the guest has no SEV, so the host would read the key in its memory: start",
            2,
        ),
        (
            {"answers": {"query-sev": error("SEV is not available in this QEMU")}},
            "QEMU refused the command query-sev: SEV is not available in this QEMU",
            1,
        ),
        (
            {"answers": {"query-sev": {"return": {**SEV, "sev-type": "sev-snp"}}}},
            NOTHING + "the guest has SEV-SNP, which takes no launch secrets: start it with SEV",
            2,
        ),
        (
            {"answers": {"query-status": {"return": {"status": "running"}}}},
            NOTHING + "the guest is not paused, and takes a secret only before its first step",
            2,
        ),
        (
            {"answers": {"query-sev": {"return": {**SEV, "state": "running"}}}},
            NOTHING + "the guest is not paused, and takes a secret only before its first step",
            2,
        ),
        (
            {"answers": {"query-sev-launch-measure": error("not available")}},
            "QEMU refused the command query-sev-launch-measure: not available",
            3,
        ),
        ({"answers": {"query-sev-launch-measure": {"return": []}}}, "the measurement is not 48", 3),
        ({"answers": {"query-sev": HANG_UP}}, "ended the connection: see in the output of", 1),
        ({"answers": {"query-sev": [b'{"return": {}', HANG_UP]}}, "ended the connection", 1),
        ({"answers": {"query-sev": b"no JSON\n"}}, "is no monitor of QEMU: give the socket", 1),
        ({"answers": {"query-sev": b"[]\n"}}, "is no monitor of QEMU: give the socket", 1),
        (
            {"answers": {"query-sev": b'{"return": {}, "id": 7}\n'}},
            "answered something else than what query-sev asked for",
            1,
        ),
        ({"answers": {"query-sev": {"id": 2}}}, "answered something else than what query-sev", 1),
        ({"answers": {"query-sev": [b"x" * (2 << 20)]}}, "sends a message without end: do not", 1),
        ({"greeting": {"greeting": "hello"}}, "is no monitor of QEMU: give the socket of", -1),
        ({"greeting": HANG_UP}, "ended the connection: see in the output of QEMU", -1),
        ({"answers": {"qmp_capabilities": error("no")}}, "QEMU refused the command qmp_cap", 0),
    ],
    ids=range(25),
)
def test_refused(
    place: pathlib.Path, guest: dict[str, t.Any], message: str, asked: int, run_module: Run
) -> None:
    with Guest(place / "qmp", **guest).listening() as it:
        found = run_module("launch_inject", **options(place))
    assert found.failed
    assert message in found["msg"]
    assert it.commands == ASKED[: asked + 1]
    assert it.state["status"] == "prelaunch"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"greeting": SILENCE}, "did not greet; perhaps another program is connected to it"),
        ({"answers": {"query-status": SILENCE}}, "did not answer to query-status within 0.5 sec"),
        (
            {"answers": {"query-sev": {"return": {**SEV, "state": "launch-update"}}}},
            "did not say that the guest waits for its secret within 0.5 seconds: see whether",
        ),
        # Events do not make it wait longer.
        ({"answers": {"query-sev": [EVENT] * 9}}, "did not answer to query-sev within 0.5 seconds"),
    ],
    ids=range(4),
)
def test_silence(
    place: pathlib.Path, answers: dict[str, t.Any], message: str, run_module: Run
) -> None:
    began = time.monotonic()
    with Guest(place / "qmp", **answers).listening() as guest:
        found = run_module("launch_inject", **options(place, timeout=0.5))
    assert message in found["msg"]
    assert "sev-inject-launch-secret" not in guest.commands
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("answers", "message", "last"),
    [
        # QEMU says it, or the secure processor behind it: the guest was measured for another start.
        (
            {"sev-inject-launch-secret": error("SEV: failed to inject secret ret=-5")},
            "QEMU did not inject the secret (SEV: failed to inject secret ret=-5), and the guest",
            "sev-inject-launch-secret",
        ),
        (
            {"sev-inject-launch-secret": HANG_UP},
            "whether the secret was injected is not known, since the monitor",
            "sev-inject-launch-secret",
        ),
        ({"cont": error("no")}, "the secret was injected, but then QEMU refused the comm", "cont"),
        ({"cont": HANG_UP}, "the secret was injected, but then the monitor", "cont"),
        (
            {"query-status": [[{"return": {"status": "prelaunch"}}], [{"return": {}}]]},
            "the secret was injected, but the guest does not run: its state is 'None'",
            "query-status",
        ),
        (
            {"query-status": [[{"return": {"status": "prelaunch"}}], [{"return": []}]]},
            "the secret was injected, but the guest does not run: its state is 'None'",
            "query-status",
        ),
        (
            {
                "query-status": [
                    [{"return": {"status": "prelaunch"}}],
                    [{"return": {"status": "internal-error"}}],
                ]
            },
            "but the guest does not run: its state is 'internal-error'. See the output of",
            "query-status",
        ),
    ],
    ids=range(7),
)
def test_what_fails_afterwards(
    place: pathlib.Path, answers: dict[str, t.Any], message: str, last: str, run_module: Run
) -> None:
    with Guest(place / "qmp", answers).listening() as guest:
        found = run_module("launch_inject", **options(place))
    assert found.failed
    assert message in found["msg"]
    assert guest.commands[-1] == last


def test_a_measurement_of_an_earlier_start_is_of_no_use(
    place: pathlib.Path, run_module: Run
) -> None:
    """The host shows the answer of an earlier start with the same session: the secure processor refuses the packet."""
    earlier = base64.b64encode(signed()).decode()
    replayed = {"query-sev-launch-measure": {"return": {"data": earlier}}}
    now = Guest(place / "qmp", replayed, measurement=bytes(48))
    with now.listening():
        found = run_module("launch_inject", **options(place))
    assert "QEMU did not inject the secret (SEV: failed to inject secret ret=-5" in found["msg"]
    assert (now.table, now.state["status"]) == (b"", "prelaunch")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"socket": ""}, "socket is empty: give the path of the monitor"),
        ({"socket": "boot.key"}, "boot.key is no socket: give that of the monitor"),
        ({"socket": "missing", "timeout": 0.3}, "missing was not there within 0.3 seconds: see"),
        ({"socket": "x" * 200}, "is too long for a socket: use a shorter path, such as a relative"),
        ({"expected": "missing"}, "missing cannot be read: No such file"),
        ({"expected": "boot.key"}, "boot.key has no measurements of a launch: give the manifest"),
        ({"key_file": "missing"}, "the key file missing does not exist"),
        (
            {"key_file": "passphrase"},
            "passphrase has no key that GRUB's script reads, 44 characters",
        ),
        ({"tik": "missing"}, "the TIK missing does not exist"),
        ({"tek": "boot.key"}, "the TEK boot.key has 44 bytes: give one with 16"),
        ({"tek": "tik"}, "tik hold the same key, so the guest would find no secret: give both"),
        ({"policy": 1}, "the policy 0x1 lets the host share the key of the guest"),
        ({"policy": 15}, "the policy 0xf is one of sev-es, not sev: correct type"),
        ({"policy": 1 << 32}, "policy is 4294967296: give a number from 0 to 4294967295"),
        ({"type": "sev-es", "vcpus": 3}, "no launch digest for sev-es and 3 processors (but for"),
        ({"type": "sev-es", "vcpu_type": "x"}, "and 1 processor of type x (but for: sev-es and 1"),
        ({"timeout": 0}, "timeout is 0: give a number of seconds, at most 86400"),
        ({"timeout": 1e9}, "timeout is 1e+09: give a number of seconds, at most 86400"),
        ({"timeout": "nan"}, "timeout is nan: give a number of seconds"),
    ],
    ids=lambda it: str(it)[:40],
)
def test_options(
    place: pathlib.Path,
    change: dict[str, t.Any],
    message: str,
    run_module: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    with Guest(place / "qmp").listening() as guest:
        found = run_module("launch_inject", **options(place, **change))
    assert found.failed
    assert message in found["msg"]
    # It is said before anybody is asked.
    assert guest.connections == 0


def test_a_key_that_others_can_read(place: pathlib.Path, run_module: Run) -> None:
    for name in ("boot.key", "tik", "tek"):
        (place / name).chmod(0o644)
        with Guest(place / f"qmp-{name}").listening() as guest:
            found = run_module("launch_inject", **options(place, socket=str(guest.path)))
        assert "can be read by others: set its mode to 0600" in found["msg"]
        assert guest.connections == 0
        (place / name).chmod(0o600)
