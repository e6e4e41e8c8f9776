# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The boot matrix: roots that are built, booted, updated by themselves, and booted again.

A row is one combination of a release, what makes its initramfs, its file system, and Secure Boot. It is built and
audited as an operator would build it, only with a small initramfs, since every instruction of the guest is emulated.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import re
import secrets
import shutil
import tempfile
import threading
import time
import typing as t

from builds import (
    DEBIAN,
    PLAYBOOK,
    ROOT,
    Place,
    add_files,
    held,
    playbook,
    quick_dracut,
    quick_initramfs,
    source_tar,
)
from guests import CMDLINE, Guest, hashed, overlay
from survival import kernel_disk, reinstall_kernel, renew_signed_chain

PAGE = ROOT / "docs" / "boot_matrix.md"
BEGIN, END = "<!-- what ./run matrix measured -->", "<!-- end of it -->"
HEAD = (
    *("Debian", "initramfs", "file system", "Secure Boot", "kernel", "GRUB"),
    *("prompt, s", "login, s", "update, s", "measured on", "verdict"),
)
# How many of the columns say which row it is.
NAMED = 4
# As dpkg-query lists the packages of an image.
KERNEL = re.compile(r"^linux-image-\d\S* (\S+)", re.MULTILINE)
GRUB = re.compile(r"^grub2-common (\S+)", re.MULTILINE)
BOOTED = "booted"


@dataclasses.dataclass(frozen=True)
class Row:
    """One combination."""

    suite: str
    initramfs: str
    filesystem: str
    secure_boot: bool = False

    @property
    def name(self) -> str:
        """What the row is called on the command line."""
        words = [self.suite, self.initramfs, self.filesystem]
        return "-".join([*words, "sb"] if self.secure_boot else words)

    def cells(self) -> list[str]:
        """The columns of the table that say which row it is."""
        return [
            self.suite,
            self.initramfs,
            self.filesystem,
            "on" if self.secure_boot else "off",
        ]


ROWS = (
    Row("bookworm", "initramfs-tools", "ext4", secure_boot=True),
    Row("bookworm", "initramfs-tools", "btrfs"),
    Row("bookworm", "dracut", "xfs"),
    Row("trixie", "initramfs-tools", "xfs"),
    Row("trixie", "dracut", "ext4", secure_boot=True),
    Row("trixie", "dracut", "btrfs"),
    Row("forky", "initramfs-tools", "btrfs", secure_boot=True),
    Row("forky", "dracut", "ext4"),
    Row("forky", "dracut", "xfs"),
)


@dataclasses.dataclass
class Result:
    """What came of a row; seconds of the first boot, from power-on, and of the update."""

    row: Row
    verdict: str = "not begun"
    prompt: float | None = None
    login: float | None = None
    update: float | None = None
    kernel: str = ""
    grub: str = ""
    measured: str = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    )

    @property
    def booted(self) -> bool:
        return self.verdict == BOOTED

    def cells(self) -> list[str]:
        """The row of the table, below HEAD."""
        row = self.row
        seconds = [
            "" if it is None else f"{it:.0f}" for it in (self.prompt, self.login, self.update)
        ]
        return [
            *row.cells(),
            *(self.kernel, self.grub, *seconds, self.measured, self.verdict),
        ]


def select(names: t.Sequence[str]) -> list[Row]:
    """Return the rows of that names, all of them for none; an unknown name is an error."""
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(
            f"no row is called {', '.join(unknown)}; there are\n  " + "\n  ".join(known)
        )
    return [row for row in ROWS if not names or row.name in names]


