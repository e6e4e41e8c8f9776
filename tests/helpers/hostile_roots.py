# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile roots: how each is made, what of the builder it must not reach, and how a build of it is judged.

The roots themselves are in hostile_table.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import typing as t

import processes
from builds import DEBIAN, PLAYBOOK, QUICK_INITRAMFS, Place, held, source_tar
from image_view import mounted

ROOT = pathlib.Path(__file__).resolve().parents[2]
ATTACK = ROOT / "tests/hostile/attack.pl"
# Where outputs of roots are left that ended as nobody expects.
LOGS = ROOT / ".cache" / "hostile"

# In the image.
HOME = "/usr/lib/hostile"
PROGRAM = f"{HOME}/attack.pl"
# Of the root, where it can be written, and of the build. The first stays in the image.
IMAGE_LOG, RUN_LOG = "/var/lib/hostile.log", "/run/hostile.log"
MOST_LOG = 8 << 20

BUILT = "built"
MIB = 1024
# For one command in an image, and for a whole build; a busy machine gets more of both.
COMMAND_SECONDS, BUILD_SECONDS = 90, 400

VARIABLE = "SEALEDROOT_CANARY"
_USER_KEYRING, _SESSION_KEYRING = -4, -3
_KEYCTL_SETPERM, _KEYCTL_DESCRIBE, _KEYCTL_LINK = 5, 6, 8
_KEYCTL_UNLINK, _KEYCTL_READ = 9, 11
# Everything for who possesses the key, and for its user.
_KEY_PERMISSIONS = 0x3F3F0000
# Top-level directories that no build is in.
_SYSTEM = (
    *("bin", "boot", "dev", "etc", "lib", "lib64", "mnt", "opt", "proc", "root", "run", "sbin"),
    *("sys", "usr"),
)
# What no boot of these images needs, since none is booted.
_LEFT_OUT = (
    *(f"usr/share/{name}" for name in ("doc", "info", "lintian", "locale", "man", "zoneinfo")),
    "usr/lib/udev/hwdb.bin",
)
_LEFT_OUT_MODULES = (
    *("drivers/comedi", "drivers/infiniband", "drivers/net", "drivers/target", "fs/btrfs"),
    *("fs/ceph", "fs/nfs", "fs/nfsd", "fs/smb", "fs/xfs", "net"),
)


def run(*argv: str | pathlib.Path) -> str:
    """Run a tool of the builder's."""
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=600).stdout


