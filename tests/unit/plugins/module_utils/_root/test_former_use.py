# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a root brings from the container or machine that it was."""

from __future__ import annotations

import time

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import former_use
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member

INITRAMFS_TOOLS = ("usr/sbin/mkinitramfs", "usr/sbin/update-initramfs")
DRACUT, MKINITCPIO = ("usr/bin/dracut",), ("usr/bin/mkinitcpio",)
HOOK = "etc/initramfs/post-update.d/zz-update-efistub"
PRESET = "etc/mkinitcpio.d/linux.preset"
UKI = 'default_uki="/efi/EFI/Linux/arch-linux.efi"\n'
DROP_IN = "kernel/install.conf.d/50-x.conf"
MACHINE_INFO, UKI_LAYOUT = "etc/machine-info", "KERNEL_INSTALL_LAYOUT='uki'\n"
SNAKEOIL = "etc/ssl/private/ssl-cert-snakeoil.key"


def members(*names: str) -> dict[str, Member]:
    return {name: Member("-", name, 44, 512, f"./{name}") for name in names}


def texts(files: dict[str, str]) -> former_use.Text:
    return lambda name: files.get(name, "")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), ""),
        # Ours is read after these.
        ((*INITRAMFS_TOOLS, "etc/initramfs-tools/conf.d/zz-resume-auto"), ""),
        ((*DRACUT, "etc/dracut.conf.d/zzzzz.conf"), ""),
        (
            (*INITRAMFS_TOOLS, "etc/initramfs-tools/conf.d/zzzzz"),
            "/etc/initramfs-tools/conf.d/zzzzz is",
        ),
        (
            ("etc/default/grub.d/zzzzz.cfg",),
            "own /etc/default/grub.d/zzzz-sealedroot.cfg, and could undo it.",
        ),
        (
            (*DRACUT, "usr/lib/dracut/dracut.conf.d/_x.conf"),
            "/usr/lib/dracut/dracut.conf.d/_x.conf is",
        ),
        ((*MKINITCPIO, "etc/mkinitcpio.conf.d/_x.conf"), "Give it a name that begins with a digit"),
        # Nothing reads that here.
        ((*INITRAMFS_TOOLS, "etc/dracut.conf.d/_x.conf"), ""),
    ],
)
def test_a_drop_in_that_is_read_after_ours(names: tuple[str, ...], says: str) -> None:
    found = former_use.problems(members(*names), texts({}))
    assert [says in it for it in found] == ([True] if says else [])


CONF_HOOK = "usr/share/initramfs-tools/conf-hooks.d/site"


@pytest.mark.parametrize(
    ("programs", "text", "says"),
    [
        (
            INITRAMFS_TOOLS,
            "MODULES=dep\n",
            f"/{CONF_HOOK} sets MODULES, and is read after the build's own"
            " /etc/initramfs-tools/conf.d/zzzz-sealedroot. Take the line out: it must stay most or list.",
        ),
        (INITRAMFS_TOOLS, "RESUME=/dev/sda3\n", "sets RESUME"),
        (INITRAMFS_TOOLS, "export BOOT='nfs'\n", "sets BOOT"),
        (INITRAMFS_TOOLS, "KEYMAP=y\nUMASK=0022\n", "sets UMASK"),
        # What packages set, and what says the same as ours.
        (INITRAMFS_TOOLS, "KEYMAP=y\nBUSYBOX=y\nFRAMEBUFFER=y\nCOMPRESS=zstd\n", ""),
        (INITRAMFS_TOOLS, "MODULES=list\nRESUME=none\nBOOT=local\nUMASK=077\n", ""),
        (INITRAMFS_TOOLS, "#MODULES=dep\n", ""),
        (DRACUT, "MODULES=dep\n", ""),
    ],
)
def test_settings_of_packages_that_are_read_after_ours(
    programs: tuple[str, ...], text: str, says: str
) -> None:
    have = members(*programs, CONF_HOOK)
    assert (CONF_HOOK,) in former_use.wanted(have.values())
    found = former_use.problems(have, texts({CONF_HOOK: text}))
    assert [says in it for it in found] == ([True] if says else [])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            "/usr/sbin/update-initramfs\n/usr/sbin/update-initramfs.distrib\n:\n",
            "/usr/sbin/update-initramfs",
        ),
        ("/bin/sh\n/bin/sh.distrib\ndash\n/usr/sbin/grub-probe\n/x\n:\n", "/usr/sbin/grub-probe"),
        # A package has its reasons, and other programs are no concern of ours.
        ("/usr/sbin/update-initramfs\n/usr/sbin/update-initramfs.orig\nlive-tools\n", ""),
        ("/usr/sbin/grub-probe\n/usr/sbin/grub-probe.orig\nmulti\n", ""),
        # But one that is not there has none.
        (
            "/usr/sbin/update-initramfs\n/usr/sbin/update-initramfs.orig\nlive-build\n",
            "/usr/sbin/update-initramfs",
        ),
        ("/sbin/initctl\n/sbin/initctl.distrib\n:\n", ""),
        ("/usr/sbin/update-initramfs\n", ""),
    ],
)
def test_a_boot_program_that_is_diverted(text: str, path: str) -> None:
    have = members("var/lib/dpkg/info/live-tools.list", "var/lib/dpkg/info/multi:amd64.list")
    found = former_use.problems(have, texts({former_use.DIVERSIONS: text}))
    assert [it.partition(" is diverted")[0] for it in found] == ([path] if path else [])
    by = "--package live-build" if "live-build" in text else "--local"
    assert all(f"dpkg-divert {by} --rename --remove {path})" in it for it in found)


