# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roots that stand in for distributions that cannot be had here: Debian's programs under a distribution's names.

A stand-in has the layout, os-release, defaults and packages of rpm of a distribution, and small scripts of our own
where the distribution's do the work. Each file names the public source of what it does; docs/families.md says what
a stand-in does not show. The kernels are Debian's, an old one and a newer one, as packages of rpm with the calls of
the distribution's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t

import distribution_trees as trees
import survival
from builds import QUICK_DRACUT

CACHE = pathlib.Path("/var/cache/sealedroot")
# The newer kernel and everything else is of the first, the older kernel of the second.
SUITES = ("forky", "trixie")
PACKAGES = (
    *("cryptsetup-bin", "dbus", "dracut", "e2fsprogs", "grub-efi-amd64-bin", "grub2-common"),
    *("iproute2", "kmod", "login", "passwd", "rpm", "systemd-boot-tools", "systemd-cryptsetup"),
    *("systemd-sysv", "udev", "zstd"),
)
KERNEL = "[0-9].*[0-9]-cloud-amd64"
KERNELS = "srv/kernels"
BASH = "5.3"
# Where the programs are whose names or places differ.
PRIVATE = "usr/lib/stand-in"

# Sources of facts.
_ANACONDA = "https://github.com/rhinstaller/anaconda (pyanaconda/modules/storage/bootloader)"
_DRACUT = "https://github.com/dracut-ng/dracut (dracut.conf.d)"
_FEDORA_GRUB = "https://github.com/rhboot/grub2 (util/grub.d/10_linux.in)"
_FEDORA_INSTALL = "https://github.com/rhboot/grub2 (util/grub-install.c)"
_KERNEL_INSTALL = "https://github.com/openela-main/grub2 (SOURCES/20-grub.install)"
_GRUBBY = "https://github.com/openela-main/grub2 (SOURCES: grub-get-kernel-settings)"
_STAGING = "https://github.com/dracut-ng/dracut/issues/334"
_OS_RELEASE = "https://www.freedesktop.org/software/systemd/man/os-release.html"
_RELEASE = "https://src.fedoraproject.org/rpms/fedora-release"
_RPM_PATH = "https://fedoraproject.org/wiki/Changes/RelocateRPMToUsr"
_PBL = "https://github.com/openSUSE/perl-bootloader (pbl.sh, grub2/config)"
_SUSE_RPM = "https://github.com/openSUSE/suse-module-tools (kernel-scriptlets/rpm-script)"
_SUSE_WM2 = "https://github.com/openSUSE/suse-module-tools (weak-modules2)"
_SUSE_POSTTRANS = "https://github.com/openSUSE/suse-module-tools (regenerate-initrd-posttrans)"
_YAST = "https://documentation.suse.com/sles/15-SP6/html/SLES-all/cha-grub2.html"


class File(t.NamedTuple):
    """A file of a stand-in: its text, and the public source of the fact in it; programs have an interpreter."""

    text: str
    source: str

    @property
    def mode(self) -> int:
        return 0o755 if self.text.startswith("#!") else 0o644


# The program looks for its block in another place.
_EDITENV = File(
    """\
#!/bin/sh
block=$1
[ "$block" != - ] || block=/boot/grub2/grubenv
shift
exec /usr/lib/stand-in/grub-editenv "$block" "$@"
""",
    "https://github.com/rhboot/grub2 (util/grub-editenv.c: DEFAULT_ENVBLK_PATH)",
)
_RPM_MACROS = File("%_dbpath /usr/lib/sysimage/rpm\n", _RPM_PATH)

