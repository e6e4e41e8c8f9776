# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job against its rivals, from one root tar, in turn, on one machine.

a: the same job by hand (by_hand.sh); b: systemd-repart of Debian 13, offline, which needs no dm-crypt
either, encrypting the same tree; c: this collection without the boot test, the whole ansible-playbook
process counted. Prints medians, ratios, stage times and sizes; exits with 1 when a target is missed.

usage: ./run bench [-- ROUNDS]
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "helpers"))

from builds import DEBIAN, source_tar  # noqa: E402  # by the path that was just added

CACHE = pathlib.Path("/var/cache/sealedroot")
MIB = 2048
TARGETS = {"c/a": 1.6, "c/b": 0.7, "qcow2/used": 1.15}
REPART = CACHE / "benchmark-repart.tar"
REPART_PACKAGES = (
    "systemd-repart,e2fsprogs,dosfstools,mtools,cryptsetup-bin,libcryptsetup12,tar,fdisk"
)


def run(argv: list[str], **more: t.Any) -> str:
    """Run a command and return its output; its failure is the benchmark's."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, argv))} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def playbook(variables: dict[str, object], *arguments: str, name: str) -> str:
    """Run a playbook with the callback that sums up roles."""
    env = {**os.environ, "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_roles"}
    argv = ["ansible-playbook", name, "--extra-vars", json.dumps(variables), *arguments]
    return run(argv, env=env, stdin=subprocess.DEVNULL)


def repart_root(work: pathlib.Path, mirror: str) -> pathlib.Path:
    """Return the root of a Debian 13 that has systemd-repart."""
    if not REPART.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = REPART.with_suffix(".partial.tar")
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={REPART_PACKAGES}"]
        run([*argv, "trixie", str(partial), *([mirror] if mirror else [])])
        partial.rename(REPART)
    root = work / "repart"
    root.mkdir()
    run(["tar", "-C", str(root), "-xpf", str(REPART)])
    return root


def by_hand(tar: pathlib.Path, work: pathlib.Path) -> tuple[float, float]:
    """Build by hand; return seconds and the ratio of image to used bytes."""
    began = time.monotonic()
    output = run(["bash", str(HERE / "by_hand.sh"), str(tar), str(work / "a.qcow2"), str(MIB)])
    seconds = time.monotonic() - began
    match = re.search(r"used_bytes: (\d+) qcow2_bytes: (\d+)", output)
    if not match:
        sys.exit(output)
    return seconds, int(match.group(2)) / int(match.group(1))


def repart(root: pathlib.Path, tree: pathlib.Path, work: pathlib.Path) -> float:
    """Let systemd-repart make and encrypt a disk of the same size from the same tree; return seconds."""
    definitions = work / "repart.d"
    definitions.mkdir(exist_ok=True)
    (definitions / "10-esp.conf").write_text(
        "[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes=99M\nSizeMaxBytes=99M\n"
    )
    (definitions / "20-root.conf").write_text(
        "[Partition]\nType=root\nFormat=ext4\nEncrypt=key-file\nCopyFiles=/:/\n"
    )
    (work / "key").write_bytes(b"k" * 44)
    (work / "key").chmod(0o600)
    disk = work / "b.raw"
    disk.unlink(missing_ok=True)
    began = time.monotonic()
    run(
        [
            *("bwrap", "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"),
            *("--ro-bind", "/sys", "/sys", "--tmpfs", "/run", "--bind", str(work), "/mnt"),
            *("--ro-bind", str(tree), "/srv", "--bind", str(work), "/var/tmp"),
            *("systemd-repart", "--offline=yes", "--empty=create", f"--size={MIB}M"),
            *("--dry-run=no", "--definitions=/mnt/repart.d", "--root=/srv"),
            *("--key-file=/mnt/key", "/mnt/b.raw"),
        ]
    )
    return time.monotonic() - began


def collection(tar: pathlib.Path, work: pathlib.Path) -> tuple[float, pathlib.Path, str]:
    """Build with the collection; return seconds, the directory of the image, and the output."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    variables = {
        "image_name": "bench",
        "image_source": {"type": "tar", "path": str(tar)},
        "image_size": f"{MIB}MiB",
        "image_boot_test": False,
        "image_output_dir": str(out),
        "image_work_dir": str(work / "work"),
    }
    began = time.monotonic()
    output = playbook(variables, name="sealedroot.image.build_encrypted_image")
    return time.monotonic() - began, out / "bench", output