@pytest.mark.parametrize(
    ("name", "link", "is_named"),
    [
        ("usr/sbin/update-initramfs", "/bin/true", True),
        ("usr/bin/dracut", "../../bin/true", True),
        ("usr/bin/dracut", "dracut-109", False),
        ("usr/sbin/policy", "/bin/true", False),
        ("usr/sbin/grub-install", "/usr/bin/false", True),
    ],
)
def test_a_boot_program_that_does_nothing(name: str, link: str, is_named: bool) -> None:
    have = {name: Member("l", name, 0, 0, f"./{name}", link=link)}
    found = former_use.problems(have, texts({}))
    assert [it.partition(", so")[0] for it in found] == (
        [f"/{name} is a link to {link}"] if is_named else []
    )


@pytest.mark.parametrize(
    ("name", "text", "is_named"),
    [
        ("usr/sbin/update-initramfs", "#!/bin/sh\nexit 0\n", True),
        ("usr/bin/dracut", "#!/bin/sh\n# Off.\nset -e\n\necho 'not here'\n/bin/true\n", True),
        ("sbin/grub-mkconfig", "#!/bin/sh\n:\n", True),
        # These do something, and the last is another program.
        ("usr/sbin/update-grub", '#!/bin/sh\nset -e\nexec grub-mkconfig -o /x "$@"\n', False),
        ("usr/sbin/update-grub", "#!/bin/sh\necho $(grub-mkconfig -o /x)\n", False),
        ("usr/sbin/update-grub", "exit 0\n", False),
        ("usr/sbin/policy", "#!/bin/sh\nexit 0\n", False),
    ],
)
def test_a_boot_program_that_is_a_stub(name: str, text: str, is_named: bool) -> None:
    have = members(name)
    assert ((name,) in former_use.wanted(have.values())) is (name != "usr/sbin/policy")
    found = former_use.problems(have, texts({name: text}))
    assert [it.partition(", so")[0] for it in found] == (
        [f"/{name} is a script that does nothing"] if is_named else []
    )


