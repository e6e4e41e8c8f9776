# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os

import pytest
from ansible import context
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.context_objects import CLIArgs
from ansible_collections.sealedroot.image.plugins.connection import chroot
from ansible_collections.sealedroot.image.plugins.plugin_utils._builder import Builder


class Inner:
    """The connection to the builder: records what is run and answers from a list."""

    transport = "ssh"

    def __init__(self, *answers, shell=None):
        self.answers = list(answers)
        self.calls = []
        self._shell = shell

    def exec_command(self, cmd, in_data=None, sudoable=True):
        self.calls.append((cmd, in_data))
        return self.answers.pop(0)

    def has_option(self, _name):
        return False

    def close(self):
        self.calls.append("closed")


@pytest.fixture
def connect():
    def make(*answers):
        connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
        connection.set_options(var_options={"image_root": "/w/root", "image_run": "/w/run"})
        connection._connect()
        connection._builder = Builder(Inner(*answers))
        return connection

    return make


def test_status_and_output_pass_through(connect):
    connection = connect((3, b"out", b"err"))
    assert connection.exec_command("false", in_data=b"data") == (3, b"out", b"err")
    ((command, data),) = connection._builder.connection.calls
    assert command.startswith("exec /w/run/sandbox/launch ")
    assert data == b"data"


@pytest.mark.parametrize("action", ["raw", "ansible.builtin.raw"])
def test_a_step_leaves_a_raw_task_to_itself(action):
    """It reads nothing, and what it prints is in the file; docs/customize.md says how to wait for it."""
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    variables = {"image_root": "/w/root", "image_run": "/w/run", "image_detach": "/w/run.x.log"}
    connection._resolve_option_variables(variables, Templar())
    connection.set_options(task_keys={"action": action}, var_options=variables)
    connection._connect()
    connection._builder = Builder(Inner((0, b"", b"")))
    assert connection.exec_command("make-index") == (0, b"", b"")
    ((command, _data),) = connection._builder.connection.calls
    assert command.startswith("set -e; trap '' HUP; exec 8>/w/run.x.log; flock 8; setsid sh -c ")
    assert "/w/run/sandbox/launch" in command
    assert command.endswith("</dev/null >&8 2>&1 &")


@pytest.mark.parametrize(
    "action", ["copy", "ansible.builtin.command", "sealedroot.image.root_info"]
)
def test_a_step_cannot_leave_another_task_to_itself(action):
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    variables = {"image_root": "/w/root", "image_run": "/w/run", "image_detach": "/w/run.x.log"}
    connection._resolve_option_variables(variables, Templar())
    connection.set_options(task_keys={"action": action}, var_options=variables)
    with pytest.raises(AnsibleError, match=rf"image_detach is for raw tasks, .* {action}: take"):
        connection.exec_command("x")


def test_a_command_that_takes_long_is_spoken_of(monkeypatch):
    said = []

    @contextlib.contextmanager
    def spoken(say, words):
        said.append(f"{say.__name__}: {words}")
        yield
        said.append("ended")

    monkeypatch.setattr(chroot, "spoken", spoken)
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    variables = {"image_root": "/w/root", "image_run": "/w/run", "inventory_hostname": "web"}
    connection._resolve_option_variables(variables, Templar())
    connection.set_options(task_keys={"name": "Install", "action": "raw"}, var_options=variables)
    connection._connect()
    connection._builder = Builder(Inner((0, b"", b""), (0, b"", b"")))
    connection.exec_command("apt-get update")
    assert said == ["display: still at work: [web] Install", "ended"]
    connection.set_options(task_keys={"name": "", "action": "apt"}, var_options=variables)
    connection.exec_command("apt-get update")
    assert said[2:] == ["display: still at work: [web] apt", "ended"]


