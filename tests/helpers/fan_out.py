# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many images on two builders, one of them broken on purpose: what a fleet does on a bad day.

The builders are this machine and one that is reached by ssh. Five images are sealed and proved; one is refused
by the GRUB that is to read it, late enough that its builder has something to let go of. Then it is mended, and
only it is built. Last, every place where a key could have been left on a builder is searched.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

from builds import PLAYBOOK

HERE, THERE = "here", "there"
BROKEN = "there-3"
# A feature of ext4 that no GRUB reads.
FLAW = {"image_filesystem_features": ["inline_data"]}
# Where anything that a build writes could be, on a builder.
PLACES = ("/dev/shm", "/root/.ansible", "/run", "/tmp", "/var/tmp")
WORK = "/var/tmp/sealedroot-fan-out"


@dataclasses.dataclass
class Result:
    """What came of one run of the playbook."""

    rc: int
    output: str

    def recap(self, image: str) -> dict[str, int]:
        """The numbers of the play recap for one image."""
        for line in self.output.splitlines():
            name, colon, counts = line.partition(":")
            if colon and name.strip() == image and "ok=" in counts:
                return {key: int(value) for key, value in (it.split("=") for it in counts.split())}
        return {}


class Fleet:
    """Six images, three on each builder, one of them with LUKS2."""

    def __init__(
        self,
        path: pathlib.Path,
        *,
        there: t.Mapping[str, t.Any],
        tars: t.Mapping[str, str],
        at_once: t.Mapping[str, int],
    ) -> None:
        self.path, self.tars = path, tars
        self.begun = int(time.time())
        python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.builders = {HERE: python, THERE: dict(there)}
        for name, number in at_once.items():
            self.builders[name]["image_builds_at_once"] = number

    @property
    def out(self) -> pathlib.Path:
        return self.path / "out"

    @property
    def images(self) -> list[str]:
        return [f"{builder}-{number}" for builder in (HERE, THERE) for number in (1, 2, 3)]

    def build(self, *arguments: str, broken: bool, timeout: int = 3600) -> Result:
        """Run the playbook over the whole inventory."""
        hosts = {
            name: {
                "image_builder": name.rpartition("-")[0],
                "image_source": {"type": "tar", "path": self.tars[name.rpartition("-")[0]]},
                **({"image_luks": {"type": "luks2"}} if name == "there-2" else {}),
                **(FLAW if broken and name == BROKEN else {}),
            }
            for name in self.images
        }
        shared = {
            "image_size": "2GiB",
            "image_boot_test": False,
            "image_output_dir": str(self.out),
            "image_work_dir": WORK,
        }
        inventory = {
            "all": {
                "children": {
                    "builders": {"hosts": self.builders},
                    "images": {"hosts": hosts, "vars": shared},
                }
            }
        }
        (self.path / "inventory.json").write_text(json.dumps(inventory))
        done = subprocess.run(
            [
                *("ansible-playbook", PLAYBOOK, "--inventory", str(self.path / "inventory.json")),
                *("--forks", str(len(self.images)), *arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_RETRY_FILES_ENABLED": "true",
                "ANSIBLE_RETRY_FILES_SAVE_PATH": str(self.path),
            },
        )
        return Result(done.returncode, done.stdout)

    @property
    def retry(self) -> pathlib.Path:
        """The file in which Ansible lists the images that failed."""
        return self.path / f"{PLAYBOOK.rpartition('.')[2]}.retry"

    def manifest(self, image: str) -> dict[str, t.Any]:
        """What was proved of a published image; empty when there is none."""
        try:
            manifest: dict[str, t.Any] = json.loads(
                (self.out / image / "manifest.json").read_text()
            )
        except FileNotFoundError:
            return {}
        return manifest

    def checks(self, image: str) -> list[dict[str, t.Any]]:
        """The checks of the audit of a published image."""
        checks: list[dict[str, t.Any]] = self.manifest(image).get("audit", {}).get("checks", [])
        return checks

    def sealed(self) -> list[str]:
        """The images that are published with every check passed."""
        return [
            name for name in self.images if {it["verdict"] for it in self.checks(name)} == {"ok"}
        ]

    def at_once(self, builder: str) -> int:
        """The most builds that were at work on a builder at one time, by what the manifests say."""
        moments = []
        for name in self.images:
            manifest = self.manifest(name)
            if manifest and name.startswith(builder):
                end = datetime.datetime.fromisoformat(manifest["created"]).timestamp()
                # It had its turn when it had its disk.
                after = sum(it for stage, it in manifest["took"].items() if stage != "disk")
                moments += [(end - after, 1), (end, -1)]
        running, most = 0, 0
        for _moment, step in sorted(moments):
            running += step
            most = max(most, running)
        return most

    def keys_left(
        self, run: t.Callable[[str, str, bytes], str], *, places: t.Sequence[str] = PLACES
    ) -> list[str]:
        """Search both builders for every key of every image; name the files that have one.

        *run* runs a line of shell on a builder and returns what it prints. The keys are on its standard input.
        A build that is at work in one of the *places* could not release what the search reads.
        """
        keys = [
            (self.out / name / f"{key}.key").read_bytes()
            for name in self.sealed()
            for key in ("boot", "recovery")
        ]
        found = []
        for builder in (HERE, THERE):
            # Not in the output directory, which is where they belong. xargs may call grep more than once, so the keys
            # are in a file, in memory, which is made when the list is there.
            search = (
                f"list=$(mktemp); find {' '.join(places)} -type f -newermt @{self.begun}"
                f" ! -path '*/{self.out.name}/*' -print0 2>/dev/null >$list;"
                " keys=$(mktemp -p /dev/shm); cat >$keys; xargs -0 -r -a $list"
                " grep --files-with-matches --text --fixed-strings --file=$keys 2>/dev/null;"
                # What a build that was not released has left is as bad.
                f" rm $list $keys; find {WORK} -mindepth 1 -type d 2>/dev/null; true"
            )
            said = run(builder, search, b"\n".join(keys))
            found += [f"{builder}: {line}" for line in said.splitlines()]
        return found


def summary(fleet: Fleet, first: Result, left: t.Sequence[str]) -> str:
    """The line that says how it went."""
    sealed = [name for name in fleet.sealed() if first.recap(name).get("failed") == 0]
    refused = [name for name in fleet.images if first.recap(name).get("failed")]
    return (
        f"fanout: {len(sealed)} sealed, {len(refused)} refused, {len(left)} keys left on builders"
    )