# A kernel of a machine: its files go to /boot, and its entry has the words of /etc/kernel/cmdline.
_GRUB_PLUGIN = """\
#!/bin/sh
set -e
verb=$1 version=$2 other=$3 image=$4
[ -n "$KERNEL_INSTALL_MACHINE_ID" ] || exit 0
# The files of another boot loader.
[ ! -d "$other" ] || exit 0
id=$KERNEL_INSTALL_MACHINE_ID-$version
entry=/boot/loader/entries/$id.conf
files="vmlinuz System.map config"
if [ "$verb" = remove ]; then
  rm -f "$entry"
  for name in $files; do rm -f "/boot/$name-$version"; done
fi
[ "$verb" = add ] || exit 0
for name in $files; do
  [ ! -e "${image%/*}/$name" ] || cp --remove-destination "${image%/*}/$name" "/boot/$name-$version"
done
. /etc/os-release
eval "$(grub2-get-kernel-settings)"
[ -d "${entry%/*}" ] || mkdir -m 0700 -p "${entry%/*}"
seen_by_grub=$(grub2-mkrelpath "/boot/vmlinuz-$version")
{
  echo "title $NAME ($version) $VERSION"
  echo "version $version"
  echo "linux $seen_by_grub"
  echo "initrd ${seen_by_grub%/*}/initramfs-$version.img"
  if [ -f /etc/kernel/cmdline ]; then
    echo "options $(tr '\\n' ' ' </etc/kernel/cmdline)"
  else
    echo "options $(tr ' ' '\\n' </proc/cmdline | grep -v -e ^initrd= -e ^BOOT_IMAGE= | tr '\\n' ' ')"
  fi
  echo 'grub_users $grub_users'
  echo 'grub_arg --unrestricted'
  echo "grub_class $ID"
} >"$entry"
[ "$GRUB_UPDATE_DEFAULT_KERNEL" != true ] || grub2-editenv - set "saved_entry=$id"
"""
_STAGED_PLUGIN = """\
#!/bin/sh
[ "$1" != remove ] || rm -f "/boot/initramfs-$2.img"
[ "$1" = add ] || exit 0
[ "$KERNEL_INSTALL_LAYOUT" = other ] || exit 0
[ ! -e "$KERNEL_INSTALL_STAGING_AREA/initrd" ] ||
  install -m 0600 "$KERNEL_INSTALL_STAGING_AREA/initrd" "/boot/initramfs-$2.img"
"""
_KERNEL_SETTINGS = """\
#!/bin/sh
. /etc/sysconfig/kernel
[ "$UPDATEDEFAULT" != yes ] || echo GRUB_UPDATE_DEFAULT_KERNEL=true
"""
_REFUSED = """\
#!/bin/sh
case " $* " in *" --force "*) exec /usr/lib/stand-in/grub-install "$@" ;; esac
echo 'grub2-install is not for EFI, unless it is told to --force' >&2
exit 1
"""
# The menu is what GRUB finds in the directory of entries. Fedora's finds it without being told, and has a module of
# the command's name.
_BLS_LINUX = """\
#!/bin/sh
set -e
. "$pkgdatadir/grub-mkconfig_lib"
device=$GRUB_DEVICE
if [ "$GRUB_DISABLE_LINUX_UUID" != true ] && [ -n "$GRUB_DEVICE_UUID" ]; then
  device=UUID=$GRUB_DEVICE_UUID
fi
words="root=$device ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
prepare_grub_to_access_device "$GRUB_DEVICE"
printf 'if [ -z "${kernelopts}" ]; then\\n  set kernelopts="%s"\\nfi\\n' "$words"
for entry in /boot/loader/entries/*.conf; do
  [ ! -e "$entry" ] || sed -i "s|^options .*|options $words|" "$entry"
done
echo 'blscfg --path /boot/loader/entries'
"""

