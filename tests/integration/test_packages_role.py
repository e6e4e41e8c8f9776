# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role packages in a real Debian root, with its own apt and an archive that is in the root: no network is there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import typing as t

import debian_root
import pytest
from builds import Run, playbook
from debian_root import Image, run

# Its script does what those of services do, and writes down what it finds.
POSTINST = """\
#!/bin/sh
set -e
cat /etc/resolv.conf >/srv/seen-resolv.conf || echo none >/srv/seen-resolv.conf
[ -z "$TINY_LINK" ] || ln -sf ../run/other/resolv.conf /etc/resolv.conf
env >/srv/seen-environment
update-rc.d tiny defaults >/dev/null
invoke-rc.d tiny start
"""
SERVICE = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides: tiny
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
### END INIT INFO
[ "$1" != start ] || : >/srv/started
"""
# resolved and resolvconf make a link of it.
LINKING = POSTINST.replace('[ -z "$TINY_LINK" ] || ', "")
STUB = "../run/systemd/resolve/stub-resolv.conf"
NO_NETWORK = ("unshare", "--net")
RESOLV_CONF = "nameserver 10.0.2.3\nsearch builder.example"


def package(folder: pathlib.Path, name: str, postinst: str, **fields: str) -> None:
    """Build a package, with a service of SysV init, into a folder."""
    tree = folder / f"{name}.tree"
    service = tree / "etc/init.d/tiny"
    service.parent.mkdir(parents=True)
    service.write_text(SERVICE)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/postinst").write_text(postinst)
    for path in (service, tree / "DEBIAN/postinst"):
        path.chmod(0o755)
    control = {
        "Package": name,
        "Version": "1",
        "Architecture": "all",
        "Maintainer": "Nobody <nobody@example.org>",
        "Description": "a service",
        **fields,
    }
    text = "".join(f"{key}: {value}\n" for key, value in control.items())
    (tree / "DEBIAN/control").write_text(text)
    run("dpkg-deb", "--build", "--root-owner-group", tree, folder / f"{name}.deb")
    shutil.rmtree(tree)


def index(folder: pathlib.Path) -> None:
    """Write what apt wants of an archive that is one directory."""
    rows = []
    for file in sorted(folder.glob("*.deb")):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(
            f"{run('dpkg-deb', '--field', file)}\nFilename: ./{file.name}\n"
            f"Size: {file.stat().st_size}\nSHA256: {digest}\n"
        )
    (folder / "Packages").write_text("\n".join(rows))


@dataclasses.dataclass
class Root:
    """An image, and the role in it."""

    image: Image

    def role(self, packages: t.Any, *arguments: str, missing: t.Sequence[str] = ()) -> Run:
        """Run the role, where there is no network."""
        play = self.image.path / "play.yml"
        tasks = [
            {"ansible.builtin.import_role": {"name": "sealedroot.image.packages"}},
            {"ansible.builtin.debug": {"msg": "LACKS={{ image_missing_packages }}="}},
        ]
        play.write_text(json.dumps([{"hosts": "image", "gather_facts": False, "tasks": tasks}]))
        variables = {
            "image_root": str(self.image.root),
            "image_run": str(self.image.run_dir),
            "image_packages": packages,
            "image_size": "4GiB",
        }
        tar = {
            "path": "/srv/root.tar",
            "missing_packages": list(missing),
            "sha256": "0",
            "architecture": "x86_64",
            "family": "debian",
        }
        inventory = self.image.path / "inventory.json"
        facts = {
            "image_root_tar": tar,
            "image_missing_packages": list(missing),
            "image_sandbox": {"network": {"resolv_conf": RESOLV_CONF, "check_valid_until": True}},
        }
        hosts = {"hosts": {"image": facts}}
        inventory.write_text(json.dumps({"all": hosts}))
        more = ("--inventory", str(inventory), *arguments)
        return playbook(str(play), variables, *more, prefix=NO_NETWORK)

    def exists(self, name: str) -> bool:
        return (self.image.root / name).exists()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Root]:
    with debian_root.in_memory(tmp_path_factory.mktemp("packages")) as image:
        archive = image.root / "srv/archive"
        archive.mkdir()
        package(archive, "tiny", POSTINST, Recommends="tiny-extra")
        package(archive, "tiny-extra", POSTINST)
        package(archive, "tiny-linking", LINKING)
        index(archive)
        image.write("etc/apt/sources.list", "deb [trusted=yes] file:/srv/archive ./\n")
        # Without it invoke-rc.d starts nothing anyway: it knows no runlevel in a root where no init runs.
        (image.root / "usr/sbin/runlevel").unlink()
        image.write("usr/sbin/runlevel", "#!/bin/sh\necho N 2\n")
        (image.root / "usr/sbin/runlevel").chmod(0o755)
        # Each test makes the one that it is about, whichever test comes first.
        (image.root / "etc/resolv.conf").unlink(missing_ok=True)
        yield Root(image)


@pytest.fixture
def root(base: Root) -> t.Iterator[Root]:
    """The root as it was, with what the tests put into it gone."""
    yield base
    base.image.shell("dpkg --purge tiny tiny-linking tiny-extra >/dev/null 2>&1 || :")
    for path in [*base.image.root.glob("srv/s*"), base.image.root / "etc/resolv.conf"]:
        path.unlink(missing_ok=True)


def installed(root: Root, name: str) -> bool:
    said = root.image.shell(f"dpkg-query -W -f '${{db:Status-Status}}' {name} 2>/dev/null || :")
    return said == "installed"


RESOLV_CONFS: dict[str, t.Callable[[pathlib.Path], t.Any]] = {
    "absent": lambda path: None,
    "link": lambda path: path.symlink_to(STUB),
    "file": lambda path: path.write_text("nameserver 198.51.100.1\n"),
}


def state(path: pathlib.Path) -> t.Any:
    if path.is_symlink():
        return path.readlink()
    return (path.stat().st_ino, path.read_text()) if path.exists() else None


def names(root: Root) -> set[str]:
    """Return the files where something could stay, apart from what the package itself has there."""
    folders = ("etc", "usr/sbin", "var/lib/apt", "var/cache/apt")
    found = [path for folder in folders for path in (root.image.root / folder).rglob("*")]
    relative = {str(path.relative_to(root.image.root)) for path in found}
    return {name for name in relative if not re.fullmatch(r"etc/(init|rc.)\.d/.*tiny", name)}


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(make, id=name, marks=[pytest.mark.long] if name != "link" else [])
        for name, make in RESOLV_CONFS.items()
    ],
)
def test_a_package_is_installed_and_its_service_does_not_start(
    root: Root, before: t.Callable[[pathlib.Path], t.Any]
) -> None:
    resolv_conf = root.image.root / "etc/resolv.conf"
    before(resolv_conf)
    was = state(resolv_conf)
    before_names = names(root)
    done = root.role(["tiny"])
    assert done.rc == 0, done.output
    assert installed(root, "tiny")
    assert not installed(root, "tiny-extra"), "what is only recommended was installed"
    assert not root.exists("srv/started"), "the service was started"
    # The package manager had the resolver of its sandbox, and the image has its own.
    seen = (root.image.root / "srv/seen-resolv.conf").read_text()
    assert seen.splitlines()[1:] == RESOLV_CONF.splitlines()
    assert state(resolv_conf) == was
    environment = (root.image.root / "srv/seen-environment").read_text().splitlines()
    assert {"DEBIAN_FRONTEND=noninteractive", "INITRD=No"} <= set(environment)
    assert names(root) == before_names
    assert not list((root.image.root / "var/cache/apt/archives").glob("*.deb"))
    # Again: it is there, so nothing is asked of the package manager.
    (root.image.root / "etc/apt/sources.list").rename(root.image.root / "srv/sources.list")
    try:
        again = root.role(["tiny"], "-v")
    finally:
        (root.image.root / "srv/sources.list").rename(root.image.root / "etc/apt/sources.list")
    assert again.rc == 0, again.output
    assert again.said("nothing to install")


def test_without_the_policy_it_would_start(root: Root) -> None:
    """Or the test above would show nothing."""
    root.image.shell("dpkg --install /srv/archive/tiny.deb 2>&1")
    assert root.exists("srv/started")


def test_a_package_may_replace_resolv_conf(root: Root) -> None:
    (root.image.root / "etc/resolv.conf").write_text("nameserver 198.51.100.1\n")
    done = root.role(["tiny-linking"])
    assert done.rc == 0, done.output
    assert state(root.image.root / "etc/resolv.conf") == pathlib.Path("../run/other/resolv.conf")
    assert not list((root.image.root / "etc").glob(".resolv*"))


def test_a_failure_says_what_to_change_and_leaves_nothing(root: Root) -> None:
    (root.image.root / "etc/resolv.conf").symlink_to(STUB)
    done = root.role(["tiny", "no-such-package"])
    assert done.rc != 0
    assert done.said("Unable to locate package no-such-package")
    assert done.said("The packages tiny no-such-package could not be installed in the image.")
    assert state(root.image.root / "etc/resolv.conf") == pathlib.Path(STUB)
    assert not list(root.image.root.glob("usr/sbin/*policy-rc.d*"))
    assert not installed(root, "tiny")


def test_auto_installs_what_is_missing_and_no_more(root: Root) -> None:
    done = root.role("auto", missing=["tiny"])
    assert done.rc == 0, done.output
    assert installed(root, "tiny")
    # Looked at again, in the image: it is a whole Debian.
    assert done.said("LACKS=[]=")


def test_without_auto_nothing_but_what_is_named_is_installed(root: Root) -> None:
    """The root lacks something after it, so it is refused, as it would have been before."""
    grub = root.image.root / "usr/bin/grub-mkimage"
    grub.rename(grub.with_name("grub-mkimage.away"))
    try:
        done = root.role(["tiny"])
    finally:
        grub.with_name("grub-mkimage.away").rename(grub)
    assert done.rc != 0
    assert done.said("lacks what an encrypted boot needs. Install grub-efi-amd64 in the root")
    assert done.said("image_packages: auto")


@pytest.mark.parametrize("packages", ["auto", ["auto", "apt", "dpkg"], ["apt"]])
def test_where_all_is_there_no_package_manager_is_called(root: Root, packages: t.Any) -> None:
    mark = root.image.root / "srv/seen-apt"
    apt = root.image.root / "usr/bin/apt-get"
    real = apt.with_name("apt-get.real")
    apt.rename(real)
    apt.write_text("#!/bin/sh\n: >/srv/seen-apt\nexit 1\n")
    apt.chmod(0o755)
    try:
        done = root.role(packages)
        called = mark.exists()
    finally:
        real.rename(apt)
    assert done.rc == 0, done.output
    assert not called
    if packages == "auto":
        assert done.changed == 0


def test_the_network_is_really_away() -> None:
    command = [*NO_NETWORK, "cat", "/proc/net/dev"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines[2:]] == ["lo"]
