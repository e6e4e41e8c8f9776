# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs that stand before the image's own in the PATH of a person's roles; each is run by the shell here."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox.step_files import FILES


@pytest.fixture
def programs(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text, mode in FILES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("hostnamectl", "mount", "sysctl", "systemctl"):
        (own / name).write_text('#!/bin/sh\necho "$(basename "$0") of the image: $*"\n')
        (own / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("systemctl enable web", "systemctl of the image: enable web"),
        ("systemctl show web", "systemctl of the image: show web"),
        ("sysctl -w net.ipv4.ip_forward=1", ""),
        ("sysctl net.ipv4.ip_forward=1", ""),
        ("sysctl -p", ""),
        *(
            (f"sysctl {it}", "")
            for it in ("-p/etc/sysctl.d/a.conf", "-qp", "-ep", "-eqw a=1", "-f")
        ),
        *((f"sysctl {it}", "") for it in ("--system", "--sys", "--load", "--write a=1")),
        *(
            (f"sysctl {it}", f"sysctl of the image: {it}")
            for it in (
                "-e -n net.ipv4.ip_forward",
                "-en net.ipv4.ip_forward",
                "-ar net.ipv4.ip_forward",
                "-arwifi",
                "--pattern=wifi -a",
            )
        ),
        *(
            (f"systemctl {it}", f"systemctl of the image: {it}")
            for it in (
                "enable status",
                "--root / enable status",
                "disable is-active",
                "show -p status",
            )
        ),
        ("mount", "mount of the image: "),
        ("mount -o remount /tmp", ""),
        ("umount /srv", ""),
        ("modprobe br_netfilter", ""),
        ("rmmod cramfs", ""),
        ("hostnamectl --static set-hostname web", ""),
        ("hostnamectl --static status", "hostnamectl of the image: --static status"),
        ("hostnamectl status hostname", "hostnamectl of the image: status hostname"),
    ],
)
def test_what_changes_a_running_system_changes_nothing(
    programs: pathlib.Path, line: str, answers: str
) -> None:
    path = f"{programs}/bin:{programs}/own:/usr/bin:/bin"
    done = subprocess.run(
        line.split(), env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.rstrip("\n"), done.stderr) == (0, answers, "")


@pytest.mark.parametrize(
    ("line", "status", "answer"),
    [
        ("systemctl is-active web", 3, "inactive"),
        ("systemctl --quiet is-active web", 3, "inactive"),
        ("systemctl status web", 3, "inactive"),
        ("systemctl -n 5 --output cat status web", 3, "inactive"),
        ("systemctl --lines=5 status web", 3, "inactive"),
        ("systemctl is-system-running", 1, "offline"),
    ],
)
def test_no_service_is_said_to_run(
    programs: pathlib.Path, line: str, status: int, answer: str
) -> None:
    path = f"{programs}/bin:{programs}/own:/usr/bin:/bin"
    done = subprocess.run(
        line.split(), env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (status, answer)


@pytest.mark.parametrize(
    ("said", "status", "answer"),
    [("alias", 0, "enabled"), ("disabled", 1, "disabled"), ("", 1, "")],
)
def test_an_alias_of_an_enabled_service_is_enabled(
    programs: pathlib.Path, said: str, status: int, answer: str
) -> None:
    (programs / "own/systemctl").write_text(f"#!/bin/sh\necho {said}\nexit {status}\n")
    path = f"{programs}/bin:{programs}/own:/usr/bin:/bin"
    argv = ["systemctl", "is-enabled", "chronyd"]
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (status, answer)


@pytest.mark.parametrize(
    "path",
    [
        "{0}/own:{0}/bin",
        "{0}/nowhere:{0}/own:{0}/bin:{0}/bin/",
        "{0}/bin:{0}/bin:{0}/own",
        "{0}/bin/:{0}/own",
    ],
)
def test_the_program_of_the_image_is_found_wherever_ours_is(
    programs: pathlib.Path, path: str
) -> None:
    """A role can write a PATH of its own, with ours at its end."""
    for line in ("systemctl enable web", "systemctl is-enabled web"):
        argv = [f"{programs}/bin/systemctl", *line.split()[1:]]
        env = {"PATH": path.format(programs) + ":/bin"}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=9)
        assert (done.returncode, done.stdout.strip()) == (0, f"systemctl of the image: {line[10:]}")


@pytest.mark.parametrize("path", ["{0}/bin", "{0}/bin:{0}/bin", "{0}/bin:{0}/bin/"])
@pytest.mark.parametrize("verb", ["enable", "is-enabled"])
def test_nothing_is_found_where_only_ours_is(programs: pathlib.Path, path: str, verb: str) -> None:
    argv = [f"{programs}/bin/systemctl", verb, "web"]
    env = {"PATH": path.format(programs)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=9)
    assert (done.returncode, done.stdout) == (127, "")
    assert "systemctl: PATH has no directory of the image" in done.stderr


def test_the_program_is_sound(shellcheck: t.Callable[[str], None]) -> None:
    for name, text, _mode in FILES:
        if name.startswith("bin/"):
            shellcheck(text)


def test_a_program_that_the_image_lacks_answers_nothing(programs: pathlib.Path) -> None:
    (programs / "own/sysctl").unlink()
    argv = ["/bin/sh", "-c", "sysctl -n kernel.ostype"]
    path = f"{programs}/bin:{programs}/own:{programs}/nowhere"
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