def test_a_long_boot_program_is_not_read() -> None:
    have = {"usr/bin/dracut": Member("-", "usr/bin/dracut", 1025, 1536, "./usr/bin/dracut")}
    assert ("usr/bin/dracut",) not in former_use.wanted(have.values())


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"etc/kernel/install.conf": "layout=uki\n"},
            "/etc/kernel/install.conf sets layout=uki: it would hold",
        ),
        (
            {"usr/lib/kernel/install.conf": "# x\nlayout = 'uki'\n"},
            "/usr/lib/kernel/install.conf sets",
        ),
        # The one in /etc counts, and the last line of it.
        (
            {
                "etc/kernel/install.conf": "layout=bls\n",
                "usr/lib/kernel/install.conf": "layout=uki\n",
            },
            "",
        ),
        ({"etc/kernel/install.conf": "layout=uki\nlayout=grub\n"}, ""),
        ({"etc/kernel/install.conf": "#layout=uki\n"}, ""),
        (
            {"usr/local/lib/kernel/install.conf": "layout=uki\n"},
            "/usr/local/lib/kernel/install.conf sets",
        ),
        # Drop-ins come after it, by their names. An older systemd does not read them.
        ({f"etc/{DROP_IN}": "layout=uki\n"}, f"/etc/{DROP_IN} sets layout=uki"),
        ({f"usr/local/lib/{DROP_IN}": "layout=uki\n"}, f"/usr/local/lib/{DROP_IN} sets"),
        ({f"usr/lib/{DROP_IN}": "layout=uki\n"}, f"/usr/lib/{DROP_IN} sets"),
        ({f"etc/{DROP_IN}": "layout=bls\n", f"usr/lib/{DROP_IN}": "layout=uki\n"}, ""),
        ({f"usr/lib/{DROP_IN}.bak": "layout=uki\n"}, ""),
        (
            {
                "etc/kernel/install.conf.d/9.conf": "layout=grub\n",
                f"usr/lib/{DROP_IN}": "layout=uki\n",
            },
            "",
        ),
        (
            {"etc/kernel/install.conf": "layout=uki\n", f"etc/{DROP_IN}": "layout=bls\n"},
            "/etc/kernel/install.conf sets",
        ),
        ({MACHINE_INFO: UKI_LAYOUT}, f"/{MACHINE_INFO} sets KERNEL_INSTALL_LAYOUT=uki"),
        ({MACHINE_INFO: "PRETTY_HOSTNAME=uki\n"}, ""),
        # It counts only where the others say nothing.
        ({MACHINE_INFO: UKI_LAYOUT, "etc/kernel/install.conf": "layout=grub\n"}, ""),
        (
            {PRESET: UKI, MKINITCPIO[0]: ""},
            f"/{PRESET} makes a unified kernel image: it would hold the boot key",
        ),
        ({PRESET: f"#{UKI}", MKINITCPIO[0]: ""}, ""),
        ({PRESET: UKI, DRACUT[0]: ""}, ""),
    ],
)
def test_unified_kernel_images(files: dict[str, str], says: str) -> None:
    asked = {name for names in former_use.wanted(members(*files).values()) for name in names}
    read = {name: text for name, text in files.items() if name in asked}
    found = former_use.problems(members(*files), texts(read))
    assert [says in it for it in found] == ([True] if says else [])


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ('cp --verbose "$2" /boot/efi/EFI/debian/initrd.img\n', True),
        ("esp=/efi; cp $2 $esp\n", True),
        ("ESP=${ESP:-/boot/efi}; mountpoint -q $ESP || mount $ESP; cp $2 $ESP/EFI/x/\n", True),
        ('cp "$2" "$ROOT/boot/efi"\n', True),
        ('cp "$2" "${ROOT}/efi"\n', True),
        ("cd /boot; cp x efi/\n", True),
        ("cp $2 /boot/ESP/\n", True),
        ('cp $2 "$(bootctl -p)"\n', True),
        ("mount -L ESP /mnt; cp $2 /mnt\n", True),
        ("mount PARTLABEL=EFI /mnt; cp $2 /mnt\n", True),
        ("d=$(blkid -t PARTTYPE=C12A7328-F81F-11D2-BA4B-00A0C93EC93B)\n", True),
        ("test -d /sys/firmware/efi || exit 0\n", False),
        ("# cp $2 /boot/efi\nmount -L data /mnt\n", False),
        ("cp /usr/lib/systemd/boot/efi/x /tmp; grub-install --target=x86_64-efi\n", False),
        ("update-grub\n", False),
    ],
)
def test_a_hook_that_names_the_esp(text: str, is_named: bool) -> None:
    found = former_use.notes(members(HOOK), texts({HOOK: text}))
    assert [it.partition(" names the EFI")[0] for it in found] == ([f"/{HOOK}"] if is_named else [])
    assert (HOOK,) in former_use.wanted(members(HOOK).values())


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("proxmox-boot-tool refresh\n", "proxmox-boot-tool"),
        ("kernelstub -v\n", "kernelstub"),
        ("mount /dev/vda1 /mnt; cp $2 /mnt\n", "mount"),
        ("mount -t vfat -o rw /dev/vda1 /mnt\n", "mount"),
        ("rsync -a /boot/ backup@nas:/boot/\n", "rsync"),
        ("scp $2 pxe:/srv/tftp/\n", "scp"),
        ("dd if=$2 of=/dev/vda3\n", "dd"),
        ("sbctl bundle -s /x.efi\n", "sbctl"),
        ("mcopy -i /srv/x.img $2 ::/\n", "mcopy"),
        ("# kernelstub\nsbctl sign-all; umount /dev/vda1\n", ""),
        ("mount -t devtmpfs udev /dev; mount -t tmpfs none /dev/shm; dd if=x of=/dev/null\n", ""),
        ("rsync -a /boot/ /srv/boot/; echo a:b\n", ""),
        # A package's own.
        ('exec update-initramfs -c -k "$1" -b /boot >&2\n', ""),
        (
            'copy_exec /sbin/mount.cifs /sbin; if [ -x "$(command -v update-grub)" ]; then :; fi\n',
            "",
        ),
    ],
)
def test_a_hook_that_carries_boot_files_out(text: str, program: str) -> None:
    found = former_use.notes(members(HOOK), texts({HOOK: text}))
    begins = f"/{HOOK} runs {program}, which can carry boot files out"
    assert [it.startswith(begins) for it in found] == ([True] if program else [])


