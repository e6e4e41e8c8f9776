# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast a large root tar is unpacked through encryption, against an ext4 on a loop device without any.

Both with the command of the role rootfs and an ext4 as the role disk makes it, and both until the last byte is on the
disk (sync). Exits with 1 when the encrypted one reaches less than TARGET of the plain one's throughput.

usage: ./run bench_unpack [-- GIB [ROUNDS]]
"""

from __future__ import annotations

import io
import json
import pathlib
import random
import re
import statistics
import sys
import tarfile
import tempfile
import typing as t

from bench import run

TARGET = 0.7
GIB, MIB, KIB = 1 << 30, 1 << 20, 1 << 10
# What a root of 5 GiB has, about: (share of the bytes, bytes of a file at least, and at most).
MIX = ((0.2, 0, 32 * KIB), (0.4, 256 * KIB, 2 * MIB), (0.4, 512 * MIB, 512 * MIB))
PER_DIRECTORY = 200

# The roles that put a root tar on an encrypted disk, and what is around them.
PLAYBOOK: list[dict[str, t.Any]] = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "block": [
                    {"import_role": {"name": "sealedroot.image.keys"}},
                    {"import_role": {"name": "sealedroot.image.disk"}},
                    {"raw": "date +%s.%N", "register": "begin", "changed_when": False},
                    {"import_role": {"name": "sealedroot.image.rootfs"}},
                    {"raw": "sync -f '{{ image_root }}' && date +%s.%N", "register": "end"},
                    {
                        "debug": {
                            "msg": "took {{ (end.stdout | float) - (begin.stdout | float) }} by"
                            " {{ image_builder_backend.backend }}"
                        }
                    },
                ],
                "always": [{"import_role": {"name": "sealedroot.image.teardown"}}],
            }
        ],
    }
]


class Random(io.RawIOBase):
    """Bytes that neither a compressor nor a disk can make smaller."""

    def __init__(self, size: int, numbers: random.Random) -> None:
        self._left, self._numbers = size, numbers

    def read(self, size: int = -1) -> bytes:
        count = min(self._left, size if size >= 0 else self._left)
        self._left -= count
        return self._numbers.randbytes(count)


def generate(path: pathlib.Path, size: int) -> int:
    """Write a root tar of about *size* bytes, the same each time; return how many files are in it."""
    numbers = random.Random(0)
    count = 0
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for share, least, most in MIX:
            left = int(size * share)
            while left > 0:
                if count % PER_DIRECTORY == 0:
                    folder = tarfile.TarInfo(f"./d{count // PER_DIRECTORY}")
                    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(folder)
                file = tarfile.TarInfo(f"./d{count // PER_DIRECTORY}/f{count}")
                file.size = min(left, numbers.randint(least, most))
                # An empty file uses up nothing, but is one.
                left -= max(1, file.size)
                tar.addfile(file, t.cast("t.IO[bytes]", Random(file.size, numbers)))
                count += 1
    return count


def plain(tar: pathlib.Path, work: pathlib.Path, mib: int) -> float:
    """Unpack into an ext4 on a loop device; return seconds."""
    script = """\
set -eu
truncate --size "$3M" "$2/plain.raw"
loop=$(losetup --find --show "$2/plain.raw")
trap 'umount "$2/plain" 2>/dev/null || :; losetup --detach "$loop"; rm -f "$2/plain.raw"' EXIT
mkfs.ext4 -q -b 4096 -i 16384 -I 256 -m 1 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "$loop"
mkdir -p "$2/plain"
mount -t ext4 -o noatime,nodev,noinit_itable "$loop" "$2/plain"
begin=$(date +%s.%N)
tar --directory "$2/plain" --extract --file "$1" --preserve-permissions --numeric-owner --same-owner --acls \
  --xattrs --xattrs-include='*'
sync -f "$2/plain"
echo "took $begin $(date +%s.%N)"
"""
    output = run(["sh", "-c", script, "sh", str(tar), str(work), str(mib)])
    begin, end = re.findall(r"took (\S+) (\S+)", output)[0]
    return float(end) - float(begin)


def encrypted(tar: pathlib.Path, work: pathlib.Path, mib: int) -> tuple[float, str]:
    """Unpack by the roles; return seconds and the backend."""
    path = work / "unpack.yml"
    path.write_text(json.dumps(PLAYBOOK))
    variables = {
        "image_name": "unpack",
        "image_size": f"{mib}MiB",
        "image_work_dir": str(work / "work"),
        "image_root_tar": {"path": str(tar), "excluded": [], "unpacked_bytes": 0},
    }
    output = run(["ansible-playbook", str(path), "--extra-vars", json.dumps(variables)])
    seconds, backend = re.findall(r"took ([\d.]+) by (\w+)", output)[0]
    return float(seconds), backend


def main() -> int:
    """Unpack in turn and print the throughput."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 5) * GIB)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    mib = int(size / MIB * 1.15) + 512
    times: dict[str, list[float]] = {"plain": [], "encrypted": []}
    backend = ""
    with tempfile.TemporaryDirectory(prefix="sealedroot-bench-", dir="/var/tmp") as folder:
        work = pathlib.Path(folder)
        tar = work / "root.tar"
        count = generate(tar, size)
        print(f"{size / GIB:.1f} GiB in {count} files", flush=True)
        for number in range(rounds):
            times["plain"].append(plain(tar, work, mib))
            seconds, backend = encrypted(tar, work, mib)
            times["encrypted"].append(seconds)
            print(
                f"round {number + 1}:",
                *(f"{k} {v[-1]:.1f} s" for k, v in times.items()),
                flush=True,
            )
    speeds = {name: size / MIB / statistics.median(values) for name, values in times.items()}
    for name, speed in speeds.items():
        print(f"{name:10} {speed:6.0f} MiB/s" + (f"   ({backend})" if name == "encrypted" else ""))
    ratio = speeds["encrypted"] / speeds["plain"]
    good = ratio >= TARGET
    print(f"ratio      {ratio:6.2f}   target {TARGET}   {'reached' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