_SUSE_SCRIPT = """\
#!/bin/sh
step=${0##*-}
while [ $# -gt 1 ]; do
  case $1 in
    --kernelrelease) release=$2 ;;
    --flavor) flavor=$2 ;;
    --image) image=$2 ;;
  esac
  shift 2
done
version=$release-$flavor
entry() {
  [ -f /etc/fstab ] || return 0
  if [ -e "/boot/initrd-$version" ]; then
    /usr/lib/bootloader/bootloader_entry add "$flavor" "$version" "$image-$version" "initrd-$version"
  fi
  if [ -f "/boot/$image-$version" ] && [ -f "/boot/initrd-$version" ]; then
    ln -sf "$image-$version" "/boot/$image"
    ln -sf "initrd-$version" /boot/initrd
  fi
}
case $step in
  post)
    for name in "$image" System.map config; do
      [ -e "/boot/$name-$version" ] ||
        ln -sf "../usr/lib/modules/$version/$name" "/boot/$name-$version"
    done
    /usr/lib/module-init-tools/weak-modules2 --add-kernel "$version"
    [ -n "$INITRD_IN_POSTTRANS" ] || entry
    ;;
  posttrans)
    /usr/lib/module-init-tools/regenerate-initrd-posttrans
    [ -z "$INITRD_IN_POSTTRANS" ] || entry
    ;;
esac
"""
_WEAK_MODULES = """\
#!/bin/sh
[ "$1" = --add-kernel ] || exit 0
depmod -a "$2"
if [ ! -f /etc/fstab ]; then
  echo "there is no /etc/fstab: dracut -f /boot/initrd-$2 $2 is left to the owner" >&2
elif [ -n "$INITRD_IN_POSTTRANS" ]; then
  mkdir -p /run/regenerate-initrd
  touch "/run/regenerate-initrd/$2"
else
  dracut -f "/boot/initrd-$2" "$2"
fi
"""
_REGENERATE = """\
#!/bin/sh
for flag in /run/regenerate-initrd/*; do
  [ -e "$flag" ] || continue
  rm "$flag"
  [ ! -f /etc/fstab ] || dracut -f --kver "${flag##*/}"
done
"""
_BOOTLOADER = """\
#!/bin/sh
. /etc/sysconfig/bootloader
config=/usr/lib/bootloader/$LOADER_TYPE/config
[ ! -x "$config" ] || exec "$config"
"""
_CONFIG = "#!/bin/sh\nexec /usr/sbin/grub2-mkconfig -o /boot/grub2/grub.cfg\n"
_INSTALL = '#!/bin/sh\nexec /usr/lib/stand-in/grub-install "$@"\n'
_SUSE_DRACUT = f'{trees._SUSE_DRACUT}initrdname="initrd-$kernel"\n'


@dataclasses.dataclass(frozen=True)
class StandIn:
    """A stand-in: the distribution whose names it has, its files, and what its package of a kernel runs."""

    tree: trees.Distribution
    kernel_package: str
    files: t.Mapping[str, File]
    # Scripts of the package, by their names in a spec; VERSION is that of the kernel.
    scripts: t.Mapping[str, str]
    # What Debian has there is of Debian only.
    removed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.tree.name

    @property
    def library(self) -> str:
        """The directory of what GRUB's scripts share."""
        return "usr/share/grub2" if self.tree.family == "suse" else "usr/share/grub"

    def digest(self) -> str:
        """Return what changes with all that a stand-in is made of, this file included."""
        parts = [pathlib.Path(__file__).read_text(), pathlib.Path(trees.__file__).read_text()]
        parts += [json.dumps(QUICK_DRACUT), self.name]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


