# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils._chroot_env import (
    Sandbox,
    bwrap_argv,
    shell_command,
)

SANDBOX = Sandbox("/w/root", "/w/run")


def pairs(argv, option):
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def test_the_command_is_the_last_word_and_untouched():
    command = 'echo "it\'s" $HOME; exit 3'
    assert bwrap_argv(SANDBOX, command)[-3:] == ["/bin/sh", "-c", command]
    line = shlex.split(shell_command(SANDBOX, command))
    assert line == ["umask", "022;", "exec", *bwrap_argv(SANDBOX, command), "9</dev/null"]


def test_nothing_of_the_builder_is_shown():
    argv = bwrap_argv(SANDBOX, "true")
    assert "--clearenv" in argv
    assert argv.index("--clearenv") < argv.index("--setenv")
    assert {"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"} <= set(argv)
    binds = [(argv[i + 1], argv[i + 2]) for i, w in enumerate(argv) if w == "--bind"]
    assert binds == [("/w/root", "/"), ("/w/run", "/run")]
    assert "--dev-bind" not in argv
    assert pairs(argv, "--ro-bind") == []
    at = argv.index("/proc/cmdline")
    assert argv[at - 2 : at] == ["--ro-bind-data", "9"]


def test_only_listed_capabilities_stay():
    argv = bwrap_argv(SANDBOX, "true")
    assert pairs(argv, "--cap-drop") == ["ALL"]
    kept = set(pairs(argv, "--cap-add"))
    dangerous = {"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_SYS_PTRACE"}
    # It opens any file of a mounted file system by its handle: the keys are on the one of /run.
    dangerous.add("CAP_DAC_READ_SEARCH")
    assert kept
    assert not kept & dangerous


def test_proc_is_read_only_once_everything_is_mounted_on_it():
    argv = bwrap_argv(SANDBOX, "true")
    at = argv.index("--remount-ro")
    assert argv[at + 1] == "/proc"
    assert at > argv.index("--proc")
    assert at > argv.index("/proc/cmdline")


def test_the_root_device_has_the_name_that_it_will_have_in_the_machine():
    sandbox = Sandbox("/w/root", "/w/run", "/dev/mapper/x", "/dev/mapper/cr_root")
    argv = bwrap_argv(sandbox, "true")
    assert pairs(argv, "--dev-bind") == ["/dev/mapper/x"]
    at = argv.index("--symlink")
    assert argv[at + 1 : at + 3] == ["/dev/mapper/x", "/dev/mapper/cr_root"]
    # Nothing is named by its UUID, which every disk of a host can have.
    assert not any("by-uuid" in word for word in argv)


def test_a_device_without_a_name_in_the_machine_has_its_own_alone():
    argv = bwrap_argv(Sandbox("/w/root", "/w/run", "/dev/mapper/x"), "true")
    assert pairs(argv, "--dev-bind") == ["/dev/mapper/x"]
    assert "/dev/mapper/cr_root" not in argv
    links = [argv[at + 1] for at, word in enumerate(argv) if word == "--symlink"]
    assert "/dev/mapper/x" not in links


@pytest.mark.parametrize(
    ("sandbox", "words"),
    [
        (Sandbox("", "/r"), "image_root"),
        (Sandbox("/w", ""), "image_run"),
        (Sandbox("relative", "/r"), "absolute"),
        (Sandbox("/", "/r"), "not /"),
        (Sandbox("//", "/r"), "not /"),
        (Sandbox("/w/..", "/r"), "not /"),
        (Sandbox("/w", "/."), "not /"),
    ],
)
def test_bad_options_are_named(sandbox, words):
    assert words in sandbox.problem()


def test_good_options_are_no_problem():
    assert SANDBOX.problem() == ""
