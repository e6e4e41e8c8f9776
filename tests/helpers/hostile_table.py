# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hostile roots: each a minimal Debian with a change, and how its build has to end."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import typing as t

from hostile_roots import HOME, IMAGE_LOG, PROGRAM, Root, Row

SHADOW_HASH = "$6$hostile$" + "x" * 86
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5YAqTjTF3aY3Hk8Zs3sVdVwQy1m0m3Yy7s7X8m3Zz0 me@example.org"
FAR = "../" * 24
STOPPED = "did not end within [0-9]+ seconds and was stopped"
FLOODED = "printed more than 64 MiB and was stopped"


# The attacker wherever a program of the image is started.


def hook(*names: str) -> t.Callable[[Root], None]:
    return lambda root: root.hook(*names)


def sh(root: Root) -> None:
    """The shell itself: what core starts, and what programs of the image do."""
    root.remove("/usr/bin/sh")
    root.write("/usr/bin/sh", f'#!/bin/dash\n{PROGRAM} sh >/dev/null\nexec /bin/dash "$@"\n', 0o755)


def sourced(name: str, mode: int = 0o644) -> t.Callable[[Root], None]:
    """A file that a program of the image runs, or reads as a shell does."""

    def make(root: Root) -> None:
        begin = '#!/bin/sh\n[ "${1-}" != prereqs ] || exit 0\n' if mode & 0o100 else ""
        root.write(name, f"{begin}{PROGRAM} {pathlib.Path(name).name} >&2\n", mode)

    return make


def default_grub(root: Root) -> None:
    text = root.at("/etc/default/grub").read_text()
    root.write("/etc/default/grub", f"{text}\n{PROGRAM} default-grub >&2\n")


def package(root: Root) -> None:
    """A package whose script runs while it is installed, from a repository in the root."""
    control = "Package: hostile\nVersion: 1\nArchitecture: all\nMaintainer: h <h@example.org>\nDescription: h\n"
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder, "tree")
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\n{PROGRAM} postinst >&2\n")
        (tree / "DEBIAN/postinst").chmod(0o755)
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", tree, f"{folder}/hostile.deb"],
            check=True,
            capture_output=True,
        )
        data = pathlib.Path(folder, "hostile.deb").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    index = f"{control}Filename: ./hostile.deb\nSize: {len(data)}\nSHA256: {digest}\n"
    root.write("/srv/repository/hostile.deb", data)
    root.write("/srv/repository/Packages", index)
    shutil.rmtree(root.at("/etc/apt/sources.list.d"), ignore_errors=True)
    root.write("/etc/apt/sources.list", "deb [trusted=yes] file:///srv/repository ./\n")
    root.search = True


def customize(root: Root) -> None:
    """A step of the owner's that starts programs of the image, and one of them with a network."""
    root.search = True
    steps = []
    for name in ("closed", "open"):
        tasks = root.canaries.place / f"{name}.yml"
        command = f"{PROGRAM} customize-{name}"
        module = [{"ansible.builtin.raw": command}, {"ansible.builtin.command": command}]
        tasks.write_text(json.dumps(module))
        steps.append({"tasks": str(tasks), "network": name == "open"})
    root.variables["image_customize"] = steps


# What its programs say and leave.


def tasks_of_its_own(root: Root) -> str:
    """Put tasks into the root that would touch a canary, and return where the builder has them."""
    task = {
        "name": "Hostile task",
        "delegate_to": "localhost",
        "connection": "local",
        "ansible.builtin.command": f"touch {root.canaries.folder}/task",
    }
    for name in ("main", "start", "finish", "again"):
        root.write(f"/evil/tasks/{name}.yml", json.dumps([task]))
    return f"{FAR}{root.canaries.place}/work/image/root/evil"