@pytest.mark.parametrize(
    "name",
    [
        *("etc/kernel/postinst.d/zz", "usr/share/kernel/postinst.d/zz", "etc/kernel/postrm.d/zz"),
        *("usr/share/initramfs-tools/hooks/x", "usr/share/initramfs/post-update.d/x"),
        *("etc/initramfs-tools/hooks/copy", "usr/share/libalpm/hooks/95-esp.hook"),
        *("usr/lib/kernel/install.d/95-esp.install", "etc/apt/apt.conf.d/99esp"),
        *("etc/systemd/system/esp.service", "etc/systemd/system/esp.path"),
    ],
)
def test_where_hooks_are(name: str) -> None:
    assert (name,) in former_use.wanted(members(name).values())
    (found,) = former_use.notes(members(name), texts({name: "cp x /boot/efi\n"}))
    assert found.startswith(f"/{name} names the EFI system partition")


NETPLAN = "etc/netplan/50-cloud-init.yaml"
NETWORKD = "etc/systemd/network/10-cloud-init-eth0.network"
UDEV_RULE = "etc/udev/rules.d/10-network.rules"
BLOCK = (
    "network:\n  ethernets:\n    eth0:\n      match:\n        name: e*\n        macaddress: 52:54\n"
)


@pytest.mark.parametrize(
    ("name", "text", "is_named"),
    [
        (NETPLAN, BLOCK, True),
        (NETPLAN, "network: {ethernets: {e: {match: {macaddress: '52:54'}}}}\n", True),
        (NETPLAN, "network: {ethernets: {e: {match: {name: 'e*'}, dhcp4: true}}}\n", False),
        # It gives the device that address.
        (NETPLAN, "network: {ethernets: {e: {macaddress: '52:54'}}}\n", False),
        (NETWORKD, "[Match]\nMACAddress=52:54\n", True),
        ("etc/systemd/network/10-x.link", "[Match]\nPermanentMACAddress=52:54\n", True),
        (NETWORKD, "[Match]\nName=e*\n[Link]\nMACAddress=52:54\n", False),
        ("etc/NetworkManager/system-connections/x", "[ethernet]\nmac-address=52:54\n", True),
        ("etc/NetworkManager/system-connections/x", "cloned-mac-address=52:54\n", False),
        ("etc/sysconfig/network-scripts/ifcfg-eth0", "HWADDR=52:54\n", True),
        (UDEV_RULE, 'SUBSYSTEM=="net", ATTR{address}=="52:54", NAME="lan0"\n', True),
        # The build removes this one.
        (
            "etc/udev/rules.d/70-persistent-net.rules",
            'ATTR{address}=="52:54", NAME="eth0"\n',
            False,
        ),
        (UDEV_RULE, '#SUBSYSTEM=="net", ATTR{address}=="52:54"\n', False),
        (UDEV_RULE, 'SUBSYSTEM=="net", ATTR{type}=="1", NAME="lan0"\n', False),
    ],
)
def test_a_network_device_of_the_old_machine(name: str, text: str, is_named: bool) -> None:
    assert (name,) in former_use.wanted(members(name).values())
    found = former_use.notes(members(name), texts({name: text}))
    assert [f"/{name} is for a network device of one address" in it for it in found] == (
        [True] if is_named else []
    )


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((SNAKEOIL,), f"the same self-made certificate (/{SNAKEOIL}): remove it from the root"),
        (("etc/dropbear/dropbear_ed25519_host_key",), "dropbear host key"),
        (("etc/dropbear/initramfs/dropbear_rsa_host_key",), "dropbear host key"),
        (("etc/iscsi/initiatorname.iscsi",), "iSCSI initiator name"),
        (
            ("etc/nvme/hostnqn", "etc/nvme/hostid"),
            "the same NVMe host ID or name (/etc/nvme/hostid, /etc/nvme/hostnqn)",
        ),
        (("etc/hostid",), "host ID"),
        (("var/lib/tailscale/tailscaled.state",), "Tailscale node"),
        (("etc/wireguard/wg0.conf",), "WireGuard key"),
        (("var/lib/puppet/ssl/private_keys/web.pem",), "Puppet key"),
        (("etc/chef/client.pem",), "Chef client key"),
        (("etc/initramfs-tools/etc/dropbear/dropbear_rsa_host_key",), "dropbear host key"),
        (("etc/cockpit/ws-certs.d/0-self-signed.key",), "self-made certificate"),
        (("etc/insights-client/machine-id",), "Red Hat Insights ID"),
        (("etc/krb5.keytab",), "Kerberos keytab"),
        (("etc/zypp/credentials.d/SCCcredentials",), "SUSE subscription"),
        (("var/lib/amazon/ssm/Vault/Store/RegistrationKey",), "AWS Systems Manager registration"),
        (("var/lib/samba/private/secrets.tdb",), "Samba machine account"),
        (("var/lib/snapd/device/private-keys-v1/x",), "snapd device key"),
        (("var/lib/systemd/home/local.private",), "systemd-homed key"),
        (("var/lib/ubuntu-advantage/private/machine-token.json",), "Ubuntu Pro token"),
        (("var/lib/waagent/0123.prv",), "Azure agent key"),
        (("var/ossec/etc/client.keys",), "Wazuh agent key"),
        # The build removes these.
        (("etc/ssh/ssh_host_rsa_key", "etc/salt/pki/minion/minion.pem"), ""),
        (("home/x/etc/hostid", "etc/hostid.d/x"), ""),
    ],
)
def test_what_machines_would_share(names: tuple[str, ...], says: str) -> None:
    found = former_use.notes(members(*names), texts({}))
    assert [says in it for it in found] == ([True] if says else [])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("HostKey /etc/ssh/keys/ed25519", "SSH host key (/etc/ssh/keys/ed25519): remove it"),
        ('  hostkey="/etc/ssh/keys/ed25519"', "SSH host key (/etc/ssh/keys/ed25519): remove it"),
        # A comment, what is not there, and what is made anew.
        ("#HostKey /etc/ssh/keys/ed25519", ""),
        ("HostKey /etc/ssh/keys/rsa", ""),
        ("HostKey /etc/ssh/ssh_host_rsa_key", ""),
        ("HostKeyAlgorithms /etc/ssh/keys/ed25519", ""),
    ],
)
@pytest.mark.parametrize("name", ["etc/ssh/sshd_config", "etc/ssh/sshd_config.d/x.conf"])
def test_host_keys_of_unusual_names(name: str, line: str, says: str) -> None:
    have = members(name, "etc/ssh/keys/ed25519", "etc/ssh/ssh_host_rsa_key")
    assert (name,) in former_use.wanted(have.values())
    found = former_use.notes(have, texts({name: f"Port 22\n{line}\n"}))
    assert [says in it for it in found] == ([True] if says else [])


