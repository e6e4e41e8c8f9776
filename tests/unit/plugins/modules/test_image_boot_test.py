# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_boot_test as a module, with a console that is written down."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import typing as t

import firmware
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    secret_table,
)
from ansible_collections.sealedroot.image.plugins.module_utils._machine import (
    pty_console,
    qemu,
    serial_boot,
    tpm as machine_tpm,
)

RunModule = t.Callable[..., t.Any]
EVENTS = [name for name, _pattern in serial_boot.EVENTS]
PLAYS = {
    "login": ["prompt", "kernel", "login"],
    "refused": ["prompt", "denied", "shell"],
    "twice": ["prompt", "kernel", "second_prompt"],
    "secure": ["secure_boot", "prompt", "kernel", "login"],
    "unsigned": ["violation", "no_boot"],
    "slow": ["prompt", "kernel", "slow", "stuck"],
    "unasked": ["kernel", "login"],
    "halted": ["no_secret", "exit"],
    "silent": [],
    "nothing": ["no_boot"],
    "slow_login": ["prompt", "kernel", "slow", "login"],
}


class FakeConsole:
    """Plays events for the machine that a command would start."""

    play = "login"
    probe: t.Union[int, BaseException, None] = 1
    started: t.ClassVar[list[list[str]]] = []
    ended = 0

    def __init__(self, argv: list[str]) -> None:
        play, _comma, rest = self.play.partition(",")
        FakeConsole.play = rest or play
        self.events = list(PLAYS[play])
        self.is_probe = not any("id=disk" in word for word in argv)
        self.text = (
            "KVM internal error. Suberror: 1\n" if self.is_probe else "the log of secret-key"
        )
        if play == "slow":
            self.text = "[ TIME ] Timed out waiting for device dev-a.device.\nthe end\n"
        FakeConsole.started.append(argv)
        files = [word.partition("file=")[2] for word in argv if "if=pflash" in word]
        if not all(os.path.isfile(file) for file in files):
            pytest.fail(f"no firmware in {files}")

    def __enter__(self) -> FakeConsole:
        return self

    def __exit__(self, *_exc: object) -> None:
        FakeConsole.ended += 1

    def wait(self, _patterns: t.Sequence[str], _seconds: float) -> int | None:
        if self.is_probe:
            if isinstance(self.probe, BaseException):
                raise self.probe
            return self.probe
        if self.events[:1] == ["exit"]:
            raise EOFError
        return EVENTS.index(self.events.pop(0)) if self.events else None

    def type(self, text: str) -> None:
        pass

    def settle(self) -> None:
        pass


