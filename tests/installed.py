# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as it is installed: a tarball, a clean virtual environment, and somebody's own project folder.

usage: ./run installed [-- ROW...]

Each row is one ansible-core, those that need a newer Python in a Debian 13 of their own. There somebody who is not root
builds an image by a playbook that imports the collection's, with odd settings; then the same command changes nothing,
and the image is proved by its name. Ends with a line like «installed: 3 passed, 0 failed», and with 1 when one failed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "helpers"))

import builds  # by the path that was just added

PACKAGES = "python3-venv,sudo,passwd,ca-certificates"
# In the tree, with the devices of this kernel.
ENTER = """
set -e
tree=$1; shift
mount --make-rprivate /
# Private mounts are made only below a root that is a mount.
mount --bind "$tree" "$tree"
for name in dev sys; do mount --rbind /$name "$tree/$name"; done
mount -t proc proc "$tree/proc"
mount -t tmpfs tmpfs "$tree/run"
exec chroot "$tree" "$@"
"""
# What an ansible.cfg may have in it, all at once.
ODD = {
    "ANSIBLE_CACHE_PLUGIN": "jsonfile",
    "ANSIBLE_CACHE_PLUGIN_CONNECTION": "facts",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    "ANSIBLE_FORKS": "1",
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_INJECT_FACT_VARS": "false",
    "ANSIBLE_PIPELINING": "false",
    "ANSIBLE_STRATEGY": "free",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN = "- import_playbook: sealedroot.image.build_encrypted_image\n"


@dataclasses.dataclass(frozen=True)
class Row:
    """One ansible-core; *root* is how a user becomes root on a Debian 13, and empty for root on this machine."""

    core: str
    root: str

    @property
    def name(self) -> str:
        return f"{self.core}-{self.root or 'here'}"


ROWS = (Row("2.19", ""), Row("2.20", "become"), Row("2.21", "sudo"))


class Machine:
    """Where a row is played: this machine, or a tree of Debian 13."""

    def __init__(self, tree: pathlib.Path | None, place: pathlib.Path) -> None:
        self._prefix: list[str] = []
        self.path = place
        if tree:
            self._prefix = ["unshare", "--mount", "sh", "-c", ENTER, "sh", str(tree)]
            self.path = tree / "place"
        self._top = "/place" if tree else str(place)

    def at(self, name: str) -> str:
        """Return a path as the machine has it."""
        return f"{self._top}/{name}"

    def run(self, *argv: str) -> str:
        """Run a command as root, and return what it printed; an error if it fails. It has no settings of Ansible's."""
        kept = {name: it for name, it in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [*self._prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2400,
            check=False,
            env={**kept, "PATH": PATH, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, f"{argv[-1]} failed:\n{done.stdout[-4000:]}"
        return done.stdout


def debian(place: pathlib.Path) -> pathlib.Path:
    """Make a Debian 13 with a Python, and a user who may become root."""
    tree = place / "trixie"
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", "trixie"]
    subprocess.run([*command, str(tree)], check=True, timeout=1200)
    # What this machine trusts, its proxy among it.
    for name in ("resolv.conf", "ssl/certs/ca-certificates.crt"):
        shutil.copy(f"/etc/{name}", tree / "etc" / name)
    (tree / "place").mkdir()
    machine = Machine(tree, place)
    machine.run("useradd", "--create-home", "ada")
    (tree / "etc/sudoers.d/ada").write_text("ada ALL=(ALL) NOPASSWD: ALL\n")
    return tree


def play(row: Row, machine: Machine, tarball: pathlib.Path, root: pathlib.Path) -> None:
    """Install and build, as *row* says."""
    machine.path.mkdir(exist_ok=True)
    machine.path.chmod(0o755)
    shutil.copy(tarball, machine.path / "collection.tar.gz")
    shutil.copy(root, machine.path / "root.tar")
    (machine.path / "root.tar").chmod(0o644)
    python = "/usr/bin/python3" if row.root else sys.executable
    machine.run(python, "-m", "venv", machine.at(row.core))
    core = f"ansible-core=={row.core}.*"
    machine.run(machine.at(f"{row.core}/bin/pip"), "install", "--quiet", core)
    collections = machine.at(f"collections-{row.core}")
    command = machine.at(f"{row.core}/bin/ansible-galaxy"), "collection", "install"
    machine.run(*command, "-p", collections, machine.at("collection.tar.gz"))
    # Not ASCII, as the folder of many people is not.
    project = machine.path / f"größe-{row.core}"
    project.mkdir()
    (project / "build_encrypted_image.yml").write_text(OWN)
    if row.root:
        shutil.chown(project, 1000, 1000)
    variables = {
        "image_name": "web-1",
        "image_boot_test": False,
        "image_size": "2GiB",
        "image_source": {"type": "tar", "path": machine.at("root.tar")},
        **({"ansible_become": True} if row.root == "become" else {}),
    }

    def ansible(playbook: str, *more: str) -> str:
        argv = [machine.at(f"{row.core}/bin/ansible-playbook"), playbook, *more]
        settings = [f"{name}={value}" for name, value in ODD.items()]
        settings.append(f"ANSIBLE_COLLECTIONS_PATH={collections}")
        argv = ["env", *settings, *argv, "--extra-vars", json.dumps(variables)]
        if row.root == "sudo":
            argv.insert(0, "sudo")
        return as_user(machine, row, machine.at(project.name), argv)

    ansible("sealedroot.image.build_encrypted_image", "--check")
    built = ansible("build_encrypted_image.yml")
    assert "failed=0" in built, built[-2000:]
    again = ansible("build_encrypted_image.yml")
    assert "changed=0" in again.split("web-1 ")[-1], again[-2000:]
    ansible("sealedroot.image.verify_image")
    for path in (project / "out", project / "out/web-1", *(project / "out/web-1").iterdir()):
        assert path.stat().st_uid == (1000 if row.root else 0), path


def as_user(machine: Machine, row: Row, folder: str, argv: t.Sequence[str]) -> str:
    """Run a command in a folder, as the user who has it."""
    script = 'umask 077; cd "$1"; HOME="$1"; export HOME; shift; exec "$@"'
    command = ["sh", "-c", script, "sh", folder, *argv]
    if row.root:
        command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", *command]
    return machine.run(*command)


def main(names: t.Sequence[str]) -> int:
    """Play the rows, and say how it went."""
    rows = [row for row in ROWS if not names or row.name in names]
    if not rows:
        raise SystemExit(f"there are {', '.join(row.name for row in ROWS)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sealedroot-installed-", dir="/var/tmp") as folder:
        place = pathlib.Path(folder)
        place.chmod(0o755)
        command = [
            "ansible-galaxy",
            "collection",
            "build",
            "--output-path",
            folder,
            str(builds.ROOT),
        ]
        subprocess.run(command, check=True, timeout=300)
        (tarball,) = place.glob("sealedroot-image-*.tar.gz")
        root = builds.source_tar(builds.DEBIAN)
        tree = debian(place) if any(row.root for row in rows) else None
        for row in rows:
            machine = Machine(tree if row.root else None, place / "here")
            try:
                play(row, machine, tarball, root)
                print(f"{row.name}: passed", flush=True)
            except Exception as exc:  # any other row goes on
                failed += 1
                print(f"{row.name}: failed: {exc}", flush=True)
    print(f"installed: {len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
