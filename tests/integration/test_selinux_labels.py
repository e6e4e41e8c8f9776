# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""selinux_labels with a real setfiles, a policy of a few lines, and real attributes on a small root."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import subprocess
import threading
import typing as t

import pytest
import small_root
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from waiting import until

TYPES = ("root", "etc", "shadow", "bin", "dev", "tmp", "old")
CIL = """\
(class file (read)) (classorder (file))
(sid kernel) (sidorder (kernel)) (sidcontext kernel (system_u object_r root_t ((s0) (s0))))
(category c0) (categoryorder (c0)) (sensitivity s0) (sensitivityorder (s0)) (sensitivitycategory s0 (c0))
(user system_u) (userrole system_u object_r) (userlevel system_u (s0)) (userrange system_u ((s0) (s0 (c0))))
(role object_r) (allow root_t self (file (read)))
"""
CIL += "".join(f"(type {name}_t) (roletype object_r {name}_t)\n" for name in TYPES)
CONTEXTS = """\
/	-d	system_u:object_r:root_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/shadow	--	system_u:object_r:shadow_t:s0
/usr(/.*)?	system_u:object_r:bin_t:s0
/bin(/.*)?	system_u:object_r:bin_t:s0
/dev(/.*)?	system_u:object_r:dev_t:s0
/tmp	-d	system_u:object_r:tmp_t:s0
/tmp/.*	<<none>>
/proc	-d	<<none>>
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("policy")
    (folder / "tiny.cil").write_text(CIL)
    command = ["secilc", "-M", "true", "-c", "31", "-o", "policy.31", "-f", "/dev/null", "tiny.cil"]
    subprocess.run(command, check=True, cwd=folder)
    return (folder / "policy.31").read_bytes()


@pytest.fixture
def root(tmp_path: pathlib.Path, policy: bytes) -> pathlib.Path:
    root = small_root.make(tmp_path / "root", "setfiles")
    default = root / "etc" / "selinux" / "default"
    (default / "policy").mkdir(parents=True)
    (default / "contexts" / "files").mkdir(parents=True)
    (default / "policy" / "policy.31").write_bytes(policy)
    (default / "contexts" / "files" / "file_contexts").write_text(CONTEXTS)
    (default.parent / "config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
    (root / "etc" / "shadow").write_text("")
    return root


def label(path: pathlib.Path) -> str | None:
    try:
        value = os.getxattr(path, "security.selinux", follow_symlinks=False)
    except OSError:
        return None
    assert value.endswith(b"\0")
    return value[:-1].decode()


def kind(path: pathlib.Path) -> str | None:
    found = label(path)
    return found.split(":")[2] if found else None


def all_of(root: pathlib.Path) -> dict[str, str | None]:
    return {str(path): label(path) for path in [root, *root.rglob("*")]}


def test_every_file_has_the_label_of_the_policy(
    root: pathlib.Path, real_module: t.Any, tmp_path: pathlib.Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("")
    (root / "etc" / "link").symlink_to(outside)
    (root / "etc" / "loop").symlink_to("..")
    (root / "etc" / "a from b to c").write_text("")
    (root / "etc" / "two\nlines").write_text("")
    os.mkfifo(root / "tmp" / "fifo")
    os.mknod(root / "dev" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    # Of another owner and nobody's to read.
    (root / "etc" / "private").mkdir()
    (root / "etc" / "private" / "file").write_text("")
    os.chown(root / "etc" / "private", 1000, 1000)
    (root / "etc" / "private").chmod(0o000)
    wrong = b"system_u:object_r:old_t:s0\0"
    os.setxattr(root / "etc" / "shadow", "security.selinux", wrong)
    os.setxattr(root / "tmp" / "fifo", "security.selinux", wrong)
    (root / ".autorelabel").write_text("")
    foreseen = real_module("selinux_labels", _check=True, root=str(root))
    assert foreseen.get("changed"), foreseen
    assert label(root) is None
    done = real_module("selinux_labels", root=str(root))
    assert (done["changed"], done["mode"], done["type"]) == (True, "enforcing", "default"), done
    assert (done["labelled"], done["inherited"]) == (foreseen["labelled"], foreseen["inherited"])
    assert label(root) == "system_u:object_r:root_t:s0"
    etc = root / "etc"
    for name in ("link", "loop", "a from b to c", "two\nlines", "private", "private/file"):
        assert kind(etc / name) == "etc_t", name
    assert kind(etc / "shadow") == "shadow_t"
    assert kind(root / "bin" / "sh") == "bin_t"
    assert kind(root / "dev" / "null") == "dev_t"
    # What the policy has no word for: the label that it has stays, and else it is that of its directory.
    assert kind(root / "tmp" / "fifo") == "old_t"
    assert kind(root / "proc") == kind(root / "lib64") == "root_t"
    assert None not in all_of(root).values()
    # No link was followed, and no boot relabels.
    assert all_of(outside) == {str(outside): None, str(outside / "file"): None}
    assert not (root / ".autorelabel").exists()
    before = all_of(root)
    again = real_module("selinux_labels", root=str(root))
    assert (again["changed"], again["labelled"], again["inherited"]) == (False, 0, 0)
    assert all_of(root) == before


def test_a_label_that_the_policy_does_not_know(root: pathlib.Path, real_module: t.Any) -> None:
    contexts = root / "etc/selinux/default/contexts/files/file_contexts"
    contexts.write_text(f"{CONTEXTS}/etc/passwd\tsystem_u:object_r:nowhere_t:s0\n")
    (root / "etc" / "passwd").write_text("")
    done = real_module("selinux_labels", root=str(root))
    assert done["failed"]
    assert "nowhere_t" in done["msg"]
    assert label(root) is None


def test_a_setfiles_of_the_image_reaches_nothing(
    root: pathlib.Path, real_module: t.Any, tmp_path: pathlib.Path
) -> None:
    """It is the image's program, which may be anybody's: it writes nothing, and sees no other process."""
    (tmp_path / "secret").write_text("of the builder")
    script = f"""#!/bin/sh