def runs_on(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """Make this machine one of an architecture."""
    uname = os.uname_result((*os.uname()[:4], machine))
    monkeypatch.setattr(os, "uname", lambda: uname)


@pytest.fixture
def args(
    tmp_path: pathlib.Path, script: t.Any, monkeypatch: pytest.MonkeyPatch
) -> dict[str, t.Any]:
    for name, content in (("disk", b"x"), ("boot", b"secret-key"), ("code", b""), ("vars", b"")):
        (tmp_path / name).write_bytes(content)
    runs_on(monkeypatch, "x86_64")
    monkeypatch.setattr(FakeConsole, "play", "login")
    monkeypatch.setattr(FakeConsole, "probe", 1)
    monkeypatch.setattr(FakeConsole, "started", [])
    monkeypatch.setattr(FakeConsole, "ended", 0)
    monkeypatch.setattr(pty_console, "PtyConsole", FakeConsole)
    path = str(tmp_path / "disk")
    script.expect(["qemu-img", "info", "--output=json", path], stdout='{"format": "qcow2"}')
    return {
        "path": path,
        "cases": [{"name": "boot", "key_file": str(tmp_path / "boot")}],
        "firmware": {"code": str(tmp_path / "code"), "variables": str(tmp_path / "vars")},
        "accelerator": "tcg",
    }


def test_a_login(run_module: RunModule, args: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    outcome = run_module("image_boot_test", log_dir=str(tmp_path), **args)
    assert not outcome.failed
    assert not outcome["changed"]
    assert (outcome["accelerator"], outcome["accelerator_reason"]) == ("tcg", "asked for")
    (case,) = outcome["cases"]
    assert (case["verdict"], case["prompts"], case["second_prompts"]) == ("ok", 1, 0)
    assert set(case["seconds"]) == {"prompt", "login"}
    assert FakeConsole.ended == len(FakeConsole.started) == 1
    assert "secret-key" not in json.dumps(outcome.result)
    assert (tmp_path / "boot.log").read_text() == "the log of <key>"


def test_a_wrong_key(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConsole, "play", "refused")
    args["cases"] = [{"name": "wrong", "expect": "refused"}]
    assert run_module("image_boot_test", **args)["cases"][0]["verdict"] == "ok"


def test_a_second_prompt(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConsole, "play", "twice")
    outcome = run_module("image_boot_test", **args)
    assert outcome.failed
    assert "boot: the initramfs asks for the passphrase again" in outcome["msg"]
    assert "The console ends with: the log of <key>" in outcome["msg"]
    assert outcome["cases"][0]["second_prompts"] == 1
    assert FakeConsole.ended == 1


@pytest.mark.parametrize(
    ("plays", "good", "tries", "says"),
    [
        ("slow,login", True, 2, "login prompt, in the second try: in the first, systemd timed out"),
        ("slow,slow", False, 2, "waiting for dev-a.device in both tries: if the image has no such"),
        ("slow,twice", False, 2, "asks for the passphrase again"),
        # A device that nothing needs.
        ("slow_login", True, 1, "asked once and reached the login prompt"),
        ("twice,login", False, 1, "asks for the passphrase again"),
    ],
)
def test_a_slow_machine(
    run_module: RunModule,
    args: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
    plays: str,
    good: bool,
    tries: int,
    says: str,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: said.append(text))
    monkeypatch.setattr(FakeConsole, "play", plays)
    outcome = run_module("image_boot_test", **args)
    (case,) = outcome["cases"]
    assert (not outcome.failed, bool(case["gave_up"])) == (good, tries == 2)
    assert says in case["detail"]
    assert len(FakeConsole.started) == tries
    assert [it.partition(".")[0] for it in said] == ["This machine is slow"] * (tries == 2 and good)


@pytest.mark.parametrize(
    ("play", "good", "seen"), [("secure", True, True), ("login", False, False)]
)
def test_secure_boot(
    run_module: RunModule,
    args: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
    play: str,
    good: bool,
    seen: bool,
) -> None:
    monkeypatch.setattr(FakeConsole, "play", play)
    outcome = run_module("image_boot_test", secure_boot=True, **args)
    assert (not outcome.failed, outcome["cases"][0]["secure_boot"]) == (good, seen)
    # Firmware with SMM and several processors hangs on a busy host.
    assert all(argv[argv.index("-smp") + 1] == "1" for argv in FakeConsole.started)
    assert "smm=on" in FakeConsole.started[0]


def test_an_unsigned_image(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConsole, "play", "unsigned")
    args["cases"] = [{"name": "unsigned", "expect": "refused_by_firmware"}]
    outcome = run_module("image_boot_test", secure_boot=True, **args)
    assert outcome["cases"][0]["verdict"] == "ok"


def test_processors_are_shared(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(4)), raising=False)
    key = args["cases"][0]["key_file"]
    args["cases"] = [{"name": str(n), "key_file": key} for n in range(3)]
    outcome = run_module("image_boot_test", parallel=2, **args)
    assert [case["name"] for case in outcome["cases"]] == ["0", "1", "2"]
    assert all(argv[argv.index("-smp") + 1] == "2" for argv in FakeConsole.started)


@pytest.mark.parametrize(
    ("probe", "accelerator", "reason"),
    [
        (1, "kvm", "starts under KVM"),
        (0, "tcg", "KVM internal error. Suberror: 1"),
        (None, "tcg", "said nothing under KVM"),
        (EOFError(), "tcg", "does not run under KVM"),
    ],
)
def test_auto(
    run_module: RunModule,
    args: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
    probe: int | BaseException | None,
    accelerator: str,
    reason: str,
) -> None:
    opened = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda path, *a, **k: opened("/dev/null" if path == "/dev/kvm" else path, *a, **k),
    )
    monkeypatch.setattr(FakeConsole, "probe", probe)
    outcome = run_module("image_boot_test", **{**args, "accelerator": "auto"})
    assert outcome["accelerator"] == accelerator
    assert reason in outcome["accelerator_reason"]
    assert FakeConsole.ended == len(FakeConsole.started) == 2


def test_no_kvm(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda path, *a, **k: opened("/nonexistent" if path == "/dev/kvm" else path, *a, **k),
    )
    outcome = run_module("image_boot_test", **{**args, "accelerator": "auto"})
    assert outcome["accelerator_reason"] == "/dev/kvm cannot be opened (No such file or directory)"
    assert len(FakeConsole.started) == 1


