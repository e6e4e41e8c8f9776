# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""luks_image with scripted commands and a backend that only notes what it is asked."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import luks_region
from ansible_collections.sealedroot.image.plugins.module_utils._luks import backend as luks_backend
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "luks"
DUMP = (FIXTURES / "luks1-cryptsetup-2.6.1.txt").read_text()
COLUMNS = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
LIST = ["losetup", "--list", "--json", "--output", COLUMNS]
LOOP = "/dev/loop4"
UUID = "11111111-2222-4333-8444-555555555555"
SECRET = "the very secret"


class Fake(luks_backend.Backend):
    """A backend without a kernel."""

    name = "userspace"

    def __init__(self) -> None:
        self.have = "closed"
        self.calls: list[str] = []
        self.mapping: luks_backend.Mapping | None = None

    def unusable(self, runner: t.Any) -> str | None:
        return None

    def check(self, mapping: luks_backend.Mapping) -> None:
        self.calls.append("check")

    def state(self, runner: t.Any, mapping: luks_backend.Mapping) -> str:
        self.mapping = mapping
        return self.have

    def open(self, runner: t.Any, mapping: luks_backend.Mapping) -> None:
        self.calls.append("open")

    def close(self, runner: t.Any, mapping: luks_backend.Mapping) -> None:
        self.calls.append("close")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(luks_backend, "choose", lambda _runner, _wanted: (fake, "because"))
    monkeypatch.setattr(loop_devices, "is_read_only", lambda _device: False)
    return fake


@pytest.fixture
def options(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    disk, key = tmp_path / "disk.raw", tmp_path / "key"
    disk.write_bytes(bytes(8192))
    key.touch(0o600)
    key.write_text(SECRET)
    return {"path": str(disk), "offset": 512, "name": "cr_root", "key_file": str(key)}


class Talk:
    """The conversations with the tools."""

    def __init__(self, script: t.Any, disk: str) -> None:
        self.script, self.disk = script, disk

    def attach(self, *, read_only: bool) -> None:
        argv = ["losetup", "--find", "--show", "--offset", "512"]
        mode = ["--read-only"] if read_only else []
        self.script.expect([*argv, *mode, self.disk], stdout=f"{LOOP}\n")

    def detach(self) -> None:
        self.script.expect(["losetup", "--detach", LOOP])
        self.script.expect(LIST)

    def header(self) -> None:
        self.script.expect(["cryptsetup", "luksDump", LOOP], stdout=DUMP)

    def found(self) -> None:
        """A region with a header is read."""
        self.attach(read_only=True)
        self.header()
        self.detach()

    def blank(self, rc: int = 2, **said: str) -> None:
        """A region without a header is read."""
        self.attach(read_only=True)
        self.script.expect(["cryptsetup", "luksDump", LOOP], rc=1)
        self.script.expect(["blkid", "--probe", "--output", "export", LOOP], rc=rc, **said)
        self.detach()

    def no_table(self) -> None:
        self.script.expect(["sfdisk", "--json", self.disk], rc=1)

    def format(self, *more: str, key: str, luks: str = "luks1") -> None:
        argv = ["cryptsetup", "luksFormat", "--batch-mode", "--type", luks]
        argv += ["--cipher", "aes-xts-plain64", "--key-size", "512", "--hash", "sha256"]
        argv += ["--pbkdf-force-iterations", "1000", *more]
        self.attach(read_only=False)
        self.script.expect([*argv, LOOP, key])
        self.header()
        self.detach()


@pytest.fixture
def talk(script: t.Any, options: dict[str, t.Any]) -> Talk:
    return Talk(script, options["path"])


def refused(result: t.Any, *words: str) -> None:
    assert result.failed, result.result
    for word in words:
        assert word in result["msg"]


def test_format_and_open(backend: Fake, options, talk: Talk, run_module) -> None:
    talk.blank()
    talk.no_table()
    predicted = run_module("luks_image", _check=True, **options)
    assert backend.calls == ["check"]
    talk.blank()
    talk.no_table()
    talk.format(key=options["key_file"])
    made = run_module("luks_image", **options)
    assert backend.calls == ["check", "check", "open"]
    assert set(predicted.result) == set(made.result)
    assert predicted["changed"] is made["changed"] is predicted["formatted"] is True
    assert (predicted["uuid"], made["uuid"], made["type"]) == ("", UUID, "luks1")
    assert made["device"] == "/dev/mapper/cr_root"
    assert made["backend_reason"] == "because"
    assert made["diff"] == {"before": {"state": "absent"}, "after": {"state": "open"}}
    assert SECRET not in str(made.result) + str(predicted.result)


def test_luks2_has_small_sectors_and_pbkdf2(backend: Fake, options, talk: Talk, run_module) -> None:
    talk.blank()
    talk.no_table()
    more = ["--pbkdf", "pbkdf2", "--sector-size", "512", "--key-slot", "7", "--uuid", UUID]
    talk.format(*more, key=options["key_file"], luks="luks2")
    made = run_module("luks_image", type="luks2", uuid=UUID, key_slot=7, state="closed", **options)
    assert made["changed"] is True
    assert backend.calls == []


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("have", "state", "calls", "changed"),
    [
        ("closed", "closed", [], False),
        ("open", "open", [], False),
        ("closed", "open", ["check", "open"], True),
        ("open", "closed", ["close"], True),
        ("broken", "closed", ["close"], True),
        ("broken", "open", ["check", "close", "open"], True),
    ],
)
def test_states_of_a_container(
    have: str,
    state: str,
    calls: list[str],
    changed: bool,
    check: bool,
    backend: Fake,
    options,
    talk: Talk,
    run_module,
) -> None:
    backend.have = have
    talk.found()
    result = run_module("luks_image", state=state, _check=check, **options)
    assert result["changed"] is changed
    assert result["formatted"] is False
    assert (result["uuid"], result["state"]) == (UUID, state)
    assert result["diff"]["before"]["state"] == have
    assert backend.calls == [call for call in calls if not check or call == "check"]


