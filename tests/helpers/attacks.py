# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an attack is, the stage that it is played on, and how it ends."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import importlib.util
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import typing as t

import pexpect
from attack_images import BLOCK, Image
from guests import PROMPT, Guest
from hostile import store_of_variables

# What the host prints where it has won; hostile.py makes the programs that say it.
MARKER = "HOST-ROOT-RUNS"
# The prompts that a host wants. A menu of GRUB has none of them.
GRUB_SHELL = r"grub(?: rescue)?> "
INITRAMFS_SHELL = r"\(initramfs\)|[Ee]mergency mode|for maintenance|:/# |sulogin"
# Most kernels are told to be quiet; GRUB's entries are not.
KERNEL = r"Linux version \d|Loading Linux|EFI stub:|Loading initial ramdisk"
LOGIN = r"login: "
# The genuine root runs.
GENUINE = (LOGIN,)
# A kernel that unpacks itself reads no disk for longer than that, and GRUB never rests as long.
QUIET = 1.5
# Seconds after which an initramfs has given up its root: initramfs-tools waits twice for what udev has to do, two
# minutes each, and dracut as long as attack_images.py says, and a minute for udev.
SLOW = {"initramfs-tools": 480, "dracut": 240}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][0-9A-Za-z]?|[\x00-\x08\x0e-\x1f]")
_PARTS = re.compile(
    r"The host (?P<host>.*?)\n\nThe guest (?P<guest>(?:must|cannot) .*?)\n\nWhy: (?P<why>.*)",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Whether the host won, and what was seen that says so."""

    won: bool
    evidence: str
    seconds: float = 0


def won(evidence: str) -> Outcome:
    return Outcome(True, evidence)


def stopped(evidence: str) -> Outcome:
    return Outcome(False, evidence)


def looked(guest: Guest, command: str, pattern: str) -> Outcome:
    """Look in the genuine guest for something of the host's: what *command* shows, and must show without an error."""
    # Between marks, since a console shows what was typed as well.
    output = clean(guest.run(f"echo 'BEG''IN='; {command} && echo '=E''ND'"))
    _echo, _begin, shown = output.partition("BEGIN=")
    shown, end, _rest = shown.partition("=END")
    assert end, output
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    found = [line for line in lines if re.search(pattern, line)]
    if found:
        return won(f"in the genuine guest: «{' / '.join(found)[:200]}»")
    return stopped(f"the genuine root runs, and «{command}» shows nothing of the host's")


@dataclasses.dataclass(frozen=True)
class Attack:
    """One attack. Its module's docstring says what the host does, what the guest must do, and why.

    Either it is played by itself, or it is passive: what it prepares is there when the genuine guest boots, and it
    looks in the guest what came of it. Passive attacks share one boot of each image.
    """

    # The kinds of images that it is played on.
    images: t.Sequence[str]
    play: t.Callable[[Stage], Outcome] | None = None
    prepare: t.Callable[[Stage], None] | None = None
    probe: t.Callable[[Stage, Guest], Outcome] | None = None
    # For what only a measured boot, or nothing, can close: why, and what to combine the image with.
    open_because: str = ""
    combine_with: str = ""
    # Why no image without a defence can show that the attack works.
    no_control: str = ""
    # The parts of the docstring: what the host does, what the guest must do, and why.
    host: str = ""
    guest: str = ""
    why: str = ""

    @property
    def passive(self) -> bool:
        return self.probe is not None


def load(folder: pathlib.Path, names: t.Sequence[str] = ()) -> dict[str, Attack]:
    """Return the attacks of a folder, or those of that names, by the names of their files."""
    files = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "run"}
    unknown = [name for name in names if name not in files]
    if unknown:
        known = "\n  ".join(files)
        raise SystemExit(f"no attack is called {', '.join(unknown)}; there are\n  {known}")
    found = {}
    for name, path in files.items():
        if names and name not in names:
            continue
        spec = importlib.util.spec_from_file_location(f"attack_{name}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        parts = _PARTS.fullmatch(module.__doc__ or "")
        assert parts, f"{path} does not say what the host does, what the guest must do, and why"
        texts = {key: " ".join(text.split()) for key, text in parts.groupdict().items()}
        found[name] = dataclasses.replace(module.ATTACK, **texts)
    return found


class Control:
    """QEMU's control socket: it does what a host can do to a running machine, and says how the machine ended."""

    def __init__(self, path: pathlib.Path) -> None:
        self.ended = ""
        self._answers: list[dict[str, t.Any]] = []
        self._news = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 30
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                assert time.monotonic() < deadline, "QEMU does not open its control socket"
                time.sleep(0.05)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.do("qmp_capabilities")

    def _read(self) -> None:
        # QEMU ends without a word to who listens.
        with self._socket.makefile("r") as lines, contextlib.suppress(OSError):
            for line in lines:
                message = json.loads(line)
                with self._news:
                    if message.get("event") == "SHUTDOWN":
                        self.ended = message["data"]["reason"]
                    elif "return" in message or "error" in message:
                        self._answers.append(message)
                    self._news.notify_all()

    def do(self, command: str, **arguments: t.Any) -> t.Any:
        """Run a command."""
        order = {"execute": command, "arguments": arguments}
        with self._news:
            self._answers.clear()
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            assert self._news.wait_for(lambda: self._answers, 30), f"QEMU does not answer {command}"
            answer = self._answers.pop()
        assert "return" in answer, f"{command}: {answer}"
        return answer["return"]

    def human(self, line: str) -> str:
        """Run a command that QEMU has for people only."""
        return str(self.do("human-monitor-command", **{"command-line": line}))

    def why(self) -> str:
        """Return why the machine ended."""
        self._thread.join(10)
        return self.ended or "no reason given"

    def close(self) -> None:
        # Shut down first: the thread reads, and a socket that is read is not closed.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()


class Stage:
    """An image, a folder of the host's, and the machines that the host starts."""

    def __init__(self, image: Image) -> None:
        self.image = image
        # Short, as the path of a socket has to be.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="attack-"))
        # What passive attacks add to the machine.
        self.more: list[str] = []
        self.variables: dict[tuple[str, str], bytes] = {}
        self._guests: list[tuple[Guest, Control]] = []

    def copy(self, name: str = "disk.raw") -> pathlib.Path:
        """Return the sectors of the disk, for the host to change before and while a guest runs."""
        path = self.folder / name
        # Most of the disk is a hole.
        subprocess.run(["cp", "--sparse=always", self.image.raw, path], check=True)
        return path

    @functools.cached_property
    def raw(self) -> pathlib.Path:
        return self.copy()

    def guest(
        self,
        *attached: str,
        more: t.Sequence[str] = (),
        memory: int = 1024,
        launched: t.Sequence[str] = (),
    ) -> Guest:
        """Start a machine; *attached* are its disks, *launched* what it starts from other than its disk."""
        number = len(self._guests)
        disk = self.folder / f"machine-{number}"
        path = self.folder / f"control-{number}"
        variables = None
        if self.variables:
            variables = store_of_variables(self.folder / "variables", self.variables)
        guest = Guest(
            disk,
            memory=memory,
            attached=attached,
            more=[*self.more, *more],
            variables=variables,
            control=path,
            launched=launched,
        )
        self._guests.append((guest, Control(path)))
        return guest

    def genuine(self) -> Guest:
        """Start a machine whose only disk is that of the image, as the host may have changed it."""
        return self.guest("-drive", f"file={self.raw},format=raw,if=virtio,id=genuine")

    def without_key(self, answer: str) -> Outcome:
        """Give an answer that is no key to each question of GRUB, until it gives up."""
        guest = self.genuine()
        for _ in range(6):
            if guest.console.expect([PROMPT, GRUB_SHELL, pexpect.EOF], timeout=120):
                break
            guest.console.expect(": ", timeout=30)
            guest.console.send(answer)
        guest.console.send("\r")
        return self.watch(guest, won=[GRUB_SHELL], seconds=60)

    def credential(self, name: str, text: str) -> str:
        """Return a credential of systemd, as SMBIOS strings and fw_cfg files carry it."""
        return f"io.systemd.credential.binary:{name}={base64.b64encode(text.encode()).decode()}"

    def after_grub(self, guest: Guest) -> None:
        """Wait until GRUB has read kernel and initramfs, and nobody reads the disk."""
        guest.console.expect("Loading initial ramdisk", timeout=120)
        deadline, before, since = time.monotonic() + 120, -1, time.monotonic()
        while time.monotonic() - since < QUIET:
            assert time.monotonic() < deadline, "the disk is never left alone"
            # Else the machine could stop, because nobody reads its console.
            guest.console.expect(pexpect.TIMEOUT, timeout=0.1)
            reads = self.reads()
            if reads != before:
                before, since = reads, time.monotonic()

    def reads(self) -> int:
        """Return how often the guest, or its firmware, has read a disk."""
        rows = self.control.do("query-blockstats")
        return sum(int(row["stats"]["rd_operations"]) for row in rows)

    def after_reads(self, guest: Guest, count: int) -> None:
        """Wait until a disk was read that many times more."""
        deadline, begin = time.monotonic() + 300, self.reads()
        while self.reads() < begin + count:
            assert time.monotonic() < deadline, "the disk is not read any more"
            guest.console.expect(pexpect.TIMEOUT, timeout=0.05)

    def slow_down(self, *, slow: bool = True) -> None:
        """Let the genuine disk give a block a minute, or what it can."""
        none = dict.fromkeys(("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
        self.control.do(
            "block_set_io_throttle", device="genuine", bps=BLOCK // 60 if slow else 0, **none
        )

    def watch_slow(self, guest: Guest, *, won: t.Sequence[str]) -> Outcome:
        """Slow the genuine disk down until the initramfs has given up, and say how that ends."""
        self.slow_down()
        patience, waits = SLOW[self.image.kind.initramfs], "it waits for its disk"
        found = self.watch(guest, won=won, stopped=GENUINE, seconds=patience, silence=waits)
        if not found.evidence.startswith(waits):
            return found
        # dracut looks at the disk once more before it shows its shell.
        self.slow_down(slow=False)
        return self.watch(guest, won=won, stopped=GENUINE)

    def unplug(self) -> None:
        """Take the genuine disk away."""
        self.control.human("drive_del genuine")

    @contextlib.contextmanager
    def halted(self) -> t.Iterator[None]:
        """Let no instruction of the guest run meanwhile."""
        self.control.do("stop")
        yield
        self.control.do("cont")

    @property
    def control(self) -> Control:
        """The control socket of the last machine."""
        return self._guests[-1][1]

    def console(self) -> str:
        """What all machines printed."""
        return "\n".join(clean(guest.log.getvalue()) for guest, _control in self._guests)

    def unlock(self, guest: Guest, key: str = "") -> None:
        """Answer the only question, with the boot key if with no other."""
        guest.console.expect(PROMPT, timeout=120)
        guest.console.expect(": ", timeout=30)
        guest.console.send(f"{key or self.image.boot_key}\r")

    def each(self, names: t.Iterable[str], play: t.Callable[[str], Outcome]) -> Outcome:
        """Play an attack in several ways, one after the other; the host has won if one of them did."""
        said = []
        for name in names:
            outcome = play(name)
            said.append(f"{name}: {outcome.evidence}")
            if outcome.won:
                return won(said[-1])
            self.switch_off()
        return stopped("; ".join(said))

    def switch_off(self) -> None:
        """End the last machine, and forget what it wrote."""
        self._guests[-1][0].end()
        self.__dict__.pop("raw", None)

    def watch(
        self,
        guest: Guest,
        *,
        won: t.Sequence[str] = (),
        stopped: t.Sequence[str] = (),
        seconds: float = 240,
        silence: str = "",
    ) -> Outcome:
        """Wait for what decides: a pattern of the host's, one of the guest's, or the end of the machine.

        Time that runs out decides nothing, unless *silence* says why it is what the guest does.
        """
        patterns: list[t.Any] = [*won, *stopped, pexpect.EOF, pexpect.TIMEOUT]
        which = guest.console.expect(patterns, timeout=seconds)
        if which < len(won):
            return Outcome(True, f"«{self._seen(guest)}»")
        if which < len(won) + len(stopped):
            return Outcome(False, f"«{self._seen(guest)}»")
        last = last_lines(guest.log.getvalue()[-4000:])
        if patterns[which] is pexpect.EOF:
            return Outcome(False, f"{self.control.why()} after «{last}»")
        assert silence, f"neither side won within {seconds:.0f} s; the console ends with «{last}»"
        return Outcome(False, f"{silence}, after «{last}»")

    def power_off(self) -> None:
        """Switch the last machine off."""
        self._guests[-1][0].end()

    @staticmethod
    def _seen(guest: Guest) -> str:
        """Return the line that a pattern was found in, as far as it was printed."""
        text = clean(f"{guest.console.before}{guest.console.after}")
        return " ".join(text.splitlines()[-1].split())[-200:]

    def end(self) -> None:
        """Stop every machine and remove what the host had."""
        for guest, control in self._guests:
            guest.end()
            control.close()
        shutil.rmtree(self.folder)


def clean(text: str) -> str:
    """Return what a console showed, without what moves its cursor."""
    return _ESCAPES.sub("", text).replace("\r", "\n").encode("ascii", "ignore").decode()


def last_lines(text: str, count: int = 3) -> str:
    """Return the last lines that a console showed, on one line."""
    lines = [" ".join(line.split()) for line in clean(text).splitlines()]
    return " / ".join([line for line in lines if line][-count:])[-300:]
