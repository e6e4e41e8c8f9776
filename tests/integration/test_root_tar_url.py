# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tar of a URL, with the real curl and gpgv, from a server that breaks connections."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import tarfile
import typing as t

import oci
import pytest
import web

Module = t.Callable[..., dict[str, t.Any]]
# Not compressible, so that curl cannot get all of it at once.
TAR = oci.layer(oci.folder("etc"), oci.member("etc/data", os.urandom(3 << 20)))
SUM = f"sha256:{hashlib.sha256(TAR).hexdigest()}"


@pytest.fixture
def site() -> t.Iterator[web.Site]:
    with web.serve(web.Site({"/root.tar": TAR, "/other": b"x" * 1000})) as it:
        yield it


@pytest.fixture
def cache(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "cache"


def fetch(real_module: Module, **args: t.Any) -> dict[str, t.Any]:
    work_dir = str(pathlib.Path(args["cache_dir"]).with_name("work"))
    return real_module("root_tar", type="url", work_dir=work_dir, **args)


def left(cache: pathlib.Path) -> list[str]:
    """Return the suffixes of what is in the cache, but for locks."""
    return sorted(it.suffix for it in cache.glob("*") if it.suffix != ".lock")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_it_is_fetched_once(
    algorithm: str, site: web.Site, cache: pathlib.Path, real_module: Module
) -> None:
    checksum = f"{algorithm}:{hashlib.new(algorithm, TAR).hexdigest()}"
    args = {"url": site.url("/root.tar"), "checksum": checksum, "cache_dir": str(cache)}
    planned = fetch(real_module, _check=True, **args)
    assert (planned["changed"], planned["path"], site.asked) == (True, "", [])
    assert not cache.exists()
    got = fetch(real_module, **args)
    assert got.get("msg") is None
    assert (got["changed"], got["type"]) == (True, "tar")
    assert pathlib.Path(got["path"]).read_bytes() == TAR
    again = fetch(real_module, **args)
    assert (again["changed"], again["path"], len(site.asked)) == (False, got["path"], 1)
    assert left(cache) == [".tar"]


def test_a_broken_connection_goes_on_where_it_broke(
    site: web.Site, cache: pathlib.Path, real_module: Module
) -> None:
    site.breaks = [1 << 20, 1 << 20]
    got = fetch(real_module, url=site.url("/root.tar"), checksum=SUM, cache_dir=str(cache))
    assert pathlib.Path(got["path"]).read_bytes() == TAR
    assert [asked for _path, asked in site.asked] == ["", "bytes=1048576-", "bytes=2097152-"]


def test_another_run_goes_on_where_the_last_one_gave_up(
    site: web.Site, cache: pathlib.Path, real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.sealedroot.image.plugins.module_utils._source import download

    monkeypatch.setattr(download, "TRIES", 1)
    args = {"url": site.url("/root.tar"), "checksum": SUM, "cache_dir": str(cache)}
    # Some bytes are progress, none is not.
    site.breaks = [1 << 20, 0]
    outcome = fetch(real_module, **args)
    assert "The 1048576 bytes that came are kept, and another run goes on" in outcome["msg"]
    assert left(cache) == [".partial"]
    site.asked = []
    got = fetch(real_module, **args)
    assert pathlib.Path(got["path"]).read_bytes() == TAR
    assert [asked for _path, asked in site.asked] == ["bytes=1048576-"]


def test_a_server_that_cannot_go_on_begins_again(
    site: web.Site, cache: pathlib.Path, real_module: Module
) -> None:
    site.ranges, site.breaks = False, [1 << 20]
    got = fetch(real_module, url=site.url("/root.tar"), checksum=SUM, cache_dir=str(cache))
    assert pathlib.Path(got["path"]).read_bytes() == TAR


def test_a_wrong_checksum_leaves_nothing(
    site: web.Site, cache: pathlib.Path, real_module: Module
) -> None:
    args = {"url": site.url("/root.tar"), "cache_dir": str(cache)}
    outcome = fetch(real_module, checksum="sha256:" + "0" * 64, **args)
    assert f"has the sha256 {SUM[7:]}, not {'0' * 64}" in outcome["msg"]
    assert left(cache) == []


def test_what_an_earlier_run_left_of_another_file_does_no_harm(
    site: web.Site, cache: pathlib.Path, real_module: Module
) -> None:
    args = {"url": site.url("/root.tar"), "checksum": SUM, "cache_dir": str(cache)}
    path = pathlib.Path(fetch(real_module, **args)["path"])
    path.unlink()
    path.with_suffix(".partial").write_bytes(b"y" * 1000)
    got = fetch(real_module, **args)
    assert pathlib.Path(got["path"]).read_bytes() == TAR
    assert left(cache) == [".tar"]
    # Whole, but its name was not given yet: nothing is fetched.
    path.rename(path.with_suffix(".partial"))
    site.asked = []
    assert fetch(real_module, **args)["changed"]
    assert site.asked == []


def test_secrets_of_the_url_are_in_no_message(
    site: web.Site, cache: pathlib.Path, real_module: Module
) -> None:
    url = site.url("/gone.tar?token=t0psecret", user="me:passw0rd@")
    outcome = fetch(real_module, url=url, checksum=SUM, cache_dir=str(cache))
    assert outcome["failed"]
    assert "127.0.0.1" in outcome["msg"]
    assert "404" in outcome["msg"]
    assert "t0psecret" not in str(outcome)
    assert "passw0rd" not in str(outcome)
    assert left(cache) == []


def test_a_file_url_and_a_container_image(
    tmp_path: pathlib.Path, cache: pathlib.Path, real_module: Module
) -> None:
    path = oci.docker_archive(tmp_path / "image.tar", oci.Image([TAR], "web:1"))
    checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    got = fetch(real_module, url=path.as_uri(), checksum=checksum, cache_dir=str(cache))
    assert (got.get("msg"), got["type"]) == (None, "oci")
    assert left(cache) == [".oci", ".tar"]
    assert pathlib.Path(got["path"]).suffix == ".tar"
    with tarfile.open(got["path"]) as tar:
        assert "./etc/data" in tar.getnames()


@pytest.mark.parametrize("disk_format", ["raw", "qcow2", "vpc"])
def test_a_disk_image_is_known_by_its_bytes(
    disk_format: str, tmp_path: pathlib.Path, cache: pathlib.Path, real_module: Module
) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / "image"
    raw.write_bytes(bytes(8 << 20))
    subprocess.run(["sfdisk", "-q", raw], input="label: gpt\n,\n", text=True, check=True)
    subprocess.run(["qemu-img", "convert", "-O", disk_format, raw, image], check=True)
    checksum = f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}"
    args = {"url": f"file://{image}", "checksum": checksum, "cache_dir": str(cache)}
    assert fetch(real_module, **args)["failed"]
    assert left(cache) == [".disk"]


def test_what_is_nothing_of_all_that_is_refused(
    tmp_path: pathlib.Path, cache: pathlib.Path, real_module: Module
) -> None:
    (tmp_path / "text").write_text("no tar at all\n" * 1000)
    checksum = f"sha256:{hashlib.sha256((tmp_path / 'text').read_bytes()).hexdigest()}"
    args = {"url": f"file://{tmp_path}/text", "checksum": checksum, "cache_dir": str(cache)}
    assert "is no tar and no disk image" in fetch(real_module, **args)["msg"]
    # Whoever knows what it is does not fetch it again.
    (tmp_path / "text").unlink()
    assert fetch(real_module, **{**args, "as": "disk"})["failed"]
    assert left(cache) == [".disk"]


def test_a_deadline(site: web.Site, cache: pathlib.Path, real_module: Module) -> None:
    site.status = 503
    outcome = fetch(
        real_module, url=site.url("/root.tar"), checksum=SUM, cache_dir=str(cache), timeout=2
    )
    assert "was not there within 2 seconds" in outcome["msg"]


@dataclasses.dataclass
class Signer:
    """A key of GnuPG in a home of its own."""

    home: pathlib.Path

    def gpg(self, *argv: str, data: bytes = b"") -> bytes:
        command = [
            "gpg",
            "--homedir",
            str(self.home),
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
        ]
        return subprocess.run(
            [*command, "--passphrase", "", *argv],
            input=data,
            check=True,
            capture_output=True,
            timeout=120,
        ).stdout

    def keyring(self, *, armor: bool = False) -> pathlib.Path:
        path = self.home.with_suffix(".asc" if armor else ".gpg")
        path.write_bytes(self.gpg("--export", *(["--armor"] if armor else [])))
        return path


@pytest.fixture
def signers(tmp_path: pathlib.Path) -> t.Iterator[list[Signer]]:
    """Two keys; their agents end with the test."""
    found = []
    for name in ("ours", "theirs"):
        home = tmp_path / name
        home.mkdir(0o700)
        it = Signer(home)
        it.gpg("--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never")
        found.append(it)
    yield found
    for it in found:
        subprocess.run(["gpgconf", "--homedir", it.home, "--kill", "all"], check=True, timeout=60)


def test_a_signature_by_a_key_of_the_keyring(
    signers: list[Signer],
    site: web.Site,
    cache: pathlib.Path,
    tmp_path: pathlib.Path,
    real_module: Module,
) -> None:
    ours, theirs = signers
    site.files["/root.tar.sig"] = ours.gpg("--detach-sign", data=TAR)
    signature = tmp_path / "theirs.asc"
    signature.write_bytes(theirs.gpg("--armor", "--detach-sign", data=TAR))
    args = {"url": site.url("/root.tar"), "cache_dir": str(cache), "keyring": str(ours.keyring())}
    url = site.url("/root.tar.sig")
    for more, says in (
        ({"signature": str(signature)}, "signed what came"),
        ({"signature": str(signature), "checksum": SUM}, "signed what came"),
        ({"signature": url, "keyring": str(ours.keyring(armor=True))}, "gpg --dearmor"),
    ):
        refused = fetch(real_module, **{**args, **more})
        assert says in refused["msg"]
        assert left(cache) == []
    got = fetch(real_module, signature=url, **args)
    assert got.get("msg") is None
    assert pathlib.Path(got["path"]).read_bytes() == TAR
    assert not fetch(real_module, signature=url, **args)["changed"]
    # The name, which a manifest has, is not made of a password.
    args["checksum"] = SUM
    known = fetch(real_module, signature=url, **args)["path"]
    guarded = f"{url}?token=hush".replace("://", "://me:hush@")
    again = fetch(real_module, signature=guarded, **args)
    assert (again["path"], again["changed"]) == (known, False)
    pathlib.Path(known).unlink()
    del args["checksum"]
    # A file that was changed, with its old signature.
    site.files["/root.tar"] = TAR.replace(b"etc/data", b"etc/evil")
    pathlib.Path(got["path"]).unlink()
    refused = fetch(real_module, signature=url, **args)
    assert "no key in" in refused["msg"]
    assert left(cache) == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "nothing says what the file must be"),
        ({"checksum": "md5:" + "0" * 32}, "write sha256: and 64"),
        ({"checksum": "0" * 64}, "write sha256: and 64"),
        ({"signature": "/x.sig"}, "signature and keyring go together"),
        ({"signature": "/x.sig", "keyring": "/nowhere.gpg"}, "/nowhere.gpg does not exist"),
        ({"checksum": SUM, "url": "ftp://example.org/x"}, "is not one of https://"),
        (
            {"checksum": SUM, "url": 'https://example.org/x"\noutput = "/etc/passwd'},
            "or has a blank",
        ),
    ],
)
def test_bad_input(
    args: dict[str, str], says: str, cache: pathlib.Path, real_module: Module
) -> None:
    given = {"url": "https://example.org/root.tar", "cache_dir": str(cache), **args}
    outcome = fetch(real_module, **given)
    assert says in outcome["msg"]
    assert not cache.exists()
