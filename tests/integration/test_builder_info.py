# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""builder_info on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

Module = t.Callable[..., dict[str, t.Any]]
NOTHING: dict[str, t.Any] = {
    "exists": True,
    "manifest": None,
    "files": {},
    "intact": False,
    "keys_tried": False,
    "other_inputs": [],
}


@pytest.fixture
def base() -> t.Iterator[pathlib.Path]:
    done = subprocess.run(
        ["mktemp", "-d", "/var/tmp/test_builder.XXXXXX"], check=True, capture_output=True, text=True
    )
    path = pathlib.Path(done.stdout.strip())
    yield path
    shutil.rmtree(path)


def test_this_builder(base: pathlib.Path, real_module: Module) -> None:
    info = real_module(
        "builder_info",
        tools=["cryptsetup", "no-such-grub-fstest|grub-fstest|grub2-fstest", "losetup"],
        work_dir=str(base / "work"),
        output_dir=str(base / "out"),
    )
    assert info["changed"] is False
    assert info["problems"] == []
    assert info["missing_tools"] == []
    assert pathlib.Path(info["tools"]["no-such-grub-fstest"]).name.endswith("-fstest")
    assert info["backend"] in ("dm_crypt", "userspace")
    assert info["backend_reason"]
    assert info["architecture"] == os.uname().machine
    assert info["leftovers"] == []
    free = [info[name].pop("free_bytes") for name in ("output", "work_dir")]
    assert info["output"] == {**NOTHING, "exists": False, "problem": ""}
    assert info["work_dir"]["holes"] is True
    assert all(abs(it - shutil.disk_usage(base).free) < 1 << 30 for it in free)
    assert list(base.iterdir()) == []


def test_problems_are_named(base: pathlib.Path, real_module: Module) -> None:
    info = real_module(
        "builder_info",
        tools=["no-such-tool"],
        work_dir=str(base / "work"),
        output_dir=str(base / "work/out"),
    )
    assert info["missing_tools"] == ["no-such-tool"]
    assert info["backend"] == ""
    lacks, places = info["problems"]
    assert lacks == "The builder lacks no-such-tool: install what brings it."
    assert places.startswith(f"{base}/work, the directory of the build, and {base}/work/out, ")


def test_bad_work_directories(base: pathlib.Path, real_module: Module) -> None:
    def problems(path: pathlib.Path) -> list[str]:
        info = real_module("builder_info", work_dir=str(path), output_dir=str(base / "out"))
        assert not info.get("failed"), info["msg"]
        return t.cast("list[str]", info["problems"])

    (base / "data").mkdir()
    (base / "data" / "thesis.txt").touch()
    assert "which no build made" in problems(base / "data")[0]
    (base / "link").symlink_to("data")
    assert "symbolic link" in problems(base / "link" / "web")[0]
    (base / "own").mkdir()
    os.chown(base / "own", 12345, -1)
    assert f"{base}/own belongs to user 12345" in problems(base / "own" / "web")[0]
    assert "cannot be the directory" in problems(pathlib.Path("/usr/web"))[0]
    assert any("no sparse files or is read-only" in it for it in problems(pathlib.Path("/proc/x")))


def test_leftovers(base: pathlib.Path, real_module: Module) -> None:
    work = base / "work"
    (work / "private").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work / "private"], check=True)
    try:
        info = real_module("builder_info", work_dir=f"{work}/", output_dir=str(base / "out"))
    finally:
        subprocess.run(["umount", work / "private"], check=True)
    assert info["leftovers"] == [f"mount {work}/private (tmpfs)", f"directory {work}"]
    assert info["problems"] == []


def test_the_image_that_is_there(base: pathlib.Path, real_module: Module) -> None:
    output = base / "web-1"
    output.mkdir()

    def look() -> dict[str, t.Any]:
        info = real_module("builder_info", work_dir=str(base / "w"), output_dir=str(output))
        del info["output"]["free_bytes"]  # test_this_builder
        return t.cast("dict[str, t.Any]", info["output"])

    unknown = {
        **NOTHING,
        "problem": f"{output} exists and is not whole (manifest.json): remove it, choose another image_name, or set"
        " image_replace=true.",
    }
    assert look() == unknown
    (output / "disk.qcow2").write_bytes(b"image")
    entry = {"sha256": hashlib.sha256(b"image").hexdigest(), "size": 5}
    manifest = {"inputs": {"a": 1}, "files": {"disk.qcow2": entry}}
    (output / "manifest.json").write_text(json.dumps(manifest))
    found = look()
    assert found["manifest"] == manifest
    assert found["intact"] is True
    (output / "disk.qcow2").write_bytes(b"imagf")
    assert look()["files"] == {"disk.qcow2": False}
    assert look()["intact"] is False
    (output / "disk.qcow2").unlink()
    assert look()["intact"] is False
    for text in ("", "[]", '{"files": []}', '{"files": {"x": 1}}', "\xff"):
        (output / "manifest.json").write_text(text, encoding="latin-1")
        assert look() == unknown


BINFMT = "/proc/sys/fs/binfmt_misc"
# As QEMU's scripts/qemu-binfmt-conf.sh has them: what begins an ELF program of aarch64.
AARCH64 = (
    r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
)


@pytest.mark.skipif(os.uname().machine == "aarch64", reason="this machine needs no emulation")
@pytest.mark.parametrize(("flags", "works"), [(None, False), ("", False), ("F", True)])
def test_what_the_kernel_runs_of_another_architecture(
    base: pathlib.Path, flags: str | None, works: bool
) -> None:
    """In a user namespace, which since Linux 6.7 has a binfmt_misc of its own."""
    qemu = shutil.which("qemu-aarch64-static")
    assert qemu, "the package qemu-user-static is not installed"
    prepare = f"mount -t binfmt_misc none {BINFMT} &&"
    if flags is not None:
        line = f":qemu-aarch64:M::{AARCH64[0]}:{AARCH64[1]}:{qemu}:{flags}"
        prepare += f" printf %s '{line}' >{BINFMT}/register &&"
    args = {"architecture": "aarch64", "tools": ["no-such-tool"], "work_dir": str(base / "work")}
    done = subprocess.run(
        [
            *(
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                f'{prepare} exec "$@"',
            ),
            *("sh", "ansible", "localhost", "-m", "sealedroot.image.builder_info"),
            *("-a", json.dumps(args)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    problems = json.loads(done.stdout[done.stdout.index("{") :])["problems"]
    said = [it for it in problems if "starts no program of aarch64 in another root" in it]
    assert len(said) == (0 if works else 1)
