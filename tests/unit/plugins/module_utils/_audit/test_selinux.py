# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts on the SELinux of a closed image."""

from __future__ import annotations

import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import selinux
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Node

KEY = "/etc/cryptsetup-keys.d/luks-1.key"
DEBIAN = 'CONFIG_X=y\nCONFIG_LSM="landlock,yama,apparmor,selinux,bpf"\n'
LINE = "  linux /boot/vmlinuz-6 root=UUID=1 ro {}\n"


class FakeTree:
    """Files by path with content and label; a name that ends with a slash is a directory."""

    def __init__(self, files: dict[str, tuple[str, str]]) -> None:
        self.nodes, self.contents, self.labels = {}, {}, {}
        for number, (path, (content, label)) in enumerate(files.items(), 10):
            kind = stat.S_IFDIR if path.endswith("/") else stat.S_IFREG
            self.nodes[path.rstrip("/") or "/"] = Node(number, kind | 0o600, 0, len(content))
            self.contents[number], self.labels[number] = content, label

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        return self.nodes.get(path)

    def entries(self, path: str) -> dict[str, Node]:
        inside = (name for name in self.nodes if name.rpartition("/")[0] == path and name != "/")
        return {name.rpartition("/")[2]: self.nodes[name] for name in inside}

    def read(self, node: Node) -> bytes:
        return self.contents[node.inode].encode()

    def text(self, path: str) -> str | None:
        node = self.find(path)
        return self.read(node).decode() if node else None

    def attribute(self, node: Node, name: str) -> bytes | None:
        assert name == "security.selinux"
        label = self.labels[node.inode]
        return f"system_u:object_r:{label}:s0\0".encode() if label else None


def files() -> dict[str, tuple[str, str]]:
    return {
        "/": ("", "root_t"),
        "/etc/": ("", "etc_t"),
        "/etc/selinux/config": ("SELINUX=enforcing\nSELINUXTYPE=default\n", "selinux_config_t"),
        "/etc/selinux/default/policy/policy.33": ("", "semanage_store_t"),
        "/etc/shadow": ("", "shadow_t"),
        "/sbin/init": ("", "init_exec_t"),
        KEY: ("key", "etc_t"),
        "/boot/": ("", "boot_t"),
        "/boot/initrd.img-6": ("", "boot_t"),
        "/boot/config-6": (DEBIAN, "boot_t"),
    }


Change = t.Callable[[dict[str, tuple[str, str]]], t.Any]
GOOD = LINE.format("security=selinux")


def examine(
    change: Change = dict, grub_cfg: str = GOOD, wanted: str = "auto"
) -> tuple[list[str], str]:
    tree = files()
    change(tree)
    return selinux.examine(t.cast("t.Any", FakeTree(tree)), grub_cfg, wanted=wanted)


def put(path: str, content: str = "", label: str = "etc_t") -> Change:
    return lambda tree: tree.update({path: (content, label)})


def drop(path: str) -> Change:
    return lambda tree: tree.pop(path)


def config(text: str) -> Change:
    return put("/etc/selinux/config", text)


def test_a_labelled_image_is_good() -> None:
    problems, seen = examine()
    assert problems == []
    assert seen == "labelled for the policy 'default', enforcing by its configuration"
    assert examine(wanted="label")[0] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("/etc/shadow", label=""), "/etc/shadow without an SELinux label"),
        (put("/etc/shadow", label="etc_t"), "/etc/shadow is labelled etc_t, not shadow_t"),
        (put("/sbin/init", label="bin_t"), "/sbin/init is labelled bin_t, not init_exec_t"),
        (put(KEY, label="unlabeled_t"), f"{KEY} without an SELinux label"),
        (put("/boot/initrd.img-6", label="file_t"), "/boot/initrd.img-6 without an SELinux label"),
        (put("/boot/initrd.img-7", label=""), "/boot/initrd.img-7 without an SELinux label"),
        (put("/", label=""), "/ without an SELinux label"),
        (put("/.autorelabel"), "the first boot relabels, reboots and asks again"),
    ],
)
def test_a_defect(change: Change, says: str) -> None:
    problems, _seen = examine(change)
    assert len(problems) == 1
    assert says in problems[0]
    # Whoever leaves it to itself is not told.
    assert examine(change, wanted="off")[0] == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "/boot/vmlinuz-6 starts apparmor"),
        ("security=apparmor", "starts apparmor"),
        ("security=selinux security=apparmor", "starts apparmor"),
        ("lsm=landlock,apparmor security=selinux", "starts apparmor"),
        ("lsm=landlock,yama", "starts none"),
        ("security=selinux selinux=0", "the command line has selinux=0"),
        ("security=selinux enforcing=0", "the command line has enforcing=0"),
    ],
)
def test_a_command_line_that_starts_something_else(line: str, says: str) -> None:
    problems, _seen = examine(grub_cfg=GOOD + LINE.format(line))
    assert len(problems) == 1
    assert says in problems[0]


def test_a_command_line_that_does() -> None:
    assert examine(grub_cfg=LINE.format("lsm=landlock,selinux,apparmor"))[0] == []
    # A kernel that starts SELinux by itself, and one that does not say what it starts.
    fedora = put("/boot/config-6", 'CONFIG_LSM="lockdown,yama,selinux,bpf,landlock"\n')
    assert examine(fedora, grub_cfg=LINE.format(""))[0] == []
    assert examine(drop("/boot/config-6"), grub_cfg=LINE.format(""))[0] == []
    permissive = config("SELINUX=permissive\nSELINUXTYPE=default\n")
    assert examine(permissive, grub_cfg=LINE.format("security=selinux enforcing=0"))[0] == []


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (drop("/etc/selinux/config"), "there is no SELinux policy in /etc/selinux/targeted/policy"),
        (config("SELINUX=enforcing\nSELINUXTYPE=mls\n"), "no SELinux policy in /etc/selinux/mls"),
        (config("SELINUX=disabled\nSELINUXTYPE=default\n"), "'default' is not switched on"),
    ],
)
def test_an_image_without_selinux(change: Change, seen: str) -> None:
    def unlabelled(tree: dict[str, tuple[str, str]]) -> None:
        change(tree)
        tree.update({path: (content, "") for path, (content, _label) in tree.items()})

    problems, detail = examine(unlabelled, grub_cfg=LINE.format(""))
    assert problems == []
    assert seen in detail
    assert examine(unlabelled, grub_cfg=LINE.format(""), wanted="label")[0]
    assert examine(unlabelled, grub_cfg=LINE.format(""), wanted="relabel_at_boot")[0]


def test_labels_of_a_policy_that_is_switched_off() -> None:
    off = config("SELINUX=disabled\nSELINUXTYPE=default\n")
    assert examine(off, grub_cfg=LINE.format(""), wanted="label")[0] == []


def test_relabelling_at_boot() -> None:
    def without_labels(flag: str | None) -> Change:
        def change(tree: dict[str, tuple[str, str]]) -> None:
            tree.update({path: (content, "") for path, (content, _label) in tree.items()})
            if flag is not None:
                tree["/.autorelabel"] = (flag, "")

        return change

    assert examine(without_labels("-F\n"), wanted="relabel_at_boot")[0] == []
    assert len(examine(without_labels("-F\n"))[0]) > 1
    for flag in (None, ""):
        problems, _seen = examine(without_labels(flag), wanted="relabel_at_boot")
        assert problems == [
            "/.autorelabel is not there or does not say -F, so the first boot does not relabel"
        ]
