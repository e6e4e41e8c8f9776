# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: builder_vm
short_description: A virtual machine that tests use as a builder
description:
  - Starts a QEMU process that boots a kernel directly, and waits until it can be logged in to by ssh.
  - The machine has a new key pair, a new host key and an empty overlay over its disk each time, all in one
    directory, and reaches nothing outside; only its ssh port is forwarded, to 127.0.0.1.
  - For the tests of this repository only.
author: The sealedroot.image authors (@sealedroot)
options:
  path:
    description: The directory of the machine, which is made, and removed with the machine.
    type: path
    required: true
  state:
    description: Whether the machine runs.
    type: str
    choices: [started, absent]
    default: started
  image:
    description: The directory with C(disk.raw), C(vmlinuz) and C(initramfs), see C(disk.sh).
    type: path
  accelerator:
    description: V(auto) takes KVM when the kernel really starts under it.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  cpus:
    description: The number of processors.
    type: int
    default: 2
  memory:
    description: The memory in MiB.
    type: int
    default: 3072
  timeout:
    description: How long the machine may take to start, in seconds.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Start the builder
  builder_vm:
    path: /var/tmp/builder
    image: /var/cache/sealedroot/builder-vm-0123456789abcdef
"""

RETURN = r"""
port:
  description: The port on 127.0.0.1 where the machine's ssh server is.
  type: int
  returned: when the machine runs
key_file:
  description: The private key of its root.
  type: path
  returned: when the machine runs
known_hosts:
  description: The file with its host key.
  type: path
  returned: when the machine runs
accelerator_reason:
  description: Why it runs under KVM, or under QEMU's own emulation.
  type: str
  returned: when it was started
seconds:
  description: How long it took until ssh answered.
  type: float
  returned: when it was started
