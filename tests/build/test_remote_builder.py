# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds on a builder that is reached by ssh, which is this machine behind a server on the loopback."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import stat
import subprocess
import time
import typing as t

import pytest
import secret_traces
import sshd
from builds import PLAYBOOK, Place, Run, fresh_place, held, playbook


def inventory(place: Place, server: sshd.Server, **builder: t.Any) -> list[str]:
    """The arguments that give the play a remote builder."""
    path = place.path / "inventory.json"
    hosts = {"builder-2": server.variables(**builder), "web-1": {"image_builder": "builder-2"}}
    path.write_text(
        json.dumps({"all": {"hosts": hosts, "children": {"images": {"hosts": {"web-1": {}}}}}})
    )
    return ["--inventory", str(path)]


def build(place: Place, server: sshd.Server, tar: pathlib.Path, *arguments: str) -> Run:
    tasks = place.path / "publish.yml"
    copy = {"content": "{{ image_publication | to_json }}", "dest": "{{ said }}", "mode": "0644"}
    tasks.write_text(json.dumps([{"name": "Say what is there", "ansible.builtin.copy": copy}]))
    variables = place.variables(
        image_source={"type": "tar", "path": str(tar)},
        image_formats=["qcow2", "raw"],
        image_publish_tasks=str(tasks),
        said=str(place.path / "said.json"),
    )
    return playbook(PLAYBOOK, variables, *inventory(place, server), *arguments)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, server: sshd.Server, root_tar: pathlib.Path
) -> t.Iterator[tuple[Place, Run]]:
    """An image that was built with all the output that there is."""
    with fresh_place(tmp_path_factory) as place:
        run = build(place, server, root_tar, "-vvvv", "--diff")
        assert run.rc == 0, run.output[-6000:]
        yield place, run


def test_image_and_keys_are_on_the_control_node(built: tuple[Place, Run]) -> None:
    place, _run = built
    image = place.out / "web-1"
    assert {path.name for path in image.iterdir()} == {
        *("bom.json", "boot.key", "recovery.key", "disk.qcow2", "disk.raw"),
        *("manifest.json", "report.html"),
    }
    assert stat.S_IMODE(image.stat().st_mode) == 0o700
    for name in ("boot.key", "recovery.key"):
        assert stat.S_IMODE((image / name).stat().st_mode) == 0o600
    manifest = json.loads((image / "manifest.json").read_text())
    assert {check["verdict"] for check in manifest["audit"]["checks"]} == {"ok"}
    for name in ("disk.qcow2", "disk.raw"):
        digest = subprocess.run(
            ["sha256sum", image / name], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        assert manifest["files"][name]["sha256"] == digest
    place.leaves_nothing()


def test_holes_stay_holes_on_the_way(built: tuple[Place, Run]) -> None:
    place, _run = built
    packed, raw = ((place.out / "web-1" / f"disk.{name}").stat() for name in ("qcow2", "raw"))
    assert raw.st_size == 2048 << 20
    # Pieces of 8 MiB are sent whole if there is anything in them.
    assert raw.st_blocks <= 1.3 * packed.st_blocks


def test_the_owners_tasks_run_where_the_files_are(built: tuple[Place, Run]) -> None:
    place, _run = built
    said = json.loads((place.path / "said.json").read_text())
    assert (said["name"], said["host"]) == ("web-1", "localhost")
    paths = [
        *said["disks"].values(),
        *(said[it] for it in ("boot_key", "recovery_key", "bom", "report")),
    ]
    assert list(said["disks"]) == ["qcow2", "raw"]
    assert {pathlib.Path(it).parent for it in paths} == {place.out / "web-1"}
    assert all(pathlib.Path(it).is_file() for it in [*paths, said["manifest"]])


def test_nothing_of_a_key_in_output_at_any_verbosity(built: tuple[Place, Run]) -> None:
    """From -vvv on, the ssh plugin shows what commands print."""
    place, run = built
    assert "ESTABLISH SSH CONNECTION" in run.output
    names = ("boot.key", "recovery.key")
    keys = {name: (place.out / "web-1" / name).read_bytes() for name in names}
    assert secret_traces.in_public(place.out / "web-1", run.output, keys) == []


def test_a_second_run_changes_nothing(
    built: tuple[Place, Run], server: sshd.Server, root_tar: pathlib.Path
) -> None:
    place, _run = built
    run = build(place, server, root_tar)
    assert (run.rc, run.changed) == (0, 0), run.output
    assert run.said("is there, whole, and made from these inputs")


def test_a_connection_that_drops_leaves_a_builder_that_is_cleaned(
    place: Place, server: sshd.Server, root_tar: pathlib.Path
) -> None:
    """In the middle of the build: the play ends by itself, and lets go of the builder over a new connection."""
    variables = place.variables(image_source={"type": "tar", "path": str(root_tar)})
    process = subprocess.Popen(
        [
            *("ansible-playbook", PLAYBOOK, "--extra-vars", json.dumps(variables)),
            *inventory(place, server),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    try:
        seen = wait_for(process, "Wait for the initramfs")
        assert held(place.path)
        seen += communicate_while_dropping(process, server)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "UNREACHABLE!" in seen
    # The play has no more to do with a host that it could not reach.
    run = playbook("sealedroot.image.teardown", variables, *inventory(place, server), timeout=120)
    assert run.rc == 0, run.output
    place.leaves_nothing()
    assert not (place.out / "web-1").exists()


def communicate_while_dropping(process: subprocess.Popen[str], server: sshd.Server) -> str:
    """Cut every connection until the process ends, and return what it says.

    One cut is not enough: between two polls of a task no command runs, and the next one connects anew.
    """
    deadline = time.monotonic() + 120
    while True:
        server.drop()
        try:
            return process.communicate(timeout=0.2)[0]
        except subprocess.TimeoutExpired:
            assert time.monotonic() < deadline, "the play does not end"


def wait_for(process: subprocess.Popen[str], task: str) -> str:
    """Read the output until a task begins; return it."""
    seen = ""
    assert process.stdout is not None
    signal.alarm(300)
    for line in process.stdout:
        seen += line
        if task in line:
            signal.alarm(0)
            return seen
    raise AssertionError(seen)