echo x >/etc/written
mknod /tmp/disk b 8 0
mount -t tmpfs none /etc
cat {tmp_path}/secret
exit 1
"""
    (root / "bin" / "setfiles").write_text(script)
    (root / "bin" / "setfiles").chmod(0o755)
    done = real_module("selinux_labels", root=str(root))
    assert done["failed"]
    for refused in ("Read-only file system", "mknod", "mount", "secret: No such file"):
        assert refused in done["msg"], done["msg"]
    assert not (root / "etc" / "written").exists()


def test_a_root_that_lacks_its_policy(root: pathlib.Path, real_module: t.Any) -> None:
    (root / "etc" / "selinux" / "default" / "policy" / "policy.31").unlink()
    done = real_module("selinux_labels", root=str(root))
    assert "names the policy 'default', which has no file" in done["msg"]
    (root / "etc" / "selinux" / "config").unlink()
    assert "no /etc/selinux/config" in real_module("selinux_labels", root=str(root))["msg"]


def test_relabelling_at_boot(root: pathlib.Path, real_module: t.Any) -> None:
    for changed in (True, False):
        done = real_module("selinux_labels", root=str(root), state="relabel_at_boot")
        assert done["changed"] == changed, done
        assert (root / ".autorelabel").read_text() == "-F\n"
        assert label(root) is None


def test_what_says_the_labels_reaches_nothing_of_the_builder(root: pathlib.Path) -> None:
    """As a script in the place of setfiles would try it."""
    bwrap = pathlib.Path(shutil.which("bwrap") or "")
    before = bwrap.stat()
    script = """
        readlink /proc/1/exe
        chmod 755 /proc/1/exe && echo changed
        cat /proc/keys /proc/cmdline && echo read
        echo x >/tmp/file && echo written
        ulimit -H -c
        while read -r name value; do
          case $name in CapEff: | NoNewPrivs: | Seccomp:) echo $name $value ;; esac
        done </proc/self/status
        """
    done = confined.run_program(
        small_root.Installed(), str(root), ["/bin/sh", "-c", script], timeout=60
    )
    # The limit is one byte, in blocks of a shell. CAP_DAC_OVERRIDE, not CAP_AUDIT_WRITE; none is gained.
    status = ["CapEff: 0000000000000002", "NoNewPrivs: 1", "Seccomp: 2"]
    assert done.stdout.splitlines() == ["/bin/sh", "0", *status]
    after = bwrap.stat()
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)


def test_what_says_the_labels_is_in_a_control_group_that_goes(root: pathlib.Path) -> None:
    base = pathlib.Path("/sys/fs/cgroup")

    def groups() -> list[pathlib.Path]:
        pattern = f"sealedroot/{os.getpid()}.*"
        return [it for name in ("", "memory", "pids") for it in (base / name).glob(pattern)]

    if not (base / "memory/cgroup.procs").exists() and not (base / "cgroup.controllers").exists():
        pytest.skip("no control groups are mounted here")

    def members() -> str:
        return "".join((it / "cgroup.procs").read_text() for it in groups())

    argv = ["/bin/sh", "-c", "sleep 2"]
    reading = threading.Thread(
        target=confined.run_program,
        args=(small_root.Installed(), str(root), argv),
        kwargs={"timeout": 60},
    )
    reading.start()
    try:
        until(lambda: bool(members()))
    finally:
        reading.join()
    until(lambda: not groups())