FEDORA = StandIn(
    trees.FEDORA,
    "kernel-core",
    {
        "usr/lib/os-release": File(trees.FEDORA.os_release, _OS_RELEASE),
        "etc/default/grub": File(trees.FEDORA.defaults, _ANACONDA),
        "etc/grub.d/10_linux": File(_BLS_LINUX, _FEDORA_GRUB),
        "etc/kernel/cmdline": File(f"root=UUID={trees.OLD_ROOT} ro rhgb quiet\n", _ANACONDA),
        "etc/machine-id": File(f"{trees.OLD_ID}\n", _KERNEL_INSTALL),
        "etc/rpm/macros": _RPM_MACROS,
        "etc/sysconfig/kernel": File(trees._SYSCONFIG_KERNEL, _ANACONDA),
        "etc/system-release": File("Fedora release 43 (Forty Three)\n", _RELEASE),
        "usr/bin/grub2-editenv": _EDITENV,
        "usr/bin/grub2-get-kernel-settings": File(_KERNEL_SETTINGS, _GRUBBY),
        "usr/lib/dracut/dracut.conf.d/01-dist.conf": File(trees._FEDORA_DRACUT, _DRACUT),
        "usr/lib/kernel/install.d/20-grub.install": File(_GRUB_PLUGIN, _KERNEL_INSTALL),
        "usr/lib/kernel/install.d/56-staged.install": File(_STAGED_PLUGIN, _STAGING),
        "usr/sbin/grub2-install": File(_REFUSED, _FEDORA_INSTALL),
    },
    # kernel.spec of Fedora: kernel_variant_posttrans.
    {"posttrans": "/bin/kernel-install add VERSION /lib/modules/VERSION/vmlinuz || exit $?"},
    ("usr/lib/kernel/install.d/55-initrd.install",),
)
# kernel-binary.spec.in of SUSE: the version of the kernel ends with the flavour of its package.
_SUSE_CALL = (
    "/usr/lib/module-init-tools/kernel-scriptlets/rpm-{} --name kernel-default"
    " --kernelrelease $(echo VERSION | sed 's/-[^-]*$//') --flavor $(echo VERSION | sed 's/.*-//')"
    ' --image vmlinuz "$@"'
)
LEAP = StandIn(
    trees.LEAP16,
    "kernel-default",
    {
        "usr/lib/os-release": File(trees.LEAP16.os_release, _OS_RELEASE),
        "etc/default/grub": File(trees.LEAP16.defaults, _YAST),
        "etc/machine-id": File(f"{trees.OLD_ID}\n", _SUSE_RPM),
        "etc/rpm/macros": _RPM_MACROS,
        "etc/sysconfig/bootloader": File(trees._SUSE_FILES["etc/sysconfig/bootloader"], _PBL),
        "usr/bin/grub2-editenv": _EDITENV,
        "usr/lib/bootloader/bootloader_entry": File(_BOOTLOADER, _PBL),
        "usr/lib/bootloader/grub2-efi/config": File(_CONFIG, _PBL),
        "usr/lib/bootloader/grub2/config": File(_CONFIG, _PBL),
        "usr/lib/dracut/dracut.conf.d/01-dist.conf": File(_SUSE_DRACUT, _DRACUT),
        "usr/lib/module-init-tools/kernel-scriptlets/rpm-post": File(_SUSE_SCRIPT, _SUSE_RPM),
        "usr/lib/module-init-tools/kernel-scriptlets/rpm-posttrans": File(_SUSE_SCRIPT, _SUSE_RPM),
        "usr/lib/module-init-tools/regenerate-initrd-posttrans": File(_REGENERATE, _SUSE_POSTTRANS),
        "usr/lib/module-init-tools/weak-modules2": File(_WEAK_MODULES, _SUSE_WM2),
        "usr/sbin/grub2-install": File(_INSTALL, _PBL),
        "usr/sbin/update-bootloader": File(_BOOTLOADER, _PBL),
    },
    {step: _SUSE_CALL.format(step) for step in ("post", "posttrans")},
)
ALL = (FEDORA, LEAP)

# Of Debian alone: its packages' state, and what its packages of kernels run.
_DEBIAN = (
    *("etc/apt", "etc/debian_version", "etc/dpkg", "etc/kernel/postinst.d", "etc/kernel/postrm.d"),
    *(
        "etc/grub.d/05_debian_theme",
        "usr/lib/dracut/dracut.conf.d/01-debian.conf",
        "usr/share/kernel",
    ),
    *("usr/share/debconf", "var/cache/apt", "var/cache/debconf", "var/lib/apt", "var/lib/dpkg"),
    *("etc/debconf.conf", "etc/default/grub.d", "boot/grub", "var/lib/rpm", KERNELS),
)
_DEBIAN_PROGRAMS = re.compile(r"(?:apt|deb-|debconf|dpkg|update-alternatives|update-grub).*")
_RENAMED = r"\bgrub-\(editenv\|file\|fstest\|install\|mkrelpath\|probe\|script-check\)\b"


def run(*argv: str | os.PathLike[str], timeout: int = 900) -> str:
    """Run a tool that must succeed; return what it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def inside(root: pathlib.Path, script: str, **how: t.Any) -> str:
    """Run shell in a root."""
    argv = ["bwrap", "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    argv += ["--tmpfs", "/run", "--tmpfs", "/tmp", "--unshare-net"]
    argv += ["--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin"]
    return run(*argv, "sh", "-ec", script, **how)


@contextlib.contextmanager
def _made(path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """Give a folder to make a file in, which then gets its place by one rename."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stand-in-", dir=CACHE) as folder:
        yield pathlib.Path(folder)
        os.rename(pathlib.Path(folder, path.name), path)


