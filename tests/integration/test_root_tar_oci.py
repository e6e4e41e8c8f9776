# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tar with the real umoci and skopeo, on images whose layers are made by hand."""

from __future__ import annotations

import hashlib
import pathlib
import struct
import subprocess
import tarfile
import typing as t

import oci
import pytest

Module = t.Callable[..., dict[str, t.Any]]
# linux/capability.h: revision 2, effective, and cap_net_raw.
CAPABILITY = struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0).decode("latin-1")
# linux/posix_acl_xattr.h: owner, user 1234, group, mask, others.
ACL = struct.pack(
    "<I" + "HHI" * 5,
    2,
    *(1, 6, 0xFFFFFFFF, 2, 6, 1234, 4, 4, 0xFFFFFFFF),
    *(16, 6, 0xFFFFFFFF, 32, 4, 0xFFFFFFFF),
)
LOW = oci.layer(
    *(oci.folder("etc"), oci.member("etc/gone", b"x"), oci.member("etc/kept", b"old")),
    *(
        oci.folder("opaque"),
        oci.member("opaque/old", b"o"),
        oci.folder("whole"),
        oci.member("whole/a"),
    ),
    oci.member(
        "ping", b"p", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": CAPABILITY}
    ),
    *(oci.folder("usr"), oci.folder("usr/lib"), oci.member("usr/lib/a", b"a")),
    *(oci.link("lib", "usr/lib"), oci.member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
)
TOP = oci.layer(
    *(oci.member("etc/.wh.gone"), oci.member("etc/kept", b"new", uid=7, gid=8, mode=0o4755)),
    *(oci.folder("opaque"), oci.member("opaque/.wh..wh..opq"), oci.member("opaque/new", b"n")),
    *(oci.member(".wh.whole"), oci.link("etc/ping", "ping", hard=True)),
    oci.member("etc/note", b"n", pax_headers={"SCHILY.xattr.user.why": "because"}),
)
NAMES = [
    *("./", "./etc/", "./etc/kept", "./etc/note", "./etc/ping", "./lib", "./null", "./opaque/"),
    *("./opaque/new", "./ping", "./usr/", "./usr/lib/", "./usr/lib/a"),
]


def run(*argv: str | pathlib.Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def looks_right(tar: str, place: pathlib.Path) -> None:
    """Unpack with GNU tar, and look at everything that the layers say."""
    assert sorted(run("tar", "-tf", tar).splitlines()) == NAMES
    place.mkdir()
    run("tar", "-C", place, "-xpf", tar, "--acls", "--xattrs", "--xattrs-include=*")
    assert (place / "etc/kept").read_text() == "new"
    assert run("stat", "-c", "%u %g %a", place / "etc/kept") == "7 8 4755\n"
    assert "cap_net_raw=ep" in run("getcap", place / "ping")
    assert run("getfattr", "--only-values", "-n", "user.why", place / "etc/note") == "because"
    assert (place / "etc/ping").stat().st_ino == (place / "ping").stat().st_ino
    assert run("stat", "-c", "%t %T", place / "null") == "1 3\n"
    assert (place / "lib").readlink() == pathlib.Path("usr/lib")


Maker = t.Callable[[pathlib.Path], pathlib.Path]
FORMS: dict[str, Maker] = {
    "layout": lambda it: oci.layout(it / "image", oci.Image([LOW, TOP], "web")),
    "layout-unnamed": lambda it: oci.layout(
        it / "image", oci.Image([LOW, TOP], compression="none")
    ),
    "layout-zstd": lambda it: oci.layout(it / "image", oci.Image([LOW, TOP], compression="zstd")),
    "layout-docker": lambda it: oci.layout(it / "image", oci.Image([LOW, TOP], docker=True)),
    "oci-archive": lambda it: oci.oci_archive(
        oci.layout(it / "image", oci.Image([LOW, TOP], "web")), it / "a:b.tar"
    ),
    "docker-archive": lambda it: oci.docker_archive(it / "a:b.tar", oci.Image([LOW, TOP], "web:1")),
}


@pytest.mark.parametrize("form", FORMS)
def test_layers_are_applied_in_order(
    form: str, tmp_path: pathlib.Path, real_module: Module
) -> None:
    image = FORMS[form](tmp_path)
    before = run("find", image, "-type", "f", "-exec", "sha256sum", "{}", "+")
    args = {"path": str(image), "cache_dir": str(tmp_path / "cache")}
    planned = real_module("root_tar", type="oci", _check=True, **args)
    assert planned["changed"]
    assert not (tmp_path / "cache").exists()
    made = real_module("root_tar", type="oci", **args)
    assert (made.get("msg"), made.get("path")) == (None, planned["path"])
    assert made["changed"]
    looks_right(made["path"], tmp_path / "tree")
    assert not real_module("root_tar", type="oci", **args)["changed"]
    # The same image gives the same bytes.
    tar = pathlib.Path(made["path"])
    digest = hashlib.sha256(tar.read_bytes()).hexdigest()
    tar.unlink()
    assert real_module("root_tar", type="oci", **args)["changed"]
    assert hashlib.sha256(tar.read_bytes()).hexdigest() == digest
    assert run("find", image, "-type", "f", "-exec", "sha256sum", "{}", "+") == before
    assert sorted(it.suffix for it in (tmp_path / "cache").iterdir()) == [".lock", ".tar"]


def test_an_acl_survives(tmp_path: pathlib.Path, real_module: Module) -> None:
    value = ACL.decode("utf-8", "surrogateescape")
    with_acl = oci.layer(
        oci.member("a", pax_headers={"SCHILY.xattr.system.posix_acl_access": value})
    )
    image = oci.layout(tmp_path / "image", oci.Image([with_acl]))
    made = real_module("root_tar", type="oci", path=str(image), cache_dir=str(tmp_path / "cache"))
    assert "path" in made, made
    (tmp_path / "tree").mkdir()
    run("tar", "-C", tmp_path / "tree", "-xpf", made["path"], "--acls", "--xattrs")
    assert "user:1234:rw-" in run("getfacl", "-cnE", tmp_path / "tree/a")


def test_of_several_images_one_is_named_and_of_several_platforms_that_of_the_machine_is_taken(
    tmp_path: pathlib.Path, real_module: Module
) -> None:
    it = oci.Layout(tmp_path / "image")
    other = oci.layer(oci.member("other"))
    web = it.index(
        it.image(oci.Image([LOW, TOP])),
        it.image(oci.Image([other], architecture="arm64")),
        reference="docker.io/library/web:1",
    )
    image = it.write(web, it.image(oci.Image([other], "db")))
    args = {"path": str(image), "cache_dir": str(tmp_path / "cache")}
    refused = real_module("root_tar", type="oci", **args)
    assert "it holds several images: db (linux/amd64, sha256:" in refused["msg"]
    assert "Set reference or digest in image_source to one of them" in refused["msg"]
    refused = real_module("root_tar", type="oci", reference="mail", **args)
    assert "no image called mail, but db, docker.io/library/web:1" in refused["msg"]
    assert not (tmp_path / "cache").exists()
    made = real_module("root_tar", type="oci", reference="web:1", **args)
    looks_right(made["path"], tmp_path / "tree")
    db = real_module("root_tar", type="oci", reference="db", architecture="aarch64", **args)
    assert "it holds an image for linux/amd64, and none for linux/arm64" in db["msg"]
    arm = real_module("root_tar", type="oci", reference="web:1", architecture="aarch64", **args)
    assert run("tar", "-tf", arm["path"]).split() == ["./", "./other"]


def test_a_layer_that_was_changed_is_noticed(tmp_path: pathlib.Path, real_module: Module) -> None:
    image = oci.layout(tmp_path / "image", oci.Image([LOW], compression="none"))
    (blob,) = (it for it in (image / "blobs/sha256").iterdir() if it.read_bytes() == LOW)
    blob.write_bytes(LOW.replace(b"etc/gone", b"etc/evil"))
    outcome = real_module(
        "root_tar", type="oci", path=str(image), cache_dir=str(tmp_path / "cache")
    )
    assert outcome["failed"]
    assert "cannot be unpacked: umoci says" in outcome["msg"]
    assert [it.suffix for it in (tmp_path / "cache").iterdir()] == [".lock"]


def test_what_is_no_container_image(tmp_path: pathlib.Path, real_module: Module) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no tar at all\n" * 1000)
    (tmp_path / "root.tar").write_bytes(LOW)
    (tmp_path / "disk").write_bytes(b"QFI\xfb")
    for name, says in {
        "empty": "has no index.json, so it is no OCI image layout",
        "text": "no archive that tar(1) can read",
        "root.tar": "set the type of image_source to tar",
        "disk": "it is a disk image (qcow2): set the type of image_source to disk",
        "gone": "does not exist on the builder",
    }.items():
        outcome = real_module(
            "root_tar", type="oci", path=str(tmp_path / name), cache_dir=str(tmp_path / "cache")
        )
        assert says in outcome["msg"]
    assert not (tmp_path / "cache").exists()
