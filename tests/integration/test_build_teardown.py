# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""build_teardown on what a killed build really leaves; looked at with the kernel's own lists."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import typing as t

import pytest
import small_root
from ansible_collections.sealedroot.image.plugins.modules import image_runtime
from waiting import until

Module = t.Callable[..., dict[str, t.Any]]

ROOT_OFFSET = 100 << 20
DISK_SIZE = 256 << 20


def sh(*argv: str | os.PathLike[str], **kwargs: t.Any) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60, **kwargs)
    return str(done.stdout).strip()


class Build:
    """A build by hand, as it stands when its controller is killed."""

    def __init__(self, work_dir: pathlib.Path) -> None:
        self.dir = work_dir
        # As the role disk calls it.
        digest = hashlib.sha256(str(work_dir).encode()).hexdigest()[:8]
        self.node = pathlib.Path(f"/dev/mapper/sealedroot-{work_dir.name}-{digest}")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.loop = ""

    def start(self) -> None:
        self.dir.mkdir(parents=True)
        disk, private = self.dir / "disk.raw", self.dir / "private"
        with disk.open("wb") as file:
            file.truncate(DISK_SIZE)
        private.mkdir()
        sh("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", private)
        (private / "keys").mkdir()
        (private / "run").mkdir()
        key = private / "keys" / "build.key"
        key.write_text("not a secret")
        region = self.dir / "disk.region"
        with region.open("wb") as file:
            file.truncate(DISK_SIZE - ROOT_OFFSET)
        sh("cryptsetup", "luksFormat", "--type", "luks1", "-q", "--hash", "sha256",
           "--pbkdf-force-iterations", "1000", region, key)  # fmt: skip
        sh("dd", f"if={region}", f"of={disk}", "bs=1M", "seek=100", "count=3", "conv=notrunc")
        region.unlink()
        payload = self.dir / "payload"
        payload.touch()
        sh("qemu-storage-daemon", "--object", f"secret,id=key,file={key}",
           "--blockdev", f"driver=file,node-name=file,filename={disk},discard=unmap",
           "--blockdev", f"driver=raw,node-name=region,file=file,offset={ROOT_OFFSET}",
           "--blockdev", "driver=luks,node-name=luks,file=region,key-secret=key",
           "--export", f"type=fuse,id=export,node-name=luks,mountpoint={payload},writable=on",
           "--daemonize")  # fmt: skip
        self.loop = sh("losetup", "--find", "--show", "--direct-io=on", payload)
        sh("mkfs.ext4", "-q", "-E", "nodiscard", self.loop)
        self.node.parent.mkdir(exist_ok=True)
        os.mknod(self.node, 0o600 | stat.S_IFBLK, os.stat(self.loop).st_rdev)
        root = self.dir / "root"
        root.mkdir()
        sh("mount", "-o", "noatime,nodev", self.node, root)
        copy_program("/bin/sleep", root)
        copy_program("/bin/sh", root)

    def run_in_image(self) -> None:
        """Start what the chroot connection starts; its controller does not live to end it."""
        root, run = self.dir / "root", self.dir / "private" / "run"
        image_runtime.ensure(
            small_root.Installed(), small_root.runtime_arguments(run, root), check_mode=False
        )
        argv = [str(run / "sandbox/launch"), f"root={root}", "shell", "/bin/sleep 300"]
        self.processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        until(lambda: len(self.pids("sleep")) == 1)

    def pids(self, name: str) -> list[str]:
        """Processes of that name that have the image's file system as their root or the argument."""
        found = []
        for proc in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (proc / "comm").read_text().strip() != name[:15]:
                    continue
                device = (proc / "root").stat().st_dev
                words = (proc / "cmdline").read_bytes().decode()
            except OSError:
                continue
            at_root = self.loop and device == os.stat(self.loop).st_rdev
            if at_root or str(self.dir) + "/" in words:
                found.append(proc.name)
        return found

    def held(self) -> list[str]:
        """What the kernel still lists, asked by other means than the module's."""
        lists = sh("findmnt", "--raw", "--noheadings", "-o", "TARGET").splitlines()
        lists += sh("losetup", "--list", "--raw", "--noheadings", "-O", "BACK-FILE").splitlines()
        lists = [line for line in lists if line.startswith(f"{self.dir}/")]
        lists += self.pids("qemu-storage-daemon") + self.pids("bwrap") + self.pids("sleep")
        return lists + ([str(self.node)] if self.node.exists() else [])

    def reap(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(timeout=10)


def copy_program(program: str, root: pathlib.Path) -> None:
    """Copy a program and its libraries."""
    lines = sh("ldd", program).splitlines()
    libraries = [word for line in lines for word in line.split() if word.startswith("/")]
    for file in (program, *libraries):
        target = root / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)