def base() -> pathlib.Path:
    """Return the tar of Debian's programs, and two kernels unpacked beside them."""
    name = hashlib.sha256(json.dumps([SUITES, PACKAGES, KERNEL]).encode()).hexdigest()[:16]
    path = CACHE / f"stand-in-base-{name}.tar"
    if path.exists():
        return path
    # A kernel is one package, or four.
    fetch = f"""
        set -e
        export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
        mkdir -p "$1/{KERNELS}"
        cd "$1/{KERNELS}"
        apt-cache pkgnames linux-image- | sed -n 's/^linux-image-\\({KERNEL}\\)$/\\1/p' | sort -V | sed -n '1p;$p' |
          while read -r version; do
            names=$(apt-cache pkgnames linux- | grep -x "linux-[a-z]*-$version" | grep -v headers)
            apt-get -qq -o APT::Sandbox::User=root download $names
            chroot "$1" sh -ec "cd /{KERNELS}; for it in *.deb; do dpkg-deb -x \\$it $version; rm \\$it; done"
          done
    """
    argv = ["timeout", "1200", "mmdebstrap", "--quiet", "--mode=root", "--variant=essential"]
    argv += ['--aptopt=APT::Install-Recommends "false"', *survival.valid_until()]
    argv += [f"--dpkgopt=path-exclude=/usr/share/{it}/*" for it in ("doc", "locale", "man")]
    (mirror,) = survival.mirror() or ["http://deb.debian.org/debian"]
    with _made(path) as folder:
        argv += [f"--customize-hook={fetch}", f"--include={','.join(PACKAGES)}", SUITES[0]]
        run(*argv, folder / path.name, *(f"deb {mirror} {it} main" for it in SUITES), timeout=1300)
    return path


class Roots(t.NamedTuple):
    """A stand-in in the cache: its root, and the package of the newer kernel."""

    tar: pathlib.Path
    kernel: pathlib.Path
    # The versions of both kernels, the older one first.
    versions: tuple[str, str]


def made(it: StandIn) -> Roots:
    """Return the root of a stand-in, made once for what it is made of."""
    stem = f"stand-in-{it.name}-{it.digest()}"
    folder = CACHE / stem
    if not folder.exists():
        unpacked = base()
        with _made(folder) as place:
            root, result = place / "root", place / folder.name
            root.mkdir()
            result.mkdir()
            run("tar", "-C", root, "-xpf", unpacked, "--xattrs", "--xattrs-include=*")
            _make(it, root, result)
    versions = json.loads((folder / "versions.json").read_text())
    return Roots(folder / "root.tar", folder / "kernel.rpm", tuple(versions))


def _make(it: StandIn, root: pathlib.Path, result: pathlib.Path) -> None:
    """Make a Debian with two kernels beside it a stand-in, whose root and newer kernel go to a directory."""
    versions = [
        _package(it, root, kernel) for kernel in sorted((root / KERNELS).iterdir(), key=_order)
    ]
    assert len(versions) == 2, versions
    os.rename(root / f"srv/rpm/{versions[1]}.rpm", result / "kernel.rpm")
    _rename_grub(it, root)
    for name in (*_DEBIAN, *it.removed):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in ("usr/bin", "usr/sbin"):
        for program in (root / folder).iterdir():
            if _DEBIAN_PROGRAMS.fullmatch(program.name):
                program.unlink()
    for name, file in it.files.items():
        _put(root, name, file.text, file.mode)
    for name, text in QUICK_DRACUT.items():
        _put(root, name, text)
    _put(root, "etc/fstab", f"UUID={trees.OLD_ROOT} / ext4 defaults 0 1\n")
    # As anaconda, YaST and their packages leave it.
    (root / "boot/grub2").mkdir()
    inside(
        root,
        f"rpm --initdb; rpm --install /srv/rpm/bash.rpm /srv/rpm/{versions[0]}.rpm; rm -r /srv/rpm",
    )
    # The sandbox says a path of this machine. /boot was a partition of its own.
    for entry in (root / "boot/loader/entries").glob("*.conf"):
        entry.write_text(re.sub(r"(?m)^(linux|initrd) .*/boot/", r"\1 /", entry.read_text()))
    (result / "versions.json").write_text(json.dumps(versions))
    run(
        "tar",
        "-C",
        root,
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "-cf",
        result / "root.tar",
        ".",
    )


