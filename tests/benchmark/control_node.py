# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image costs the control node, at 1, 10 and 100 images.

In check mode, on a builder behind an ssh server of this machine: what the modules do counts for that server, so the
processor time of ansible-playbook and of what it starts is the control node's own. Prints the cost of each number
and what one image more costs between them; exits with 1 when that grows.

usage: ./run bench_control_node
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import sshd  # noqa: E402  # by the path that was just added
from builds import DEBIAN, PLAYBOOK, source_tar  # noqa: E402

COUNTS = (1, 10, 100)
FORKS = 10
# An image more may cost this much more among a hundred than among ten.
GROWTH = 1.25


def plan(
    count: int, server: sshd.Server, folder: pathlib.Path, tar: pathlib.Path
) -> tuple[float, float]:
    """Plan that many images; return processor seconds and seconds."""
    hosts = {f"image-{number}": {"image_builder": "builder-2"} for number in range(count)}
    inventory = {
        "all": {
            "hosts": {"builder-2": server.variables()},
            "children": {"images": {"hosts": hosts}},
            "vars": {
                "image_source": {"type": "tar", "path": str(tar)},
                "image_output_dir": str(folder / "out"),
            },
        }
    }
    path = folder / "inventory.json"
    path.write_text(json.dumps(inventory))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(
        ["ansible-playbook", PLAYBOOK, "--check", "-i", str(path), "--forks", str(FORKS)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    planned = done.stdout.count("would build")
    if done.returncode or planned != count:
        sys.exit(done.stdout[-4000:])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, seconds


def main() -> int:
    """Measure and judge."""
    with tempfile.TemporaryDirectory(prefix="sealedroot-bench-") as folder:
        path = pathlib.Path(folder)
        tar = source_tar(DEBIAN)
        with sshd.running(path / "sshd") as server:
            plan(1, server, path, tar)  # what is done once is done before it counts
            costs = {count: plan(count, server, path, tar) for count in COUNTS}
    print(f"{os.cpu_count()} processors, {FORKS} forks, check mode")
    print("images  control node: processor s   per image   wall s   per image")
    for count, (used, seconds) in costs.items():
        print(
            f"{count:6}  {used:27.1f}   {used / count:9.2f}   {seconds:6.1f}   {seconds / count:9.2f}"
        )
    steps = list(itertools.pairwise(COUNTS))
    slopes = [(costs[more][0] - costs[less][0]) / (more - less) for less, more in steps]
    for (less, more), slope in zip(steps, slopes, strict=True):
        print(f"an image more, from {less} to {more}: {slope:.2f} s of processor time")
    growth = slopes[-1] / slopes[0]
    good = growth <= GROWTH
    print(f"growth      {growth:.2f}   target {GROWTH}   {'reached' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
