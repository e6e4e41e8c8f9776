# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job in the builder VM, through dm-crypt: by hand against this collection, over ssh.

a: by_hand.sh in the VM, and its image and key fetched by ssh; c: this collection with the VM as its builder, the
whole ansible-playbook process counted. One root tar for both. Without KVM everything is slower in the VM than
natively, and Python most of all; so what c / a would be natively is worked out from the number of tasks, what a
task takes on this machine, and the by-hand script on this machine.

usage: ./run bench_vm [-- ROUNDS]
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import bench

sys.path.insert(0, str(bench.HERE.parent / "helpers"))

import builder_vm  # by the path that was just added

TARGET = 2.0
# What the control node does by itself.
OWN = ("add_host", "assert", "debug", "import_", "include_", "meta", "set_fact", "validate_")
PROBES = 8
OUT = "/var/tmp/by-hand.qcow2"


class Task(t.NamedTuple):
    """A task that did something on a builder."""

    stage: str
    raw: bool
    seconds: float


def tasks_of(output: str) -> list[Task]:
    """Return the tasks of a play that the JSON callback described, without those of the control node alone."""
    plays = json.loads(output[output.index("{\n") :])["plays"]
    found = []
    for task in (task for play in plays for task in play["tasks"]):
        done = [result for result in task["hosts"].values() if not result.get("skipped")]
        actions = [str(result.get("action", "")).rpartition(".")[2] for result in done]
        if not actions or any(action.startswith(OWN) for action in actions):
            continue
        begin, end = (
            datetime.datetime.fromisoformat(task["task"]["duration"][key])
            for key in ("start", "end")
        )
        stage, colon, _name = task["task"]["name"].partition(" : ")
        stage = stage.rpartition(".")[2] if colon else "the playbook"
        found.append(Task(stage, actions == ["raw"], (end - begin).total_seconds()))
    return found


def play(name: str, *arguments: str) -> list[Task]:
    """Run a playbook and return its tasks."""
    env = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    argv = ["ansible-playbook", name, *arguments]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return tasks_of(done.stdout)


def task_costs(work: pathlib.Path, host: str, *arguments: str) -> tuple[float, float]:
    """Return the seconds that a task in Python and a raw one take, which do next to nothing."""
    path = work / "costs.yml"
    probes: list[dict[str, t.Any]] = [
        {"ansible.builtin.stat": {"path": "/"}},
        {"ansible.builtin.raw": "true"},
    ]
    tasks = [{**probe, "changed_when": False} for probe in probes for _number in range(PROBES)]
    path.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": tasks}]))
    found = play(str(path), *arguments)
    python, raw = (
        statistics.median(it.seconds for it in found if it.raw is is_raw)
        for is_raw in (False, True)
    )
    return python, raw


def by_hand(vm: builder_vm.BuilderVm, work: pathlib.Path) -> float:
    """Build by hand in the VM and fetch the image; return seconds."""
    began = time.monotonic()
    vm.run(f"bash /root/by_hand.sh {builder_vm.ROOT_TAR} {OUT} {bench.MIB} dm_crypt", timeout=3600)
    for name in ("", ".key"):
        with (work / f"a.qcow2{name}").open("wb") as target:
            subprocess.run(vm.ssh(f"cat {OUT}{name}"), stdout=target, check=True, timeout=1800)
    seconds = time.monotonic() - began
    vm.run(f"rm {OUT} {OUT}.key")
    return seconds


def collection(vm: builder_vm.BuilderVm, work: pathlib.Path) -> tuple[float, list[Task]]:
    """Build with the collection; return seconds and tasks."""
    out, images = work / "out", work / "images.yml"
    shutil.rmtree(out, ignore_errors=True)
    images.write_text(json.dumps({"images": {"hosts": {"bench": None}}}))
    variables = {
        "image_builder": builder_vm.NAME,
        "image_source": {"type": "tar", "path": builder_vm.ROOT_TAR},
        "image_size": f"{bench.MIB}MiB",
        "image_boot_test": False,
        "image_output_dir": str(out),
    }
    began = time.monotonic()
    tasks = play(
        "sealedroot.image.build_encrypted_image",
        *("--inventory", str(vm.inventory), "--inventory", str(images)),
        *("--extra-vars", json.dumps(variables)),
    )
    return time.monotonic() - began, tasks


def report(a: float, c: float, tasks: list[Task], *, hand: float, costs: dict[str, t.Any]) -> int:
    """Print what was found; return 1 when the target is missed."""
    raw = sum(task.raw for task in tasks)
    python = len(tasks) - raw
    print(f"a by hand             {a:6.1f} s")
    print(f"c this collection     {c:6.1f} s   {python} tasks in Python, {raw} raw")
    print("stages of c (seconds):")
    stages: dict[str, float] = {}
    for task in tasks:
        stages[task.stage] = stages.get(task.stage, 0.0) + task.seconds
    for stage, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"  {stage:20} {seconds:.1f}")
    for place, (per_python, per_raw) in costs.items():
        print(f"a task {place}: {per_python:.2f} s in Python, {per_raw:.2f} s raw")
    per_python, per_raw = costs["here"]
    native = python * per_python + raw * per_raw
    print(f"by hand here: {hand:.1f} s; the tasks here: {native:.1f} s")
    print(
        f"natively c/a would be {(hand + native) / hand:.2f}, were every task's work as long as by hand"
    )
    good = c / a <= TARGET
    print(f"{'c/a':11} {c / a:.2f}   target {TARGET}   {'reached' if good else 'MISSED'}")
    return 0 if good else 1


def main() -> int:
    """Run the rounds and print what they took."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    times: dict[str, list[float]] = {"a": [], "c": []}
    tasks: list[Task] = []
    with (
        tempfile.TemporaryDirectory(prefix="sealedroot-bench-", dir="/var/tmp") as folder,
        builder_vm.started() as vm,
    ):
        work = pathlib.Path(folder)
        vm.put(bench.HERE / "by_hand.sh", "/root/by_hand.sh")
        for number in range(rounds):
            times["a"].append(by_hand(vm, work))
            seconds, tasks = collection(vm, work)
            times["c"].append(seconds)
            print(f"round {number + 1}:", *(f"{k} {v[-1]:.1f} s" for k, v in times.items()))
        costs = {
            "in the VM": task_costs(work, builder_vm.NAME, "--inventory", str(vm.inventory)),
            "here": task_costs(work, "localhost"),
        }
        hand, _size = bench.by_hand(vm.root_tar, work)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"\nbuilder VM with 2 processors; medians of {rounds} rounds, {bench.MIB} MiB disk")
    return report(medians["a"], medians["c"], tasks, hand=hand, costs=costs)


if __name__ == "__main__":
    sys.exit(main())