def test_without_a_root_the_variable_is_named():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={})
    with pytest.raises(AnsibleConnectionFailure, match="image_root"):
        connection.exec_command("true")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (127, b"/bin/sh: 1: exec: /w/run/sandbox/launch: not found"),
        (127, b"/bin/sh: line 1: exec: /w/run/sandbox/launch: not found"),
        (127, b"sh: exec: line 0: /w/run/sandbox/launch: not found"),
    ],
    ids=["dash", "bash", "busybox"],
)
def test_a_missing_sandbox_fails_the_task(connect, status, said):
    connection = connect((status, b"", said))
    with pytest.raises(AnsibleError, match="run the module image_runtime"):
        connection.exec_command("true")


def test_a_builder_whose_user_is_not_root_is_named(connect):
    """A play has become: true, and a task of a role become: false."""
    said = b"/bin/sh: 1: exec: /w/run/sandbox/launch: Permission denied"
    connection = connect((126, b"", said))
    with pytest.raises(AnsibleError, match=r"logged in to localhost: .* set ansible_become"):
        connection.exec_command("true")


def test_a_stopped_command_fails_the_task(connect):
    connection = connect((125, b"", b"sandbox: the command did not end within 9 seconds\x1b[2J"))
    with pytest.raises(AnsibleError, match="did not end within 9 seconds"):
        connection.exec_command("true")


def test_a_terminal_obeys_nothing_of_the_image(connect):
    connection = connect((0, b"a\x1b[2Jb\n", b"\x1b]0;x\x07"))
    status, stdout, stderr = connection.exec_command("true")
    assert (status, stdout.decode(), stderr.decode()) == (0, "a\ufffd[2Jb\n", "\ufffd]0;x\ufffd")


def test_core_obeys_nothing_of_the_image(connect):
    printed = (
        b'{"changed": true, "ansible_facts": {"image_root": "/"}, "add_host": {"host_name": "x"}}'
    )
    said = json.loads(connect((0, printed, b"")).exec_command("true")[1])
    assert said["changed"] is True
    assert "add_host" not in said
    assert said["ansible_facts"] == {}


def test_a_root_that_bwrap_cannot_enter_fails_the_task(connect):
    connection = connect((1, b"", b"bwrap: Can't find source path /w/root: No such file"))
    with pytest.raises(AnsibleError, match="no command can run in /w/root"):
        connection.exec_command("true")


