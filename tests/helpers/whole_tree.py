# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small tree with all that a source has to keep."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import subprocess

from image_view import describe_tree


def run(*argv: str | pathlib.Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def fill(root: pathlib.Path) -> pathlib.Path:
    """Make a tree with all that a tar of a root has to keep."""
    for name in ("etc", "usr/bin", "var/lib", "dev", "proc", "run", "sys", "home/me"):
        (root / name).mkdir(parents=True)
    for name in ("dev", "proc", "run", "sys"):
        (root / name / "of-this-machine").write_text("secret")
    (root / "etc/shadow").write_text("root:!:1::::::\n")
    (root / "etc/shadow").chmod(0o640)
    os.chown(root / "etc/shadow", 0, 42)
    (root / "usr/bin/ping").write_bytes(b"\x7fELF")
    run("setcap", "cap_net_raw+ep", root / "usr/bin/ping")
    os.link(root / "usr/bin/ping", root / "usr/bin/ping6")
    (root / "usr/bin/su").touch(0o755)
    (root / "usr/bin/su").chmod(0o4755)
    (root / "etc/note").write_text("x")
    os.setxattr(root / "etc/note", "user.why", b"because")
    os.setxattr(root / "etc/note", "trusted.t", b"\x00\xff")
    run("setfacl", "-m", "u:1234:rw", root / "etc/note")
    run("setfacl", "-d", "-m", "g:77:rx", root / "home/me")
    os.mknod(root / "var/lib/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / "var/lib/fifo")
    (root / "etc/out").symlink_to("/etc/hostname")
    (root / "etc/-odd\nname*").write_text("odd")
    (root / os.fsdecode(b"etc/latin-\xe9")).write_text("bytes")
    with (root / "var/lib/sparse").open("wb") as file:
        file.truncate(3 << 30)
        file.seek(1 << 30)
        file.write(b"middle")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "var/lib/socket"))
    return root


def unpacked(tar: str, place: pathlib.Path) -> pathlib.Path:
    """Unpack a tar with all that is in it."""
    place.mkdir()
    run(*("tar", "-C", place, "-xpf", tar, "--acls", "--xattrs", "--xattrs-include=*"))
    return place


def survived(root: pathlib.Path, other: pathlib.Path) -> None:
    """Fail when a tree is not the one that was made here, but for what belongs to a machine."""
    # 3 GiB of holes need not be read.
    holes = {it: it.joinpath("var/lib/sparse") for it in (root, other)}
    assert [path.stat().st_size for path in holes.values()] == [3 << 30] * 2
    assert all(path.stat().st_blocks < 1000 for path in holes.values())
    run("cmp", f"--ignore-initial={(1 << 30) - 9}", "--bytes=99", *holes.values())
    for path in holes.values():
        path.unlink()
    want = describe_tree(root)
    for name in ("dev", "proc", "run", "sys"):
        del want[f"{name}/of-this-machine"]
    del want["var/lib/socket"]
    assert describe_tree(other) == want
    assert any(key == "security.capability" for key, _value in want["usr/bin/ping"].xattrs)
    assert os.stat(other / "usr/bin/ping").st_ino == os.stat(other / "usr/bin/ping6").st_ino
    assert os.stat(other / "var/lib/null").st_rdev == os.makedev(1, 3)