@pytest.mark.parametrize("have", ["closed", "open"])
def test_absent(have: str, backend: Fake, options, talk: Talk, script, run_module) -> None:
    backend.have = have
    talk.found()
    assert run_module("luks_image", state="absent", _check=True, **options)["changed"] is True
    assert backend.calls == []
    talk.found()
    talk.attach(read_only=False)
    script.expect(["cryptsetup", "luksErase", "--batch-mode", LOOP])
    script.expect(["wipefs", "--all", LOOP])
    talk.detach()
    result = run_module("luks_image", state="absent", **options)
    assert (result["changed"], result["uuid"], result["type"]) == (True, "", "")
    assert backend.calls == (["close"] if have == "open" else [])


def test_absent_already(backend: Fake, options, talk: Talk, run_module) -> None:
    talk.blank(rc=0, stdout="TYPE=ext4\n")
    assert run_module("luks_image", state="absent", **options)["changed"] is False


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("rc", "said", "words"),
    [
        (0, {"stdout": "DEVNAME=/dev/loop4\nLABEL=x\nTYPE=ext4\n"}, "holds TYPE=ext4: set force"),
        (0, {"stdout": "PTUUID=1\nPTTYPE=gpt\n"}, "holds PTTYPE=gpt: set force"),
        (8, {"stderr": "ambivalent result (probably more filesystems)\n"}, "ambivalent"),
        (8, {}, "ambiguous signature"),
    ],
)
def test_what_is_not_blank_is_refused(
    check: bool, rc: int, said, words: str, backend: Fake, options, talk: Talk, run_module
) -> None:
    talk.blank(rc=rc, **said)
    refused(run_module("luks_image", _check=check, **options), words)
    assert backend.calls == []


def test_what_is_no_partition_is_refused(
    backend: Fake, options, talk: Talk, script, run_module
) -> None:
    talk.blank()
    rows = '[{"node": "x1", "start": 2, "size": 4}]'
    table = f'{{"partitiontable": {{"label": "gpt", "partitions": {rows}}}}}'
    script.expect(["sfdisk", "--json", options["path"]], stdout=table)
    refused(run_module("luks_image", **options), "not inside one of its partitions", "set force")