def test_another_architecture(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_on(monkeypatch, "riscv64")
    args["architecture"] = "aarch64"
    outcome = run_module("image_boot_test", **{**args, "accelerator": "auto"})
    assert (outcome["accelerator"], outcome["accelerator_reason"]) == (
        "tcg",
        "KVM of riscv64 runs no aarch64",
    )
    (command,) = FakeConsole.started
    assert command[0].endswith("qemu-system-aarch64")
    assert command[command.index("-cpu") + 1] == "cortex-a57"


def test_kvm_of_another_architecture(
    run_module: RunModule, args: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_on(monkeypatch, "aarch64")
    outcome = run_module("image_boot_test", **{**args, "accelerator": "kvm"})
    assert outcome["msg"] == "KVM of aarch64 runs no x86_64: use tcg or auto"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "/nonexistent"}, "is not a file"),
        ({"log_dir": "/nonexistent"}, "is not a directory"),
        ({"cases": [{"name": "a/b", "expect": "refused"}]}, "without a slash"),
        ({"cases": [{"name": "a", "expect": "refused"}] * 2}, "names of their own"),
        ({"cases": [{"name": "a"}]}, "needs a key_file"),
        ({"cases": [{"name": "a", "expect": "refused_by_firmware"}]}, "a needs secure_boot"),
        ({"cases": [{"name": "a", "key_file": "/nonexistent"}]}, "cannot be read"),
    ],
)
def test_bad_questions(
    run_module: RunModule,
    args: dict[str, t.Any],
    script: t.Any,
    change: dict[str, t.Any],
    says: str,
) -> None:
    script.expected.clear()
    assert says in run_module("image_boot_test", **{**args, **change})["msg"]


def test_a_key_with_a_newline(
    run_module: RunModule, args: dict[str, t.Any], script: t.Any, tmp_path: pathlib.Path
) -> None:
    script.expected.clear()
    (tmp_path / "boot").write_bytes(b"secret-key\n")
    assert "cannot be typed at GRUB" in run_module("image_boot_test", **args)["msg"]


def test_interfaces_are_the_documented_ones() -> None:
    assert sorted(qemu.DISKS) == ["nvme", "sata", "virtio-blk", "virtio-scsi"]


@pytest.fixture
def launch(tmp_path: pathlib.Path) -> dict[str, str]:
    files = {
        "firmware": firmware.ovmf(),
        "core": b"core",
        "hashes": kernel_hashes.table(b"core"),
        "secret": secret_table.build(b"k" * 44, 0xC00),
    }
    for name, data in files.items():
        (tmp_path / f"launch-{name}").write_bytes(data)
    digest = hashlib.sha256(files["firmware"] + files["hashes"]).hexdigest()
    return {**{name: f"{tmp_path}/launch-{name}" for name in files}, "digest": digest}


def test_a_launch_secret(
    run_module: RunModule,
    args: dict[str, t.Any],
    launch: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeConsole, "play", "unasked,halted")
    args["cases"] = [
        {"name": "launch", "launch": "published"},
        {"name": "other", "launch": "other_key", "expect": "halted"},
    ]
    outcome = run_module("image_boot_test", launch=launch, parallel=1, **args)
    assert [(it["expect"], it["verdict"]) for it in outcome["cases"]] == [
        ("login", "ok"),
        ("halted", "ok"),
    ]
    for argv in FakeConsole.started:
        assert {"-bios", "-kernel"} < set(argv)
        assert not any("pflash" in word or "bootindex" in word for word in argv)
    assert "kkkk" not in json.dumps(outcome.result)


@pytest.mark.parametrize(
    ("plays", "fails"),
    [
        # The last of them by silence.
        ("unasked,nothing,silent", []),
        ("silent,nothing,silent", ["launch", "longer-core"]),
        ("unasked,halted,silent", ["no-hashes"]),
    ],
)
def test_a_firmware_that_starts_nothing(
    run_module: RunModule,
    args: dict[str, t.Any],
    launch: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    plays: str,
    fails: list[str],
) -> None:
    monkeypatch.setattr(FakeConsole, "play", plays)
    clock = iter(range(1, 1000)).__next__
    defaults = serial_boot.watch.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "clock", clock)
    # What is compared with the first one comes after it.
    args["cases"] = [
        {"name": "no-hashes", "launch": "no_hashes", "expect": "stopped"},
        {"name": "launch", "launch": "published"},
        {"name": "longer-core", "launch": "longer_core", "expect": "stopped"},
    ]
    outcome = run_module("image_boot_test", launch=launch, parallel=1, **args)
    assert [it["name"] for it in outcome["cases"]] == ["no-hashes", "launch", "longer-core"]
    assert [it["name"] for it in outcome["cases"] if it["verdict"] != "ok"] == sorted(fails)
    assert all("first_word" not in it for it in outcome["cases"])
    if not fails:
        assert "for 40 seconds, and with the right" in outcome["cases"][2]["detail"]