def facts_become_a_role(root: Root) -> None:
    """A shell that adds facts, and all else that a result can have, to whatever it prints."""
    evil = tasks_of_its_own(root)
    names = ("family_debian_initramfs", "image_root", "image_builder", "image_root_tar")
    lie = {
        "ansible_facts": {
            **dict.fromkeys(names, f"/{evil}"),
            "discovered_interpreter_python": evil,
        },
        "_ansible_delegated_vars": {"ansible_host": "203.0.113.1"},
        "add_host": {"host_name": "hostile", "groups": ["images"]},
        "changed": False,
    }
    root.remove("/usr/bin/sh")
    script = f"#!/bin/dash\nprintf '%s\\n' '{json.dumps(lie)}' >&2\n{PROGRAM} sh >/dev/null\n"
    # The first word of its own line, so that what is printed as JSON begins with it.
    script += f"case $2 in *python3*) printf '%s\\n' '{json.dumps(lie)}' ;; esac\n"
    root.write("/usr/bin/sh", f'{script}exec /bin/dash "$@"\n', 0o755)


def answers_of_others(root: Root) -> None:
    """A program that a module starts writes what is JSON once a sign is replaced to the first process's streams."""
    evil = root.canaries.place / "evil.yml"
    task = {"ansible.builtin.command": f"touch {root.canaries.folder}/task"}
    evil.write_text(json.dumps([task]))
    facts = json.dumps({"__image_publish_tasks": str(evil), "image_publish_tasks": [str(evil)]})
    root.write("/etc/lie", f'{{"changed": false, "a": "\a", "ansible_facts": {facts}}}\n')
    streams = "".join(f"cat /etc/lie >/proc/1/fd/{it} 2>/dev/null\n" for it in (1, 2))
    root.wrap("/usr/bin/true", f"{PROGRAM} true >/dev/null\n{streams}cat /etc/lie")
    tasks = root.canaries.place / "steps.yml"
    tasks.write_text(
        json.dumps([{f"ansible.builtin.{it}": "/usr/bin/true"} for it in ("command", "raw")])
    )
    root.variables["image_customize"] = [{"tasks": str(tasks)}]


def link_under_run(root: Root) -> None:
    """A link in the place of a file that the builder makes and mounts."""
    target = root.canaries.file
    script = f"{PROGRAM} update-initramfs\n"
    for name in ("disk.raw", "boot.key", "luks.header", "esp", "python3", "tmp/disk.raw"):
        script += f"rm -rf /run/sealedroot/{name}; ln -sfn {target} /run/sealedroot/{name}\n"
    script += "mv /run/sealedroot /run/away; ln -s /var/tmp /run/sealedroot\n"
    script += f"tr '\\0' '\\n' </proc/1/environ | sed s/^/environ:\\ / >>{IMAGE_LOG}"
    root.wrap("/usr/sbin/update-initramfs", script)


def lies(root: Root) -> None:
    """A list of packages that is JSON, a template, and escape sequences of a terminal."""
    touch = f"touch {root.canaries.folder}/template"
    evil = tasks_of_its_own(root)
    facts = json.dumps({"ansible_facts": {"image_root_tar": {"initramfs": evil}}, "failed": False})
    lines = [
        facts,
        f"installed {{{{ lookup('ansible.builtin.pipe', '{touch}') }}}} 1 amd64",
        f"installed {{%set_x%}}${{IFS}}$({touch}) 1 amd64",
        "installed \\033]0;title\\007\\033[31mred 1 amd64",
        "installed !unsafe 1 amd64",
    ]
    script = "".join(f"printf '%b\\n' {quoted(line)}\n" for line in lines)
    root.wrap("/usr/bin/dpkg-query", f"{PROGRAM} dpkg-query >/dev/null\n{script}")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def instead(name: str, script: str, hook_name: str = "") -> t.Callable[[Root], None]:
    """Another program in the place of one."""
    name_of = hook_name or pathlib.Path(name).name

    def make(root: Root) -> None:
        root.wrap(name, f"{PROGRAM} {name_of} >/dev/null 2>&1\n{script}", stage="instead")

    return make


