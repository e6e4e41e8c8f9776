# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tar on disk images with scripted commands; what they would mount is made by files in the mount points."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import packed
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._source import disk

MIB = 1 << 20


@dataclasses.dataclass
class Steps:
    """The commands of a run, in the order in which they are expected."""

    script: t.Any
    path: pathlib.Path
    work: pathlib.Path
    scratch: pathlib.Path
    confinement: t.Any
    loops: int = 0

    def opened(self) -> None:
        """The disk is shown through a layer."""
        disk, layer = self.scratch / "disk", self.scratch / "disk.qcow2"
        argv = ["qemu-img", "info", "--output=json", "-f", "raw", str(self.path)]
        self.script.expect(argv, stdout=json.dumps({"virtual-size": MIB}))
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(layer), str(MIB)]
        self.script.expect(argv, effect=layer.touch)
        file = {"driver": "file", "filename": str(self.path), "read-only": True}
        source = {"node-name": "source", "driver": "raw", "read-only": True, "file": file}
        above = {"driver": "file", "filename": str(layer)}
        view = {"node-name": "view", "driver": "qcow2", "file": above, "backing": "source"}
        export = f"type=fuse,id=export,node-name=view,mountpoint={disk},writable=on,growable=off"
        argv = ["qemu-storage-daemon", "--blockdev", json.dumps(source)]
        argv += ["--blockdev", json.dumps(view), "--export", f"{export},allow-other=off"]
        self.script.expect([*argv, "--daemonize"], effect=lambda: disk.write_bytes(bytes(MIB)))

    def table(self, *starts: int, first: str = "83") -> None:
        """The partition table is read, as the disk as a whole is no file system."""
        rows = [
            {
                "node": f"disk{number}",
                "start": start,
                "size": 8,
                "type": first if number == 1 else "83",
            }
            for number, start in enumerate(starts, 1)
        ]
        table = {"partitiontable": {"label": "dos", "id": "0x1", "partitions": rows}}
        argv = ["sfdisk", "--json", str(self.scratch / "disk")]
        self.script.expect(argv, stdout=json.dumps(table))

    def probed(self, said: str, offset: int = 0, size: int = MIB) -> None:
        argv = ["blkid", "--probe", "--output", "export", "--offset", str(offset)]
        argv += ["--size", str(size), str(self.scratch / "disk")]
        self.script.expect(argv, rc=0 if said else 2, stdout=said)

    def attached(self, offset: int = 0, size: int = MIB, kind: str = "ext4") -> None:
        self.loops += 1
        argv = ["losetup", "--find", "--show", *(["--offset", str(offset)] if offset else [])]
        argv += ["--sizelimit", str(size), str(self.scratch / "disk")]
        self.script.expect(argv, stdout=f"/dev/loop{self.loops}\n")
        self.checked(kind)

    def checked(self, kind: str = "ext4", rc: int = 0, said: str = "") -> None:
        """The file system's own checker looks at it, before the kernel does."""
        tools = {"btrfs": ["btrfs", "check", "--readonly"], "xfs": ["xfs_repair", "-n"]}
        command = [*tools.get(kind, ["e2fsck", "-f", "-p"]), confined.DEVICE]
        argv = self.confinement.tool(f"/dev/loop{self.loops}", command)
        self.script.expect(argv, rc=rc, stdout=said)

    def mounted(
        self,
        point: str,
        files: t.Mapping[str, str],
        *,
        loop: int = 1,
        rc: int = 0,
        kind: str = "ext4",
    ) -> None:
        def effect() -> None:
            for name, text in files.items():
                file = self.scratch / point / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

        options = "ro,nosuid,nodev,noexec" + (",nouuid" if kind == "xfs" else "")
        options += ",errors=remount-ro" if kind.startswith("ext") else ""
        argv = ["mount", "--types", kind, "--options", options, f"/dev/loop{loop}"]
        argv.append(str(self.scratch / point))
        self.script.expect(argv, rc=rc, stderr="wrong superblock" if rc else "", effect=effect)

    def unmounted(self, point: str = "probe") -> None:
        self.script.expect(
            ["umount", str(self.scratch / point)], effect=lambda: self.emptied(point)
        )

    def emptied(self, point: str) -> None:
        for it in (self.scratch / point).iterdir():
            shutil.rmtree(it)