def test_put_file_passes_in_pieces(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(chroot, "CHUNK", 4)
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    connection = connect(*[(0, b"", b"")] * 3)
    connection.put_file(str(source), "/etc/it's")
    calls = connection._builder.connection.calls
    assert [data for _command, data in calls] == [b"0123", b"4567", b"89"]
    assert [command.rsplit(" ", 1)[1] for command, _data in calls] == ["0", "4", "8"]
    assert all("it'\"'\"'s" in command for command, _data in calls)


def test_put_file_makes_an_empty_file(connect, tmp_path):
    (tmp_path / "empty").touch()
    connection = connect((0, b"", b""))
    connection.put_file(str(tmp_path / "empty"), "/empty")
    assert len(connection._builder.connection.calls) == 1


def test_put_file_failure_is_said(connect, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    connection = connect((1, b"", b"No space left on device"))
    with pytest.raises(AnsibleError, match="No space left"):
        connection.put_file(str(tmp_path / "file"), "/file")


def test_fetch_file_stops_at_a_short_piece(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(chroot, "CHUNK", 4)
    connection = connect((0, b"0123", b""), (0, b"45", b""))
    connection.fetch_file("/etc/x", str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"012345"


def test_fetch_file_keeps_holes(connect, tmp_path, monkeypatch):
    """A file of an image is as large as it likes, and takes no block there."""
    monkeypatch.setattr(chroot, "CHUNK", 1 << 20)
    nothing = bytes(1 << 20)
    connection = connect(
        *[(0, it, b"") for it in (nothing, b"x" * (1 << 20), nothing, nothing, b"\0\0")]
    )
    connection.fetch_file("/etc/x", str(tmp_path / "x"))
    content = (tmp_path / "x").read_bytes()
    assert content == nothing + b"x" * (1 << 20) + nothing * 2 + b"\0\0"
    assert (tmp_path / "x").stat().st_blocks * 512 <= 1 << 20


def test_close_closes_the_builder(connect):
    connection = connect()
    connection.close()
    assert connection._builder.connection.calls == ["closed"]


IMAGE = {"image_root": "/w/root", "image_run": "/w/run"}


class Templar:
    """Variables are plain here."""

    def template(self, value):
        return value


def of_image(**variables):
    """The connection of an image as core sets it up, and its variables, hostvars among them."""
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    options = connection._resolve_option_variables({**IMAGE, **variables}, Templar())
    connection.set_options(task_keys={"remote_user": None}, var_options=options)
    return connection


def test_the_builder_is_reached_by_its_own_variables():
    builder = {
        "inventory_hostname": "builder-2",
        "ansible_host": "192.0.2.7",
        "ansible_port": 2222,
        "ansible_user": "admin",
        "ansible_ssh_common_args": "-o ProxyJump=jump",
        "ansible_ssh_private_key_file": "/keys/id",
    }
    connection = of_image(
        image_builder="builder-2", ansible_host="192.0.2.99", hostvars={"builder-2": builder}
    )
    connection._connect()
    wanted = {
        "host": "192.0.2.7",
        "port": 2222,
        "remote_user": "admin",
        "ssh_common_args": "-o ProxyJump=jump",
        "private_key_file": "/keys/id",
        # Bytes pass unchanged.
        "use_tty": False,
    }
    inner = connection._builder.connection
    assert inner._load_name.endswith("ssh")
    assert {name: inner.get_option(name) for name in wanted} == wanted


def test_without_an_address_the_name_of_the_builder_is_one():
    hosts = {"builder-2": {"inventory_hostname": "builder-2"}}
    connection = of_image(image_builder="builder-2", hostvars=hosts)
    connection._connect()
    assert connection._builder.connection.get_option("host") == "builder-2"


def test_the_connection_of_images_is_not_that_of_a_builder():
    """As ``--extra-vars ansible_connection=...`` sets it, for the builder as well."""
    hosts = {
        name: {"inventory_hostname": name, "ansible_connection": "sealedroot.image.chroot"}
        for name in ("localhost", "builder-2")
    }
    for name, kind in (("localhost", "local"), ("builder-2", "ssh")):
        connection = of_image(image_builder=name, hostvars=hosts)
        connection._connect()
        assert connection._builder.connection._load_name.endswith(kind)


def test_a_builder_that_is_not_in_the_inventory_is_named():
    connection = of_image(image_builder="builder-9", hostvars={"builder-2": {}})
    with pytest.raises(AnsibleConnectionFailure, match="'builder-9' is not in the inventory"):
        connection._connect()


def test_an_unknown_connection_plugin_is_named():
    hosts = {"builder-2": {"ansible_connection": "carrier.pigeon"}}
    connection = of_image(image_builder="builder-2", hostvars=hosts)
    with pytest.raises(AnsibleConnectionFailure, match=r"'carrier\.pigeon' for 'builder-2'"):
        connection._connect()


def became(play=None, user="admin", keys=None, **variables):
    """The command that a builder is given, with the become plugin that the play asks for, if any."""
    builder = {"inventory_hostname": "b", "ansible_user": user, **variables}
    connection = of_image(image_builder="b", hostvars={"b": builder})
    connection.set_become_plugin(play)
    connection._task_keys = {**connection._task_keys, **(keys or {})}
    connection._connect()
    # Core would escalate in the image else, where there may be no sudo.
    assert connection.become is None
    connection._builder.connection = inner = Inner((0, b"out", b""), shell=connection._shell)
    connection.exec_command("id")
    ((command, _data),) = inner.calls
    return command


def sudo():
    return become_loader.get("ansible.builtin.sudo")


def test_the_builder_becomes_root_by_its_own_variables():
    command = became(ansible_become=True, ansible_become_flags="-H -n")
    assert command.split()[:7] == ["sudo", "-H", "-n", "-u", "root", "/bin/sh", "-c"]
    assert "exec /w/run/sandbox/launch" in command


def test_the_play_may_ask_for_become_and_the_builder_decline():
    assert became(sudo()).startswith("sudo ")
    assert became(sudo(), ansible_become=False).startswith("exec /w/run/sandbox/launch ")


@pytest.fixture
def command_line(monkeypatch):
    """Set what the command line says, as core's own defaults are else."""

    def say(**said):
        values = CLIArgs({"become": False, "become_method": "sudo", **said})
        monkeypatch.setattr(context, "CLIARGS", values)

    return say


@pytest.mark.parametrize(
    ("said", "variables", "start"),
    [
        ({"become": True}, {}, "sudo -H -S -n "),
        ({"become": True, "become_method": "su"}, {}, "su "),
        ({"become": True}, {"ansible_become_method": "su"}, "su "),
        ({"become": True}, {"ansible_become": False}, "exec "),
        ({}, {"ansible_become": True}, "sudo -H -S -n "),
        ({"become_method": "su"}, {"ansible_become": True}, "su "),
    ],
)
@pytest.mark.parametrize("of_task", [None, "sudo", "su"])
def test_what_a_role_says_of_become_is_for_the_image(command_line, said, variables, start, of_task):
    command_line(**said)
    plugin = of_task and become_loader.get(of_task)
    keys = {"become_flags": "-x", "become_exe": "/opt/x", "become_method": of_task}
    assert became(plugin, keys=keys, **variables).startswith(start)


def test_what_a_play_says_of_become_counts_where_nothing_else_does(command_line):
    command_line()
    assert became(become_loader.get("su")).startswith("su ")
    assert became(None).startswith("exec ")


def test_root_does_not_become_root():
    assert became(sudo(), user="root").startswith("exec /w/run/sandbox/launch ")


@pytest.mark.parametrize(("euid", "start"), [(0, "exec "), (1000, "sudo ")])
def test_root_of_the_control_node_needs_no_sudo_to_build_there(monkeypatch, euid, start):
    """A role of a person's own can say become: true in each task."""
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    assert became(sudo(), ansible_connection="ansible.builtin.local").startswith(start)


@pytest.mark.parametrize(
    ("play", "user", "expected"),
    [
        (None, "postgres", False),
        (sudo, "postgres", True),
        (sudo, "root", False),
        (sudo, None, False),
    ],
)
def test_become_user_is_a_user_of_the_image(play, user, expected):
    builder = {"inventory_hostname": "b", "ansible_user": "admin"}
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    variables = {"image_root": "/w/root", "image_run": "/w/run", "image_builder": "b"}
    connection._variables = {"hostvars": {"b": builder}}
    connection.set_become_plugin(play and play())
    connection.set_options(task_keys={"become_user": user}, var_options=variables)
    connection._connect()
    connection._builder.connection = inner = Inner((0, b"", b""), shell=connection._shell)
    connection.exec_command("id")
    ((command, _data),) = inner.calls
    assert ("env:SEALEDROOT_USER=postgres" in command) is expected
    assert "-u postgres" not in command


def test_where_a_task_runs_decides_about_python_and_directories():
    connection = of_image(image_python="/run/sealedroot/image-python3")
    connection._shell.set_options()
    variables = {"ansible_python_interpreter": "/usr/bin/python3.9"}
    connection.update_vars(variables)
    assert variables["ansible_python_interpreter"] == "/run/sealedroot/image-python3"
    assert connection._shell.get_option("remote_tmp") == "/run/sealedroot/tmp"
    assert connection._shell.get_option("async_dir") == "/run/sealedroot/tmp/async-root"


@pytest.mark.parametrize(
    ("play", "user", "directory"),
    [(None, "postgres", "root"), (sudo, "postgres", "postgres"), (sudo, None, "root")],
)
def test_each_user_of_an_image_has_a_directory_for_async_tasks(play, user, directory):
    connection = of_image()
    connection.set_become_plugin(play and play())
    connection.set_options(task_keys={"become_user": user}, var_options=IMAGE)
    connection._shell.set_options()
    connection.update_vars({})
    assert connection._shell.get_option("async_dir") == f"/run/sealedroot/tmp/async-{directory}"


@pytest.mark.parametrize(
    ("action", "python"),
    [
        ("ansible.builtin.command", "/run/sealedroot/image-python3"),
        ("sealedroot.image.root_info", "/run/sealedroot/python3"),
    ],
)
def test_the_python_holds_for_an_image_that_a_task_is_delegated_to(action, python):
    connection = of_image(image_python="/run/sealedroot/image-python3")
    connection._task_keys = {"action": action, "delegate_to": "web-1"}
    connection._shell.set_options()
    hosts = {"web-1": {"ansible_host": "x"}, "db": {"ansible_python_interpreter": "/db"}}
    variables = {"ansible_delegated_vars": hosts}
    connection.update_vars(variables)
    assert variables["ansible_delegated_vars"] == {
        "web-1": {"ansible_host": "x", "ansible_python_interpreter": python},
        "db": {"ansible_python_interpreter": "/db"},
    }
    assert "ansible_python_interpreter" not in hosts["web-1"]


def test_no_variable_makes_the_image_run_a_module_of_the_collection():
    """Neither the connection's own nor core's, as a fact that a step has left."""
    connection = of_image(image_python="/run/sealedroot/image-python3")
    connection._task_keys = {"action": "sealedroot.image.root_info"}
    connection._shell.set_options()
    variables = {"ansible_python_interpreter": "/usr/bin/python3"}
    connection.update_vars(variables)
    assert variables["ansible_python_interpreter"] == "/run/sealedroot/python3"


def test_a_host_that_a_task_is_delegated_to_needs_a_connection_of_its_own():
    """Core takes the connection of the task for it else."""
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(task_keys={"delegate_to": "db"}, var_options={})
    with pytest.raises(AnsibleConnectionFailure, match=r"delegated to db, .* ansible_connection"):
        connection.exec_command("id")


def test_a_reboot_is_refused_before_anything_runs():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    variables = {"image_root": "/w/root", "image_run": "/w/run"}
    connection.set_options(task_keys={"action": "ansible.builtin.reboot"}, var_options=variables)
    with pytest.raises(AnsibleError, match="an image cannot reboot"):
        connection.exec_command("cat /proc/sys/kernel/random/boot_id")


def test_the_method_of_the_builder_is_used():
    command = became(ansible_become=True, ansible_become_method="ansible.builtin.su")
    assert command.startswith("su ")


def test_the_sign_of_success_is_not_output():
    connection = of_image(hostvars={"localhost": {"ansible_connection": "local"}})
    connection._connect()
    plugin = sudo()
    plugin.set_options()
    plugin.build_become_command = lambda command, _shell: command
    plugin.success = "BECOME-SUCCESS-x"
    inner = Inner((0, b"BECOME-SUCCESS-x\n\x00data", b""), (0, b"data", b""))
    connection._builder = Builder(inner, plugin)
    assert connection._run("cat f", b"")[1] == b"\x00data"
    assert connection._run("cat f", b"")[1] == b"data"


def test_an_empty_root_is_not_the_controllers_directory():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={"image_root": "", "image_run": "/w/run"})
    with pytest.raises(AnsibleConnectionFailure, match="image_root"):
        connection._connect()


def test_paths_are_the_builders_and_not_expanded_on_the_controller():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={"image_root": "~/root", "image_run": "/w/run"})
    with pytest.raises(AnsibleConnectionFailure, match="'~/root': it must be an absolute path"):
        connection._connect()
