# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real builds: what comes out, what must not get out, and that nothing of the builder gets in."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import stat
import struct
import subprocess
import tarfile
import time
import typing as t

import pytest
import secret_traces
import waiting
import yaml
from builds import PLAYBOOK, ROOT, Place, Run, fresh_place, held, playbook
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from image_view import describe_tree, mounted

DECLARED = pathlib.Path(__file__).with_name("declared_differences.yml")


class Watch(waiting.Watcher):
    """Samples the command lines and environments of all processes while a build runs."""

    period = 0.02

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self.samples = 0

    def look(self) -> None:
        self.samples += 1
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    self.seen.add((process / name).read_bytes())


class Built(t.NamedTuple):
    """A finished build: its directory, what it printed, and what was seen meanwhile."""

    place: Place
    run: Run
    watch: Watch
    variables: dict[str, t.Any]

    @property
    def directory(self) -> pathlib.Path:
        return self.place.out / "web-1"

    def secrets(self) -> list[bytes]:
        return [(self.directory / name).read_bytes() for name in ("boot.key", "recovery.key")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, plain_tar: pathlib.Path) -> t.Iterator[Built]:
    """One image, built with all the output that there is and watched by a sampler."""
    with fresh_place(tmp_path_factory) as place:
        variables = place.variables(image_source={"type": "tar", "path": str(plain_tar)})
        with Watch() as watch:
            run = playbook(PLAYBOOK, variables, "-vvvv", "--diff")
        assert run.rc == 0, run.output[-6000:]
        yield Built(place, run, watch, variables)


def test_what_comes_out(built: Built) -> None:
    names = {path.name for path in built.directory.iterdir()}
    texts = {"bom.json", "manifest.json", "report.html"}
    assert names == texts | {"boot.key", "recovery.key", "disk.qcow2"}
    assert stat.S_IMODE(built.directory.stat().st_mode) == 0o700
    for name in ("boot.key", "recovery.key"):
        assert stat.S_IMODE((built.directory / name).stat().st_mode) == 0o600
        assert re.fullmatch(rb"[A-Za-z0-9+/]{44}", (built.directory / name).read_bytes())
    manifest = json.loads((built.directory / "manifest.json").read_text())
    disk = built.directory / "disk.qcow2"
    with disk.open("rb") as file:
        assert (
            manifest["files"]["disk.qcow2"]["sha256"]
            == hashlib.file_digest(file, "sha256").hexdigest()
        )
    assert {check["verdict"] for check in manifest["audit"]["checks"]} == {"ok"}
    assert any(line.startswith("cryptsetup ") for line in manifest["packages"])
    assert manifest["builder"]["tools"]["cryptsetup"].startswith("cryptsetup 2")
    assert set(manifest["took"]) == {"disk", "initramfs", "seal", "audit"}
    assert all(isinstance(seconds, int) for seconds in manifest["took"].values())
    built.place.leaves_nothing()


def test_the_bill_of_materials_is_what_is_installed(built: Built) -> None:
    """Valid, and of the packages that the image's own database has, read without any tool of dpkg's."""
    text = (built.directory / "bom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    with mounted(built.directory) as root:
        status = (root / "var/lib/dpkg/status").read_text()
    installed = {
        (fields["Package"], fields["Version"])
        for fields in (
            dict(
                line.split(": ", 1) for line in entry.splitlines() if re.match(r"[A-Z]\S*: ", line)
            )
            for entry in status.strip().split("\n\n")
        )
        if fields["Status"].endswith(" installed")
    }
    assert {(it["name"], it["version"]) for it in bom["components"]} == installed
    assert bom["metadata"]["component"]["name"] == "debian"
    manifest = json.loads((built.directory / "manifest.json").read_text())
    assert len(manifest["packages"]) == len(bom["components"])
    assert manifest["files"]["bom.json"]["size"] == len(text.encode())


def test_a_second_run_changes_nothing(built: Built) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.directory.iterdir()}
    began = time.monotonic()
    run = playbook(PLAYBOOK, built.variables)
    assert run.rc == 0
    assert run.changed == 0
    assert time.monotonic() - began < 30
    assert {path: path.stat().st_mtime_ns for path in built.directory.iterdir()} == before


