# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role packages and the real dnf, zypper and pacman, in the sandbox of a build, without a network."""

from __future__ import annotations

import contextlib
import json
import pathlib
import typing as t

import package_archives
import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import identity
from ansible_collections.sealedroot.image.plugins.plugin_utils import _printed
from builds import playbook
from debian_root import Image, run
from package_archives import KINDS, PACKAGES, Kind

RESOLV_CONF = "nameserver 10.0.2.3"
# What cannot be installed, by its name.
BROKEN = ("tiny-corrupt", "tiny-unmet", "no-such-name")
# Where a database is, by the type of package.
DATABASES = {"rpm": "var/lib/rpm/rpmdb.sqlite", "alpm": "var/lib/pacman/local/ALPM_DB_VERSION"}
# Where what was downloaded could stay, apart from the lists that pacman has beside its database.
CACHES = ("etc", "tmp", "var/cache", "var/tmp", "usr/sbin")
PACKED = ("*.rpm", "*.pkg.tar.*")


def files(root: pathlib.Path) -> set[str]:
    found = [path for name in CACHES for path in (root / name).rglob("*")]
    found += [path for name in PACKED for path in root.rglob(name)]
    return {str(path.relative_to(root)) for path in found if not path.is_dir()}


def inventory(kind: Kind, image: Image) -> dict[str, t.Any]:
    """Return what earlier stages would have set for an image."""
    (family,) = LookupModule().run([kind.tree.family])
    tar = {
        "path": "/srv/root.tar",
        "missing_packages": [],
        "sha256": "0",
        "architecture": "x86_64",
        "family": kind.tree.family,
    }
    database = DATABASES[family["package_list"]["type"]]
    return {
        "image_root": str(image.root),
        "image_run": str(image.run_dir),
        "image_root_tar": tar,
        "image_missing_packages": [],
        "image_sandbox": {"network": {"resolv_conf": RESOLV_CONF, "check_valid_until": True}},
        "list_command": family["package_list"]["command"],
        "archive": str(image.root / kind.archive),
        "database": str(image.root / database),
        "result": str(image.path / "result.json"),
    }


def install(*names: str) -> dict[str, t.Any]:
    """Return the task that calls the package manager, whatever comes of it."""
    role = {"name": "sealedroot.image.packages", "tasks_from": "install"}
    return {
        "ansible.builtin.include_role": {**role, "apply": {"ignore_errors": True}},
        "vars": {"__packages_now": list(names)},
    }


def listed(name: str) -> dict[str, t.Any]:
    """Return the task that lists the packages, as the role family does."""
    return {
        "connection": "sealedroot.image.chroot",
        "ansible.builtin.raw": "{{ list_command }}",
        "register": name,
        "ignore_errors": True,
    }


def on_builder(**task: t.Any) -> dict[str, t.Any]:
    """Return a task that runs outside of the image."""
    python = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    (found,) = ({f"ansible.builtin.{name}": it} for name, it in task.items())
    return {"connection": "local", "vars": python, **found}


def keep(name: str) -> dict[str, t.Any]:
    """Return the task that keeps what the package manager printed."""
    said = "{{ {'rc': __packages_installed.rc, 'out': __packages_installed.stdout + __packages_installed.stderr} }}"
    return {"ansible.builtin.set_fact": {name: said}}


def broken(name: str) -> str:
    return f"broken_{name}".replace("-", "_")


def tasks() -> list[dict[str, t.Any]]:
    results = ("listed", "unreadable", "again", *map(broken, BROKEN))
    kept = ", ".join(f"'{name}': {name}" for name in results)
    return [
        {"ansible.builtin.import_role": {"name": "sealedroot.image.packages"}},
        listed("listed"),
        # It is there: nothing is asked of an archive that is away.
        on_builder(command="mv {{ archive }} {{ archive }}.away"),
        install("tiny"),
        keep("again"),
        on_builder(command="mv {{ archive }}.away {{ archive }}"),
        *(task for name in BROKEN for task in (install("tiny-extra", name), keep(broken(name)))),
        on_builder(copy={"dest": "{{ database }}", "content": "no database"}),
        listed("unreadable"),
        on_builder(copy={"dest": "{{ result }}", "content": f"{{{{ {{{kept}}} | to_json }}}}"}),
    ]