def patience() -> float:
    """Say how many times longer than on an idle machine things may take."""
    return min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Listener:
    """A service on the builder's loopback, and one on an abstract socket, that count who comes."""

    def __init__(self, name: str) -> None:
        self.reached: list[str] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._abstract = socket.socket(socket.AF_UNIX)
        self._abstract.bind(f"\0{name}")
        self._abstract.listen()
        self.port: int = self._tcp.getsockname()[1]
        for what, it in (("tcp", self._tcp), ("abstract socket", self._abstract)):
            threading.Thread(target=self._accept, args=(what, it), daemon=True).start()

    def _accept(self, what: str, it: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                it.accept()[0].close()
                self.reached.append(f"{what}: a connection")

    def close(self) -> None:
        for it in (self._tcp, self._abstract):
            # Which wakes the thread that waits.
            with contextlib.suppress(OSError):
                it.shutdown(socket.SHUT_RDWR)
            it.close()


class Keys:
    """A key in two keyrings of the builder's root (keyctl(2))."""

    def __init__(self, name: str, payload: str) -> None:
        self._name, self._payload = name, payload.encode()
        self._library = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
        # As for who logs in: who has the session's keyring has the user's.
        rings = (ctypes.c_int(_USER_KEYRING), ctypes.c_int(_SESSION_KEYRING))
        self._library.keyctl(_KEYCTL_LINK, *rings)
        for ring in (_USER_KEYRING, _SESSION_KEYRING):
            added = self._library.add_key(
                b"user", name.encode(), self._payload, len(payload), ctypes.c_int(ring)
            )
            if added < 0:
                raise OSError(ctypes.get_errno(), f"no key can be added to the keyring {ring}")
            self._library.keyctl(_KEYCTL_SETPERM, ctypes.c_int(added), _KEY_PERMISSIONS)

    def _read(self, command: int, number: int) -> bytes:
        buffer = ctypes.create_string_buffer(65536)
        size = self._library.keyctl(command, ctypes.c_int(number), buffer, len(buffer))
        return buffer.raw[:size] if size > 0 else b""

    def _ours(self, ring: int) -> list[tuple[int, str]]:
        """Return the keys of a keyring that are of this root, with their names."""
        data = self._read(_KEYCTL_READ, ring)
        numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        described = [(it, self._read(_KEYCTL_DESCRIBE, it).rstrip(b"\0")) for it in numbers]
        names = [(it, text.decode().rpartition(";")[2]) for it, text in described]
        return [(it, name) for it, name in names if name.startswith(self._name)]

    def reached(self) -> list[str]:
        found = []
        for ring in (_USER_KEYRING, _SESSION_KEYRING):
            ours = self._ours(ring)
            if [name for _number, name in ours] != [self._name]:
                found.append(f"keyring {ring}: it has {[name for _number, name in ours]}")
            elif self._read(_KEYCTL_READ, ours[0][0]) != self._payload:
                found.append(f"keyring {ring}: the key is another one")
        return found

    def close(self) -> None:
        for ring in (_USER_KEYRING, _SESSION_KEYRING):
            for number, _name in self._ours(ring):
                self._library.keyctl(_KEYCTL_UNLINK, ctypes.c_int(number), ctypes.c_int(ring))


class Canaries:
    """What is the builder's beside one build, and whether it is as it was."""

    def __init__(self, place: pathlib.Path) -> None:
        self.marker = f"hostile-{secrets.token_hex(6)}"
        self.folder = place / "canary"
        self.file = self.folder / "file"
        self.place = place
        self.secrets = {name: secrets.token_hex(16) for name in ("file", "variable", "key")}
        self.folder.mkdir(mode=0o700)
        self.file.write_text(self.secrets["file"])
        self.file.chmod(0o640)
        self._before = self._files()
        self._mounts = mount_points()
        self.listener = Listener(self.marker)
        self._keys = Keys(self.marker, self.secrets["key"])
        argv = [f"sleep-{self.marker}", "86400"]
        self._process = subprocess.Popen(argv, executable=shutil.which("sleep"))

    @property
    def environment(self) -> dict[str, str]:
        """What the play has in its environment."""
        return {VARIABLE: self.secrets["variable"]}

    def knowledge(
        self, *, logs: t.Sequence[str], scratch: str, search: bool = False
    ) -> dict[str, t.Any]:
        """Return what the attacker knows of the builder."""
        return {
            "file": str(self.file),
            "folder": str(self.folder),
            "key": self.marker,
            "logs": list(logs),
            "marker": self.marker,
            "pid": self._process.pid,
            "port": self.listener.port,
            "scratch": scratch,
            "search": int(search),
            "socket": self.marker,
            "variable": VARIABLE,
        }

    def _files(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        for path in (self.folder, *sorted(self.folder.rglob("*"))):
            info = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
            found[path.name] = (info.st_mode, info.st_uid, info.st_gid, content)
        return found

    def reached(self) -> list[str]:
        """Name what is not as it was."""
        found = [*self.listener.reached, *self._keys.reached()]
        if self._files() != self._before:
            found.append(f"files: {sorted(self._files())}, one of them changed")
        if self._process.poll() is not None:
            found.append("process: it was ended")
        found += [f"mount: {it}" for it in sorted(mount_points() - self._mounts)]
        found += [f"left: {it}" for it in left(self.marker, self._process.pid)]
        return found

    def close(self) -> None:
        for pid in pids(self.marker):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self.listener.close()
        self._keys.close()


def mount_points() -> set[str]:
    """Return what is mounted on the system; other builds mount in directories of their own."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    points = {line.split()[4] for line in lines}
    return {it for it in points if it.split("/")[1] in _SYSTEM}


def pids(marker: str) -> list[int]:
    """Return the processes with *marker* in their command line that are no Ansible."""
    lines = processes.command_lines().items()
    return [pid for pid, line in lines if re.match(r"[a-z]*-" + re.escape(marker), line)]


def left(marker: str, canary: int) -> list[str]:
    """Name processes of a root, and control groups of commands that have ended."""
    deadline = time.monotonic() + 5
    while True:
        found = [f"process {pid}" for pid in pids(marker) if pid != canary]
        for path in pathlib.Path("/sys/fs/cgroup").glob("**/sealedroot/[0-9]*"):
            with contextlib.suppress(OSError):
                # Who made it is gone, and all that was in it.
                if (
                    not pathlib.Path("/proc", path.name).exists()
                    and not (path / "cgroup.procs").read_text()
                ):
                    found.append(f"control group {path}")
        # The last process of a group, and the group, can take a moment to go.
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@contextlib.contextmanager
def folder() -> t.Iterator[pathlib.Path]:
    """Give a place for the base and all builds: on a disk, since an overlay of an overlay is none."""
    with tempfile.TemporaryDirectory(
        prefix="sealedroot-hostile-", dir="/var/tmp", ignore_cleanup_errors=True
    ) as name:
        yield pathlib.Path(name)


class Base:
    """A minimal Debian with the attacker in it, unpacked once."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "base"
        self.path.mkdir(parents=True)
        run("tar", "-C", self.path, "-xpf", source_tar(DEBIAN))
        (modules,) = (self.path / "usr/lib/modules").iterdir()
        for name in _LEFT_OUT:
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for name in _LEFT_OUT_MODULES:
            shutil.rmtree(modules / "kernel" / name, ignore_errors=True)
        run("chroot", self.path, "depmod", modules.name)
        for name, text in QUICK_INITRAMFS.items():
            (self.path / name).write_text(text)
        home = self.path / HOME.lstrip("/")
        home.mkdir()
        (home / ATTACK.name).write_text(f"#!/usr/bin/perl\n{ATTACK.read_text()}")
        (home / ATTACK.name).chmod(0o755)


class Root:
    """One hostile root: the base with changes, which is an overlay."""

    def __init__(self, path: pathlib.Path, canaries: Canaries) -> None:
        self.path, self.canaries = path, canaries
        # More inputs of the image than every build here has.
        self.variables: dict[str, t.Any] = {}
        self.search = False

    def at(self, name: str) -> pathlib.Path:
        """Return where a name of the root is on the builder; no link of the root is followed."""
        path = self.path / name.lstrip("/")
        real = pathlib.Path(os.path.realpath(path.parent))
        if self.path not in (real, *real.parents):
            raise ValueError(f"{name} leads out of the root")
        return path

    def remove(self, *names: str) -> None:
        for name in names:
            path = self.at(name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _fresh(self, name: str) -> pathlib.Path:
        self.remove(name)
        path = self.at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self._fresh(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def link(self, name: str, target: str) -> None:
        self._fresh(name).symlink_to(target)

    def fifo(self, *names: str) -> None:
        for name in names:
            os.mkfifo(self._fresh(name))

    def directory(self, *names: str) -> None:
        for name in names:
            self._fresh(name).mkdir()

    def socket(self, *names: str) -> None:
        # Its path would be too long for bind(2).
        for name in names:
            os.mknod(self._fresh(name), stat.S_IFSOCK | 0o666)

    def device(self, name: str, kind: str, major: int, minor: int) -> None:
        mode = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}[kind] | 0o666
        os.mknod(self._fresh(name), mode, os.makedev(major, minor))

    def wrap(self, name: str, script: str, *, stage: str = "before") -> None:
        """Put a program in the place of another one, which it becomes in the end, unless *stage* is ``instead``."""
        path = self.at(name)
        path = path.resolve() if path.is_symlink() else path
        real = f"/{path.relative_to(self.path)}.real"
        path.rename(f"{path}.real")
        end = "" if stage == "instead" else f'exec {real} "$@"\n'
        # dash, since sh may be what is wrapped.
        self.write(f"/{path.relative_to(self.path)}", f"#!/bin/dash\n{script}\n{end}", 0o755)

    def hook(self, *names: str) -> None:
        """Let the attacker run whenever one of these programs does."""
        for name in names:
            self.wrap(name, f"{PROGRAM} {pathlib.Path(name).name} >/dev/null")

    def finish(self) -> None:
        """Tell the attacker what it knows of the builder."""
        known = self.canaries.knowledge(
            logs=(IMAGE_LOG, RUN_LOG), scratch="/run", search=self.search
        )
        self.write(f"{HOME}/builder.pl", perl(known))


def perl(value: t.Any) -> str:
    """Write a value as Perl reads it."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{perl(k)} => {perl(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(perl(it) for it in value)}]"
    return str(value) if isinstance(value, int) else f"'{value}'"


@dataclasses.dataclass(frozen=True)
class Row:
    """A hostile root: what makes it, how its build has to end, and which hooks have to have been run for that."""

    name: str
    make: t.Callable[[Root], None]
    # BUILT, or a pattern of the sentence that refuses it.
    outcome: str = BUILT
    hooks: tuple[str, ...] = ()
    variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    command_seconds: int = COMMAND_SECONDS


@dataclasses.dataclass
class Verdict:
    """How the build of one root went."""

    name: str
    outcome: str = ""
    reached: list[str] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)
    hung: bool = False
    seconds: float = 0

    @property
    def right(self) -> bool:
        return not (self.reached or self.wrong or self.hung)

    @property
    def line(self) -> str:
        parts = [f"REACHED {it}" for it in self.reached] + ["HUNG"] * self.hung
        parts += [f"WRONG: {it}" for it in self.wrong]
        return f"{self.seconds:5.0f} s  {self.name}: {'; '.join([self.outcome, *parts])}"


def read_carefully(path: pathlib.Path) -> str:
    """Return what a regular file that a hostile root made holds."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ""
        with contextlib.suppress(OSError):
            return file.read(MOST_LOG).decode("utf-8", "replace")
    return ""


class Watch:
    """Reads what the attacker writes while the root is open; after a build that failed nothing of it is left."""

    def __init__(self, place: Place) -> None:
        work = place.path / "work/image"
        # The second is the build's own /run of the image.
        self._paths = (work / f"root{IMAGE_LOG}", work / f"private/run/own{RUN_LOG}")
        self._texts = dict.fromkeys(self._paths, "")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ends.wait(0.2):
            for path in self._paths:
                text = read_carefully(path)
                if len(text) > len(self._texts[path]):
                    self._texts[path] = text

    def end(self) -> str:
        self._ends.set()
        self._thread.join()
        return "\n".join(self._texts.values())


@contextlib.contextmanager
def overlaid(base: Base, place: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """Give a tree that begins as the base."""
    for name in ("upper", "inner", "source"):
        (place / name).mkdir()
    options = f"lowerdir={base.path},upperdir={place / 'upper'},workdir={place / 'inner'}"
    source = place / "source"
    run("mount", "-t", "overlay", "overlay", "-o", options, source)
    try:
        yield source
    finally:
        run("umount", source)


def play(row: Row, base: Base, folder: pathlib.Path) -> Verdict:
    """Build an image of a hostile root, and see what it reached."""
    place = Place(pathlib.Path(tempfile.mkdtemp(prefix=f"{row.name}-", dir=folder)))
    verdict = Verdict(row.name)
    began = time.monotonic()
    canaries = Canaries(place.path)
    output = log = ""
    try:
        with overlaid(base, place.path) as source:
            root = Root(source, canaries)
            row.make(root)
            root.finish()
            watch = Watch(place)
            try:
                status, output = build(row, root, place)
            finally:
                log = watch.end()
        verdict.hung = status is None
        if status == 0:
            with mounted(place.out / "image", MIB) as image:
                log += read_carefully(image / IMAGE_LOG.lstrip("/"))
        judge(verdict, row, status, output, log)
        verdict.reached += wins(output, log, canaries, place)
        verdict.reached += canaries.reached()
        verdict.wrong += remains(place)
        if held(place.path):
            release(place)
    except Exception as exc:  # the other roots are played
        verdict.wrong.append(f"{type(exc).__name__}: {' '.join(str(exc).split())[:2000]}")
    finally:
        canaries.close()
    verdict.seconds = time.monotonic() - began
    if not verdict.right:
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / f"{row.name}.log").write_text(f"{verdict.line}\n\n{log}\n\n{output}")
    # Never below a mount.
    if not held(place.path):
        shutil.rmtree(place.path, ignore_errors=True)
    return verdict


def variables(row: Row, root: Root, place: Place) -> dict[str, t.Any]:
    """Return the inputs of the image."""
    factor = patience()
    return place.variables(
        **{
            "image_name": "image",
            "image_size": f"{MIB}MiB",
            "image_source": {"type": "directory", "path": str(root.path)},
            "image_cache_dir": str(place.path / "cache"),
            "image_command_timeout": int(row.command_seconds * factor),
            **row.variables,
            **root.variables,
        }
    )


def build(row: Row, root: Root, place: Place) -> tuple[int | None, str]:
    """Play the playbook; the status is None when it did not end in time."""
    argv = ["ansible-playbook", PLAYBOOK, "--extra-vars", json.dumps(variables(row, root, place))]
    plain = {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    path = place.path / "output"
    with path.open("wb") as file:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **plain, **root.canaries.environment},
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(BUILD_SECONDS * patience())
        except BaseException as exc:
            # Its own processes are in its session; what is in sandboxes ends with them.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            release(place)
            if not isinstance(exc, subprocess.TimeoutExpired):
                raise
            status = None
    return status, path.read_bytes().decode("utf-8", "replace")


def release(place: Place) -> None:
    """Release what a build that was killed holds."""
    inputs = {"image_name": "image", "image_work_dir": str(place.path / "work")}
    argv = ("ansible-playbook", "sealedroot.image.teardown", "--extra-vars", json.dumps(inputs))
    subprocess.run(argv, check=False, capture_output=True, timeout=300)


def judge(verdict: Verdict, row: Row, status: int | None, output: str, log: str) -> None:
    """Say how the build ended, and what of that is wrong."""
    failures = re.findall(r"^(?:fatal|failed): .*$", output, re.MULTILINE)
    words = r'"(?:msg|stdout|stderr)": "((?:[^"\\]|\\.)*)"'
    messages = [it for it in re.findall(words, "\n".join(failures)) if it]
    said = " ".join(" / ".join(messages).replace("\\n", " ").split())
    verdict.outcome = (
        BUILT
        if status == 0
        else f"refused: {said if len(said) < 500 else said[:250] + ' ... ' + said[-250:]}"
    )
    if row.outcome == BUILT and status != 0:
        verdict.wrong.append(f"it is not built: {said[-1500:] or output[-1500:]}")
    elif row.outcome != BUILT and status == 0:
        verdict.wrong.append("it is built")
    elif status and not re.search(row.outcome, said):
        verdict.wrong.append(f"it is refused for another reason than '{row.outcome}'")
    for word in ("Traceback (most recent call last)", "MODULE FAILURE", "Unexpected Exception"):
        if word in output:
            verdict.wrong.append(f"{word} in the output")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", output):
        verdict.wrong.append("a character that a terminal obeys in the output")
    for hook in row.hooks:
        if f"TRIED {hook}" not in log:
            verdict.wrong.append(f"{hook} was not tried")


def wins(output: str, log: str, canaries: Canaries, place: Place) -> list[str]:
    """Name what the attacker says that it reached, and the builder's secrets in what it could write."""
    found = sorted(set(re.findall(r"REACHED ([^\n\\\"]*)", f"{output}\n{log}")))
    for name, value in canaries.secrets.items():
        if value in output or value in log:
            found.append(f"secret of the {name}")
    # Only the candidates that are no keys are no win; what is found later than a key is put there is not searched.
    for name in ("boot.key", "recovery.key"):
        key = read_carefully(place.out / "image" / name).strip()
        if key and f"KEY {key} " in log:
            found.append(name)
    return found


def remains(place: Place) -> list[str]:
    """Name what a build left: nothing of the work directory, and nothing half-made."""
    # A lease that does not end is among what is found.
    with contextlib.suppress(AssertionError):
        place.leases_end()
    found = held(place.path)
    work = place.path / "work"
    if work.exists():
        found += [str(it) for it in work.iterdir()]
    if place.out.exists():
        found += [str(it) for it in place.out.iterdir() if it.name.startswith(".")]
    return [f"left: {it}" for it in found]
