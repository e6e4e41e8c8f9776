# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volume groups in disk images, made by lvm2 itself, which needs no device-mapper for what is never active."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import typing as t

Region = tuple[int, int]


class Group:
    """A volume group on loop devices; only these devices exist for lvm, and it writes nothing but them."""

    def __init__(self, name: str, devices: t.Sequence[str]) -> None:
        self.name, self.devices = name, list(devices)

    def lvm(self, command: str, *argv: str) -> str:
        """Run a command of lvm; any activation is left out."""
        accepted = ", ".join(f'"a|^{it}$|"' for it in self.devices)
        config = (
            f'devices {{ global_filter=[{accepted}, "r|.*|"] use_devicesfile=0 hints="none"'
            ' external_device_info_source="none" obtain_device_list_from_udev=0 }'
            " backup { backup=0 archive=0 }"
            " activation { udev_sync=0 udev_rules=0 monitoring=0 }"
            " global { use_lvmpolld=0 event_activation=0 }"
        )
        line = ["lvm", command, "--config", config, "--driverloaded", "n", *argv]
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=60, env=env, check=False
        )
        assert done.returncode == 0, f"{command} {' '.join(argv)}: {done.stderr}"
        return done.stdout

    def add(self, name: str, *argv: str, extents: int, on: t.Sequence[str] = ()) -> None:
        """Make a logical volume, on these extents if any are named."""
        line = ("-qq", "-an", "-Zn", "-Wn", "--name", name, "--extents", str(extents), *argv)
        self.lvm("lvcreate", *line, self.name, *on)

    def edit(self, *changes: str) -> None:
        """Replace patterns in the metadata once each, by what follows each of them; lvm checks the result."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "metadata")
            self.lvm("vgcfgbackup", "-qq", "--file", str(file), self.name)
            text = file.read_text()
            for pattern, new in zip(changes[::2], changes[1::2], strict=True):
                text, count = re.subn(pattern, new, text, count=1)
                assert count, f"{pattern} is not in {text}"
            file.write_text(text)
            self.lvm("vgcfgrestore", "-qq", "--file", str(file), self.name)

    def pieces(self, name: str) -> list[tuple[str, int, int]]:
        """Return what lvm says of where a logical volume is: device, first byte on it, and length."""
        units = ("--units", "b", "--nosuffix", "--noheadings")
        begins = dict(
            t.cast("tuple[str, str]", tuple(line.split()))
            for line in self.lvm("pvs", *units, "-o", "pv_name,pe_start").splitlines()
        )
        found = []
        fields = "seg_start,vg_extent_size,seg_pe_ranges"
        said = self.lvm("lvs", *units, "--segments", "-o", fields, f"{self.name}/{name}")
        for _start, size, place in sorted(
            map(str.split, said.splitlines()), key=lambda it: int(it[0])
        ):
            match = re.fullmatch(r"(\S+):(\d+)-(\d+)", place)
            assert match, place
            device, first, last = match[1], int(match[2]), int(match[3])
            begin = int(begins[device]) + first * int(size)
            found.append((device, begin, (last - first + 1) * int(size)))
        return found

    def fill(self, name: str, content: pathlib.Path) -> None:
        """Write a file to a logical volume, which is still blank, piece by piece."""
        done = 0
        for device, begin, size in self.pieces(name):
            argv = ["dd", f"if={content}", f"of={device}", "bs=1M", "conv=notrunc,sparse,fsync"]
            argv += ["iflag=skip_bytes,count_bytes", "oflag=seek_bytes"]
            argv += [f"skip={done}", f"seek={begin}", f"count={size}"]
            subprocess.run(argv, check=True, capture_output=True, timeout=300)
            done += size
        assert content.stat().st_size <= done


@contextlib.contextmanager
def group(
    disk: pathlib.Path, *regions: Region, name: str = "vg-0", options: t.Sequence[str] = ()
) -> t.Iterator[Group]:
    """Make a volume group of regions of a disk, given by offset and size."""
    with contextlib.ExitStack() as stack:
        devices = []
        for offset, size in regions:
            argv = [
                "losetup",
                "--find",
                "--show",
                "--offset",
                str(offset),
                "--sizelimit",
                str(size),
            ]
            done = subprocess.run(
                [*argv, str(disk)], check=True, capture_output=True, text=True, timeout=60
            )
            devices.append(done.stdout.strip())
            stack.callback(
                subprocess.run, ["losetup", "--detach", devices[-1]], check=True, timeout=60
            )
        made = Group(name, devices)
        made.lvm("pvcreate", "-qq", *devices)
        # The machine that runs this may have udev and lvm of its own.
        made.lvm("vgcreate", "-qq", "--setautoactivation", "n", *options, name, *devices)
        yield made