def test_what_does_not_get_into_an_image() -> None:
    esp = {
        *("boot/efi/EFI/debian/initrd.img", "boot/efi/EFI/Linux/fedora.efi", "efi/0123/6.1/linux"),
        "boot/efi/EFI/arch/vmlinuz-linux",
    }
    stays = (
        "boot/efi/EFI/fedora/shimx64.efi",
        "boot/efi/EFI/fedora/grub.cfg",
        "boot/initrd.img-6.1",
    )
    disks = ("etc/veritytab", "etc/integritytab", "etc/zfs/zpool.cache", "etc/zfs/zfs-list.cache/x")
    have = members(*esp, *disks, *stays, ".dockerenv", "run/.containerenv")
    found = former_use.left_out(have, texts({}))
    assert found == {
        **dict.fromkeys(disks, "it names disks of the old machine"),
        **dict.fromkeys(
            (".dockerenv", "run/.containerenv"), "by it systemd takes the machine for a container"
        ),
        **dict.fromkeys(esp, "a kernel or an initramfs of the old EFI system partition"),
    }


UNITS = "etc/systemd/system"
UDEVD, GETTY = f"{UNITS}/systemd-udevd.service", f"{UNITS}/getty.target"
MASKED = "as in a container, it masks what a machine needs"


def link(name: str, to: str) -> dict[str, Member]:
    return {name: Member("l", name, 0, 0, f"./{name}", link=to)}