def test_other_inputs_are_refused(built: Built) -> None:
    run = playbook(PLAYBOOK, {**built.variables, "image_size": "3GiB"})
    assert run.rc != 0
    assert run.said("was made from other inputs (size)")


def test_no_key_in_output_at_any_verbosity(built: Built) -> None:
    assert len(built.run.output) > 100_000  # it really was verbose
    for key in built.secrets():
        assert key.decode() not in built.run.output


def test_no_key_in_a_command_line_or_environment(built: Built) -> None:
    assert built.watch.samples > 50
    assert any(b"qemu-storage-daemon" in line for line in built.watch.seen)
    for key in built.secrets():
        assert not [line for line in built.watch.seen if key in line]


def test_nothing_public_is_made_of_a_generated_key(built: Built) -> None:
    secrets = dict(zip(("boot.key", "recovery.key"), built.secrets(), strict=True))
    assert secret_traces.in_public(built.directory, built.run.output, secrets) == []


def test_the_image_is_small(built: Built) -> None:
    """Hardly more than the files in it, though all that was ever written is ciphertext."""
    with mounted(built.directory) as root:
        usage = os.statvfs(root)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    assert (built.directory / "disk.qcow2").stat().st_size <= 1.15 * used


def test_the_disk_has_two_partitions_and_a_real_fat32(built: Built, tmp_path: pathlib.Path) -> None:
    """mkfs.vfat chose clusters by the size of the whole disk: 25287 of them are a FAT16 to others."""
    raw, esp = tmp_path / "disk.raw", tmp_path / "esp"
    qcow2 = built.directory / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "raw", qcow2, raw], check=True)
    dump = subprocess.run(["sfdisk", "--dump", raw], check=True, capture_output=True, text=True)
    rows = re.findall(r" : start= *(\d+), size= *(\d+), type=(\S+), .*name=\"(\w+)\"", dump.stdout)
    assert rows == [
        ("2048", "202752", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ESP"),
        ("204800", "3987456", "CA7D7CCB-63ED-4C53-861C-1742536059CC", "root"),
    ]
    assert raw.stat().st_size == 2048 << 20
    with raw.open("rb") as file:
        file.seek(1 << 20)
        esp.write_bytes(file.read(99 << 20))
    boot = esp.read_bytes()[:512]
    reserved, fats = struct.unpack_from("<HB", boot, 14)
    sectors, fat_size = struct.unpack_from("<II", boot, 32)
    assert (sectors - reserved - fats * fat_size) // boot[13] >= 65525
    assert 0 <= (99 << 20) // 512 - sectors < 63  # rounded down to whole tracks
    assert struct.unpack_from("<I", boot, 28)[0] == 2048  # hidden sectors
    done = subprocess.run(["fsck.vfat", "-n", esp], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout + done.stderr


def describe_tar(path: pathlib.Path) -> dict[str, tuple[t.Any, ...]]:
    """Say of each member what a file system keeps of it."""
    found: dict[str, tuple[t.Any, ...]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.removeprefix(".").lstrip("/")
            content: t.Any = member.linkname if member.issym() else ""
            if member.islnk():
                target = member.linkname.removeprefix(".").lstrip("/")
                found[name] = found[target]
                continue
            if member.isreg():
                file = tar.extractfile(member)
                assert file
                content = hashlib.sha256(file.read()).hexdigest()
            found[name] = (
                "f"
                if member.isreg()
                else "d"
                if member.isdir()
                else "l"
                if member.issym()
                else "o",
                0o777 if member.issym() else member.mode,
                member.uid,
                member.gid,
                content,
            )
    found.pop("", None)
    return found


def test_every_difference_from_the_source_is_declared(
    built: Built, plain_tar: pathlib.Path
) -> None:
    """Nothing of the builder is in the image: whatever is not as in the tar is on a list, with a reason."""
    declared = yaml.safe_load(DECLARED.read_text())
    before = describe_tar(plain_tar)
    with mounted(built.directory) as root:
        # The tar is not asked for extended attributes.
        after = {name: tuple(entry[:5]) for name, entry in describe_tree(root).items()}
        hostname = os.uname().nodename
        named = [
            name
            for name, (kind, *_rest) in after.items()
            if kind == "f"
            and before.get(name) != after[name]
            and (hostname.encode() if len(hostname) > 3 else str(built.place.path).encode())
            in (root / name).read_bytes()
        ]
    changed = {
        **dict.fromkeys(after.keys() - before.keys(), "added"),
        **dict.fromkeys(before.keys() - after.keys(), "removed"),
        **{name: "changed" for name in after.keys() & before.keys() if after[name] != before[name]},
    }
    undeclared = {
        name: how
        for name, how in changed.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in declared[how])
    }
    assert undeclared == {}
    assert named == []
    # The list must not rot: each of its patterns is of use.
    unused = [
        pattern
        for how, patterns in declared.items()
        for pattern in patterns
        if not any(h == how and fnmatch.fnmatchcase(n, pattern) for n, h in changed.items())
    ]
    assert unused == []
    assert not [name for name in after if re.search(r"(^|/)s?bin/python3?(\.\d+)?$", name)]


def test_verify_image_works_alone(built: Built) -> None:
    """It is found by its name, whatever the strategy of the person's ansible.cfg."""
    run = playbook(
        "sealedroot.image.verify_image",
        {
            "image_name": built.directory.name,
            "image_output_dir": str(built.directory.parent),
            "image_boot_test": False,
        },
        environment={"ANSIBLE_STRATEGY": "free"},
    )
    assert run.rc == 0, run.output
    assert run.changed == 0


def test_verify_image_refuses_swapped_keys(built: Built) -> None:
    run = playbook(
        "sealedroot.image.verify_image",
        {
            "audit_image": str(built.directory / "disk.qcow2"),
            "audit_keys": {
                "boot": str(built.directory / "recovery.key"),
                "recovery": str(built.directory / "boot.key"),
            },
            "image_boot_test": False,
        },
    )
    assert run.rc != 0
    assert run.said("keys_open")


# Nobody's user, who still may read what this one may.
NO_ROOT = ("bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000", "--dev-bind", "/", "/")


@pytest.mark.parametrize("prefix", [(), NO_ROOT], ids=["root", "no-root"])
def test_check_mode_says_what_would_be_built(
    place: Place, root_tar: pathlib.Path, prefix: tuple[str, ...]
) -> None:
    variables = place.variables(image_source={"type": "tar", "path": str(root_tar)})
    run = playbook(PLAYBOOK, variables, "--check", "--diff", prefix=prefix)
    assert run.rc == 0, run.output
    assert run.changed == 1
    assert run.said(f"would build: {place.out}/web-1 (qcow2)")
    assert run.said("Debian GNU/Linux 12 (bookworm), kernel 6.1")
    assert not place.out.exists()


def test_check_mode_does_not_bootstrap(place: Place) -> None:
    source = {"type": "bootstrap", "distribution": "debian", "release": "bookworm"}
    cache = place.path / "cache"
    variables = place.variables(image_source=source, image_cache_dir=str(cache))
    run = playbook(PLAYBOOK, variables, "--check")
    assert run.rc == 0, run.output
    assert run.said("a fresh debian bookworm, which is not in the cache yet")
    assert not cache.exists()


def test_two_images_at_once_and_a_passphrase(place: Place, root_tar: pathlib.Path) -> None:
    """Two inventory hosts build side by side, from a compressed tar behind a link, and share nothing.

    The second one has another header, all that can be chosen of it: the image's own GRUB must read it.
    """
    packed = place.path / "root.tar.zst"
    subprocess.run(["zstd", "-q", "-1", "-T0", str(root_tar), "-o", str(packed)], check=True)
    link = place.path / "root.tar"
    link.symlink_to(packed)
    passphrase = "correct horse battery staple 42"
    inventory = place.path / "inventory.yml"
    common = place.variables(image_source={"type": "tar", "path": str(link)})
    del common["image_name"]
    inventory.write_text(
        json.dumps(
            {
                "images": {
                    "hosts": {
                        "one": {},
                        "two": {
                            "image_recovery_passphrase": passphrase,
                            "image_luks": {"type": "luks2", "hash": "sha512"},
                        },
                    },
                    "vars": common,
                }
            }
        )
    )
    # Ansible's default, by which modules, and their arguments with them, would go to the builder as files.
    environment = {"ANSIBLE_PIPELINING": "false"}
    arguments = ("--inventory", str(inventory), "-vvvv")
    run = playbook(PLAYBOOK, {}, *arguments, environment=environment)
    assert run.rc == 0, run.output[-6000:]
    assert passphrase not in run.output
    sent = set(re.findall(r"PUT .*AnsiballZ_(\w+)\.py", run.output))
    assert "/modules/key_store.py" in run.output
    assert sent == set(), "the passphrase was written to a disk of the builder"
    one, two = (
        json.loads((place.out / name / "manifest.json").read_text()) for name in ("one", "two")
    )
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert {one["inputs"]["source"]["sha256"], one["root_tar"]["sha256"]} == {digest}
    assert one["luks_uuid"] != two["luks_uuid"]
    assert "root_uuid" not in one.keys() | one["audit"]["facts"].keys()
    assert one["audit"]["facts"]["slots"] == {"0": 1000, "1": 1000}
    assert two["audit"]["facts"]["slots"] == {"0": 1000, "1": 600000}
    assert [it["audit"]["facts"]["luks_type"] for it in (one, two)] == ["luks1", "luks2"]
    keys = [(place.out / name / "boot.key").read_bytes() for name in ("one", "two")]
    assert keys[0] != keys[1]


def test_a_file_system_that_the_images_grub_cannot_read(
    place: Place, root_tar: pathlib.Path
) -> None:
    """Small files in the inode: the builder's kernel reads that, GRUB 2.06 does not."""
    run = playbook(
        PLAYBOOK,
        place.variables(
            image_source={"type": "tar", "path": str(root_tar)},
            image_filesystem_features=["inline_data"],
        ),
    )
    assert run.rc != 0
    assert run.said("the image's own GRUB cannot read the root file system"), run.output
    assert not (place.out / "web-1").exists()


def test_an_initramfs_that_cannot_be_built(place: Place, root_tar: pathlib.Path) -> None:
    """Its failure ends the build, whatever a script of the image prints, and is shown."""
    hook = place.path / "etc/initramfs-tools/hooks/broken"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\necho exit status 0\necho the hook is broken\nexit 1\n")
    hook.chmod(0o755)
    path = place.path / "root.tar"
    shutil.copy(root_tar, path)
    name = f"./{hook.relative_to(place.path)}"
    owner = ("--owner=0", "--group=0")
    subprocess.run(["tar", "-C", place.path, *owner, "--append", "-f", path, name], check=True)
    run = playbook(PLAYBOOK, place.variables(image_source={"type": "tar", "path": str(path)}))
    assert run.rc != 0
    assert run.said("the hook is broken"), run.output
    assert "Prove the closed image" not in run.output
    place.leaves_nothing()


def roles(*names: str) -> list[dict[str, t.Any]]:
    return [{"ansible.builtin.import_role": {"name": f"sealedroot.image.{it}"}} for it in names]


# By a module of the collection, behind the back of the header that the initramfs holds.
CHANGE_KEYS = {
    "delegate_to": "localhost",
    "sealedroot.image.keyfile_rotate": {
        "path": "{{ image_disk.path }}",
        "offset": "{{ image_disk.root.offset }}",
        "size": "{{ image_disk.root.size }}",
        "keys": [{"slot": 1, "key_file": "{{ image_keys['recovery.key'] }}"}],
    },
}


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        # The boot key opens nothing any more, and sealing must not go on.
        (
            [
                *roles("source", "keys", "disk", "rootfs", "identity", "family_debian"),
                *(*roles("bootloader"), CHANGE_KEYS, *roles("seal")),
            ],
            "The image's own GRUB cannot read its disk, so it would not boot",
        ),
        (roles("source", "disk", "rootfs", "identity", "family_debian"), "image_keys"),
    ],
    ids=["keys changed later", "no keys"],
)
def test_a_disk_that_the_image_could_not_open(
    place: Place, root_tar: pathlib.Path, tasks: list[dict[str, t.Any]], words: str
) -> None:
    play = place.path / "play.yml"
    always = [{"ansible.builtin.import_role": {"name": "sealedroot.image.teardown"}}]
    play.write_text(
        json.dumps(
            [
                {
                    "hosts": "images",
                    "gather_facts": False,
                    "tasks": [{"block": tasks, "always": always}],
                }
            ]
        )
    )
    run = playbook(
        str(play),
        place.variables(image_source={"type": "tar", "path": str(root_tar)}),
        "--inventory",
        str(inventory(place, "web-1")),
    )
    assert run.rc != 0
    assert run.said(words), run.output
    assert "Publish" not in run.output