def test_a_launch_secret_that_needs_a_prompt(
    run_module: RunModule, args: dict[str, t.Any], launch: dict[str, str]
) -> None:
    args["cases"] = [{"name": "launch", "launch": "published"}]
    outcome = run_module("image_boot_test", launch=launch, **args)
    assert "launch: GRUB asked for the passphrase" in outcome["msg"]


@pytest.mark.parametrize(
    ("case", "given", "says"),
    [
        ({"launch": "published"}, False, "launch is missing: a case starts from it"),
        ({"expect": "stopped"}, True, "the case x needs launch: a start from the disk is refused"),
        (
            {"launch": "longer_core", "expect": "stopped"},
            True,
            "the case x may end in silence, which alone shows nothing: add a case with the launch published that",
        ),
        ({"expect": "asked"}, True, "the case x needs launch"),
        ({"launch": "published", "digest": "00"}, True, "not 00: give the firmware and the files"),
    ],
)
def test_a_launch_that_cannot_be(
    run_module: RunModule,
    args: dict[str, t.Any],
    launch: dict[str, str],
    script: t.Any,
    case: dict[str, str],
    given: bool,
    says: str,
) -> None:
    launch["digest"] = case.get("digest", launch["digest"])
    args["cases"] = [{"name": "x", **{it: case[it] for it in case if it != "digest"}}]
    if "digest" not in case:
        # It is refused before anything is run.
        script.expected.clear()
    more = {"launch": launch} if given else {}
    assert says in run_module("image_boot_test", **more, **args)["msg"]


@pytest.fixture
def sealed(
    args: dict[str, t.Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, bytes]]:
    """Play the disks and the TPM of enrolled machines; return how each was made."""
    made: list[tuple[str, bytes]] = []

    def overlay_of(*_where: object, disk_format: str, start: str, key: bytes) -> str:
        assert disk_format == "qcow2"
        made.append((start, key))
        return str(tmp_path / "overlay")

    @contextlib.contextmanager
    def machine(_runner: object, directory: str) -> t.Iterator[str]:
        yield f"{directory}/ctl"

    monkeypatch.setattr(enrolled, "overlay_of", overlay_of)
    monkeypatch.setattr(machine_tpm, "machine", machine)
    args["cases"] = [
        {"name": "tpm", "tpm": "sealed", "key_file": str(tmp_path / "boot")},
        {"name": "b", "tpm": "no_blob", "expect": "asked", "key_file": str(tmp_path / "boot")},
    ]
    return made


def test_a_tpm(
    run_module: RunModule,
    args: dict[str, t.Any],
    sealed: list[tuple[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeConsole, "play", "unasked,refused")
    outcome = run_module("image_boot_test", parallel=1, **args)
    assert [(it["expect"], it["verdict"]) for it in outcome["cases"]] == [
        ("login", "ok"),
        ("asked", "ok"),
    ]
    assert sealed == [("sealed", b"secret-key"), ("no_blob", b"secret-key")]
    for argv in FakeConsole.started:
        assert {"-tpmdev", "tpm-crb,tpmdev=tpm0"} < set(argv)
        assert any("/overlay" in word and "snapshot=on" in word for word in argv)
    assert "secret-key" not in json.dumps(outcome.result)


def test_a_tpm_that_does_not_give_the_key(
    run_module: RunModule, args: dict[str, t.Any], sealed: list[tuple[str, bytes]]
) -> None:
    args["cases"] = args["cases"][:1]
    assert "tpm: GRUB asked for the passphrase" in run_module("image_boot_test", **args)["msg"]
    assert len(sealed) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key_file": None}, "the case tpm with a TPM needs the key_file to seal, and expects"),
        ({"expect": "refused"}, "the case tpm with a TPM needs the key_file to seal, and expects"),
        ({"launch": "published"}, "the case tpm has launch and tpm: take one of them"),
    ],
)
def test_a_tpm_that_cannot_be(
    run_module: RunModule,
    args: dict[str, t.Any],
    sealed: list[tuple[str, bytes]],
    script: t.Any,
    change: dict[str, t.Any],
    says: str,
) -> None:
    script.expected.clear()
    args["cases"] = [{**args["cases"][0], **change}]
    assert says in run_module("image_boot_test", **args)["msg"]
    assert sealed == []