COPIES = '#!/bin/sh\ncp "$2" /boot/efi/\n'
SENDS = "rsync -a /srv backup@example.org:/srv\n"


@pytest.mark.parametrize(
    ("hook", "call", "script", "content", "is_named"),
    [
        (HOOK, '/usr/local/bin/x "$@"\n', "usr/local/bin/x", COPIES, True),
        (HOOK, 'exec x.sh "$@"\n', "usr/local/sbin/x.sh", COPIES, True),
        (HOOK, 'python3 "/usr/local/lib/x.py" $1\n', "usr/local/lib/x.py", COPIES, True),
        (HOOK, ". /etc/kernel/functions.sh\n", "etc/kernel/functions.sh", COPIES, True),
        (HOOK, "/opt/tool/bin/x\n", "opt/tool/bin/x", SENDS, True),
        ("etc/kernel/postinst.d/zz", "/root/bin/x.sh\n", "root/bin/x.sh", COPIES, True),
        ("etc/kernel/install.d/90-x.install", "x\n", "usr/local/bin/x", COPIES, True),
        # What does nothing of the kind, is only spoken of, or belongs to a package.
        (HOOK, "/usr/local/bin/x\n", "usr/local/bin/x", "logger done\n", False),
        (HOOK, "/usr/local/bin/x\n", "usr/local/bin/x", "# /boot/efi\n", False),
        (HOOK, "# /usr/local/bin/x\n", "usr/local/bin/x", COPIES, False),
        (HOOK, "/usr/local/bin/x2\n", "usr/local/bin/x", COPIES, False),
        (HOOK, "/usr/bin/x\n", "usr/bin/x", COPIES, False),
        ("srv/hook", "/usr/local/bin/x\n", "usr/local/bin/x", COPIES, False),
        # A unit starts scripts for any purpose.
        (f"{UNITS}/x.service", "ExecStart=/usr/local/bin/x\n", "usr/local/bin/x", COPIES, True),
        (f"{UNITS}/x.service", "ExecStart=/usr/local/bin/x\n", "usr/local/bin/x", SENDS, False),
    ],
)
def test_an_own_script_that_a_hook_calls(
    hook: str, call: str, script: str, content: str, is_named: bool
) -> None:
    have = members(hook, script)
    if is_named:
        assert (script,) in former_use.wanted([*have.values()])
    notes = former_use.notes(have, texts({hook: call, script: content}))
    assert [it.partition(", which")[0] for it in notes] == [f"/{hook} calls /{script}"] * is_named