def test_a_playbook_of_ones_own(place: Place, root_tar: pathlib.Path) -> None:
    """The example in the README: the roles one by one, and a role of somebody's own between them."""
    run = playbook(
        str(ROOT / "examples" / "own_roles.yml"),
        place.variables(image_source={"type": "tar", "path": str(root_tar)}),
        *("--inventory", str(inventory(place, "web-1"))),
    )
    assert run.rc == 0, run.output[-6000:]
    assert "Have a user for the service" in run.output
    manifest = json.loads((place.out / "web-1" / "manifest.json").read_text())
    assert manifest["boot_test"] == {}
    assert manifest["inputs"]["boot_tested"] is False
    assert {it["verdict"] for it in manifest["audit"]["checks"]} == {"ok"}
    place.leaves_nothing()


def inventory(place: Place, *hosts: str) -> pathlib.Path:
    """Write an inventory of images."""
    path = place.path / "hosts.yml"
    path.write_text(json.dumps({"images": {"hosts": dict.fromkeys(hosts)}}))
    return path


@pytest.mark.parametrize(
    ("stage", "luks"),
    [
        ("Start to unpack the root tar", "luks1"),
        pytest.param("Wait for the initramfs", "luks2", marks=pytest.mark.long),
        ("Prove the closed", "luks2"),
    ],
)
def test_killed_builds_are_cleaned_up(
    place: Place, root_tar: pathlib.Path, stage: str, luks: str
) -> None:
    """kill -9 at a stage: the teardown playbook, which knows nothing of it, finds all; and again."""
    variables = place.variables(
        image_source={"type": "tar", "path": str(root_tar)}, image_luks={"type": luks}
    )
    build = subprocess.Popen(
        ["ansible-playbook", PLAYBOOK, "--extra-vars", json.dumps(variables)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert build.stdout
    said = []
    for line in build.stdout:
        said.append(line)
        if stage in line and line.startswith("TASK"):
            break
    else:
        pytest.fail(f"the build ended before: {''.join(said)[-6000:]}")
    time.sleep(0.3)
    os.killpg(build.pid, signal.SIGKILL)
    build.stdout.close()
    build.wait(30)
    assert held(place.path), "the build was over before it was killed"
    first = playbook("sealedroot.image.teardown", variables)
    assert first.rc == 0, first.output
    assert first.changed == 1
    place.leaves_nothing()
    assert playbook("sealedroot.image.teardown", variables).changed == 0