@pytest.fixture
def steps(tmp_path: pathlib.Path, script, confinement, monkeypatch: pytest.MonkeyPatch) -> Steps:
    from ansible_collections.sealedroot.image.plugins.module_utils._build import work_dir
    from ansible_collections.sealedroot.image.plugins.module_utils._source import tree_tar

    path, work = tmp_path / "disk.raw", tmp_path / "work"
    path.write_bytes(bytes(MIB))
    found = Steps(script, path, work, work / "disk-source", confinement)

    def pack(_runner: t.Any, root: str, names: t.Sequence[bytes], target: str) -> None:
        pathlib.Path(target).write_bytes(b"\n".join(names))
        found.emptied("root")

    # Another user's directories above that of the tests are no matter here.
    monkeypatch.setattr(work_dir, "check_place", str)
    # What tar is asked has its own test.
    monkeypatch.setattr(tree_tar, "pack", pack)
    return found


@pytest.fixture
def pack(steps: Steps, run_module, tmp_path: pathlib.Path) -> t.Callable[..., t.Any]:
    def run(**more: t.Any) -> t.Any:
        places = {"cache_dir": str(tmp_path / "cache"), "work_dir": str(steps.work)}
        outcome = run_module("root_tar", type="disk", path=str(steps.path), **places, **more)
        assert not steps.work.exists()
        return outcome

    return run


RELEASE = {"etc/os-release": "ID=debian\n"}


def test_a_disk_without_a_table(steps: Steps, pack, tmp_path: pathlib.Path) -> None:
    steps.opened()
    steps.probed("TYPE=xfs\n")
    steps.attached(kind="xfs")
    steps.mounted("probe", RELEASE, kind="xfs")
    steps.unmounted()
    steps.mounted("root", {**RELEASE, "dev/null": "x", "srv/a": "y"}, kind="xfs")
    made = pack()
    tar = pathlib.Path(made["path"])
    names = [b".", b"./dev", b"./etc", b"./etc/os-release", b"./srv", b"./srv/a"]
    assert (made["changed"], tar.read_bytes()) == (True, b"\n".join(names))
    assert tar.stat().st_mode & 0o777 == 0o600
    assert sorted(it.suffix for it in (tmp_path / "cache").iterdir()) == [
        ".left_out",
        ".lock",
        ".tar",
    ]
    # Nothing is asked again.
    assert (pack()["changed"], pack(_check=True)["changed"]) == (False, False)


@pytest.mark.parametrize("is_older", [False, True], ids=["no record", "another method"])
def test_a_tar_that_lacks_its_record_or_is_of_another_method_is_made_anew(
    steps: Steps, pack, monkeypatch: pytest.MonkeyPatch, is_older: bool
) -> None:
    def packed_once(names: dict[str, str]) -> t.Any:
        steps.loops = 0
        steps.opened()
        steps.probed("TYPE=ext4\n")
        steps.attached()
        steps.mounted("probe", RELEASE)
        steps.unmounted()
        steps.mounted("root", {**RELEASE, **names})
        return pack()

    made = packed_once({})
    if is_older:
        monkeypatch.setattr(disk, "_METHOD", 0)
    else:
        pathlib.Path(f"{made['path']}.left_out").unlink()
    assert pack(_check=True)["changed"]
    again = packed_once({"srv/new": ""})
    assert (again["changed"], again["path"] != made["path"]) == (True, is_older)
    assert b"./srv/new" in pathlib.Path(again["path"]).read_bytes()
    assert not pack()["changed"]