def test_hooks_are_read_before_own_scripts() -> None:
    names = [(f"usr/local/bin/{number}",) for number in range(3000)]
    wanted = former_use.wanted([*members(*(it for (it,) in names), HOOK).values()])
    assert (HOOK,) in wanted
    assert names[-1] not in wanted


def test_many_hooks_that_call_many_scripts_cost_no_time() -> None:
    scripts = [f"usr/local/bin/{number}" for number in range(500)]
    found = [f"etc/kernel/postinst.d/{number}" for number in range(500)]
    files = dict.fromkeys(found, "\n".join(f"/{it}" for it in scripts))
    files.update(dict.fromkeys(scripts, "echo\n" * (1 << 9)))
    start = time.process_time()
    assert former_use.notes(members(*files), texts(files)) == []
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("have", "goes", "noted"),
    [
        (link(UDEVD, "/dev/null"), [UDEVD], []),
        (link(UDEVD, "../../../dev/null"), [UDEVD], []),
        ({UDEVD: Member("-", UDEVD, 0, 0, f"./{UDEVD}")}, [UDEVD], []),
        ({**link(UDEVD, "/dev/null"), **link(GETTY, "/dev/null")}, [UDEVD, GETTY], []),
        # Alone it may be wanted: nobody logs in at a console, or the root stays read-only.
        (link(GETTY, "/dev/null"), [], [GETTY]),
        # Units of the owner, and of no concern.
        (members(UDEVD), [], []),
        (link(UDEVD, "/usr/lib/systemd/system/other.service"), [], []),
        (link(f"{UNITS}/tmp.mount", "/dev/null"), [], []),
    ],
)
def test_units_that_a_container_masks(
    have: dict[str, Member], goes: list[str], noted: list[str]
) -> None:
    assert former_use.left_out(have, texts({})) == dict.fromkeys(goes, MASKED)
    assert [it.partition(" masks")[0] for it in former_use.notes(have, texts({}))] == [
        f"/{name}" for name in noted
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", "forbids packages to start"),
        ("usr/sbin/policy-rc.d", "#!/bin/sh\n# exit 101\nexit 0\n", ""),
        ("etc/environment", "PATH=/bin\ncontainer=docker\n", "sets container="),
        ("etc/environment", "#container=docker\n", ""),
    ],
)
def test_habits_of_a_container(name: str, text: str, says: str) -> None:
    assert (name,) in former_use.wanted(members(name).values())
    found = former_use.notes(members(name), texts({name: text}))
    assert [it.startswith(f"/{name} ") and says in it for it in found] == ([True] if says else [])


ZRAM = "etc/systemd/zram-generator.conf"


@pytest.mark.parametrize(
    ("name", "text", "goes"),
    [
        (ZRAM, "[zram0]\nwriteback-device = /dev/disk/by-label/WB\n", True),
        (f"usr/lib/{ZRAM[4:]}.d/x.conf", "[zram0]\nwriteback-device=/dev/vdb\n", True),
        (ZRAM, "[zram0]\nzram-size = ram / 2\n#writeback-device=/dev/vdb\n", False),
        ("etc/kdump.conf", "raw /dev/vdb\n", True),
        ("etc/kdump.conf", "path /var/crash\next4 LABEL=CRASH\n", True),
        ("etc/kdump.conf", "#raw /dev/vdb\npath /var/crash\ncore_collector makedumpfile\n", False),
    ],
)
def test_settings_that_send_memory_to_a_disk(name: str, text: str, goes: bool) -> None:
    assert (name,) in former_use.wanted(members(name).values())
    assert former_use.left_out(members(name), texts({name: text})) == (
        {name: "by it memory goes to what is not in the image"} if goes else {}
    )


SERVICE = f"{UNITS}/swap.service"