def _order(kernel: pathlib.Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", kernel.name)]


def _put(root: pathlib.Path, name: str, text: str, mode: int = 0o644) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _package(it: StandIn, root: pathlib.Path, unpacked: pathlib.Path) -> str:
    """Make a package of rpm of a kernel of Debian, below /srv/rpm of the root; return the kernel's version."""
    version = unpacked.name
    content = f"srv/build/usr/lib/modules/{version}"
    (root / content).parent.mkdir(parents=True)
    os.rename(unpacked / f"usr/lib/modules/{version}", root / content)
    for name in ("vmlinuz", "System.map", "config"):
        file = unpacked / f"boot/{name}-{version}"
        if file.exists():
            os.rename(file, root / content / name)
    number = re.match(r"[\d.]+", version)
    assert number
    text = _spec(it.kernel_package, number[0])
    text += "%install\ncp -a /srv/build/. %{buildroot}\n"
    for name, script in it.scripts.items():
        text += f"%{name}\n{script.replace('VERSION', version)}\n"
    text += f"%files\n/usr/lib/modules/{version}\n"
    _put(root, "srv/kernel.spec", text)
    # What the scripts need is a package as well.
    _put(root, "srv/bash.spec", f"Provides: /bin/sh\n{_spec('bash', BASH)}%files\n")
    build = "rpmbuild -bb --quiet --define '_topdir /tmp' --define '_rpmdir /srv/rpm'"
    build += " --define '__os_install_post %{nil}' --define '_binary_payload w1T2.zstdio'"
    inside(
        root,
        f"{build} --define '_build_name_fmt {version}.rpm' /srv/kernel.spec\n"
        f"{build} --define '_build_name_fmt bash.rpm' /srv/bash.spec\nrm -r /srv/build /srv/*.spec",
    )
    return version


def _spec(name: str, version: str) -> str:
    fields = {"Name": name, "Version": version, "Release": "1", "License": "none"}
    fields |= {"Summary": "a part of Debian", "AutoReqProv": "no"}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return f"{text}%description\na part of Debian\n"


def _rename_grub(it: StandIn, root: pathlib.Path) -> None:
    """Give GRUB's programs and directories the names that they have in the distribution."""
    (root / PRIVATE).mkdir()
    for folder in ("usr/bin", "usr/sbin"):
        for program in (root / folder).glob("grub-*"):
            hidden = program.name in ("grub-editenv", "grub-install")
            where = (
                root / PRIVATE / program.name
                if hidden
                else program.with_name(f"grub2-{program.name[5:]}")
            )
            os.rename(program, where)
    scripts = ["/usr/sbin/grub2-mkconfig", "/usr/sbin/grub2-set-default", "/usr/sbin/grub2-reboot"]
    library = f"/{it.library}"
    # Only Debian's reads drop-ins.
    drop_ins = "/^for x in .*default.grub\\.d/,/^done/d"
    script = f"""
        [ -d {library} ] || mv /usr/share/grub {library}
        sed -i -e 's/{_RENAMED}/grub2-\\1/g' -e 's|/boot/grub\\b|/boot/grub2|g' -e '{drop_ins}' \\
          -e 's|pkgdatadir="${{datadir}}/grub"|pkgdatadir={library}|' -e 's|/usr/share/grub/|{library}/|' \\
          {" ".join(scripts)} {library}/grub-mkconfig_lib /etc/grub.d/[0-9]*
    """
    if it.tree.family == "suse":
        script += f"mv /usr/lib/grub/x86_64-efi {library}/"
    inside(root, script)


def kernel_disk(roots: Roots, path: pathlib.Path) -> pathlib.Path:
    """Make a disk with the package of the newer kernel."""
    folder = path.with_suffix(".d")
    folder.mkdir()
    os.link(roots.kernel, folder / "kernel.rpm")
    run("truncate", "-s", "256M", path)
    run("mkfs.ext4", "-q", "-d", folder, path)
    shutil.rmtree(folder)
    return path