def test_the_plan_asks_no_tool(pack, tmp_path: pathlib.Path) -> None:
    planned = pack(_check=True)
    assert planned["changed"]
    assert planned["path"].startswith(f"{tmp_path}/cache/disk-")
    assert not (tmp_path / "cache").exists()


def test_what_fstab_mounts_is_mounted_in_the_root(steps: Steps, pack) -> None:
    fstab = "/dev/sda1 /boot ext4 defaults 0 2\nUUID=gone /srv ext4 defaults 0 2\n"
    steps.opened()
    steps.probed("")
    steps.table(8, 16)
    steps.probed("TYPE=ext4\nLABEL=BOOT\n", 4096, 4096)
    steps.probed("TYPE=ext4\n", 8192, 4096)
    steps.attached(4096, 4096)
    steps.mounted("probe", {"grub/grub.cfg": ""})
    steps.unmounted()
    steps.attached(8192, 4096)
    steps.mounted("probe", {**RELEASE, "etc/fstab": fstab}, loop=2)
    steps.unmounted()
    steps.mounted("root", {**RELEASE, "boot/below": "hidden"}, loop=2)
    steps.mounted("root/boot", {"vmlinuz": ""}, loop=1)
    assert b"./boot/vmlinuz" in pathlib.Path(pack()["path"]).read_bytes()


def test_what_nothing_mounts_is_named_each_time(
    steps: Steps, pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: said.append(text))
    steps.opened()
    steps.probed("")
    steps.table(8, 16)
    steps.probed("TYPE=crypto_LUKS\nUSAGE=crypto\nLABEL=a\x1bb\n", 4096, 4096)
    steps.probed("TYPE=ext4\nUSAGE=filesystem\n", 8192, 4096)
    steps.attached(8192, 4096)
    steps.mounted("probe", RELEASE)
    steps.unmounted()
    steps.mounted("root", RELEASE)
    made = pack()
    assert made["left_out"] == ["partition 1 (crypto_LUKS, label a\\x1bb): it is encrypted"]
    # The second time, the tar is in the cache.
    again = pack()
    assert (again["changed"], again["left_out"]) == (False, made["left_out"])
    assert said == [f"{steps.path} is not taken as a whole. {made['left_out'][0]}"] * 2
    # What the tar has is left out as well.
    found = {"root": {"left_out": ["/swapfile: x"]}, "tar": {}, "warnings": ["of the tar"]}
    monkeypatch.setattr(packed, "describe", lambda *_args, **_more: found)
    looked = pack(families=[{"name": "debian", "ids": ["debian"], "packages": {}}])
    assert looked["root"]["left_out"] == [*made["left_out"], "/swapfile: x"]
    assert said[2:] == [said[0], "of the tar"]


@pytest.mark.parametrize("kernel", [False, True])
def test_an_esp_with_the_kernels(steps: Steps, pack, kernel: bool) -> None:
    steps.opened()
    steps.probed("TYPE=vfat\nUSAGE=filesystem\n")
    steps.table(8, 16, first="EF")
    steps.probed("TYPE=vfat\nUSAGE=filesystem\n", 4096, 4096)
    steps.probed("TYPE=ext4\nUSAGE=filesystem\n", 8192, 4096)
    steps.attached(8192, 4096)
    steps.mounted("probe", RELEASE)
    steps.unmounted()
    steps.mounted("root", {**RELEASE, **({"boot/vmlinuz-6.1": ""} if kernel else {})})
    left_out = pack()["left_out"]
    assert [it.startswith("partition 1 (vfat): its type is not read") for it in left_out] == (
        [] if kernel else [True]
    )


