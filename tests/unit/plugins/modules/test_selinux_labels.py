# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""selinux_labels with a scripted sandbox, and with labels that are kept in a table."""

from __future__ import annotations

import errno
import os
import pathlib
import tracemalloc
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import selinux_labels

CONFIG = "SELINUX=enforcing\nSELINUXTYPE=default\n"
POLICIES = "default/policy/policy.32\ndefault/policy/policy.33\nmls/policy/policy.34\n"
SETFILES = ["setfiles", "-n", "-v", "-F", "-e", "/proc", "-c"]
SETFILES += ["/etc/selinux/default/policy/policy.33"]
SETFILES += ["/etc/selinux/default/contexts/files/file_contexts", "/"]


def label(kind: str) -> str:
    return f"system_u:object_r:{kind}_t:s0"


class Attributes:
    """Stands for security.selinux, which only root may write; by the real path of each file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.have: dict[str, bytes] = {}
        self.error = 0
        monkeypatch.setattr(os, "getxattr", self.get)
        monkeypatch.setattr(os, "setxattr", self.set)

    @staticmethod
    def path(path: bytes, follow_symlinks: bool) -> str:
        assert not follow_symlinks
        folder, name = os.path.split(os.fsdecode(path))
        assert folder.startswith("/proc/self/fd/"), "a joined path would follow links of the image"
        return os.path.normpath(f"{os.path.realpath(folder)}/{name}")

    def get(self, path: bytes, name: str, *, follow_symlinks: bool = True) -> bytes:
        assert name == "security.selinux"
        try:
            return self.have[self.path(path, follow_symlinks)]
        except KeyError:
            raise OSError(errno.ENODATA, "No data available") from None

    def set(self, path: bytes, name: str, value: bytes, *, follow_symlinks: bool = True) -> None:
        assert name == "security.selinux"
        assert value.endswith(b"\0")
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.have[self.path(path, follow_symlinks)] = value

    def of(self, root: pathlib.Path) -> dict[str, str]:
        """Return the type of each path of the image."""
        found = {path[len(str(root)) :] or "/": value for path, value in self.have.items()}
        assert all(path.startswith("/") for path in found), found
        return {path: value.split(b":")[2].decode() for path, value in found.items()}


@pytest.fixture
def attributes(monkeypatch: pytest.MonkeyPatch) -> Attributes:
    return Attributes(monkeypatch)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "root"
    for folder in ("etc", "proc", "usr/bin", "tmp/left"):
        (root / folder).mkdir(parents=True)
    (root / "etc" / "shadow").write_text("")
    (root / "tmp" / "left" / "over").write_text("")
    (root / "bin").symlink_to("usr/bin")
    (root / "etc" / "outside").symlink_to("/etc/passwd")
    return root


PLAN = {
    "/": "root",
    "/etc": "etc",
    "/etc/shadow": "shadow",
    "/etc/outside": "etc",
    "/bin": "bin",
    "/usr": "usr",
    "/usr/bin": "bin",
    "/tmp": "tmp",
}


def expect(
    script: t.Any,
    confinement: t.Any,
    root: pathlib.Path,
    plan: dict[str, str] | None,
    *,
    config: str = CONFIG,
    policies: str = POLICIES,
    setfiles: str = "/usr/sbin/setfiles\n",
) -> None:
    look = ["/bin/sh", "-c", selinux_labels.LOOK]
    script.expect(
        confinement.program(str(root), look),
        stdout=f"{config}\0{policies}\0{setfiles}",
        rc=0 if setfiles else 127,
    )
    if plan is not None:
        said = "".join(
            f"Would relabel {path} from <no context> to {label(kind)}\n"
            for path, kind in plan.items()
        )
        script.expect(confinement.program(str(root), SETFILES), stdout=said)


def test_everything_gets_a_label(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    (root / ".autorelabel").write_text("")
    expect(script, confinement, root, PLAN)
    outcome = run_module("selinux_labels", root=str(root))
    assert not outcome.failed, outcome["msg"]
    assert outcome["changed"]
    assert (outcome["mode"], outcome["type"]) == ("enforcing", "default")
    assert outcome["policy"] == "/etc/selinux/default/policy/policy.33"
    # The policy has no word for the last three and the flag: they are labelled as if they were made there.
    assert outcome["labelled"] == len(PLAN)
    assert outcome["inherited"] == 4
    types = attributes.of(root)
    assert types.pop("/.autorelabel") == "root_t"
    assert types == {
        **{path: f"{kind}_t" for path, kind in PLAN.items()},
        "/proc": "root_t",
        "/tmp/left": "tmp_t",
        "/tmp/left/over": "tmp_t",
    }
    # No boot relabels.
    assert not (root / ".autorelabel").exists()


def test_a_second_run_changes_nothing(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    expect(script, confinement, root, PLAN)
    expect(script, confinement, root, {})
    assert run_module("selinux_labels", root=str(root))["changed"]
    before = dict(attributes.have)
    outcome = run_module("selinux_labels", root=str(root))
    assert not outcome["changed"]
    assert (outcome["labelled"], outcome["inherited"]) == (0, 0)
    assert attributes.have == before


def test_check_mode_touches_nothing(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    (root / ".autorelabel").write_text("")
    expect(script, confinement, root, PLAN)
    outcome = run_module("selinux_labels", root=str(root), _check=True)
    assert outcome["changed"]
    assert outcome["labelled"] == len(PLAN)
    assert attributes.have == {}
    assert (root / ".autorelabel").exists()


def test_a_builder_that_enforces_another_policy(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    attributes.error = errno.EINVAL
    expect(script, confinement, root, PLAN)
    outcome = run_module("selinux_labels", root=str(root))
    assert outcome.failed
    assert "the builder's own SELinux policy does not know the label" in outcome["msg"]
    assert "Build on a builder where SELinux is permissive or off" in outcome["msg"]


def test_a_file_system_without_labels(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    attributes.error = errno.EOPNOTSUPP
    expect(script, confinement, root, PLAN)
    outcome = run_module("selinux_labels", root=str(root))
    assert "the label of / cannot be written: Operation not supported" in outcome["msg"]


def test_an_unlabelled_file_of_a_builder_with_selinux(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    """There, the kernel says unlabeled_t instead of nothing."""
    attributes.have[str(root / "tmp" / "left")] = label("unlabeled").encode() + b"\0"
    attributes.have[str(root / "tmp" / "left" / "over")] = label("special").encode() + b"\0"
    expect(script, confinement, root, PLAN)
    run_module("selinux_labels", root=str(root))
    types = attributes.of(root)
    assert types["/tmp/left"] == "tmp_t"
    assert types["/tmp/left/over"] == "special_t"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"config": ""}, "no /etc/selinux/config"),
        ({"policies": "mls/policy/policy.34\n"}, "names the policy 'default', which has no file"),
        ({"policies": "*/policy/policy.*\n"}, "install selinux-policy-default"),
        ({"setfiles": ""}, "no setfiles: install policycoreutils"),
        ({"config": "SELINUXTYPE=../x\n"}, "names no directory"),
    ],
)
def test_what_a_root_can_lack(
    root: pathlib.Path,
    attributes: Attributes,
    script: t.Any,
    confinement: t.Any,
    run_module: t.Any,
    values: dict[str, str],
    says: str,
) -> None:
    expect(script, confinement, root, None, **values)
    outcome = run_module("selinux_labels", root=str(root))
    assert outcome.failed
    assert says in outcome["msg"]
    assert attributes.have == {}


def test_a_root_in_which_nothing_runs(
    root: pathlib.Path, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    argv = confinement.program(str(root), ["/bin/sh", "-c", selinux_labels.LOOK])
    script.expect(argv, rc=1, stderr="bwrap: execvp /bin/sh: No such file or directory\n")
    outcome = run_module("selinux_labels", root=str(root))
    assert "no command can run in" in outcome["msg"]
    assert "execvp" in outcome["msg"]


def test_a_policy_that_does_not_fit(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    expect(script, confinement, root, None)
    argv = confinement.program(str(root), SETFILES)
    script.expect(argv, rc=255, stderr="setfiles: invalid context x:y:z\n", stdout="Would relabel")
    outcome = run_module("selinux_labels", root=str(root))
    assert "exit status 255 (setfiles: invalid context x:y:z): install the policy" in outcome["msg"]
    assert attributes.have == {}


@pytest.mark.parametrize("wrong", ["/", "//", "relative", "/no/such/directory"])
def test_a_root_that_is_none(run_module: t.Any, wrong: str) -> None:
    assert run_module("selinux_labels", root=wrong).failed


def test_relabelling_at_boot(
    root: pathlib.Path, attributes: Attributes, script: t.Any, confinement: t.Any, run_module: t.Any
) -> None:
    outside = root.parent / "outside"
    outside.write_text("kept")
    (root / ".autorelabel").symlink_to(outside)
    changed = []
    for check in (True, False, False):
        expect(script, confinement, root, None)
        arguments = {"root": str(root), "state": "relabel_at_boot", "_check": check}
        changed.append(run_module("selinux_labels", **arguments)["changed"])
    assert changed == [True, True, False]
    assert not (root / ".autorelabel").is_symlink()
    assert (root / ".autorelabel").read_text() == "-F\n"
    assert outside.read_text() == "kept"
    assert attributes.have == {}


def deep(root: pathlib.Path, levels: int) -> int:
    """Make directories in directories, each with a name of 250 bytes; return a descriptor of the last."""
    handle = os.open(root, os.O_RDONLY)
    for _level in range(levels):
        os.mkdir("d" * 250, dir_fd=handle)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    return handle


def test_a_name_that_is_longer_than_a_path(root: pathlib.Path, attributes: Attributes) -> None:
    handle = deep(root, 20)
    os.close(handle)
    with pytest.raises(SealedRootError, match="longer than a path can be: remove it"):
        selinux_labels.write(str(root), {}, check_mode=True)


def test_names_far_down_take_no_memory(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getxattr", lambda *_args, **_more: b"system_u:object_r:etc_t:s0")
    handle = deep(root, 15)
    for number in range(3000):
        os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    tracemalloc.start()
    try:
        selinux_labels.write(str(root), {}, check_mode=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Their paths would be 11 MB.
    assert peak < 2 << 20