def before(name: str, script: str) -> t.Callable[[Root], None]:
    """Something else, before a program does what it has to."""
    leaf = pathlib.Path(name).name
    return lambda root: root.wrap(name, f"{PROGRAM} {leaf} >/dev/null 2>&1\n{script}")


def core_image(script: str) -> t.Callable[[Root], None]:
    """A grub-mkimage that leaves something else where its core image should be."""
    find = "while [ $# -gt 0 ]; do case $1 in -o | --output) out=$2 ;; --output=*) out=${1#*=} ;; esac; shift; done\n"
    return instead("/usr/bin/grub-mkimage", f'{find}rm -f "$out"\n{script}')


# Escape sequences of a terminal, a path out of its directory, and what a shell or a template would run.
LIES = r"printf '\033]0;title\007../../../etc/passwd\n$(touch /run/x) {{ 7 * 7 }}\n'"


def core_image_link(root: Root) -> None:
    core_image(f'ln -s {root.canaries.file} "$out"')(root)


# A bomb of processes that wait, so that other work on this machine goes on.
FORKS = (
    "perl -e 'for (1 .. 20000) { my $pid = fork(); last if !defined $pid; if (!$pid) { sleep 5; exit } }"
    # As many as there may be, for a while.
    " 1 while wait() > 0' || :"
)
FILES = """
for place in /tmp /run /dev/shm; do dd if=/dev/zero of=$place/full bs=1048576 count=256; done
mkdir -p /srv/many
perl -e 'for my $n (1 .. 2000000) { open(my $f, ">", "/srv/many/$n") or last; close $f }'
rm -rf /run/full"""
STAY = """
for count in 1 2 3 4 5 6 7 8; do
  setsid sh -c 'trap "" HUP INT TERM; (perl -e "\\$0 = q(perl-MARKER); sleep 3600" &); sleep 3600' >/dev/null 2>&1 &
done"""


def stay(root: Root) -> None:
    """Daemons that ignore what they can, with and without what they print to."""
    script = STAY.replace("MARKER", root.canaries.marker)
    before("/usr/sbin/update-initramfs", script)(root)
    root.wrap("/usr/bin/debconf-set-selections", script.replace(">/dev/null 2>&1", ""))


def python_traps(root: Root) -> None:
    """What the builder's Python, its C library and OpenSSL would obey, were they the image's."""
    code = f"import os\nos.system('{PROGRAM} python')\nprint('REACHED python', flush=True)\n"
    for name in ("json", "os", "sitecustomize", "usercustomize", "ansible", "encodings"):
        root.write(f"/{name}.py", code)
        for folder in ("usr/lib/python3/dist-packages", "root", "usr/local/lib/python3"):
            root.write(f"/{folder}/{name}.py", code)
    root.write("/root/.local/lib/python3/site-packages/hostile.pth", code.replace("\n", ";"))
    root.write("/root/.pythonrc", code)
    # A library that prints when a program ends, which every program of the image loads.
    library = next(root.at("/usr/lib").glob("*-linux-gnu/libmemusage.so"))
    root.write("/etc/ld.so.preload", f"/{library.relative_to(root.path)}\n")
    root.write("/etc/nsswitch.conf", "passwd: hostile\ngroup: hostile\nhosts: hostile\n")
    root.write("/usr/lib/locale/locale-archive", b"\xff" * 4096)
    root.write("/usr/lib/ssl/openssl.cnf", "openssl_conf = x\n[x]\nengines = y\n[y]\nz = z\n")
    root.fifo("/etc/localtime", "/etc/gai.conf", "/etc/host.conf")
    root.hook("/usr/bin/debconf-set-selections")


def preload_fifo(root: Root) -> None:
    """Whatever the loader of the image starts waits for ever."""
    root.fifo("/etc/ld.so.preload")


# Paths that are read or written, as what they should not be.


