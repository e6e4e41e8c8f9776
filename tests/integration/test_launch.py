# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launch digests and secrets with the firmware of Debian, against tools that nobody here wrote.

libvirt's virt-qemu-sev-validate checks a measurement and makes the packet of a secret. No machine with SEV is here: the
measurement is signed as the SEV API specification says. A TPM is played by swtpm.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import typing as t
import uuid

import debian_firmware
import pytest
import qmp_peer
import waiting
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    ovmf,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._machine import qmp
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Module = t.Callable[..., dict[str, t.Any]]
BOOKWORM = pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
TIK, TEK, NONCE = bytes(range(16)), bytes(range(16, 32)), b"only used once! "
# As a build generates it.
BOOT_KEY = b"Qm9vdGtleTEr" * 3 + b"ABCDEFG="
# The version that virt-qemu-sev-validate gets in its manual page.
MAJOR, MINOR, BUILD = 0, 24, 15


@pytest.fixture(scope="module")
def firmwares(tmp_path_factory: pytest.TempPathFactory) -> list[pathlib.Path]:
    """The firmware for SEV, as a build makes it, and the one for any machine."""
    given, generic = debian_firmware.files(debian_firmware.SEV, debian_firmware.GENERIC)
    made = tmp_path_factory.mktemp("firmware") / "firmware.fd"
    made.write_bytes(volumes.kernel_only(given.read_bytes(), "it")[0])
    return [made, generic]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A core image of the GRUB of this machine."""
    path = tmp_path_factory.mktemp("core") / "core.efi"
    made = ("grub-mkimage", "-O", "x86_64-efi", "-p", "(memdisk)/boot/grub", "-o", str(path))
    subprocess.run([*made, "luks", "part_gpt", "ext2", "normal"], check=True)
    return path


def test_what_debians_firmwares_say(firmwares: list[pathlib.Path]) -> None:
    sev, generic = firmwares
    found = ovmf.parse(sev.read_bytes(), "OVMF.amdsev.fd")
    assert (found.secret, found.hashes, found.reset) == (
        (0x810000, 0xC00),
        (0x810C00, 0x400),
        0x80B004,
    )
    ovmf.check_processors(found, "")
    ovmf.check_snp(found, "")
    # It has the same areas, and nothing in it uses them.
    with pytest.raises(SealedRootError, match="has a table for SEV, but no code that compares"):
        ovmf.parse(generic.read_bytes(), "OVMF_CODE_4M.fd")
    with pytest.raises(SealedRootError, match="has no place for the hashes of a kernel"):
        ovmf.parse(BOOKWORM.read_bytes(), "OVMF_CODE_4M.fd")
    with pytest.raises(SealedRootError, match="is no OVMF firmware, or only its variables"):
        ovmf.parse(BOOKWORM.with_name("OVMF_VARS_4M.fd").read_bytes(), "OVMF_VARS_4M.fd")


def test_digests(firmwares: list[pathlib.Path], core: pathlib.Path, real_module: Module) -> None:
    """The same as on the command line of sev-snp-measure."""
    files = {"firmware": str(firmwares[0]), "kernel": str(core)}
    how = {"types": ["sev", "sev-es", "snp"], "vcpus": [1, 4], "vcpu_type": "EPYC-v4"}
    found = real_module("launch_measurement", **files, **how)
    tool = str(pathlib.Path(sys.executable).with_name("sev-snp-measure"))
    argv = [tool, "--ovmf", files["firmware"], "--kernel", files["kernel"]]

    def theirs(mode: str, *words: str) -> str:
        done = subprocess.run([*argv, "--mode", mode, *words], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    assert found["sev"] == theirs("sev")
    for key, mode in (("sev_es", "seves"), ("snp", "snp")):
        assert found[key] == {
            it: theirs(mode, "--vcpu-type", "EPYC-v4", "--vcpus", it) for it in ("1", "4")
        }
    refused = real_module("launch_measurement", firmware=str(BOOKWORM), kernel=str(core))
    assert "has no place for the hashes of a kernel" in refused["msg"]
    assert "sev" not in refused


def test_the_hash_of_the_program(
    firmwares: list[pathlib.Path], core: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """It is what sbsign signs."""
    files = {"firmware": str(firmwares[0]), "kernel": str(core)}
    found = real_module("launch_measurement", **files)["kernel"]["authenticode_sha256"]
    key, certificate, signed = (tmp_path / name for name in ("key", "crt", "signed"))
    subject = ("-subj", "/CN=test", "-keyout", str(key), "-out", str(certificate))
    new = ("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", *subject)
    sign = ("sbsign", "--key", key, "--cert", certificate, "--output", signed, core)
    for argv in (new, sign):
        subprocess.run(list(argv), check=True, capture_output=True)
    assert signed.read_bytes().count(bytes.fromhex(found)) == 1


@contextlib.contextmanager
def tpm(place: pathlib.Path) -> t.Iterator[dict[str, str]]:
    """Give the environment for tpm2-tools and a TPM that was just switched on."""
    # The path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tpm-") as name:
        # tpm2-tools look for the control channel under this name.
        server, control = f"{name}/server", f"{name}/server.ctrl"
        argv = ("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={place}")
        sockets = (
            "--ctrl",
            f"type=unixio,path={control}",
            "--server",
            f"type=unixio,path={server}",
        )
        flags = ("--flags", "not-need-init,startup-clear")
        process = subprocess.Popen([*argv, *sockets, *flags])
        try:
            waiting.until(lambda: os.path.exists(server))
            yield {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={server}"}
        finally:
            process.terminate()
            process.wait(30)


def test_the_registers_of_a_tpm(
    firmwares: list[pathlib.Path], core: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """A TPM that hashes the events itself, and the hash of pesign, give what is predicted."""
    files = {"firmware": str(firmwares[0]), "kernel": str(core)}
    found = real_module("launch_measurement", **files)
    said = subprocess.run(
        ["pesign", "-h", "-i", str(core)], capture_output=True, text=True, check=True
    )
    program = said.stdout.split()[-1]
    assert program == found["kernel"]["authenticode_sha256"]
    # UEFI_VARIABLE_DATA of each variable, of which only SecureBoot has a byte.
    vendors = dict.fromkeys(("SecureBoot", "PK", "KEK"), "8be4df61-93ca-11d2-aa0d-00e098032b8c")
    vendors.update(dict.fromkeys(("db", "dbx"), "d719b2cb-3d3a-4596-a3bc-dad00e67656f"))
    events = [
        uuid.UUID(vendor).bytes_le
        + struct.pack("<QQ", len(name), name == "SecureBoot")
        + name.encode("utf-16-le")
        + bytes(name == "SecureBoot")
        for name, vendor in vendors.items()
    ]

    with tpm(tmp_path) as env:

        def tool(*argv: str) -> str:
            done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def extend(register: int, *given: bytes) -> None:
            for event in given:
                (tmp_path / "event").write_bytes(event)
                tool("tpm2_pcrevent", str(register), f"{tmp_path}/event")

        extend(4, b"Calling EFI Application from Boot Option", bytes(4))
        tool("tpm2_pcrextend", f"4:sha256={program}")
        extend(7, *events, bytes(4))
        read = tool("tpm2_pcrread", "sha256:4,7")
    values = dict(re.findall(r"(\d+) *: 0x([0-9A-F]{64})", read))
    assert {it: value.lower() for it, value in values.items()} == found["pcrs"]


@pytest.fixture
def qemu(tmp_path: pathlib.Path) -> t.Iterator[str]:
    """The monitor of a real QEMU, with a machine that has nothing."""
    with tempfile.TemporaryDirectory(prefix="qmp-") as name:
        path = f"{name}/qmp"
        argv = ("qemu-system-x86_64", "-machine", "none", "-S", "-display", "none", "-nodefaults")
        process = subprocess.Popen([*argv, "-qmp", f"unix:{path},server=on,wait=off"])
        try:
            yield path
        finally:
            process.terminate()
            process.wait(30)


def test_a_real_qemu_greets_and_answers(
    qemu: str,
    firmwares: list[pathlib.Path],
    core: pathlib.Path,
    tmp_path: pathlib.Path,
    real_module: Module,
) -> None:
    """It is waited for; and that its machine has no SEV is what it says, so nothing is injected."""
    files = {"firmware": str(firmwares[0]), "kernel": str(core)}
    owner = Owner(tmp_path, firmwares[0], core)
    owner.give(key=BOOT_KEY)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"launch": real_module("launch_measurement", **files)}))
    found = real_module(
        "launch_inject",
        socket=qemu,
        expected=str(manifest),
        key_file=f"{tmp_path}/key",
        tik=f"{tmp_path}/tik",
        tek=f"{tmp_path}/tek",
        timeout=30,
    )
    assert (
        "nothing was injected, because the guest has no SEV, so the host would read" in found["msg"]
    )
    # The next client finds it as it was; what it does not know, it says in words.
    with qmp.connected(qemu, 30) as monitor:
        assert monitor.execute("query-status")["status"] == "prelaunch"
        with pytest.raises(
            qmp.CommandRefusedError, match="refused the command sev-inject-launch-s"
        ):
            monitor.execute("sev-inject-launch-secret", {"packet-header": "", "secret": ""})
        with pytest.raises(qmp.CommandRefusedError, match="The command no-such has not been found"):
            monitor.execute("no-such")
        monitor.execute("cont")
        assert monitor.execute("query-status")["status"] == "running"


def test_the_guest_that_a_program_plays(
    firmwares: list[pathlib.Path], core: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """What it signs is what virt-qemu-sev-validate accepts, and the whole measurement is that of real files."""
    files = {"firmware": str(firmwares[0]), "kernel": str(core)}
    launch = real_module("launch_measurement", **files)
    (tmp_path / "manifest.json").write_text(json.dumps({"launch": launch}))
    owner = Owner(tmp_path, firmwares[0], core)
    owner.give(tik=qmp_peer.TIK, tek=qmp_peer.TEK, key=BOOT_KEY)
    data = qmp_peer.signed(bytes.fromhex(launch["sev"]))
    version = qmp_peer.VERSION
    said = owner.validate(
        base64.b64encode(data).decode(),
        version=(version["api-major"], version["api-minor"], version["build-id"]),
    )
    assert "Looks good to me" in said
    guest = qmp_peer.Guest(tmp_path / "qmp", measurement=data)
    given = {name: f"{tmp_path}/{name}" for name in ("tik", "tek")}
    with guest.listening():
        done = real_module(
            "launch_inject",
            socket=str(guest.path),
            expected=f"{tmp_path}/manifest.json",
            key_file=f"{tmp_path}/key",
            **given,
        )
    assert done["status"] == "running", done
    assert BOOT_KEY + b"\0" in guest.table


class Owner:
    """The owner of a guest, and the secure processor that started it."""

    def __init__(self, place: pathlib.Path, firmware: pathlib.Path, core: pathlib.Path) -> None:
        self.place, self.firmware, self.core = place, firmware, core
        self.give(tik=TIK, tek=TEK)

    def give(self, **files: bytes) -> None:
        for name, data in files.items():
            (self.place / name).touch(0o600)
            (self.place / name).write_bytes(data)

    def measurement(self, digest: str, policy: int) -> str:
        version = bytes([MAJOR, MINOR, BUILD])
        message = b"\4" + version + struct.pack("<I", policy) + bytes.fromhex(digest) + NONCE
        return base64.b64encode(hmac.new(TIK, message, "sha256").digest() + NONCE).decode()

    def validate(
        self,
        measurement: str,
        *more: str | pathlib.Path,
        policy: int = 0xB,
        version: tuple[int, int, int] = (MAJOR, MINOR, BUILD),
    ) -> str:
        """Let virt-qemu-sev-validate check a guest, and return what it says."""
        major, minor, build = version
        # Its modules are those of the system's Python.
        done = subprocess.run(
            [
                *("/usr/bin/python3", "/usr/bin/virt-qemu-sev-validate"),
                *("--tik", self.place / "tik", "--tek", self.place / "tek"),
                *("--firmware", self.firmware, "--kernel", self.core, "--policy", str(policy)),
                *("--api-major", str(major), "--api-minor", str(minor), "--build-id", str(build)),
                *("--measurement", measurement, *more),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def packet(self, name: str) -> tuple[bytes, bytes]:
        """Return a packet header, and the secret decrypted by it."""
        header, secret = (
            base64.b64decode((self.place / f"{name}.{part}").read_bytes(), validate=True)
            for part in ("header", "secret")
        )
        cipher = Cipher(algorithms.AES(TEK), modes.CTR(header[4:20])).decryptor()
        return header, cipher.update(secret) + cipher.finalize()


def test_secrets(
    firmwares: list[pathlib.Path], core: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    owner = Owner(tmp_path, firmwares[0], core)
    digest = real_module("launch_measurement", firmware=str(firmwares[0]), kernel=str(core))["sev"]
    measurement = owner.measurement(digest, 0xB)
    assert "Looks good to me" in owner.validate(measurement)
    other = owner.measurement(hashlib.sha256(b"another guest").hexdigest(), 0xB)
    assert "Measurement does not match" in owner.validate(other)

    owner.give(key=BOOT_KEY, with_nul=BOOT_KEY + b"\0")
    session = {
        "tik": f"{tmp_path}/tik",
        "tek": f"{tmp_path}/tek",
        "launch_digest": digest,
        "api_major": MAJOR,
        "api_minor": MINOR,
        "build_id": BUILD,
    }

    def ours(measurement: str, name: str) -> dict[str, t.Any]:
        return real_module(
            "launch_secret",
            key_file=f"{tmp_path}/key",
            firmware=str(firmwares[0]),
            session={**session, "measurement": measurement},
            packet_header=f"{tmp_path}/{name}.header",
            packet_secret=f"{tmp_path}/{name}.secret",
        )

    assert "is not that of the expected launch digest" in ours(other, "ours")["msg"]
    assert ours(measurement, "ours")["changed"]
    said = owner.validate(
        measurement,
        *("--inject-secret", f"luks-key:{tmp_path}/with_nul"),
        *("--secret-header", f"{tmp_path}/theirs.header"),
        *("--secret-payload", f"{tmp_path}/theirs.secret"),
    )
    assert "Injected 1 secrets" in said
    header, table = owner.packet("ours")
    their_header, their_table = owner.packet("theirs")
    assert their_table == table
    assert BOOT_KEY + b"\0" in table
    # Theirs has another IV.
    assert header != their_header
    # With the same IV ours is the same: what they made is left as it is.
    for part in ("header", "secret"):
        (tmp_path / f"theirs.{part}").chmod(0o600)
    assert ours(measurement, "theirs")["changed"] is False


def test_sev_es(
    firmwares: list[pathlib.Path], core: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    """The digest is that of firmware, hashes and the state of two processors, which sev-snp-measure leaves in files."""
    owner = Owner(tmp_path, firmwares[0], core)
    files = {"firmware": str(firmwares[0]), "kernel": str(core)}
    how = {"types": ["sev-es"], "vcpus": [2], "vcpu_type": "EPYC-Milan"}
    digest = real_module("launch_measurement", **files, **how)["sev_es"]["2"]
    tool = str(pathlib.Path(sys.executable).with_name("sev-snp-measure"))
    dump = ("--mode", "seves", "--vcpus", "2", "--vcpu-type", "EPYC-Milan", "--dump-vmsa")
    argv = [tool, "--ovmf", files["firmware"], "--kernel", files["kernel"], *dump]
    subprocess.run(argv, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    measurement = owner.measurement(digest, 0xF)
    states = [tmp_path / f"vmsa{number}.bin" for number in (0, 1)]
    given = ("--num-cpus", "2", "--vmsa-cpu0", states[0], "--vmsa-cpu1", states[1])
    assert "Looks good to me" in owner.validate(measurement, *given, policy=0xF)
    # Its own idea of that state is the older one: docs/facts.md, sev-es-registers.
    own = ("--cpu-family", "25", "--cpu-model", "1", "--cpu-stepping", "1")
    said = owner.validate(measurement, "--num-cpus", "2", *own, policy=0xF)
    assert "Measurement does not match" in said
    for state in states:
        data = bytearray(state.read_bytes())
        assert bytes(data[0x408:0x40A] + data[0x410:0x412]) == b"\x80\x1f\x7f\x03"
        data[0x408:0x40A] = data[0x410:0x412] = bytes(2)
        state.write_bytes(data)
    older = hashlib.sha256(
        firmwares[0].read_bytes()
        + kernel_hashes.table(core.read_bytes())
        + b"".join(it.read_bytes() for it in states)
    ).hexdigest()
    measurement = owner.measurement(older, 0xF)
    said = owner.validate(measurement, "--num-cpus", "2", *own, policy=0xF)
    assert "Looks good to me" in said
