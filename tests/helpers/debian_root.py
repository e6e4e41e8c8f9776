# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root of a minimal Debian, and tasks in it as a build runs them: by ``ansible``, through the connection."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import stat
import subprocess
import typing as t

import pytest
from builds import DEBIAN, source_tar

PYTHON = "/run/sealedroot/python3"
BOOT_KEY = "Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Q="
# Like a pinned header of LUKS1: one key slot, and nothing behind it.
HEADER = (b"LUKS\xba\xbe\0\1aes" + b"the header of this test" * 11000).ljust(2 << 20, b"\0")
# What every GRUB of the supported distributions reads.
FEATURES = (
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file"
)


@functools.cache
def tar(**more: str) -> pathlib.Path:
    """Return the tar of the root, which the role ``source`` keeps in its cache."""
    return source_tar({**DEBIAN, **more})


def run(*argv: str | os.PathLike[str]) -> str:
    """Run a tool that must succeed and return what it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{argv} failed: {done.stdout}{done.stderr}")
    return done.stdout.strip()


@dataclasses.dataclass
class Image:
    """A root directory and what a build shows to it."""

    path: pathlib.Path
    device: str = ""
    root_uuid: str = ""
    # The name that the device will have in the machine.
    root_device: str = ""

    @property
    def root(self) -> pathlib.Path:
        return self.path / "root"

    @property
    def run_dir(self) -> pathlib.Path:
        return self.path / "run"

    @property
    def run(self) -> pathlib.Path:
        """What is /run in the image."""
        return self.run_dir / "own" / "run"

    @property
    def esp(self) -> pathlib.Path:
        """What is /run/sealedroot/esp in the image."""
        return self.run_dir / "own" / "esp"

    def ansible(self, *arguments: str) -> str:
        """Run the command `ansible` for the image and return what it printed."""
        variables = {
            "ansible_connection": "sealedroot.image.chroot",
            "ansible_python_interpreter": PYTHON,
            "image_root": str(self.root),
            "image_run": str(self.run_dir),
            "image_device": self.device,
            "image_root_device": self.root_device,
            # For each of a build's tasks, the roles ask for what it needs.
            **dict.fromkeys(("image_network", "image_secrets", "image_output"), True),
        }
        command = ["ansible", "image", "--inventory", "image,", "--extra-vars"]
        done = subprocess.run(
            [*command, json.dumps(variables), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        )
        return done.stdout

    def task(self, module: str, *flags: str, **args: t.Any) -> dict[str, t.Any]:
        """Run a module of the collection in the image and return its result."""
        name = f"sealedroot.image.{module}"
        printed = self.ansible("--module-name", name, "--args", json.dumps(args), *flags)
        head, _arrow, result = printed.partition("=> ")
        return {"failed": "FAILED" in head, **json.loads(result)}

    def four_calls(self, module: str, **args: t.Any) -> dict[str, t.Any]:
        """Predict, do, do again, predict again; return what the second call did."""
        calls = [self.task(module, *flags, **args) for flags in (["--check"], [], [], ["--check"])]
        assert [call.get("changed") for call in calls] == [True, True, False, False], calls
        assert set(calls[0]["files"]) <= set(calls[1]["files"])
        return calls[1]

    def shell(self, command: str) -> str:
        """Run a command line in the image; it must succeed."""
        printed = self.ansible("--module-name", "ansible.builtin.raw", "--args", command)
        head, _newline, output = printed.partition("\n")
        assert "rc=0" in head, printed
        return output.strip("\n")

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.root / name).lstat().st_mode)

    def text(self, name: str) -> str:
        return (self.root / name).read_text()

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)


def fill(image: Image, source: pathlib.Path | None = None, **more: t.Any) -> None:
    """Unpack the root, the tar *source* or the one that *more* says, and prepare what the image sees as /run."""
    image.root.mkdir(exist_ok=True)
    image.run_dir.mkdir()
    options = ("--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*")
    run("tar", "--directory", image.root, "--extract", "--file", source or tar(**more), *options)
    key = image.path / "boot.key"
    key.touch(mode=0o600)
    key.write_text(BOOT_KEY)
    header = image.path / "luks.header"
    header.touch(mode=0o600)
    header.write_bytes(HEADER)
    arguments = f"path={image.run_dir} root={image.root} key_file={key} header_file={header}"
    run("ansible", "localhost", "--module-name", "sealedroot.image.image_runtime", "-a", arguments)


@contextlib.contextmanager
def in_memory(path: pathlib.Path, **more: t.Any) -> t.Iterator[Image]:
    """Yield an image whose root is on a tmpfs: fast, and gone at once; *more* is for its source."""
    image = Image(path)
    image.root.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs", image.root)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, path)
        stack.callback(run, "umount", image.root)
        stack.callback(run, "umount", image.run_dir / "own")
        fill(image, None, **more)
        yield image


@contextlib.contextmanager
def on_a_file_system(path: pathlib.Path, source: pathlib.Path | None = None) -> t.Iterator[Image]:
    """Yield an image whose root is an ext4 of its own, mounted under the name that a build uses.

    *source* is another root tar than that of a minimal Debian 12.
    """
    disk = path / "disk.raw"
    with disk.open("wb") as handle:
        handle.truncate(1536 << 20)
    run("mkfs.ext4", "-q", "-O", FEATURES, "-E", "nodiscard", disk)
    node = pathlib.Path(f"/dev/mapper/sealedroot-{path.parent.name}-{path.name}-{os.getpid()}")
    uuid = run("blkid", "-p", "-s", "UUID", "-o", "value", disk)
    image = Image(path, str(node), uuid, "/dev/mapper/cr_root")
    image.root.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, path)
        loop = run("losetup", "--find", "--show", disk)
        stack.callback(run, "losetup", "--detach", loop)
        node.parent.mkdir(exist_ok=True)
        os.mknod(node, stat.S_IFBLK | 0o600, os.stat(loop).st_rdev)
        stack.callback(node.unlink)
        run("mount", "-t", "ext4", "-o", "nodev,noinit_itable", node, image.root)
        stack.callback(run, "umount", image.root)
        stack.callback(run, "umount", image.run_dir / "own")
        fill(image, source)
        # A bootstrap makes no initramfs; the role initramfs puts an empty one there while it makes it.
        for kernel in (image.root / "boot").glob("vmlinuz-*"):
            kernel.with_name(kernel.name.replace("vmlinuz", "initrd.img", 1)).touch()
        yield image