def test_force(backend: Fake, options, talk: Talk, run_module) -> None:
    talk.blank(rc=0, stdout="TYPE=ext4\n")
    talk.format(key=options["key_file"])
    assert run_module("luks_image", force=True, **options)["formatted"] is True
    talk.found()
    talk.format(key=options["key_file"])
    assert run_module("luks_image", force=True, **options)["formatted"] is True
    backend.have = "open"
    talk.found()
    assert run_module("luks_image", force=True, **options)["changed"] is False


@pytest.mark.parametrize("state", ["absent", "closed"])
def test_force_is_for_an_open_container_alone(
    state: str, backend: Fake, options, run_module
) -> None:
    refused(run_module("luks_image", force=True, state=state, **options), "leave force out")
    assert backend.calls == []


def test_words_of_luks_device(backend: Fake, options, talk: Talk, run_module) -> None:
    """As community.crypto.luks_device has them."""
    talk.blank()
    talk.no_table()
    talk.format("--key-slot", "7", key=options["key_file"])
    options["keyfile"] = options.pop("key_file")
    made = run_module("luks_image", state="opened", keysize=512, keyslot=7, **options)
    assert (made["state"], made["formatted"]) == ("open", True)


def test_a_failed_format_leaves_no_loop_device(
    backend: Fake, options, talk: Talk, script, run_module
) -> None:
    talk.blank()
    talk.no_table()
    talk.attach(read_only=False)
    argv = ["cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--cipher"]
    argv += ["aes-xts-plain64", "--key-size", "512", "--hash", "sha256"]
    argv += ["--pbkdf-force-iterations", "10", LOOP, options["key_file"]]
    script.expect(argv, rc=1, stderr="Forced iteration count is too low")
    talk.detach()
    result = run_module("luks_image", iterations=10, **options)
    refused(result, "Forced iteration count is too low")
    assert SECRET not in str(result.result)
    assert "open" not in backend.calls


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"uuid": "99999999-2222-4333-8444-555555555555"}, f"holds the container {UUID}"),
        ({"type": "luks2"}, "with type luks1, not luks2"),
        ({"cipher": "aes-cbc-essiv:sha256", "hash": "sha512"}, "; hash sha256, not sha512"),
        ({"key_size": 256}, "with key_size 512, not 256"),
        ({"key_file": None}, "key_file is needed to open"),
    ],
)
def test_another_container_than_asked_for(
    change, words: str, backend: Fake, options, talk: Talk, run_module
) -> None:
    talk.found()
    refused(run_module("luks_image", **{**options, **change}), words)
    assert backend.calls == []


@pytest.mark.parametrize(
    ("change", "words"),
    [({"read_only": True}, "with read_only none is made"), ({"key_file": None}, "to format")],
)
def test_a_blank_region_that_cannot_be_formatted(
    change, words: str, backend: Fake, options, talk: Talk, run_module
) -> None:
    talk.blank()
    refused(run_module("luks_image", **{**options, **change}), words)


@pytest.mark.parametrize("read_only", [False, True])
def test_open_in_the_other_mode(
    read_only: bool, backend: Fake, options, talk: Talk, run_module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_devices, "is_read_only", lambda _device: not read_only)
    backend.have = "open"
    talk.found()
    mode = "read-write" if read_only else "read-only"
    refused(run_module("luks_image", read_only=read_only, **options), f"is open {mode}: close it")
    talk.found()
    result = run_module("luks_image", read_only=read_only, state="closed", **options)
    assert result["changed"] is True


def test_a_container_whose_keys_were_exchanged_is_the_same(
    backend: Fake, options, talk: Talk, run_module
) -> None:
    talk.found()
    result = run_module("luks_image", state="closed", key_slot=7, iterations=5000, **options)
    assert result["changed"] is False


def test_the_header_says_what_is_opened(backend: Fake, options, talk: Talk, run_module) -> None:
    talk.found()
    run_module("luks_image", **options)
    assert backend.mapping is not None
    assert backend.mapping.header.type == "luks1"


@pytest.mark.parametrize("name", ["cr_root", "sealedroot-web.1", "a" * 127, "controls", "..."])
def test_names(name: str) -> None:
    assert luks_region.NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "control", "a/b", "../sda", "a b", "a\n", "ü", "a" * 128]
)
def test_names_that_cannot_be(name: str, options, run_module) -> None:
    refused(run_module("luks_image", **{**options, "name": name}), "cannot be a mapping")