class Outcome(t.NamedTuple):
    """What came of the play in one image."""

    kind: Kind
    image: Image
    new: set[str]
    said: dict[str, t.Any]


Outcomes = t.Dict[str, Outcome]


@pytest.fixture(scope="module", params=["forky", pytest.param("trixie", marks=pytest.mark.long)])
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Outcomes]:
    """Run one play in an image of each kind, with the programs of one release of Debian."""
    place = tmp_path_factory.mktemp("managers")
    with contextlib.ExitStack() as stack:
        run("mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs", place)
        stack.callback(run, "umount", place)
        package_archives.debian(place / "base", request.param)
        programs = place / "base/usr/bin"
        kinds = [kind for kind in KINDS.values() if (programs / kind.program).exists()]
        images = {
            kind.name: stack.enter_context(
                package_archives.stand_in(kind, place / "base", place / kind.name)
            )
            for kind in kinds
        }
        before = {name: files(image.root) for name, image in images.items()}
        hosts = {kind.name: inventory(kind, images[kind.name]) for kind in kinds}
        (place / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        play = {"hosts": "all", "gather_facts": False, "tasks": tasks()}
        (place / "play.yml").write_text(json.dumps([play]))
        variables = {"image_packages": ["tiny"], "image_size": "4GiB"}
        arguments = ("--inventory", str(place / "inventory.json"))
        done = playbook(
            str(place / "play.yml"), variables, *arguments, prefix=("unshare", "--net"), timeout=300
        )
        assert done.rc == 0, done.output
        yield {
            kind.name: Outcome(
                kind,
                images[kind.name],
                files(images[kind.name].root) - before[kind.name],
                json.loads((place / kind.name / "result.json").read_text()),
            )
            for kind in kinds
        }


def test_packages_are_installed_and_listed(outcomes: Outcomes) -> None:
    for name, outcome in outcomes.items():
        (family,) = LookupModule().run([outcome.kind.tree.family])
        kind = family["package_list"]["type"]
        lines = _printed.package_list(outcome.said["listed"]["stdout_lines"], kind)
        architecture = " noarch" if kind == "rpm" else ""
        wanted = [f"{it.name} {it.version}{architecture}" for it in PACKAGES[:2]]
        # Not tiny-extra, which is only recommended.
        assert [line for line in lines if line.startswith("tiny")] == wanted, name


def test_scripts_of_packages_run_and_nothing_that_was_downloaded_stays(outcomes: Outcomes) -> None:
    for name, outcome in outcomes.items():
        seen = (outcome.image.root / "srv/seen-resolv.conf").read_text()
        assert seen.splitlines()[1:] == [RESOLV_CONF], name
        assert not outcome.new, name


def test_what_zypper_writes_of_one_machine_is_known(outcomes: Outcomes) -> None:
    (path,) = (outcomes["zypper"].image.root / "var/lib/zypp").glob("Anonymous*")
    assert f"/var/lib/zypp/{path.name}" in identity.SHARED_BY_CLONES


def test_where_all_is_there_no_archive_is_asked(outcomes: Outcomes) -> None:
    said = {"rc": 0, "out": "nothing to install\n"}
    again = {name: outcome.said["again"] for name, outcome in outcomes.items()}
    assert again == dict.fromkeys(outcomes, said)


@pytest.mark.parametrize("package", BROKEN)
def test_a_broken_package_is_named(outcomes: Outcomes, package: str) -> None:
    sentence = f"The packages tiny-extra {package} could not be installed"
    for name, outcome in outcomes.items():
        said = outcome.said[broken(package)]
        assert said["rc"] == 1, name
        head, _, tail = said["out"].partition(sentence)
        assert package in head, name
        assert "(image_packages)" in tail, name


def test_a_database_that_cannot_be_read_is_no_empty_list(outcomes: Outcomes) -> None:
    ends = {name: outcome.said["unreadable"]["rc"] for name, outcome in outcomes.items()}
    assert all(ends.values()), ends
