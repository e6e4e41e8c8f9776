# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import bwrap, request

SETTINGS = request.Settings(
    "bwrap=/usr/bin/bwrap\nloader=ld.so\nkeyctl=250\nslirp4netns=/usr/bin/slirp4netns\nmaps_ids=False\n"
)


def argv_of(*words):
    options = request.Options(["root=/w/root", *(words or ("shell", "true"))])
    at = request.Places("/w/run", options)
    at.device = "/dev/loop7" if options.device else ""
    return bwrap.bwrap_argv(options, SETTINGS, at, seccomp=9)


def pairs(argv, option):
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def binds(argv, option):
    return [(argv[i + 1], argv[i + 2]) for i, word in enumerate(argv) if word == option]


def test_the_command_is_the_last_word_and_untouched():
    command = 'echo "it\'s" $HOME; exit 3'
    assert argv_of("shell", command)[-4:] == ["--", "/bin/sh", "-c", command]


def test_nothing_of_the_builder_is_shown():
    argv = argv_of()
    spaces = {f"--unshare-{name}" for name in ("pid", "ipc", "uts", "net", "cgroup-try")}
    assert {"--die-with-parent", "--new-session", *spaces} <= set(argv)
    assert binds(argv, "--bind") == [
        ("/w/root", "/"),
        ("/w/run/own/run", "/run"),
        ("/w/run/own/tmp", "/run/sealedroot/tmp"),
    ]
    assert "--dev-bind" not in argv
    shown = {source for source, _target in binds(argv, "--ro-bind")}
    assert shown == {"/w/run/given", "/w/run/sandbox/empty"}
    assert pairs(argv, "--seccomp") == ["9"]


def test_tmp_is_new_unless_it_is_to_last():
    assert argv_of()[argv_of().index("/tmp") - 1] == "--tmpfs"
    lasting = argv_of("lasting_tmp=1", "shell", "true")
    assert ("/w/run/own/lasting-tmp", "/tmp") in binds(lasting, "--bind")
    assert "/tmp" not in pairs(lasting, "--tmpfs")


@pytest.mark.parametrize(
    ("asked", "option", "shown"),
    [
        (
            "secrets=1",
            "--ro-bind",
            [
                ("/w/run/secrets/boot.key", "/run/sealedroot/boot.key"),
                ("/w/run/secrets/luks.header", "/run/sealedroot/luks.header"),
            ],
        ),
        ("output=1", "--bind", [("/w/run/own/esp", "/run/sealedroot/esp")]),
        ("disk=/w/disk.raw", "--ro-bind", [("/w/disk.raw", "/run/sealedroot/disk.raw")]),
    ],
)
def test_what_a_task_asks_for_is_there_and_for_that_task_only(asked, option, shown):
    assert set(shown) <= set(binds(argv_of(asked, "shell", "true"), option))
    assert not set(shown) & set(binds(argv_of(), option))


def test_a_network_is_not_the_builders():
    assert "--unshare-net" in argv_of()
    # The launcher makes one before bwrap begins.
    assert "--unshare-net" not in argv_of("network=1", "shell", "true")


def test_only_listed_capabilities_stay():
    argv = argv_of()
    assert pairs(argv, "--cap-drop") == ["ALL"]
    kept = set(pairs(argv, "--cap-add"))
    dangerous = {"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_SYS_PTRACE"}
    # It opens any file of a mounted file system by its handle.
    dangerous.add("CAP_DAC_READ_SEARCH")
    assert kept
    assert not kept & dangerous


@pytest.mark.parametrize("path", ["/proc", "/dev", "/sys"])
def test_what_the_kernel_shows_is_read_only_once_everything_is_mounted_on_it(path):
    argv = argv_of("device=/dev/mapper/x", "root_device=/dev/mapper/cr_root", "shell", "true")
    at = next(i for i, word in enumerate(argv) if argv[i : i + 2] == ["--remount-ro", path])
    below = [i for i, word in enumerate(argv) if word.startswith(f"{path}/")]
    assert at > max(below, default=0)
    for name in bwrap.HIDDEN:
        if os.path.exists(f"/proc/{name}"):
            assert ("/w/run/sandbox/empty", f"/proc/{name}") in binds(argv, "--ro-bind")


def test_the_root_device_has_the_name_that_it_will_have_in_the_machine():
    argv = argv_of("device=/dev/mapper/x", "root_device=/dev/mapper/cr_root", "shell", "true")
    # Its second loop device, which is read-only.
    assert binds(argv, "--dev-bind") == [("/dev/loop7", "/dev/mapper/x")]
    assert binds(argv, "--symlink") == [("/dev/mapper/x", "/dev/mapper/cr_root")]
    # Nothing is named by its UUID, which every disk of a host can have.
    assert not any("by-uuid" in word for word in argv)


def test_our_python_begins_where_nothing_is_of_the_image():
    argv = argv_of("env:A=b", "env:LC_ALL=de_DE.UTF-8", "python", "-c", "pass")
    program = argv[argv.index("--") + 1 :]
    assert program[0] == "/run/sealedroot/python/libs/ld.so"
    assert "--inhibit-cache" in program
    assert program[-2:] == ["-c", "pass"]
    assert "-I" in program
    mounts = [*binds(argv, "--bind"), *binds(argv, "--ro-bind")]
    outside = [target for _source, target in mounts if not target.startswith("/image")]
    assert outside == ["/run/sealedroot"]
    values = dict(binds(argv, "--setenv"))
    assert (values["A"], values["LC_ALL"]) == ("b", "C")
    # What it starts gets what the task asked for.
    assert values["SEALEDROOT_LC_ALL"] == "de_DE.UTF-8"
    assert values["SEALEDROOT_IMAGE"] == "/image"
