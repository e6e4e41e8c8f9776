# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""People's own roles and tasks in an image: the example as it is, where no network is there, and what stops a build."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import pytest
import yaml
from builds import PLAYBOOK, ROOT, Place, Run, add_files, fresh_place, playbook
from image_view import mounted

NO_NETWORK = ("unshare", "--net")
EXAMPLE: dict[str, t.Any] = yaml.safe_load((ROOT / "examples/customize.yml").read_text())
MACHINE = "tests/build/roles/machine"
RESOLV_CONF = "nameserver 198.51.100.1\n"


@pytest.fixture(autouse=True, scope="module")
def _in_the_repository() -> t.Iterator[None]:
    """The paths of the example are those of somebody who is there."""
    before = pathlib.Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


class Built(t.NamedTuple):
    """The finished build."""

    place: Place
    run: Run
    variables: dict[str, t.Any]


def build(variables: dict[str, t.Any], *arguments: str) -> Run:
    environment = {"PWD": str(ROOT)}
    return playbook(PLAYBOOK, variables, *arguments, prefix=NO_NETWORK, environment=environment)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, root_tar: pathlib.Path) -> t.Iterator[Built]:
    with fresh_place(tmp_path_factory) as place:
        tar = place.path / "root.tar"
        shutil.copy(root_tar, tar)
        add_files(tar, {"etc/resolv.conf": RESOLV_CONF})
        variables = {**EXAMPLE, **place.variables(image_source={"type": "tar", "path": str(tar)})}
        machine = {"machine_delegated": str(place.path / "delegated")}
        steps = [*EXAMPLE["image_customize"], {"role": MACHINE, "vars": machine}]
        variables["image_customize"] = steps
        run = build(variables)
        assert run.rc == 0, run.output[-6000:]
        yield Built(place, run, variables)


def test_everything_of_the_example_is_in_the_image(built: Built) -> None:
    with mounted(built.place.out / "web-1") as root:
        motd = (root / "etc/motd").read_text()
        # A role, and a handler of another one, with facts of the image.
        assert motd == "Hello from web-1\nA clock runs here, on Debian 12.\n"
        accounts = {line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()}
        assert {"clock", "greeter"} <= accounts
        unit = (root / "etc/systemd/system/clock.service").read_text()
        assert "sleep 60;" in unit
        wanted = root / "etc/systemd/system/multi-user.target.wants/clock.service"
        assert wanted.readlink() == pathlib.Path("/etc/systemd/system/clock.service")
        assert (root / "etc/sysctl.d/50-coredump.conf").readlink() == pathlib.Path("/dev/null")
        # What comes after it has the last word.
        assert (root / "etc/hostname").read_text() == "web-1\n"


def test_what_public_roles_do_is_done(built: Built) -> None:
    assert (built.place.path / "delegated").read_text() == "web-1\n"
    with mounted(built.place.out / "web-1") as root:
        assert (root / "etc/machine.conf").read_text() == "name=web-1 workers=1\n"
        wanted = root / "etc/systemd/system/multi-user.target.wants/tiny.service"
        assert wanted.readlink() == pathlib.Path("/lib/systemd/system/tiny.service")
        mine = root / "srv/keeper/mine"
        assert mine.read_text() == "kept\n"
        accounts = (root / "etc/passwd").read_text()
        assert f"keeper:x:{mine.stat().st_uid}:{mine.stat().st_gid}:" in accounts
        assert mine.stat().st_uid != 0
        assert (root / "srv/background").read_text() == "done\n"
        assert (root / "srv/ran-by-own-python").exists()
        # Neither lists of packages nor downloads.
        for folder in ("var/lib/apt/lists", "var/cache/apt"):
            found = [path.name for path in (root / folder).rglob("*") if path.is_file()]
            assert set(found) <= {"lock"}, folder


def test_nothing_of_the_sandbox_stays(built: Built) -> None:
    with mounted(built.place.out / "web-1") as root:
        assert (root / "etc/resolv.conf").read_text() == RESOLV_CONF
        assert not list((root / "usr/sbin").glob("*policy-rc.d*"))
        assert not list((root / "etc").glob(".*sealedroot*"))
        assert not list(root.glob("**/.ansible*"))
        for folder in ("run", "tmp"):
            found = [path for path in (root / folder).rglob("*") if not path.is_dir()]
            assert found == [], folder


def test_the_manifest_says_what_was_asked_for(built: Built) -> None:
    manifest = json.loads((built.place.out / "web-1" / "manifest.json").read_text())
    assert manifest["inputs"]["packages"] == ["auto", "tzdata"]
    # Not their digests: tasks can have secrets in them.
    assert manifest["inputs"]["customize"] == 4
    assert {check["verdict"] for check in manifest["audit"]["checks"]} == {"ok"}
    assert any(line.startswith("tzdata ") for line in manifest["packages"])
    assert {"packages", "customize"} <= set(manifest["took"])


def test_the_same_again_changes_nothing_and_another_is_refused(built: Built) -> None:
    again = build(built.variables)
    assert (again.rc, again.changed) == (0, 0), again.output
    steps = [{**EXAMPLE["image_customize"][1], "vars": {"clock_interval": 61}}]
    other = build({**built.variables, "image_customize": steps})
    assert other.rc != 0
    assert other.said("was made from other inputs (customize)")


def test_check_mode_says_it(built: Built) -> None:
    run = build({**built.variables, "image_name": "web-2"}, "--check")
    assert run.rc == 0, run.output
    assert run.said("will be installed: tzdata")
    assert run.said("customised: by the role examples/roles/clock")
    assert run.said("customised: by the tasks in examples/tasks/harden.yml")


def test_one_that_fails_stops_the_build_with_its_own_message(
    place: Place, root_tar: pathlib.Path
) -> None:
    tasks = place.path / "tasks.yml"
    fail = "The licence of {{ ansible_facts['distribution'] }} is missing: copy it to files/."
    tasks.write_text(json.dumps([{"name": "Check it", "ansible.builtin.fail": {"msg": fail}}]))
    source = {"type": "tar", "path": str(root_tar)}
    steps = [
        {"role": "examples/roles/greeting"},
        {"tasks": str(tasks)},
        {"role": "examples/roles/clock", "vars": {"clock_interval": 60}},
    ]
    run = build(place.variables(image_source=source, image_customize=steps))
    assert run.rc != 0
    assert run.said("The licence of Debian is missing: copy it to files/.")
    assert "greeting : Say hello" in run.output
    assert "clock : " not in run.output
    assert not (place.out / "web-1").exists()
    place.leaves_nothing()


@pytest.mark.long
def test_one_that_takes_away_what_the_boot_needs_is_found(
    place: Place, root_tar: pathlib.Path
) -> None:
    tasks = place.path / "tasks.yml"
    hook = "/usr/share/initramfs-tools/hooks/cryptroot"
    remove = {"name": "Remove it", "ansible.builtin.file": {"path": hook, "state": "absent"}}
    tasks.write_text(json.dumps([remove]))
    source = {"type": "tar", "path": str(root_tar)}
    run = build(place.variables(image_source=source, image_customize=[{"tasks": str(tasks)}]))
    assert run.rc != 0
    assert run.said("lacks what an encrypted boot needs. Install cryptsetup-initramfs")
    assert not (place.out / "web-1").exists()
    place.leaves_nothing()
