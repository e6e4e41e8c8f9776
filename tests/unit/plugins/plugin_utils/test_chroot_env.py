# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import shlex

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import request
from ansible_collections.sealedroot.image.plugins.plugin_utils._chroot_env import (
    IMAGE_PYTHON,
    SHELL,
    Sandbox,
    awaited_command,
    command_line,
    launch,
    python_call,
    refused,
)

SANDBOX = Sandbox("/w/root", "/w/run")
PYTHON = "/run/sealedroot/python3"


def words_of(line):
    exec_, program, *words = shlex.split(line)
    assert (exec_, program) == ("exec", f"{SANDBOX.run_dir}/sandbox/launch")
    return words


def test_the_launcher_gets_the_command_untouched():
    command = 'echo "it\'s" $HOME; exit 3'
    options = request.Options(words_of(command_line(SANDBOX, command)))
    assert (options.root, options.arguments) == ("/w/root", [command])
    assert not options.is_python
    assert not any((options.network, options.secrets, options.output, options.device))


def test_the_launcher_gets_what_a_task_asks_for():
    sandbox = Sandbox(
        *("/w/root", "/w/run", "/dev/mapper/x", "/dev/mapper/cr_root"),
        network=True,
        secrets=True,
        output=True,
        deadline=7,
    )
    options = request.Options(words_of(launch(sandbox, "shell", "true")))
    assert (options.device, options.root_device) == ("/dev/mapper/x", "/dev/mapper/cr_root")
    assert all((options.network, options.secrets, options.output))
    assert options.deadline == "7"


def of_core(line, *, executable="/bin/sh"):
    """A command as core's shell plugin hands it to the connection."""
    return f"{executable} -c {shlex.quote(line + ' && sleep 0')}"


@pytest.mark.parametrize(
    ("line", "environment", "arguments"),
    [
        (PYTHON, {}, []),
        (
            f"{PYTHON} /run/sealedroot/tmp/a/AnsiballZ_setup.py",
            {},
            ["/run/sealedroot/tmp/a/AnsiballZ_setup.py"],
        ),
        (f"A=1 B='x y' {PYTHON}", {"A": "1", "B": "x y"}, []),
        (f"A='$(id)' {PYTHON}", {"A": "$(id)"}, []),
        (f"A='it'\"'\"'s' {PYTHON}", {"A": "it's"}, []),
    ],
)
def test_a_module_is_recognised(line, environment, arguments):
    assert python_call(of_core(line)) == (environment, arguments)
    options = request.Options(words_of(command_line(SANDBOX, of_core(line))))
    assert options.is_python
    assert (options.environment, options.arguments) == (environment, arguments)


def test_the_images_own_python_is_chosen_by_ours():
    assert python_call(of_core(f"A=1 {IMAGE_PYTHON}")) == ({"A": "1", request.OWN: "1"}, [])


def test_variables_of_the_task_come_before_those_of_the_connection():
    sandbox = dataclasses.replace(SANDBOX, environment={"A": "1", "B": "2"}, user="web")
    options = request.Options(words_of(command_line(sandbox, of_core(f"B=3 {PYTHON}"))))
    assert options.environment == {"A": "1", "B": "3", request.USER: "web"}
    assert not hasattr(options, "user")


def test_a_command_of_another_user_is_started_by_our_python():
    sandbox = dataclasses.replace(SANDBOX, user="web")
    options = request.Options(words_of(command_line(sandbox, "id")))
    assert options.is_python
    assert options.arguments == ["-c", SHELL, "id"]


def test_an_async_task_ends_with_what_it_started():
    options = request.Options(words_of(awaited_command(SANDBOX, "async_wrapper; false")))
    assert not options.is_python
    (line,) = options.arguments
    assert line.startswith("async_wrapper; false\nstatus=$?\n")
    assert line.endswith("\nexit $status")


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("ansible.builtin.reboot", "cannot reboot"),
        ("reboot", "cannot reboot"),
        ("ansible.builtin.command", ""),
        (None, ""),
    ],
)
def test_what_would_wait_for_a_machine_is_refused(action, sentence):
    said = refused({"action": action})
    assert sentence in said
    assert bool(said) is bool(sentence)


@pytest.mark.parametrize(
    "line",
    [
        "id",
        f"id; {PYTHON}",
        f"{PYTHON}; id",
        f"{PYTHON} -c 'x'; id",
        f"{PYTHON} a $(id)",
        f"{PYTHON} `id`",
        f"{PYTHON} >/etc/passwd",
        f"A=$(id) {PYTHON}",
        f"A=$HOME {PYTHON}",
        f"{PYTHON} && id",
        f"{PYTHON}\nid",
        f"{PYTHON}3",
        f"/usr/bin/env {PYTHON}",
        "/usr/bin/python3",
        "'",
    ],
)
def test_anything_else_is_a_command_for_the_shell_of_the_image(line):
    assert python_call(of_core(line)) is None
    assert " shell " in command_line(SANDBOX, of_core(line))


@pytest.mark.parametrize("command", ["", "'", PYTHON, f"sh {PYTHON}", f"sh -x -c {PYTHON}"])
def test_what_core_does_not_write_is_a_command(command):
    assert python_call(command) is None


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
        (Sandbox("/w", "/r", "/etc/passwd"), "below /dev"),
        (Sandbox("/w", "/r", "/dev/../etc/passwd"), "below /dev"),
        (Sandbox("/w", "/r", "/dev/x", "/etc/passwd"), "below /dev"),
    ],
)
def test_bad_options_are_named(sandbox, words):
    assert words in sandbox.problem()


def test_good_options_are_no_problem():
    assert SANDBOX.problem() == ""
