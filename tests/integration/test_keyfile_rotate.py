# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""keyfile_rotate on real LUKS1 and LUKS2 files, killed everywhere and resumed.

What it did is looked at with cryptsetup itself, and for LUKS1 with qemu-img's own driver.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import time
import typing as t

import luks_header
import processes
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sealedroot.image.plugins.module_utils._system import command
from ansible_collections.sealedroot.image.plugins.modules import keyfile_rotate
from forged_header import forge

Module = t.Callable[..., dict[str, t.Any]]

OFFSET = 1 << 20
SIZE = 18 << 20
KEYS = ("build", "boot", "recovery", "other")


def sh(*argv: str | os.PathLike[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=check, capture_output=True, text=True, timeout=120)


class Container:
    """A container in the middle of a file, and the keys around it."""

    def __init__(self, work: pathlib.Path, type_: str) -> None:
        self.dir, self.type = work, type_
        self.image, self.pinned = work / "disk.raw", work / "luks.header"

    def key(self, name: str) -> str:
        return str(self.dir / f"{name}.key")

    def start(self, *slots: tuple[int, str, int], hash_: str = "sha256") -> None:
        """Make a header with (slot, key, iterations), in that order."""
        for name in KEYS:
            path = pathlib.Path(self.key(name))
            path.touch(mode=0o600)
            path.write_text(f"the {name} key of this test")
        whole = self.dir / "whole"
        whole.touch()
        os.truncate(whole, SIZE)
        (slot, name, iterations), *more = slots
        pbkdf = ["--pbkdf", "pbkdf2", "--hash", hash_, "--pbkdf-force-iterations"]
        argv = ["cryptsetup", "luksFormat", "-q", "--type", self.type, "--key-size", "512"]
        argv += [*pbkdf, str(iterations), "--key-slot", str(slot)]
        sh(*argv, whole, self.key(name))
        for number, other, count in more:
            argv = ["cryptsetup", "luksAddKey", "-q", "--key-slot", str(number), *pbkdf, str(count)]
            sh(*argv, "--key-file", self.key(name), whole, self.key(other))
        self.image.touch()
        os.truncate(self.image, OFFSET + SIZE + OFFSET)
        argv = ["dd", f"if={whole}", f"of={self.image}", "bs=1M", "seek=1", "conv=notrunc,sparse"]
        sh(*argv)
        whole.unlink()

    def copy(self) -> Container:
        """A second container that starts where this one stands."""
        path = self.dir / "copy"
        if path.exists():
            shutil.rmtree(path)
        path.mkdir()
        it = Container(path, self.type)
        sh("cp", "--sparse=always", self.image, it.image)
        for name in KEYS:
            shutil.copy(self.key(name), it.key(name))
        return it

    @contextlib.contextmanager
    def header(self) -> t.Iterator[pathlib.Path]:
        """The header as a file of its own, which is read without the module's code."""
        path = self.dir / "header"
        sh("dd", f"if={self.image}", f"of={path}", "bs=1M", "skip=1", "count=18", "conv=sparse")
        yield path
        path.unlink()

    def put(self, header: pathlib.Path) -> None:
        """Put another header on the disk, as its host can; what is behind it stays."""
        size = min(header.stat().st_size, 16 << 20 if self.type == "luks2" else 2 << 20)
        with self.image.open("r+b") as image:
            image.seek(OFFSET)
            image.write(header.read_bytes()[:size])

    def opens(self) -> dict[int, str]:
        """Which known key opens which slot, asked for all slots that can be there."""
        found = {}
        with self.header() as header:
            for slot in self.slots(header):
                for name in KEYS:
                    argv = ["cryptsetup", "open", "--test-passphrase", "--key-slot", str(slot)]
                    if not sh(*argv, "--key-file", self.key(name), header, check=False).returncode:
                        found[slot] = name
        return found

    def is_open(self) -> bool:
        """Whether any known key opens any slot."""
        argv = ["cryptsetup", "open", "--test-passphrase", "--key-file"]
        with self.header() as header:
            return any(sh(*argv, self.key(it), header, check=False).returncode == 0 for it in KEYS)

    def slots(self, header: pathlib.Path) -> dict[int, int]:
        """Iterations of each slot in the header's own order."""
        if self.type == "luks2":
            data = json.loads(sh("cryptsetup", "luksDump", "--dump-json-metadata", header).stdout)
            return {int(n): slot["kdf"]["iterations"] for n, slot in data["keyslots"].items()}
        # Eight entries of 48 bytes from byte 208 on: active, iterations (LUKS1 specification).
        raw = header.read_bytes()[:592]
        entries = [raw[208 + 48 * n : 208 + 48 * n + 8] for n in range(8)]
        return {
            n: int.from_bytes(entry[4:], "big")
            for n, entry in enumerate(entries)
            if entry[:4] == b"\x00\xac\x71\xf3"
        }

    def ordered_slots(self) -> list[tuple[int, int]]:
        with self.header() as header:
            return list(self.slots(header).items())

    def loops(self) -> list[str]:
        return sh("losetup", "--noheadings", "--output", "NAME", "-j", self.image).stdout.split()

    def arguments(self, recovery_iterations: int = 1000) -> dict[str, t.Any]:
        return {
            "path": str(self.image),
            "offset": OFFSET,
            "size": SIZE,
            "unlock_key_files": [self.key("build"), self.key("other")],
            "keep_slots": [],
            "revoke_key_files": [],
            "header": None,
            "keys": [
                {"slot": 0, "key_file": self.key("boot"), "iterations": 1000},
                {"slot": 1, "key_file": self.key("recovery"), "iterations": recovery_iterations},
            ],
        }

    def check_goal(self, recovery_iterations: int = 1000) -> None:
        assert self.opens() == {0: "boot", 1: "recovery"}
        slots = self.ordered_slots()
        assert dict(slots) == {0: 1000, 1: recovery_iterations}
        if recovery_iterations > 1000:
            assert [slot for slot, _ in slots] == [0, 1]
        # Who looks at all loop devices, as other tests do, holds one for a moment.
        deadline = time.monotonic() + 20
        while left := self.loops():
            assert time.monotonic() < deadline, {it: processes.opened(it) for it in left}
            time.sleep(0.05)


@pytest.fixture(params=["luks1", "luks2"])
def container(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> t.Iterator[Container]:
    it = Container(tmp_path, request.param)
    yield it
    for path in (it.image, tmp_path / "copy" / "disk.raw"):
        for loop in sh("losetup", "--noheadings", "-O", "NAME", "-j", path).stdout.split():
            sh("losetup", "--detach", loop)


STARTS = {
    "fresh": ((0, "build", 1000),),
    "aside": ((7, "build", 1000),),
    "swapped": ((1, "boot", 1000), (0, "recovery", 1000), (4, "other", 1000)),
    "old": ((0, "other", 1000), (1, "recovery", 1000)),
}


@pytest.mark.parametrize("start", STARTS)
def test_four_calls(container: Container, real_module: Module, start: str) -> None:
    container.start(*STARTS[start])
    before = container.image.read_bytes()
    first = real_module("keyfile_rotate", _check=True, **container.arguments(3000))
    assert first["changed"] is True
    assert container.image.read_bytes() == before
    second = real_module("keyfile_rotate", **container.arguments(3000))
    assert {**second, "invocation": 0} == {**first, "invocation": 0}
    container.check_goal(3000)
    for check in (False, True):
        again = real_module("keyfile_rotate", _check=check, **container.arguments(3000))
        assert (again["changed"], again["added"], again["removed"]) == (False, [], [])
    container.check_goal(3000)
    # Nothing around the container was touched.
    after = container.image.read_bytes()
    assert after[:OFFSET] == before[:OFFSET]
    assert after[OFFSET + SIZE :] == before[OFFSET + SIZE :]


def pinned(it: Container, **more: t.Any) -> dict[str, t.Any]:
    return {**it.arguments(), "header": str(it.pinned), **more}


def check_pinned(it: Container) -> None:
    """The header file is on the disk, byte by byte, and has nothing where no key slot is."""
    data = it.pinned.read_bytes()
    assert it.image.read_bytes()[OFFSET:][: len(data)] == data
    assert sorted(luks_header.slots(data)) == sorted(it.opens())
    assert not any(luks_header.unused(data))
    info = it.pinned.stat()
    assert (info.st_mode & 0o777, info.st_uid) == (0o400, 0)
    # Holes, which take no room in the image.
    assert info.st_blocks * 512 < 1 << 20
    assert [path.name for path in it.dir.glob(".*")] == []


@pytest.mark.parametrize("start", STARTS)
def test_four_calls_with_a_header_file(
    container: Container, real_module: Module, start: str
) -> None:
    container.start(*STARTS[start])
    behind = OFFSET + (16 << 20 if container.type == "luks2" else 2 << 20)
    with container.image.open("r+b") as image:
        image.seek(behind)
        image.write(b"payload")
    before = container.image.read_bytes()
    first = real_module("keyfile_rotate", _check=True, **pinned(container))
    assert (first["changed"], first["written"]) == (True, True)
    assert container.image.read_bytes() == before
    assert not container.pinned.exists()
    second = real_module("keyfile_rotate", **pinned(container))
    assert {**second, "invocation": 0} == {**first, "invocation": 0}
    container.check_goal()
    check_pinned(container)
    state = (container.image.read_bytes(), container.pinned.stat())
    for check in (False, True):
        again = real_module("keyfile_rotate", _check=check, **pinned(container))
        assert (again["changed"], again["written"], again["added"]) == (False, False, [])
    assert (container.image.read_bytes(), container.pinned.stat()) == state
    assert state[0][:OFFSET] == before[:OFFSET]
    assert state[0][behind:] == before[behind:]
    # The file alone opens, as an initramfs does it.
    for name, opened in (("boot", True), ("recovery", True), ("build", False), ("other", False)):
        argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", container.key(name)]
        assert (sh(*argv, container.pinned, check=False).returncode == 0) is opened, name


def null_segment(it: Container, header: pathlib.Path) -> None:
    """Whoever has no key can say that the data is not encrypted, and lay a file system there (a right key opens it)."""
    if it.type == "luks1":
        sh("cryptsetup", "convert", "-q", "--type", "luks2", header)
    forge(header, lambda data: data["segments"]["0"].update(encryption="cipher_null-ecb"))
    assert "cipher: cipher_null-ecb" in sh("cryptsetup", "luksDump", header).stdout
    argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", it.key("boot")]
    assert sh(*argv, header).returncode == 0


def another_container(it: Container, header: pathlib.Path) -> None:
    """Of the other version, with another beginning of the data, and with a key that the host knows."""
    other = "luks1" if it.type == "luks2" else "luks2"
    argv = ["cryptsetup", "luksFormat", "-q", "--type", other, "--pbkdf-force-iterations", "1000"]
    argv += ["--pbkdf", "pbkdf2", "--offset", "8192"]
    sh(*argv, header, it.key("other"))


FORGERIES: dict[str, t.Callable[[Container, pathlib.Path], object]] = {
    "null segment": null_segment,
    "another container": another_container,
    "old header": lambda it, header: header.write_bytes((it.dir / "old").read_bytes()),
    "zeros": lambda _it, header: header.write_bytes(bytes(header.stat().st_size)),
    "noise": lambda _it, header: header.write_bytes(os.urandom(header.stat().st_size)),
    "one byte": lambda _it, header: header.write_bytes(
        header.read_bytes()[:300_000] + b"?" + header.read_bytes()[300_001:]
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_the_host_put_on_the_disk_is_not_read_but_overwritten(
    container: Container, real_module: Module, forgery: str
) -> None:
    container.start(*STARTS["old"])
    with container.header() as header:
        shutil.copy(header, container.dir / "old")
    assert not real_module("keyfile_rotate", **pinned(container)).get("failed")
    good = container.pinned.read_bytes()
    with container.header() as header:
        FORGERIES[forgery](container, header)
        container.put(header)
    forged = container.image.read_bytes()
    assert forged[OFFSET:][: len(good)] != good
    predicted = real_module("keyfile_rotate", _check=True, **pinned(container))
    assert container.image.read_bytes() == forged
    done = real_module("keyfile_rotate", **pinned(container))
    assert {**done, "invocation": 0} == {**predicted, "invocation": 0}
    assert (done["changed"], done["written"]) == (True, True)
    # Its slots were those of the file all the time.
    assert (done["added"], done["removed"]) == ([], [])
    assert container.pinned.read_bytes() == good
    container.check_goal()
    check_pinned(container)
    assert real_module("keyfile_rotate", **pinned(container))["changed"] is False


@pytest.mark.parametrize("forgery", FORGERIES)
def test_keys_are_exchanged_on_a_disk_with_a_forged_header(
    container: Container, real_module: Module, forgery: str
) -> None:
    container.start(*STARTS["old"])
    with container.header() as header:
        shutil.copy(header, container.dir / "old")
    assert not real_module("keyfile_rotate", **pinned(container)).get("failed")
    with container.header() as header:
        FORGERIES[forgery](container, header)
        container.put(header)
    new = {"slot": 0, "key_file": container.key("build"), "iterations": 1000}
    exchange = {"keys": [new], "keep_slots": [1], "unlock_key_files": [container.key("boot")]}
    revoked = [container.key("boot"), container.key("other")]
    done = real_module("keyfile_rotate", **pinned(container, **exchange, revoke_key_files=revoked))
    assert not done.get("failed"), done
    assert container.opens() == {0: "build", 1: "recovery"}
    check_pinned(container)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o644, "can be read by others: set its mode to 0600"),
        (b"", 0o600, "is empty"),
        (b"no header", 0o600, "there is no LUKS header in"),
    ],
)
def test_a_header_file_that_cannot_be_believed(
    container: Container, real_module: Module, content: bytes | None, mode: int, words: str
) -> None:
    container.start(*STARTS["old"])
    assert not real_module("keyfile_rotate", **pinned(container)).get("failed")
    if content is not None:
        container.pinned.chmod(0o600)
        container.pinned.write_bytes(content)
    container.pinned.chmod(mode)
    before = container.image.read_bytes()
    done = real_module("keyfile_rotate", **pinned(container))
    assert done["failed"]
    assert words in done["msg"]
    assert container.image.read_bytes() == before


def test_another_implementation_opens_it(tmp_path: pathlib.Path, real_module: Module) -> None:
    container = Container(tmp_path, "luks1")  # QEMU reads no other
    container.start(*STARTS["fresh"])
    real_module("keyfile_rotate", **container.arguments())
    with container.header() as header:
        for name, works in (("boot", True), ("recovery", True), ("build", False)):
            argv = ["qemu-io", "-r", "-c", "read 0 512"]
            argv += ["--object", f"secret,id=key,file={container.key(name)}", "--image-opts"]
            done = sh(*argv, f"driver=luks,key-secret=key,file.filename={header}", check=False)
            assert (done.returncode == 0) is works, name


class Killed(BaseException):
    """The controller is gone."""


class Dying(command.Runner):
    """Runs real commands and dies after the given number of them that change the header."""

    def __init__(self, lives: int) -> None:
        self.lives, self.changes = lives, 0

    def find(self, *names: str) -> str:
        return names[0]

    def run(self, argv: t.Sequence[str], **options: t.Any) -> command.Result:
        done = sh(*argv, check=False)
        result = command.Result(done.returncode, done.stdout, done.stderr)
        if options.get("check", True) and result.rc:
            raise command.CommandError(argv, result)
        if argv[1] in ("luksAddKey", "luksKillSlot"):
            self.changes += 1
            if self.changes == self.lives:
                raise Killed
        return result


@pytest.mark.parametrize("start", ["fresh", "swapped"])
def test_killed_after_each_change_and_resumed(
    container: Container, real_module: Module, start: str
) -> None:
    container.start(*STARTS[start])
    kills = 0
    while True:
        it = container.copy()
        try:
            keyfile_rotate.ensure(Dying(kills + 1), it.arguments(2000), check_mode=False)
        except Killed:
            kills += 1
        else:
            break
        assert it.is_open(), "locked out"
        outcome = real_module("keyfile_rotate", **it.arguments(2000))
        assert not outcome.get("failed"), outcome
        it.check_goal(2000)
    assert kills >= 5


def test_killed_at_any_moment_with_its_children(container: Container, real_module: Module) -> None:
    """SIGKILL in the middle of cryptsetup, too."""
    container.start(*STARTS["swapped"])
    moments = random.Random(container.type)
    commands = 0
    for _ in range(6):
        it = container.copy()
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                os.dup2(os.open(os.devnull, os.O_RDWR), 1)
                with patch_module_args(it.arguments(2000)):
                    keyfile_rotate.main()
            os._exit(0)
        time.sleep(moments.uniform(0.05, 0.6))
        commands += len(processes.kill_family(pid))
        os.waitpid(pid, 0)
        for loop in it.loops():  # what teardown would release
            sh("losetup", "--detach", loop)
        assert it.is_open(), "locked out"
        outcome = real_module("keyfile_rotate", **it.arguments(2000))
        assert not outcome.get("failed"), outcome
        it.check_goal(2000)
    assert commands, "no kill came in the middle of a command"


def rotation(it: Container) -> dict[str, t.Any]:
    """Exchange the key in slot 0 beside a recovery key that the machine does not have."""
    return {
        **it.arguments(),
        "unlock_key_files": [],
        "keys": [{"slot": 0, "key_file": it.key("boot"), "iterations": 1000}],
        "keep_slots": [1],
        "revoke_key_files": [it.key("other")],
    }


def check_rotated(it: Container) -> None:
    assert it.opens() == {0: "boot", 1: "recovery"}
    assert dict(it.ordered_slots()) == {0: 1000, 1: 2000}


def test_a_rotation_beside_a_kept_slot_is_killed_after_each_change_and_resumed(
    container: Container, real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warnings.append(text))
    container.start(*STARTS["old"][:1], (1, "recovery", 2000))
    with container.header() as header:
        material = header.read_bytes()
    for kills in range(1, 5):
        it = container.copy()
        with pytest.raises(Killed):
            keyfile_rotate.ensure(Dying(kills), rotation(it), check_mode=False)
        assert it.is_open(), "locked out"
        assert it.opens().get(1) == "recovery"
        outcome = real_module("keyfile_rotate", **rotation(it))
        assert not outcome.get("failed"), outcome
        check_rotated(it)
    pathlib.Path(container.key("recovery")).unlink()  # the module never needs it
    warnings.clear()
    assert real_module("keyfile_rotate", **rotation(container))["slots"] == {"0": 1000, "1": 2000}
    with container.header() as header:
        assert header.read_bytes() != material
    assert len(warnings) == (container.type == "luks2")
    assert real_module("keyfile_rotate", **rotation(container))["changed"] is False


def test_an_old_key_that_a_kept_slot_has_too_is_refused(
    container: Container, real_module: Module
) -> None:
    container.start((0, "other", 1000), (1, "other", 1000))
    before = container.image.read_bytes()
    outcome = real_module("keyfile_rotate", **rotation(container))
    assert "opens slot 1, which keep_slots leaves alone" in outcome["msg"]
    assert container.image.read_bytes() == before


def test_luks2_slots_have_the_hash_of_the_header(
    tmp_path: pathlib.Path, real_module: Module
) -> None:
    it = Container(tmp_path, "luks2")
    it.start(*STARTS["fresh"], hash_="sha512")
    real_module("keyfile_rotate", **it.arguments())
    with it.header() as header:
        data = json.loads(sh("cryptsetup", "luksDump", "--dump-json-metadata", header).stdout)
    assert [slot["kdf"]["hash"] for slot in data["keyslots"].values()] == ["sha512", "sha512"]


def test_a_luks2_slow_slot_comes_after_the_boot_key(
    tmp_path: pathlib.Path, real_module: Module
) -> None:
    it = Container(tmp_path, "luks2")
    it.start((1, "recovery", 2000), (0, "boot", 1000))
    assert [slot for slot, _ in it.ordered_slots()] == [1, 0]
    assert real_module("keyfile_rotate", **it.arguments(2000))["changed"] is True
    it.check_goal(2000)


def test_a_full_header(tmp_path: pathlib.Path, real_module: Module) -> None:
    it = Container(tmp_path, "luks1")
    it.start((7, "build", 1000), *((slot, "other", 1000) for slot in range(7)))
    arguments = it.arguments()
    arguments["unlock_key_files"] = [it.key("build")]  # "other" is nobody's now
    outcome = real_module("keyfile_rotate", **arguments)
    assert not outcome.get("failed"), outcome
    it.check_goal()


def test_a_whole_file_without_offset(container: Container, real_module: Module) -> None:
    container.start(*STARTS["fresh"])
    with container.header() as header:
        arguments = {**container.arguments(), "path": str(header), "offset": 0, "size": 0}
        assert real_module("keyfile_rotate", **arguments)["changed"] is True
        assert real_module("keyfile_rotate", **arguments)["changed"] is False
        assert sh("losetup", "-j", header).stdout == ""


def test_a_live_block_device(container: Container, real_module: Module) -> None:
    """A loop device that somebody else has open, as a running machine's disk is."""
    container.start(*STARTS["fresh"])
    argv = ["losetup", "--find", "--show", "--offset", str(OFFSET), "--sizelimit", str(SIZE)]
    device = sh(*argv, container.image).stdout.strip()
    with open(device, "rb") as held:
        arguments = {**container.arguments(), "path": device, "offset": 0, "size": 0}
        assert real_module("keyfile_rotate", **arguments)["changed"] is True
        assert held.read(4) == b"LUKS"
    assert container.loops() == [device]
    sh("losetup", "--detach", device)
    container.check_goal()


def test_no_key_opens_and_nothing_is_touched(container: Container, real_module: Module) -> None:
    container.start((0, "build", 1000))
    before = container.image.read_bytes()
    arguments = {**container.arguments(), "unlock_key_files": []}
    outcome = real_module("keyfile_rotate", **arguments)
    assert "none of the given keys opens" in outcome["msg"]
    assert container.image.read_bytes() == before
    assert container.loops() == []


def test_an_empty_key_file_is_refused(container: Container, real_module: Module) -> None:
    container.start((0, "build", 1000))
    pathlib.Path(container.key("recovery")).write_bytes(b"")
    outcome = real_module("keyfile_rotate", **container.arguments())
    assert "is empty" in outcome["msg"]
    assert container.opens() == {0: "build"}


def test_no_key_in_any_command_line_or_output(
    container: Container, real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.start(*STARTS["fresh"])
    lines: list[str] = []
    run = command.ModuleRunner.run

    def record(self: t.Any, argv: t.Sequence[str], **options: t.Any) -> command.Result:
        lines.append(f"{argv} {options}")
        return run(self, argv, **options)

    monkeypatch.setattr(command.ModuleRunner, "run", record)
    outcome = real_module("keyfile_rotate", **container.arguments())
    assert len(lines) > 10
    for name in KEYS:
        secret = pathlib.Path(container.key(name)).read_text()
        assert secret not in str(outcome)
        assert not [line for line in lines if secret in line]