def used_bytes(directory: pathlib.Path, work: pathlib.Path) -> int:
    """Return the bytes that files take in the image's root, as df counts them."""
    key, disk = directory / "boot.key", directory / "disk.qcow2"
    raw, payload = work / "c.raw", work / "c.payload"
    run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)])
    run(
        [
            *("qemu-img", "convert", "--object", f"secret,id=k,file={key}", "--image-opts"),
            f"driver=luks,key-secret=k,file.driver=raw,file.offset={100 << 20}"
            f",file.size={(MIB - 101) << 20},file.file.driver=file,file.file.filename={raw}",
            *("-O", "raw", str(payload)),
        ]
    )
    listed = run(["dumpe2fs", "-h", str(payload)])
    fields = dict(re.findall(r"^(.*?):\s+(\d+)$", listed, re.MULTILINE))
    blocks = int(fields["Block count"]) - int(fields["Free blocks"])
    overhead = int(fields.get("Overhead clusters", 0))
    raw.unlink()
    payload.unlink()
    return (blocks - overhead) * int(fields["Block size"])


def main() -> int:
    """Run the rounds and print what they took."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sites = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]).split()
    mirror = next((site for site in sites if "security" not in site), "")
    with tempfile.TemporaryDirectory(prefix="sealedroot-bench-", dir="/var/tmp") as folder:
        work = pathlib.Path(folder)
        tar = source_tar(DEBIAN)
        tree = work / "tree"
        tree.mkdir()
        run(["tar", "-C", str(tree), "-xpf", str(tar)])
        repart_tree = repart_root(work, mirror)
        times: dict[str, list[float]] = {"a": [], "b": [], "c": []}
        hand_size, directory, output = 0.0, work, ""
        for number in range(rounds):
            seconds, hand_size = by_hand(tar, work)
            times["a"].append(seconds)
            times["b"].append(repart(repart_tree, tree, work))
            seconds, directory, output = collection(tar, work)
            times["c"].append(seconds)
            print(f"round {number + 1}:", *(f"{k} {v[-1]:.1f} s" for k, v in times.items()))
        used = used_bytes(directory, work)
        size = (directory / "disk.qcow2").stat().st_size / used
    medians = {name: statistics.median(values) for name, values in times.items()}
    tasks = len(re.findall(r"^TASK \[", output, re.MULTILINE))
    print(f"\n{os.cpu_count()} processors; medians of {rounds} rounds, {MIB} MiB disk")
    print(f"a by hand             {medians['a']:6.1f} s   qcow2/used {hand_size:.2f}")
    print(f"b systemd-repart      {medians['b']:6.1f} s   (file system and encryption only)")
    print(f"c this collection     {medians['c']:6.1f} s   qcow2/used {size:.2f}   {tasks} tasks")
    print("stages of c (seconds):")
    for name, seconds in re.findall(
        r"^(?:sealedroot\.image\.)?(\S+) -+ ([\d.]+)s$", output, re.MULTILINE
    ):
        print(f"  {name:20} {seconds}")
    found = {
        "c/a": medians["c"] / medians["a"],
        "c/b": medians["c"] / medians["b"],
        "qcow2/used": size,
    }
    missed = 0
    for name, target in TARGETS.items():
        good = found[name] < target if name == "c/b" else found[name] <= target
        missed += not good
        print(f"{name:11} {found[name]:.2f}   target {target}   {'reached' if good else 'MISSED'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
