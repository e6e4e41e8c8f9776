# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two builds of one name, with real plays: the second touches nothing, and a dead one is no build any more.

A build is its preflight here and files where a disk would be, which is all that the second one would tear down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import typing as t

import processes
import pytest
import sshd
from builds import Run, playbook
from waiting import until

PREFLIGHT = {"ansible.builtin.import_role": {"name": "sealedroot.image.preflight"}}
TEARDOWN = "sealedroot.image.teardown"


def tasks(*more: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """A play that looks at the builder as a build does, and then does *more*."""
    return [
        {
            "hosts": "images",
            "gather_facts": False,
            "strategy": "ansible.builtin.host_pinned",
            "vars": {"ansible_pipelining": True},
            "tasks": [PREFLIGHT, *more],
        }
    ]


@dataclasses.dataclass
class Builds:
    """Plays that build in a directory of the test."""

    path: pathlib.Path
    server: sshd.Server | None = None
    started: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.work, self.out = self.path / "work", self.path / "out"
        self.going = self.path / "going"
        self.going.touch()
        self.waits = self.path / "waits"
        make = f"mkdir -p {self.disk.parent} && echo mine >{self.disk}"
        # On the control node, so that a cut connection ends no task.
        wait = f"touch {self.waits}; while [ -e {self.going} ]; do sleep 0.2; done"
        places = ((make, "{{ image_builder }}"), (wait, "localhost"))
        self.play(
            "build",
            *(
                {"ansible.builtin.raw": it, "delegate_to": place, "changed_when": False}
                for it, place in places
            ),
        )
        self.play("look")
        builder = {"builder": self.server.variables()} if self.server else {}
        hosts = {"images": {"hosts": {"web-1": None}}, "ungrouped": {"hosts": builder}}
        (self.path / "hosts.json").write_text(json.dumps(hosts))

    @property
    def disk(self) -> pathlib.Path:
        return self.work / "web-1" / "disk.raw"

    @property
    def files(self) -> list[pathlib.Path]:
        """The files of the leases."""
        return [self.work / ".web-1.lease", self.out / ".web-1.lease"]

    def play(self, name: str, *more: dict[str, t.Any]) -> None:
        (self.path / f"{name}.yml").write_text(json.dumps(tasks(*more)))

    def variables(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "image_name": "web-1",
            "image_boot_test": False,
            "image_source": {"type": "tar", "path": "/nowhere/root.tar"},
            "image_work_dir": str(self.work),
            "image_output_dir": str(self.out),
            **({"image_builder": "builder"} if self.server else {}),
            **more,
        }

    def run(self, name: str, *arguments: str, **more: t.Any) -> Run:
        play = name if "." in name else f"{name}.yml"
        play = play if name == TEARDOWN else str(self.path / play)
        hosts = ("-i", str(self.path / "hosts.json"))
        return playbook(play, self.variables(**more), *hosts, *arguments, timeout=120)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a build and return when it is at work."""
        self.waits.unlink(missing_ok=True)
        argv = ["ansible-playbook", "-i", str(self.path / "hosts.json")]
        argv += ["-e", json.dumps(self.variables()), str(self.path / "build.yml")]
        log = self.path / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.started.append(process)
        until(lambda: self.waits.exists() or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        return process

    def end(self) -> None:
        self.going.unlink()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        until(lambda: not any(file.exists() for file in self.files), 15)


@pytest.fixture
def builds(tmp_path: pathlib.Path) -> t.Iterator[Builds]:
    it = Builds(tmp_path)
    yield it
    it.end()


@pytest.fixture
def remote_builds(tmp_path: pathlib.Path) -> t.Iterator[Builds]:
    with sshd.running(tmp_path / "sshd") as server:
        it = Builds(tmp_path, server)
        yield it
        it.end()


def says_who(run: Run, process: subprocess.Popen[bytes]) -> bool:
    words = rf"web-1 is being built by process {process.pid} of \S+ on \S+ since 20\S+Z: wait until that ends"
    return run.rc != 0 and re.search(words, " ".join(run.output.split())) is not None


def test_the_second_says_who_builds_and_touches_nothing(builds: Builds) -> None:
    first = builds.start()
    before = builds.disk.stat()
    # Of one that only publishes there, too, and of one that only looks.
    for more in ({}, {"image_work_dir": str(builds.path / "other")}):
        second = builds.run("look", **more)
        assert says_who(second, first), second.output
    assert says_who(builds.run("look", "--check"), first)
    assert builds.disk.stat() == before
    assert builds.disk.read_text() == "mine\n"
    assert not (builds.path / "other").exists()
    assert first.poll() is None
    # Another name is nobody's business.
    assert builds.run("look", image_name="web-2").rc == 0


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(it, marks=pytest.mark.long) for it in (signal.SIGTERM, signal.SIGINT)),
    ],
)
def test_what_ends_the_play_ends_the_lease(builds: Builds, number: signal.Signals) -> None:
    first = builds.start()
    assert all(file.exists() for file in builds.files)
    first.kill()
    until(lambda: not any(file.exists() for file in builds.files), 15)
    again = builds.run("look")
    assert again.rc == 0, again.output
    assert again.said("Remove what an interrupted build left")
    assert not builds.disk.exists()


def test_the_end_of_the_holder_is_the_end_of_the_lease(builds: Builds) -> None:
    builds.start()
    for holder in holders(builds.files[0]):
        os.kill(holder, signal.SIGKILL)
    assert builds.run("look").rc == 0
    assert not builds.disk.exists()


def holders(file: pathlib.Path) -> list[int]:
    """The processes that have a file open."""
    found = list(processes.opened(file))
    assert found
    return found


def test_a_teardown_is_refused_unless_forced(builds: Builds) -> None:
    first = builds.start()
    refused = builds.run(TEARDOWN)
    assert says_who(refused, first), refused.output
    assert builds.disk.exists()
    assert builds.run(TEARDOWN, teardown_force=True).rc == 0
    assert not builds.disk.exists()
    assert not any(file.exists() for file in builds.files)
    # Who has lost it gets it back when it asks again, as it would after a failure.
    assert builds.run("look").rc == 0


def test_a_teardown_cleans_up_after_a_dead_build(builds: Builds) -> None:
    first = builds.start()
    first.kill()
    first.wait()
    until(lambda: not builds.files[0].exists(), 15)
    assert builds.run(TEARDOWN).rc == 0
    assert not builds.disk.exists()


def test_a_build_after_a_dead_one_has_its_lease(builds: Builds) -> None:
    first = builds.start()
    first.kill()
    first.wait()
    until(lambda: not builds.files[0].exists(), 15)
    left = builds.disk.stat().st_ctime_ns
    second = builds.start()
    until(lambda: builds.disk.exists() and builds.disk.stat().st_ctime_ns != left, 60)
    assert says_who(builds.run("look"), second)


def test_check_mode_takes_none(builds: Builds) -> None:
    assert builds.run("look", "--check").rc == 0
    assert not builds.work.exists()
    assert not builds.out.exists()


def test_one_play_has_a_lease_for_each_name(builds: Builds) -> None:
    hosts = {"images": {"hosts": {"a": {"image_name": "web-1"}, "b": {"image_name": "web-2"}}}}
    (builds.path / "hosts.json").write_text(json.dumps(hosts))
    variables = {key: value for key, value in builds.variables().items() if key != "image_name"}
    play, inventory = str(builds.path / "look.yml"), ("-i", str(builds.path / "hosts.json"))
    assert playbook(play, variables, *inventory).rc == 0
    run = playbook(play, {**variables, "image_name": "web-1"}, *inventory)
    assert len(re.findall(r"failed=1", run.output)) == 1
    assert run.said("web-1 is being built by process")


def test_a_remote_builder_hears_of_the_end(remote_builds: Builds) -> None:
    first = remote_builds.start()
    assert says_who(remote_builds.run("look"), first)
    other = str(remote_builds.path / "other")
    # What is collected is published on the control node: there is its own lease.
    assert says_who(remote_builds.run("look", image_work_dir=other), first)
    assert not pathlib.Path(other).exists()
    first.kill()
    until(lambda: not any(file.exists() for file in remote_builds.files), 15)
    assert remote_builds.run("look").rc == 0
    assert not remote_builds.disk.exists()


@pytest.mark.long
def test_a_cut_connection_is_made_again(remote_builds: Builds) -> None:
    first = remote_builds.start()
    assert remote_builds.server is not None
    remote_builds.server.drop()
    file = remote_builds.files[0]
    before = file.stat().st_mtime_ns
    until(lambda: file.stat().st_mtime_ns > before, 40)
    assert says_who(remote_builds.run("look"), first)
