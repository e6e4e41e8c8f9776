# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roots with the real dnf, zypper and pacman, which Debian packages, and a small archive of packages for each.

A root has the file names and the os-release of a distribution (distribution_trees), and programs of Debian.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import shutil
import tarfile
import typing as t

import debian_root
import distribution_trees as trees
import survival
from debian_root import run

# What the programs call, and their scripts; "extract" unpacks packages without setting them up.
PROGRAMS = (
    *("base-files", "bash", "coreutils", "dash", "findutils", "gzip", "libc-bin", "sed"),
    *("createrepo-c", "dnf", "pacman-package-manager", "rpm", "zypper"),
)
VERSION = "1.0"


@dataclasses.dataclass(frozen=True)
class Package:
    """A package: what it needs, and the lines of shell that run when it was installed."""

    name: str
    requires: str = ""
    recommends: str = ""
    script: str = ""
    epoch: int = 0

    @property
    def version(self) -> str:
        """How pacman and rpm print the version."""
        return f"{self.epoch}:{VERSION}-1" if self.epoch else f"{VERSION}-1"


SCRIPT = "cat /etc/resolv.conf >/srv/seen-resolv.conf"
PACKAGES = (
    Package("tiny", "tiny-library", "tiny-extra", SCRIPT, epoch=1),
    Package("tiny-library"),
    Package("tiny-extra"),
    Package("tiny-corrupt"),
    Package("tiny-unmet", requires="nothing-has-this"),
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A package manager, the distribution whose tree it is in, and its configuration."""

    name: str
    tree: trees.Distribution
    program: str
    files: t.Mapping[str, str]
    # What of the archive is taken away to see that nothing is asked of it.
    archive: str = "srv/rpm"


# Signatures are not what is tested.
_DNF = "[tiny]\nname=tiny\nbaseurl=file:///srv/rpm\ngpgcheck=0\n"
# It keeps what was downloaded. Fedora has it in a package of its own (dnf5.spec: libdnf5-plugin-local).
_NOT_LOCAL = {"etc/dnf/libdnf5-plugins/local.conf": "[main]\nname = local\nenabled = no\n"}
_ZYPPER = "[tiny]\nname=tiny\nbaseurl=dir:/srv/rpm\ngpgcheck=0\nautorefresh=1\n"
# The options are those of Arch's package pacman since 7.0, which downloads as another user.
_PACMAN = """\
[options]
HoldPkg = pacman glibc
Architecture = auto
CheckSpace
ParallelDownloads = 5
DownloadUser = alpm
[tiny]
SigLevel = Never
Server = file:///srv/alpm
"""
_USERS = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nalpm:x:973:973::/:/usr/bin/nologin\n",
    "etc/group": "root:x:0:\nalpm:x:973:\n",
}
KINDS = {
    kind.name: kind
    for kind in (
        Kind("dnf4", trees.RHEL9, "dnf-3", {"etc/yum.repos.d/tiny.repo": _DNF}),
        # Since Fedora 41, dnf is dnf5.
        Kind("dnf5", trees.FEDORA, "dnf5", {"etc/yum.repos.d/tiny.repo": _DNF, **_NOT_LOCAL}),
        Kind("zypper", trees.LEAP16, "zypper", {"etc/zypp/repos.d/tiny.repo": _ZYPPER}),
        Kind("pacman", trees.ARCH, "pacman", {"etc/pacman.conf": _PACMAN, **_USERS}, "srv/alpm"),
    )
}
_PROGRAMS = ("dnf", "dnf-3", "dnf5", "zypper", "pacman")


def debian(path: pathlib.Path, release: str) -> None:
    """Unpack the programs of a release of Debian, and put the archives beside them."""
    programs = [*PROGRAMS, *(["dnf5"] if release == "forky" else [])]
    command = ["mmdebstrap", "--quiet", "--variant=extract", "--mode=root", *survival.valid_until()]
    command += [f"--include={','.join(programs)}", release, str(path), *survival.mirror()]
    run("timeout", "900", *command)
    rpm_archive(path)
    alpm_archive(path / "srv/alpm")


def rpm_archive(root: pathlib.Path) -> None:
    """Build the packages with rpmbuild, which the root has, and list them with createrepo_c.

    The root gets the cache of ldconfig as well, which every root has, and libalpm renews.
    """
    specs = root / "srv/spec"
    specs.mkdir(parents=True)
    # The package rpm of Fedora and SUSE has it.
    (root / "etc/rpm").mkdir()
    # What the packages of a distribution need and zypper insists on (/etc/zypp/systemCheck).
    (specs / "system.spec").write_text(_spec(Package("system"), "Provides: /bin/sh glibc\n"))
    for package in PACKAGES:
        (specs / f"{package.name}.spec").write_text(_spec(package))
    build = "rpmbuild -bb --quiet --define '_topdir /tmp' --define '_rpmdir /srv/rpm'"
    script = f"""
        set -e
        {build} --define '_build_name_fmt %%{{NAME}}.rpm' /srv/spec/*.spec
        rpm --install --justdb /srv/rpm/system.rpm
        createrepo_c --quiet /srv/rpm
        ldconfig
    """
    sandbox = ("bwrap", "--bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp")
    run(*sandbox, "sh", "-c", script)
    _damage(root / "srv/rpm/tiny-corrupt.rpm")


def _spec(package: Package, more: str = "") -> str:
    fields = {"Name": package.name, "Version": VERSION, "Release": "1", "Summary": "a package"}
    fields |= {"License": "none", "BuildArch": "noarch"}
    fields |= {"Epoch": str(package.epoch)} if package.epoch else {}
    fields |= {"Requires": package.requires} if package.requires else {}
    fields |= {"Recommends": package.recommends} if package.recommends else {}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    script = f"%post\n{package.script}\n" if package.script else ""
    return f"{text}{more}%description\na package\n{script}%files\n"


def alpm_archive(folder: pathlib.Path) -> None:
    """Write the packages and their list as makepkg and repo-add do (PKGBUILD(5), alpm-repo-desc(5))."""
    folder.mkdir(parents=True)
    descriptions = {}
    for package in PACKAGES:
        info = f"pkgname = {package.name}\npkgver = {package.version}\narch = any\n"
        desc = {"NAME": package.name, "VERSION": package.version, "ARCH": "any"}
        if package.requires:
            info += f"depend = {package.requires}\n"
            desc["DEPENDS"] = package.requires
        if package.recommends:
            info += f"optdepend = {package.recommends}\n"
        files = {".PKGINFO": info, f"usr/share/{package.name}": ""}
        if package.script:
            files[".INSTALL"] = f"post_install() {{\n{package.script}\n}}\n"
        path = folder / f"{package.name}-{package.version}-any.pkg.tar.gz"
        _tar(path, files)
        content = path.read_bytes()
        desc |= {"FILENAME": path.name, "CSIZE": str(len(content))}
        desc |= {"SHA256SUM": hashlib.sha256(content).hexdigest()}
        text = "".join(f"%{name}%\n{value}\n\n" for name, value in desc.items())
        descriptions[f"{package.name}-{package.version}/desc"] = text
    _tar(folder / "tiny.db", descriptions)
    (damaged,) = folder.glob("tiny-corrupt-*")
    _damage(damaged)


def _tar(path: pathlib.Path, files: t.Mapping[str, str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


def _damage(path: pathlib.Path) -> None:
    """Change one byte: the size stays as it is listed."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _tree(kind: Kind, base: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Return a tar of the distribution's tree, without the programs that are real in *base*."""
    tree = trees.make(kind.tree, path / "tree")
    for name, text in kind.files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for file in [it for it in tree.rglob("*") if not it.is_dir() or it.is_symlink()]:
        if "bin" in file.parts and os.path.lexists(base / file.relative_to(tree)):
            file.unlink()
    tar = path / "tree.tar"
    run("tar", "-C", tree, "--owner=0", "--group=0", "-cf", tar, ".")
    shutil.rmtree(tree)
    return tar


@contextlib.contextmanager
def stand_in(kind: Kind, base: pathlib.Path, path: pathlib.Path) -> t.Iterator[debian_root.Image]:
    """Yield an image: the tree of a distribution over the programs in *base*, which stay as they are."""
    image = debian_root.Image(path)
    upper, work = path / "upper", path / "work"
    for folder in (image.root, upper, work):
        folder.mkdir(parents=True)
    options = f"lowerdir={base},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "-o", options, "overlay", image.root)
    with contextlib.ExitStack() as stack:
        stack.callback(run, "umount", image.root)
        debian_root.fill(image, _tree(kind, base, path))
        stack.callback(run, "umount", image.run_dir / "own")
        for name in _PROGRAMS:
            if name != kind.program:
                (image.root / "usr/bin" / name).unlink(missing_ok=True)
        if kind.program.startswith("dnf"):
            (image.root / "usr/bin/dnf").symlink_to(kind.program)
        yield image