def links(target: str, *names: str) -> t.Callable[[Root], None]:
    """Links to the builder's canary: its file (``file``), its directory (``folder``), or relative ones (``far``)."""

    def make(root: Root) -> None:
        to = {
            "file": str(root.canaries.file),
            "folder": str(root.canaries.folder),
            "far": f"{FAR}{root.canaries.file}",
            "far folder": f"{FAR}{root.canaries.folder}",
        }[target]
        for name in names:
            root.link(name, to)

    return make


def fifos(*names: str) -> t.Callable[[Root], None]:
    return lambda root: root.fifo(*names)


def device(name: str, kind: str = "c", major: int = 1, minor: int = 5) -> t.Callable[[Root], None]:
    return lambda root: root.device(name, kind, major, minor)


def all_of(*parts: t.Callable[[Root], None]) -> t.Callable[[Root], None]:
    def make(root: Root) -> None:
        for part in parts:
            part(root)

    return make


def sockets(*names: str) -> t.Callable[[Root], None]:
    return lambda root: root.socket(*names)


def directories(*names: str) -> t.Callable[[Root], None]:
    return lambda root: root.directory(*names)


def huge(name: str) -> t.Callable[[Root], None]:
    """Three GiB that take no space."""

    def make(root: Root) -> None:
        root.write(name, "")
        with root.at(name).open("r+b") as file:
            file.truncate(3 << 30)

    return make


def doublings(root: Root) -> None:
    """Settings of a shell whose value would be a TiB."""
    lines = [f'A{it + 1}="$A{it}$A{it}"' for it in range(40)]
    text = "\n".join(["A0=x", *lines, 'GRUB_CMDLINE_LINUX="$A40"', ""])
    root.write("/etc/default/grub", text)


def loop_of_links(root: Root) -> None:
    for name in ("/etc/hostname", "/etc/machine-id", "/var/lib/dbus/machine-id"):
        root.link(name, pathlib.Path(name).name)


def nodes(root: Root) -> None:
    """Devices of the builder in the root; the attacker opens them."""
    for index, (kind, major, minor) in enumerate(
        (("c", 1, 1), ("c", 1, 3), ("b", 7, 0), ("b", 254, 0))
    ):
        root.device(f"{HOME}/nodes/{index}", kind, major, minor)
    root.hook("/usr/sbin/update-initramfs")


def tar_members(root: Root) -> None:
    """A tar whose members lead out of the directory that they are unpacked into."""
    root.hook("/usr/sbin/update-initramfs")
    root.finish()
    path = root.canaries.place / "root.tar"
    subprocess.run(["tar", "-C", root.path, "-cf", path, "."], check=True)
    folder = str(root.canaries.folder)

    def member(
        name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b""
    ) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size, info.mode = kind, target, len(content), 0o644
        file.addfile(info, io.BytesIO(content))

    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as file:
        member("./srv/out", tarfile.SYMTYPE, folder)
        member("./srv/out/new", content=b"hostile")
        member(f"./{FAR}{folder}/new2", content=b"hostile")
        member(f"{folder}/new3", content=b"hostile")
        member("./srv/hard", tarfile.LNKTYPE, f"{root.canaries.file}")
        member("./etc/hostname", tarfile.SYMTYPE, str(root.canaries.file))
        member("./etc/hostname", content=b"hostile")
        member("./usr/lib/hostile/nodes", tarfile.DIRTYPE)
    root.variables["image_source"] = {"type": "tar", "path": str(path)}