def test_two_roots_and_the_choice(steps: Steps, pack, tmp_path: pathlib.Path) -> None:
    def begin(*looked_at: int) -> None:
        steps.loops = 0
        steps.opened()
        steps.probed("")
        steps.table(8, 16)
        for offset in (4096, 8192):
            steps.probed("TYPE=ext4\n", offset, 4096)
        for loop, number in enumerate(looked_at, 1):
            steps.attached(number * 4096, 4096)
            steps.mounted("probe", RELEASE, loop=loop)
            steps.unmounted()

    begin(1, 2)
    said = pack()["msg"]
    assert "has more than one root (partition 1; partition 2): choose by partition" in said
    assert not list((tmp_path / "cache").glob("*.tar"))
    begin(2)
    steps.mounted("root", RELEASE)
    assert pack(partition=2)["changed"]
    begin()
    assert (
        "has no partition 3 (partition 1, partition 2): correct partition"
        in pack(partition=3)["msg"]
    )
    begin()
    said = pack(partition=1, subvolume="@")["msg"]
    assert "has no root in the subvolume '@' of partition 1" in said


def test_a_file_system_that_cannot_be_mounted(steps: Steps, pack, tmp_path: pathlib.Path) -> None:
    steps.opened()
    steps.probed("TYPE=ext4\n")
    steps.attached()
    steps.mounted("probe", {}, rc=32)
    said = pack()["msg"]
    assert "the whole disk (ext4) cannot be mounted on this builder (wrong superblock)" in said
    assert not list((tmp_path / "cache").glob("*.tar"))


def test_a_disk_that_changes_while_it_is_read(steps: Steps, pack, tmp_path: pathlib.Path) -> None:
    steps.opened()
    steps.probed("TYPE=ext4\n")
    steps.attached()
    steps.mounted("probe", RELEASE)
    steps.unmounted()
    steps.mounted("root", RELEASE)
    steps.script.expected[-1].effect = lambda: steps.path.write_bytes(b"x" * MIB)
    assert "changed while it was read: shut the machine down" in pack()["msg"]
    assert not list((tmp_path / "cache").glob("*.tar"))


@pytest.mark.parametrize(
    ("kind", "tool", "rc"), [("ext4", "e2fsck", 4), ("xfs", "xfs_repair", 1), ("btrfs", "btrfs", 1)]
)
def test_what_its_checker_finds_broken_is_not_mounted(
    steps: Steps, pack, kind: str, tool: str, rc: int
) -> None:
    steps.opened()
    steps.probed(f"TYPE={kind}\n")
    steps.attached(kind=kind)
    steps.script.expected[-1].rc, steps.script.expected[-1].stdout = rc, "\nit is \x1b[2J bad\n"
    assert (
        f"the whole disk ({kind}) is damaged ({tool} ends with {rc}: it is \\x1b[2J bad), and this builder's"
        in pack()["msg"]
    )


@pytest.mark.parametrize("again", [0, 1])
def test_a_log_is_replayed_before_xfs_is_judged(steps: Steps, pack, again: int) -> None:
    log = "ALERT: The filesystem has valuable metadata changes in a log which is being ignored"
    steps.opened()
    steps.probed("TYPE=xfs\n")
    steps.attached(kind="xfs")
    steps.script.expected[-1].rc, steps.script.expected[-1].stdout = 1, log
    steps.mounted("probe", RELEASE, kind="xfs")
    steps.unmounted()
    steps.checked("xfs", rc=again, said=log if again else "")
    if again:
        assert "is damaged (its log cannot be replayed)" in pack()["msg"]
        return
    steps.mounted("probe", RELEASE, kind="xfs")
    steps.unmounted()
    steps.mounted("root", RELEASE, kind="xfs")
    assert pack()["changed"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"digest": "0" * 64},
            f"has the SHA-256 {hashlib.sha256(bytes(MIB)).hexdigest()}, not 000",
        ),
        ({"digest": "md5:1"}, "digest 'md5:1' is not a SHA-256"),
        (
            {"partition": 1, "logical_volume": "a/b"},
            "partition and logical_volume exclude each other",
        ),
    ],
)
def test_bad_input_is_said_before_anything(pack, more: dict[str, t.Any], says: str) -> None:
    assert says in pack(**more)["msg"]


def test_a_path_that_is_no_file(steps: Steps, pack) -> None:
    steps.path.unlink()
    assert "does not exist on the builder: correct the path" in pack()["msg"]
