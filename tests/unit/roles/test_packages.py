# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role packages tells each package manager; stand-ins for them write it down."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
import typing as t

import pytest
import role_variables
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "packages"
# What the script itself calls.
TOOLS = ("cat", "mkdir", "timeout")
ASKS = {"dpkg-query", "rpm"}


@dataclasses.dataclass
class Place:
    """A directory of stand-ins, which is all of PATH."""

    path: pathlib.Path

    def has(self, name: str, script: str = "") -> None:
        """Put a stand-in there, which writes down how it was called and then does what *script* says."""
        file = self.path / "bin" / name
        log = self.path / "log"
        file.write_text(f'#!/bin/sh\nset -- {name} "$@"\necho "$*" >>{log}\nshift\n{script}\n')
        file.chmod(0o755)

    def run(self, *names: str, check_until: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the script that the role makes for these packages."""
        script = rendered(names, check_until, self.path / "cache")
        return subprocess.run(
            ["/bin/sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": str(self.path / "bin")},
        )

    def calls(self) -> list[str]:
        """Return the calls that change something, in order, without the ones that ask what is there."""
        lines = (self.path / "log").read_text().replace(str(self.path / "cache"), "CACHE")
        calls = [line for line in lines.splitlines() if line.split()[0] not in ASKS]
        return [line for line in calls if "--deptest" not in line]


def rendered(names: t.Sequence[str], check_until: bool, cache: pathlib.Path) -> str:
    variables = role_variables.of("packages")
    variables["image_sandbox"] = {"network": {"check_valid_until": check_until}}
    variables.update({"__packages_now": list(names), "__packages_cache": str(cache)})
    text = (ROLE / "templates" / "install.sh.j2").read_text()
    return str(Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text)))


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    return Place(tmp_path)


# Installed is what is called "there".
DPKG_QUERY = 'for name; do :; done; [ "$name" = there ] && printf installed'
RPM = 'for name; do :; done; [ "$name" = there ]'
# It warns of lists that a root does not have, as those of containers do not.
PACMAN = """\
if [ "$1" = --deptest ]; then
  echo "warning: database file for 'core' does not exist (use '-Sy' to download)" >&2
  [ "$2" = there ] && exit
  echo "$2"; exit 127
fi
"""
MANAGERS = {
    "apt": {"apt-get": "", "dpkg-query": DPKG_QUERY},
    "dnf4": {"dnf": "", "rpm": RPM},
    "dnf5": {"dnf": "", "dnf5": "", "rpm": RPM},
    "zypper": {"zypper": "", "rpm": RPM},
    "pacman": {"pacman": PACMAN},
}
APT = (
    "apt-get -q -y -o Dir::State::Lists=CACHE/lists -o Dir::Cache=CACHE -o Dpkg::Options::=--force-confdef"
    " -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0"
)
CALLS = {
    "apt": [f"{APT} update", f"{APT} install --no-install-recommends a b"],
    "dnf4": ["dnf -y --setopt=install_weak_deps=False --setopt=cachedir=CACHE install a b"],
    "dnf5": ["dnf -y --setopt=install_weak_deps=False --setopt=system_cachedir=CACHE install a b"],
    "zypper": ["zypper --non-interactive --cache-dir CACHE install --no-recommends a b"],
    "pacman": [
        "pacman --sync --refresh --sysupgrade --needed --noconfirm --noprogressbar --cachedir CACHE a b"
    ],
}
each = pytest.mark.parametrize("manager", MANAGERS)


def use(place: Place, manager: str, **scripts: str) -> None:
    for name, script in {**MANAGERS[manager], **scripts}.items():
        place.has(name, script)


@each
def test_what_is_not_there_is_installed(place: Place, manager: str) -> None:
    use(place, manager)
    done = place.run("a", "there", "b")
    assert done.returncode == 0, done
    assert place.calls() == CALLS[manager]
    assert "nothing to install" not in done.stdout


@each
def test_what_is_there_is_not_asked_for(place: Place, manager: str) -> None:
    use(place, manager)
    done = place.run("there", "there")
    assert done.returncode == 0, done
    assert done.stdout == "nothing to install\n"
    assert place.calls() == []


@each
def test_a_failure_says_what_to_change(place: Place, manager: str) -> None:
    name = next(iter(MANAGERS[manager]))
    use(place, manager, **{name: f"{MANAGERS[manager][name]}\necho NO SUCH PACKAGE >&2; exit 1"})
    done = place.run("a")
    assert done.returncode == 1
    assert "NO SUCH PACKAGE" in done.stderr
    assert "The packages a could not be installed in the image." in done.stderr
    assert "(image_packages)" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "a\nEND\ntouch {made}\ncat <<'END'",
        "$(touch {made})",
        "`touch {made}`",
        "'; touch {made}; '",
    ],
)
def test_a_name_is_no_shell(place: Place, name: str) -> None:
    """What the image lacks, it says itself."""
    made = place.path / "made"
    use(place, "apt", **{"apt-get": "exit 1", "touch": f": >{made}"})
    done = place.run(name.format(made=made))
    assert done.returncode == 1
    assert done.stderr.endswith("(image_packages), or what the root has of sources and keys.\n")
    assert not made.exists()


def test_a_builder_that_takes_old_lists_lets_the_image_do_so(place: Place) -> None:
    use(place, "apt")
    assert place.run("a", check_until=False).returncode == 0
    assert all(" -o Acquire::Check-Valid-Until=false " in call for call in place.calls())


@pytest.mark.parametrize(("status", "good"), [(102, True), (103, True), (106, False), (107, False)])
def test_what_zypper_means(place: Place, status: int, good: bool) -> None:
    """To start something again is no failure; a repository that was skipped, or a script that failed, is one."""
    use(place, "zypper", zypper=f"exit {status}")
    assert (place.run("a").returncode == 0) == good


def test_a_root_without_a_package_manager(place: Place) -> None:
    done = place.run("a")
    assert done.returncode == 1
    assert "has none of apt-get, dnf, zypper and pacman" in done.stderr