UPDATE = "/usr/sbin/update-initramfs"
EARLY = "holds no os-release|os-release"
ROWS = (
    # The attacker, from everywhere.
    Row("facts-become-a-role", facts_become_a_role, hooks=("sh",)),
    Row("answers-of-others", answers_of_others, hooks=("true",)),
    Row("link-under-run", link_under_run, hooks=("update-initramfs",)),
    Row("sh", sh, hooks=("sh",)),
    Row("initramfs-hook", sourced("/etc/initramfs-tools/hooks/hostile", 0o755), hooks=("hostile",)),
    Row("initramfs-conf", sourced("/etc/initramfs-tools/conf.d/hostile"), hooks=("hostile",)),
    Row("grub-script", sourced("/etc/grub.d/09_hostile", 0o755), hooks=("09_hostile",)),
    Row("default-grub", default_grub, hooks=("default-grub",)),
    Row(
        "programs",
        hook(
            "/usr/bin/dpkg-query",
            "/usr/bin/debconf-set-selections",
            "/usr/bin/ls",
            "/usr/bin/timeout",
            "/usr/bin/sleep",
        ),
        hooks=("dpkg-query", "debconf-set-selections", "ls", "timeout"),
    ),
    Row(
        "grub-programs",
        hook(
            "/usr/bin/grub-mkimage",
            "/usr/sbin/grub-probe",
            "/usr/bin/grub-fstest",
            "/usr/sbin/grub-mkconfig",
        ),
        hooks=("grub-mkimage", "grub-probe", "grub-fstest"),
    ),
    Row("package", package, hooks=("postinst",), variables={"image_packages": ["hostile"]}),
    Row("customize", customize, hooks=("customize-closed", "customize-open")),
    Row("nodes", nodes, hooks=("update-initramfs",)),
    Row("tar-members", tar_members, outcome="Member name contains"),
    # Programs that lie.
    Row("lies", lies, "The image lists a package as", ("dpkg-query",)),
    Row(
        "lies-flood",
        instead("/usr/bin/dpkg-query", "yes 'installed a 1 amd64' | head -c 268435456"),
        FLOODED,
        ("dpkg-query",),
    ),
    Row(
        "lies-probe",
        instead("/usr/sbin/grub-probe", LIES),
        "cannot read the root file system",
        ("grub-probe",),
    ),
    Row("lies-debconf", instead("/usr/bin/debconf-set-selections", LIES)),
    Row("core-link", core_image_link, "is a symbolic link", ("grub-mkimage",)),
    Row("core-fifo", core_image('mkfifo "$out"'), "is a FIFO", ("grub-mkimage",)),
    Row("core-directory", core_image('mkdir "$out"'), "is a directory", ("grub-mkimage",)),
    Row(
        "core-socket",
        core_image("perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => shift)' \"$out\""),
        "is a socket",
        ("grub-mkimage",),
    ),
    Row(
        "core-huge", core_image('truncate -s 3G "$out"'), "is larger than 64 MiB", ("grub-mkimage",)
    ),
    # Programs that hang, flood, fork and stay.
    Row(
        "hang-update",
        instead(UPDATE, "sleep 100000"),
        STOPPED,
        ("update-initramfs",),
        command_seconds=40,
    ),
    Row(
        "hang-fifo",
        instead("/usr/bin/debconf-set-selections", "mkfifo /run/f; cat /run/f"),
        f"{STOPPED}|no answer within [0-9]+ seconds",
        ("debconf-set-selections",),
        command_seconds=40,
    ),
    Row(
        "hang-grub-script",
        instead("/usr/sbin/grub-probe", "trap '' TERM INT HUP; while :; do sleep 1; done"),
        f"{STOPPED}|no answer within [0-9]+ seconds",
        ("grub-probe",),
        command_seconds=40,
    ),
    Row("flood-stdout", instead(UPDATE, "exec cat /dev/zero"), FLOODED, ("update-initramfs",)),
    Row(
        "flood-stderr",
        instead("/usr/bin/debconf-set-selections", "exec cat /dev/zero >&2"),
        "printed more than 64 MiB, so it was stopped",
        ("debconf-set-selections",),
    ),
    Row("flood-files", before(UPDATE, FILES), "No space left", ("update-initramfs",)),
    Row("forks", before(UPDATE, FORKS), hooks=("update-initramfs",)),
    Row("stay", stay, hooks=("update-initramfs",)),
    # What the builder's Python would obey.
    Row("python-traps", python_traps, hooks=("debconf-set-selections",)),
    Row("preload-fifo", preload_fifo, STOPPED, command_seconds=40),
    # Paths that are read first.
    Row("os-release-link", links("file", "/etc/os-release", "/usr/lib/os-release"), EARLY),
    Row("os-release-fifo", fifos("/etc/os-release", "/usr/lib/os-release"), EARLY),
    Row(
        "os-release-device", all_of(device("/etc/os-release"), device("/usr/lib/os-release")), EARLY
    ),
    Row("os-release-huge", huge("/usr/lib/os-release"), EARLY),
    Row("boot-link", links("far folder", "/boot"), "kernel|/boot"),
    Row("modules-link", links("folder", "/usr/lib/modules"), "kernel|modules"),
    Row("run-link", links("folder", "/run", "/tmp"), "is not a directory"),
    Row("dev-fifo", fifos("/dev", "/proc", "/sys"), "is not a directory"),
    # Paths that are read or written in the image.
    Row(
        "links-of-identity",
        links("file", "/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/resolv.conf"),
    ),
    # In the image all three are one file.
    Row(
        "far-links",
        links("far", "/etc/crypttab", "/etc/fstab", "/boot/grub/grub.cfg"),
        "disk.qcow2 must not be used",
    ),
    Row("loop-of-links", loop_of_links, "is a symbolic link that leads in a circle"),
    Row(
        "shadow-link",
        links("file", "/etc/shadow"),
        "/etc/shadow of the image has no root",
        variables={"image_root_password_hash": SHADOW_HASH},
    ),
    Row(
        "passwd-link",
        links("file", "/etc/passwd"),
        variables={"image_root_password_hash": SHADOW_HASH},
    ),
    Row(
        "ssh-keys-link",
        links("file", "/root/.ssh/authorized_keys"),
        variables={"image_authorized_keys": [KEY]},
    ),
    Row(
        "ssh-link",
        links("folder", "/root/.ssh"),
        "/root/.ssh is there already",
        variables={"image_authorized_keys": [KEY]},
    ),
    Row(
        "ssh-keys-fifo",
        fifos("/root/.ssh/authorized_keys"),
        "is a FIFO",
        variables={"image_authorized_keys": [KEY]},
    ),
    Row("hostname-fifo", fifos("/etc/hostname"), "hostname"),
    Row("fstab-device", device("/etc/fstab"), "fstab"),
    # No tar has sockets.
    Row("crypttab-socket", sockets("/etc/crypttab")),
    Row("default-grub-fifo", fifos("/etc/default/grub"), "default/grub"),
    Row("default-grub-doublings", doublings, "no shell can read /etc/default/grub"),
    Row("conf-link", links("folder", "/etc/initramfs-tools/conf.d")),
    Row("modules-fifo", fifos("/etc/initramfs-tools/modules")),
    Row(
        "cryptsetup-links",
        links("folder", "/etc/cryptsetup-keys.d", "/etc/cryptsetup-headers.d"),
        "is there already",
    ),
    Row("conf-hook-fifo", fifos("/etc/cryptsetup-initramfs/conf-hook"), "is a FIFO"),
    Row("grub-link", links("far folder", "/boot/grub")),
    Row("grub-cfg-directory", directories("/boot/grub/grub.cfg"), "is a directory"),
    Row("resolv-fifo", all_of(customize, fifos("/etc/resolv.conf")), hooks=("customize-closed",)),
)
# What is played with every other test: the attacker from a shell, two lies, and a path.
SHORT = ("facts-become-a-role", "os-release-fifo", "core-link")


def select(names: t.Sequence[str]) -> list[Row]:
    """Return the rows of these names, all for none; an unknown name is an error."""
    known = [row.name for row in ROWS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no root is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [row for row in ROWS if not names or row.name in names]


__all__ = ("ROWS", "SHORT", "select")