@pytest.fixture
def base() -> t.Iterator[pathlib.Path]:
    path = pathlib.Path(sh("mktemp", "-d", "/var/tmp/test_teardown.XXXXXX"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def builds(base: pathlib.Path, real_module: Module) -> t.Iterator[t.Callable[[str], Build]]:
    made = []

    def make(name: str) -> Build:
        build = Build(base / "a b" / name)
        made.append(build)
        build.start()
        return build

    yield make
    for build in made:
        build.reap()
        result = real_module("build_teardown", work_dir=[str(build.dir)])
        left = build.held()
        # Or it would stand in the way of later tests.
        build.node.unlink(missing_ok=True)
        assert not result.get("failed"), result["msg"]
        assert left == []


def name(base: pathlib.Path) -> str:
    return f"t{base.name.rpartition('.')[2]}"


def test_everything_is_released_twice(
    base: pathlib.Path, builds: t.Callable[[str], Build], real_module: Module
) -> None:
    build = builds(name(base))
    build.run_in_image()
    work_dir = str(build.dir)
    before = build.held()
    predicted = real_module("build_teardown", _check=True, work_dir=[work_dir])
    assert predicted["changed"] is True
    assert build.held() == before
    result = real_module("build_teardown", work_dir=[work_dir])
    assert not result.get("failed"), result["msg"]
    assert result["released"] == predicted["released"]
    kinds = [line.split()[0] for line in result["released"]]
    # The launcher, and what it has started.
    processes = kinds.count("process")
    assert processes > 2
    assert kinds == [
        *["process"] * processes,
        *("mount", "mount", "mount", "mount", "node", "loop", "daemon", "directory"),
    ]
    assert build.held() == []
    assert not build.dir.exists()
    again = real_module("build_teardown", work_dir=[work_dir])
    assert again["changed"] is False
    assert again["released"] == []


def test_a_build_with_a_longer_name_is_left_alone(
    base: pathlib.Path, builds: t.Callable[[str], Build], real_module: Module
) -> None:
    build, other = builds(name(base)), builds(f"{name(base)}2")
    other.run_in_image()
    before = other.held()
    result = real_module("build_teardown", work_dir=[str(build.dir)])
    assert not result.get("failed"), result["msg"]
    assert build.held() == []
    assert other.held() == before
    assert (other.dir / "root/bin/sleep").exists()


def test_a_killed_daemon_leaves_a_dead_mount(
    base: pathlib.Path, builds: t.Callable[[str], Build], real_module: Module
) -> None:
    build = builds(name(base))
    for pid in build.pids("qemu-storage-daemon"):
        os.kill(int(pid), signal.SIGKILL)
    result = real_module("build_teardown", work_dir=[str(build.dir)])
    assert not result.get("failed"), result["msg"]
    assert build.held() == []


def test_a_deleted_directory_still_names_its_holds(
    base: pathlib.Path, builds: t.Callable[[str], Build], real_module: Module
) -> None:
    build = builds(name(base))
    (build.dir / "disk.raw").rename(base / "gone")
    (base / "gone").unlink()
    result = real_module("build_teardown", work_dir=[str(build.dir)])
    assert not result.get("failed"), result["msg"]
    assert build.held() == []
    assert not build.dir.exists()


def test_a_node_whose_loop_is_gone_is_removed(
    base: pathlib.Path, builds: t.Callable[[str], Build], real_module: Module
) -> None:
    build = builds(name(base))
    sh("umount", build.dir / "root")
    sh("losetup", "--detach", build.loop)
    assert build.node.exists()
    result = real_module("build_teardown", work_dir=[str(build.dir)])
    assert not result.get("failed"), result["msg"]
    assert build.held() == []


def test_who_holds_it_is_named_and_the_keys_go_anyway(
    base: pathlib.Path,
    builds: t.Callable[[str], Build],
    real_module: Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ansible_collections.sealedroot.image.plugins.module_utils._build import release

    monkeypatch.setattr(release, "BUSY_SECONDS", 0.3)
    build = builds(name(base))
    guest = subprocess.Popen(["/bin/sleep", "300"], cwd=build.dir / "root")
    build.processes.append(guest)
    result = real_module("build_teardown", work_dir=[str(build.dir)])
    assert result["failed"] is True
    assert f"{build.dir}/root is in use by process {guest.pid} (sleep)" in result["msg"]
    assert guest.poll() is None
    assert not (build.dir / "private/keys").exists()
    assert (build.dir / "disk.raw").exists()


def test_foreign_files_are_not_removed(base: pathlib.Path, real_module: Module) -> None:
    work_dir = base / "data"
    work_dir.mkdir()
    (work_dir / "thesis.txt").write_text("years of work")
    (work_dir / "root").mkdir()
    for check in (True, False):
        result = real_module("build_teardown", _check=check, work_dir=[str(work_dir)])
        assert result["failed"] is True
        assert "'thesis.txt' in it, which no build made" in result["msg"]
    assert (work_dir / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "path", ["/", "/usr", "/usr/local/x", "/home", "/var/tmp", "relative/path", "/srv/../etc/x"]
)
def test_dangerous_directories_are_refused(path: str, real_module: Module) -> None:
    result = real_module("build_teardown", work_dir=[path])
    assert result["failed"] is True
    assert "cannot be the directory of a build" in result["msg"]


def test_another_users_directory_is_refused(base: pathlib.Path, real_module: Module) -> None:
    (base / "real").mkdir()
    os.chown(base / "real", 12345, -1)
    result = real_module("build_teardown", work_dir=[str(base / "real")])
    assert "belongs to user 12345" in result["msg"]
    assert (base / "real").exists()


def test_a_link_is_resolved_and_a_users_parent_does_not_matter(
    base: pathlib.Path, real_module: Module
) -> None:
    """The unpublished files lie where the person who called sudo has them."""
    os.chown(base, 12345, -1)
    (base / "real" / "web").mkdir(parents=True)
    (base / "real" / "web" / "disk.qcow2").touch()
    (base / "link").symlink_to("real")
    result = real_module("build_teardown", work_dir=[str(base / "link/web")])
    assert result["released"] == [f"directory {base}/real/web"]
    assert (base / "real").exists()


def test_a_mount_elsewhere_is_named(
    base: pathlib.Path,
    builds: t.Callable[[str], Build],
    real_module: Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices

    monkeypatch.setattr(loop_devices, "RELEASE_SECONDS", 0.3)
    build = builds(name(base))
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    sh("mount", build.node, elsewhere)
    result = real_module("build_teardown", work_dir=[str(build.dir)])
    sh("umount", elsewhere)
    assert result["failed"] is True
    assert f"{build.loop} on {build.dir}/payload is in use by mount {elsewhere}" in result["msg"]