@pytest.mark.parametrize(
    ("name", "text", "is_named"),
    [
        (SERVICE, "[Service]\nExecStart=/sbin/swapon LABEL=SWAP\n", True),
        (SERVICE, "[Service]\nExecStart=swapon -p 5 -L SWAP\n", True),
        (SERVICE, "[Service]\nExecStart=/usr/bin/mount /dev/disk/by-id/x /data\n", True),
        (f"{SERVICE}.d/x.conf", "[Service]\nExecStartPre=mount --label DATA /data\n", True),
        ("etc/rc.local", "#!/bin/sh\nmount -o ro UUID=0123 /data\n", True),
        ("etc/rc.d/rc.local", "#!/bin/sh\nswapon /dev/vdb2\n", True),
        ("etc/rc.local", "#!/bin/sh\n# swapon /dev/vdb2\nmount -t tmpfs x /dev/shm\n", False),
        (
            "etc/rc.local",
            "#!/bin/sh\nswapon /swapfile; mount -a >/dev/null; umount /dev/vdb\n",
            False,
        ),
        (SERVICE, "[Service]\nExecStart=/sbin/swapon /dev/zram0\n", False),
    ],
)
def test_what_uses_a_disk_at_boot(name: str, text: str, is_named: bool) -> None:
    have = {name: Member("-", name, 44, 512, f"./{name}", "rwxr-xr-x")}
    assert (name,) in former_use.wanted(have.values())
    found = [it.partition(" mounts a disk") for it in former_use.notes(have, texts({name: text}))]
    assert [it for it, said, _rest in found if said] == ([f"/{name}"] if is_named else [])


def test_no_boot_runs_an_rc_local_that_is_not_executable() -> None:
    assert not former_use.notes(members("etc/rc.local"), texts({"etc/rc.local": "swapon /dev/sda"}))


KEY = "aDFzYWx0eWtleXNhcmVub3RrZXlzYXRhbGxvaG5vMTI="


@pytest.mark.parametrize(
    ("name", "text", "is_named"),
    [
        ("etc/systemd/network/wg0.netdev", f"[WireGuard]\nPrivateKey = {KEY}\n", True),
        ("etc/systemd/network/wg0.netdev", "[WireGuard]\nPrivateKeyFile=/etc/x\n", False),
        ("etc/systemd/network/wg0.netdev", "[WireGuard]\nPrivateKey=@network.wireguard.x\n", False),
        ("etc/NetworkManager/system-connections/wg0", f"[wireguard]\nprivate-key={KEY}\n", True),
        ("etc/NetworkManager/system-connections/x", "[802-1x]\nprivate-key=/etc/x.pem\n", False),
    ],
)
def test_keys_of_wireguard_in_other_files(name: str, text: str, is_named: bool) -> None:
    assert (name,) in former_use.wanted(members(name).values())
    found = former_use.notes(members(name), texts({name: text}))
    assert [f"the same WireGuard key (/{name})" in it for it in found] == [True] * is_named


MUCH = 1 << 18


@pytest.mark.parametrize(
    "name",
    [
        *("etc/rc.local", "etc/environment", "etc/kdump.conf", "etc/kernel/install.conf"),
        *("etc/udev/rules.d/x.rules", "usr/sbin/policy-rc.d", "etc/mkinitcpio.d/x.preset"),
        *(SERVICE, ZRAM, "etc/systemd/network/wg0.netdev", "usr/bin/mkinitcpio"),
        "etc/apt/apt.conf.d/x",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        *("\n", " ", "swapon ", "mount ", "mount -a ", "ATTR{address}", "echo ", "rsync ", "scp a"),
        *("dd ", "dd of=", "mount -o a,"),
    ],
)
def test_a_hostile_file_costs_no_time(name: str, text: str) -> None:
    have = {
        path: Member("-", path, MUCH, MUCH, f"./{path}", "rwxr-xr-x")
        for path in (name, "usr/bin/mkinitcpio")
    }
    files = texts({name: text * (MUCH // len(text))})
    start = time.process_time()
    former_use.left_out(have, files)
    former_use.problems(have, files)
    former_use.notes(have, files)
    assert time.process_time() - start < 5
