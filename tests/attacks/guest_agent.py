# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host plugs in the port of qemu-guest-agent, and tells the agent to run a command.

The guest must boot its own root and not run it.

Why: the agent runs as root what the host says; that is what it is for.
"""

from __future__ import annotations

import json
import socket
import time

from attack_images import AGENTS
from attacks import Attack, Outcome, Stage, looked
from guests import Guest

COMMAND = {"path": "/bin/touch", "arg": ["/run/host-agent"]}


def prepare(stage: Stage) -> None:
    stage.more += [
        *("-chardev", f"socket,id=agent,path={stage.folder / 'agent'},server=on,wait=off"),
        *("-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
    ]


def probe(stage: Stage, guest: Guest) -> Outcome:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(str(stage.folder / "agent"))
        order = {"execute": "guest-exec", "arguments": COMMAND}
        agent.sendall(json.dumps(order).encode() + b"\n")
        # An agent that is there has answered by then.
        time.sleep(10)
        return looked(guest, "ls /run", "host-agent")


ATTACK = Attack(images=AGENTS, prepare=prepare, probe=probe)