class Kernels:
    """The disks with the kernel packages, made once for each release."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def disk(self, suite: str, tar: pathlib.Path) -> pathlib.Path:
        """Return the disk for a release, one of whose root tars is *tar*."""
        with self._lock:
            lock = self._locks.setdefault(suite, threading.Lock())
        folder = self._folder / f"kernel-{suite}"
        with lock:
            if not (folder / "packages.img").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                kernel_disk(tar, folder)
        return folder / "packages.img"


def build(row: Row, place: Place, password: str) -> pathlib.Path:
    """Build and audit the image of a row; return the root tar that it was made from."""
    source = {**DEBIAN, "release": row.suite}
    if row.initramfs != "initramfs-tools":  # which is the default
        source["initramfs"] = row.initramfs
    tar = place.path / "root.tar"
    inputs = {"image_filesystem": row.filesystem, "image_secure_boot": row.secure_boot}
    shutil.copy(source_tar(source, **inputs), tar)
    quick = {"dracut": quick_dracut, "initramfs-tools": quick_initramfs}[row.initramfs]
    add_files(tar, quick(row.filesystem))
    variables = place.variables(
        image_name="image",
        image_source={"type": "tar", "path": str(tar)},
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
        **inputs,
    )
    run = playbook(PLAYBOOK, variables, timeout=2400)
    (place.path / "build.log").write_text(run.output)
    errors = re.findall(r'^(?:fatal: .*|\[ERROR\]: .*|.*"msg": .*)$', run.output, re.MULTILINE)
    assert run.rc == 0, "the build failed: " + (errors or run.output.splitlines()[-1:])[0][:500]
    return tar


def live(row: Row, place: Place, result: Result, disk: pathlib.Path, password: str) -> None:
    """Boot the image, let it update itself, and boot it again; each time with one question."""
    directory = place.out / "image"
    key = (directory / "boot.key").read_text()
    copy = overlay(directory / "disk.qcow2", place.path / "overlay.qcow2")
    guest = Guest(copy, drives=[disk], secure_boot=row.secure_boot)
    try:
        result.prompt, result.login = guest.boot(key)
        guest.log_in(password)
        assert row.filesystem in guest.run("findmnt -no FSTYPE /")
        guest.run("mountpoint /boot/efi")
        began = time.monotonic()
        reinstall_kernel(guest)
        if row.secure_boot:
            renew_signed_chain(guest)
        result.update = time.monotonic() - began
        guest.console.send("systemctl reboot\r")
        guest.reset()
        guest.boot(key)
        guest.log_in(password)
        guest.run("systemctl is-active local-fs.target")
    finally:
        (place.path / "console.log").write_text(guest.log.getvalue())
        guest.end()


def play(row: Row, folder: pathlib.Path, kernels: Kernels, keep: pathlib.Path) -> Result:
    """Do all that a row is about; whatever goes wrong is its verdict. Logs of a failed row go to *keep*."""
    result, password = Result(row), secrets.token_hex(8)
    place = Place(pathlib.Path(tempfile.mkdtemp(prefix=f"{row.name}-", dir=folder)))
    try:
        tar = build(row, place, password)
        packages = "\n".join(
            json.loads((place.out / "image" / "manifest.json").read_text())["packages"]
        )
        for name, pattern in (("kernel", KERNEL), ("grub", GRUB)):
            found = pattern.search(packages)
            setattr(result, name, found.group(1) if found else "")
        disk = kernels.disk(row.suite, tar)
        tar.unlink()
        live(row, place, result, disk, password)
        result.verdict = BOOTED
    except Exception as exc:  # any other row goes on
        words = str(exc).strip().splitlines() or ["for no reason"]
        result.verdict = f"failed: {type(exc).__name__}: {words[0][:300]}"
        keep.mkdir(parents=True, exist_ok=True)
        for log in place.path.glob("*.log"):
            shutil.copy(log, keep / f"{row.name}-{log.name}")
    left = held(place.path)
    if left:
        result.verdict = f"failed: left on the builder: {', '.join(left)[:300]}"
    else:
        shutil.rmtree(place.path, ignore_errors=True)
    return result


def table(rows: t.Iterable[t.Sequence[str]]) -> str:
    """Return the cells of results as a table of Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def merged(text: str, results: t.Iterable[Result]) -> list[list[str]]:
    """Return the cells of every row that was ever played: of *results*, and of others as the table *text* has them."""
    lines = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    known = {tuple(line[:NAMED]): line for line in lines if len(line) == len(HEAD)}
    known.update((tuple(result.row.cells()), result.cells()) for result in results)
    names = [tuple(row.cells()) for row in ROWS]
    return [known[name] for name in names if name in known]


def cpu() -> str:
    """Return what this machine's processors call themselves."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return f"{len(names)} x {names[0]}" if names else "unknown"


def write_page(results: t.Sequence[Result], page: pathlib.Path = PAGE) -> None:
    """Put the rows that were played into the table of the page."""
    text = page.read_text()
    before, _begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    assert end, f"{page} has no place for the table"
    how = f"Emulated by QEMU (TCG) on {cpu()}, two rows at a time."
    page.write_text(f"{before}{BEGIN}\n\n{how}\n\n{table(merged(old, results))}\n\n{END}{after}")
