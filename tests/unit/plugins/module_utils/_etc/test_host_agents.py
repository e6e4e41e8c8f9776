# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that do what the host says."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import host_agents
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("cloud-init", "cloud-final", "qemu-guest-agent", "ssh"):
        path = tmp_path / f"usr/lib/systemd/system/{name}.service"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def plan(root: pathlib.Path, *allowed: str) -> tuple[list[str], Tree]:
    tree = Tree(str(root))
    return host_agents.plan(tree, allowed=allowed), tree


def masked(root: pathlib.Path) -> set[str]:
    links = (root / "etc/systemd/system").glob("*.service")
    return {path.name for path in links if str(path.readlink()) == "/dev/null"}


def test_what_is_there_is_masked_and_nothing_else(root: pathlib.Path) -> None:
    names, tree = plan(root)
    assert names == ["cloud-init", "qemu-guest-agent"]
    tree.apply()
    assert masked(root) == {
        "cloud-init.service",
        "cloud-final.service",
        "qemu-guest-agent.service",
    }
    assert plan(root)[1].changed() == []


def test_what_is_asked_for_stays(root: pathlib.Path) -> None:
    names, tree = plan(root, "cloud-init")
    assert names == ["qemu-guest-agent"]
    tree.apply()
    assert masked(root) == {"qemu-guest-agent.service"}


def test_a_unit_of_the_owner_gives_way(root: pathlib.Path) -> None:
    own = root / "etc/systemd/system/hypervkvpd.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\n")
    names, tree = plan(root)
    assert "hyper-v" in names
    tree.apply()
    assert "hypervkvpd.service" in masked(root)


@pytest.mark.parametrize(
    "directory",
    ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"],
)
@pytest.mark.parametrize("name", host_agents.AGENTS)
def test_every_service_of_every_agent(name: str, directory: str) -> None:
    services = host_agents.files(name)
    there = {f"{directory}/{service}" for service in services}
    assert host_agents.units(there.__contains__, ()) == {name: services}
    assert host_agents.units(there.__contains__, (name,)) == {}


def test_a_script_of_init_is_a_service_as_well(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "etc/init.d/xe-linux-distribution"
    script.parent.mkdir(parents=True)
    script.touch()
    names, tree = plan(tmp_path)
    assert names == ["xen"]
    tree.apply()
    assert masked(tmp_path) == {"xe-linux-distribution.service"}


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("snap.amazon-ssm-agent.amazon-ssm-agent.service", "amazon-ssm-agent"),
        ("droplet-agent.service", "digitalocean"),
        ("ec2-instance-connect.service", "ec2-instance-connect"),
        # By this alone, sshd takes the keys that the host names.
        ("ssh.service.d/ec2-instance-connect.conf", "ec2-instance-connect"),
        ("google-guest-compat-manager.service", "google"),
        ("vboxadd-service.service", "virtualbox"),
        ("vboxservice.service", "virtualbox"),
        ("lxd-agent.service", "incus"),
        ("incus-agent.service", "incus"),
        ("AssistDaemon.service", "alibaba"),
        ("tat_agent.service", "tencent"),
        ("snap.oracle-cloud-agent.oracle-cloud-agent.service", "oracle"),
        ("xen-guest-agent.service", "xen"),
        ("prltoolsd.service", "parallels"),
    ],
)
def test_an_agent_in_the_owners_directory(tmp_path: pathlib.Path, unit: str, name: str) -> None:
    own = tmp_path / "etc/systemd/system" / unit
    own.parent.mkdir(parents=True)
    own.touch()
    names, tree = plan(tmp_path)
    assert names == [name]
    tree.apply()
    assert str(own.readlink()) == "/dev/null"


def test_no_service_is_of_two_agents() -> None:
    services = [unit for units in host_agents.AGENTS.values() for unit in units]
    assert len(services) == len(set(services))
