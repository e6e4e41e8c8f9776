# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the GRUB of an image is asked to read; tests/build has a real one that cannot read its disk."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import own_grub
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import request
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

READ = (
    *("vmlinuz-6.1.0-50-amd64", "vmlinux-6.4-default", "initrd.img-6.1", "initrd-6.4"),
    *("initramfs-6.1.img", "grub/grub.cfg", "grub2/grub.cfg", "loader/entries/x.conf"),
)
LEFT = (
    "vmlinux-6.4-default.gz",
    "config-6.1",
    "System.map-6.1",
    "grub/grubenv",
    "vmlinuz-directory/",
)
# Its arguments, and the key with the newline that GRUB waits for.
FSTEST = """\
#!/bin/sh
read -r key && [ "$key" = secret ] || exit 1
echo "$@" >>{log}
case $4 in *{bad}) exit 1 ;; esac
"""


class Image:
    """The paths of an image in a directory, and a GRUB that writes down what it is asked."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.log = path, path / "log"
        self.log.touch()
        (path / "tools").mkdir()
        # No GRUB of this machine.
        for tool in ("cat", "timeout"):
            (path / "tools" / tool).symlink_to(shutil.which(tool) or "missing")
        (path / "own").mkdir()
        (path / "own/boot.key").write_text("secret")
        for name in (*READ, *LEFT):
            file = path / "boot" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.mkdir() if name.endswith("/") else file.touch()

    def grub(self, name: str, *, bad: str = "nothing") -> None:
        file = self.path / "tools" / name
        file.write_text(FSTEST.format(log=self.log, bad=bad))
        file.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        script = own_grub.SCRIPT.replace(" /boot/", f" {self.path}/boot/")
        script = script.replace(request.IN_IMAGE, f"{self.path}/own")
        return subprocess.run(
            ["/bin/sh", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": f"{self.path}/tools"},
        )


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Image:
    return Image(tmp_path)


@pytest.mark.parametrize("name", ["grub-fstest", "grub2-fstest"])
def test_each_file_that_a_boot_needs_is_compared(image: Image, name: str) -> None:
    image.grub(name)
    done = image.run()
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    disk, boot = f"{image.path}/own/disk.raw", f"{image.path}/boot"
    assert sorted(image.log.read_text().splitlines()) == sorted(
        f"-C {disk} cmp (crypto0){boot}/{it} {boot}/{it}" for it in READ
    )


def test_an_image_without_the_tool_is_not_refused(image: Image) -> None:
    done = image.run()
    assert (done.returncode, done.stdout) == (0, "no grub-fstest in the image\n")


def test_each_file_that_is_not_read_is_named(image: Image) -> None:
    image.grub("grub-fstest", bad="grub.cfg")
    done = image.run()
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == [
        f"GRUB does not read {image.path}/boot/{it}" for it in ("grub/grub.cfg", "grub2/grub.cfg")
    ]
    assert len(image.log.read_text().splitlines()) == len(READ)


ARGV = [
    *("/w/run/sandbox/launch", "root=/w/root", "disk=/w/disk.raw", "secrets=1"),
    *("deadline=3600", "shell", own_grub.SCRIPT),
]


def prove(runner: t.Any) -> None:
    own_grub.prove(runner, sandbox="/w/run", root="/w/root", disk="/w/disk.raw")


def test_the_launcher_understands_the_request(script: t.Any, runner: t.Any) -> None:
    options = request.Options(ARGV[1:])
    assert (options.root, options.disk, options.arguments) == ("/w/root", "/w/disk.raw", ARGV[-1:])
    assert options.secrets
    assert not any((options.network, options.output, options.device))
    script.expect(ARGV, stdout="")
    prove(runner)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"stdout": "GRUB does not read /boot/grub/grub.cfg\n"},
            "so it would not boot: GRUB does not",
        ),
        ({"stdout": "no\nok: [web]\n\nPLAY\n"}, "boot: no; ok: [web]; ; PLAY. Use"),
        ({"stderr": "sandbox: /run of the image is not a directory\n"}, "boot: sandbox: /run of"),
        ({"stdout": "\x1b[2J" + "x" * 9000}, "boot: xxx"),
    ],
)
def test_why_it_would_not_boot(
    said: dict[str, str], words: str, script: t.Any, runner: t.Any
) -> None:
    script.expect(ARGV, rc=1, **said)
    with pytest.raises(SealedRootError) as caught:
        prove(runner)
    assert words in str(caught.value)
    assert "image_filesystem_features" in str(caught.value)
    assert len(str(caught.value)) < 2400
    assert str(caught.value).isprintable()