"""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._machine import (
    accelerator as machine_accelerator,
    pty_console,
    qemu,
    serial_boot,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    qemu_options,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)

Params = t.Mapping[str, t.Any]

# With AES instructions, emulated: dm-crypt is twice as fast by them (measured: 35 and 20 MB/s).
ARCHITECTURE = dataclasses.replace(
    architectures.X86_64, tcg_cpu=f"{architectures.X86_64.tcg_cpu},+aes"
)
# No audit, AppArmor, SELinux, mitigations or watchdogs: they cost emulated time and protect nothing here. Nor random
# addresses: QEMU translates code again for each address that it is mapped at.
COMMAND_LINE = (
    "console=ttyS0 net.ifnames=0 random.trust_cpu=on systemd.show_status=0 mitigations=off audit=0"
    " apparmor=0 selinux=0 nowatchdog norandmaps"
)
FORWARD = re.compile(r"hostfwd=tcp:127\.0\.0\.1:(\d+)-:22\b")
PORTS = 5
STOP_SECONDS = 20


def argv(
    runner: Runner, params: Params, *, accelerator: str, initramfs: str, words: str = ""
) -> t.List[str]:
    """Return the command of the machine up to its kernel."""
    return [
        *qemu.bare(
            runner.find(ARCHITECTURE.qemu),
            ARCHITECTURE,
            accelerator=accelerator,
            cpus=params["cpus"],
            memory=params["memory"],
        ),
        *("-kernel", os.path.join(params["image"], "vmlinuz"), "-initrd", initramfs),
        *("-append", f"{COMMAND_LINE} {words}".strip()),
    ]


def devices(path: str, port: int) -> t.List[str]:
    """Return the rest of the command: disk, network, and what makes it a process of its own."""
    overlay = qemu_options.quote(os.path.join(path, "overlay.qcow2"))
    console = qemu_options.quote(os.path.join(path, "console.log"))
    return [
        # unsafe: who would need this disk after a crash?
        *("-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={overlay}"),
        *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile=", "-serial", f"file:{console}"),
        *("-daemonize", "-pidfile", os.path.join(path, "pid")),
    ]


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(path: str) -> t.Tuple[int, t.List[str]]:
    """Return the process of the machine in *path* and its command; 0 when it does not run."""
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(path, "pid"), encoding="ascii") as handle:
            pid = int(handle.read())
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as handle:
            command = handle.read().split("\0")
        # The number may be another process's by now.
        if os.path.join(path, "pid") in command:
            return pid, command
    return 0, []


def port_of(command: t.Sequence[str]) -> int:
    """Return the forwarded port that is in the command of a machine."""
    found = [match for match in map(FORWARD.search, command) if match]
    return int(found[0].group(1)) if found else 0


def make_identity(runner: Runner, params: Params) -> None:
    """Make the keys, and the initramfs that brings them: that of the image with one more archive after it."""
    path = params["path"]
    seed = os.path.join(path, "seed")
    for folder in ("root/.ssh", "etc/ssh"):
        os.makedirs(os.path.join(seed, "seed", folder), mode=0o700)
    for name, words in (("key", "builder"), ("host_key", "host")):
        generate = [runner.find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", words]
        runner.run([*generate, "-f", os.path.join(path, name)], timeout=60)
    shutil.copy(os.path.join(path, "key.pub"), f"{seed}/seed/root/.ssh/authorized_keys")
    shutil.copy(os.path.join(path, "host_key"), f"{seed}/seed/etc/ssh/ssh_host_ed25519_key")
    names = [
        os.path.relpath(os.path.join(at, it), seed)
        for at, ds, fs in os.walk(seed)
        for it in [*ds, *fs]
    ]
    pack = [runner.find("cpio"), "--create", "--format=newc", "--quiet", "--owner=0:0"]
    extra = os.path.join(path, "seed.cpio")
    pack += ["--directory", seed, "--file", extra]
    runner.run(pack, stdin="\n".join(names).encode(), timeout=60)
    with open(os.path.join(path, "initramfs"), "wb") as target:
        for source in (os.path.join(params["image"], "initramfs"), extra):
            with open(source, "rb") as part:
                shutil.copyfileobj(part, target)


def launch(runner: Runner, params: Params, accelerator: str) -> int:
    """Start the process and return the port, a free one."""
    path = params["path"]
    command = argv(
        runner,
        params,
        accelerator=accelerator,
        initramfs=os.path.join(path, "initramfs"),
        words="quiet",
    )
    said = ""
    for _attempt in range(PORTS):
        port = free_port()
        started = runner.run([*command, *devices(path, port)], check=False, timeout=60)
        if started.rc == 0:
            with open(os.path.join(path, "host_key.pub"), encoding="ascii") as source:
                key = source.read()
            with open(os.path.join(path, "known_hosts"), "w", encoding="ascii") as target:
                target.write(f"[127.0.0.1]:{port} {key}")
            return port
        said = started.stderr.strip()
        if "host forwarding" not in said:
            break
    raise SealedRootError(f"QEMU did not start: {said}")


def await_ssh(path: str, port: int, seconds: float) -> None:
    """Wait until the ssh server says something; what the console said is the reason when it does not."""
    deadline = time.monotonic() + seconds
    why = f"it did not answer by ssh within {seconds:g} seconds"
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as link:
            if link.recv(4).startswith(b"SSH-"):
                return
        if not running(path)[0]:
            why = "it ended"
            break
        time.sleep(0.2)
    with open(os.path.join(path, "console.log"), errors="replace") as handle:
        said = serial_boot.last_lines(serial_boot.plain(handle.read(), ""), 10)
    raise SealedRootError(
        f"the builder did not start: {why}. The console ends with: {said or 'nothing'}"
    )


def start(runner: Runner, params: Params) -> t.Dict[str, t.Any]:
    """Start the machine and return what is known of it."""
    began = time.monotonic()
    path = params["path"]
    os.makedirs(path, mode=0o700)
    make_identity(runner, params)
    disk, overlay = os.path.join(params["image"], "disk.raw"), os.path.join(path, "overlay.qcow2")
    create = [runner.find("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk]
    runner.run([*create, overlay], timeout=60)

    def probe() -> pty_console.PtyConsole:
        plain = os.path.join(params["image"], "initramfs")
        command = argv(runner, params, accelerator="kvm", initramfs=plain)
        return pty_console.PtyConsole([*command, "-nic", "none", "-serial", "stdio"])

    accelerator, reason = machine_accelerator.choose(
        params["accelerator"],
        probe,
        who="the kernel",
        sign="Linux version",
        machine=ARCHITECTURE.machine,
    )
    port = launch(runner, params, accelerator)
    await_ssh(path, port, params["timeout"])
    return {
        "accelerator": accelerator,
        "accelerator_reason": reason,
        "seconds": round(time.monotonic() - began, 1),
    }


def stop(path: str) -> bool:
    """End the machine if it runs and remove its directory; say whether there was anything."""
    pid, _command = running(path)
    for number in (signal.SIGTERM, signal.SIGKILL) if pid else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while running(path)[0] and time.monotonic() < deadline:
            time.sleep(0.05)
    if running(path)[0]:
        raise SealedRootError(f"process {pid} (QEMU) does not end")
    there = os.path.isdir(path)
    if there:
        shutil.rmtree(path)
    return there


def ensure(runner: Runner, params: Params) -> t.Dict[str, t.Any]:
    """Bring the machine into the state that is asked for."""
    path = params["path"]
    if params["state"] == "absent":
        return {"changed": stop(path)}
    pid, command = running(path)
    more: t.Dict[str, t.Any] = {}
    if not pid or os.path.join(params["image"], "vmlinuz") not in command:
        stop(path)
        try:
            more = start(runner, params)
        except BaseException:
            stop(path)
            raise
        pid, command = running(path)
    return {
        "changed": bool(more),
        "port": port_of(command),
        "key_file": os.path.join(path, "key"),
        "known_hosts": os.path.join(path, "known_hosts"),
        **more,
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
            "image": {"type": "path"},
            "accelerator": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "cpus": {"type": "int", "default": 2},
            "memory": {"type": "int", "default": 3072},
            "timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", "started", ["image"])],
    )
    try:
        outcome = ensure(ModuleRunner(module), module.params)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
