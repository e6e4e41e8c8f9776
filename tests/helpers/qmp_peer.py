# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A monitor of a QEMU with a guest that has SEV, and the secure processor behind it, as their specifications say.

It listens on a socket in a directory of the test. What it says can be exchanged, command by command, for what a
broken or hostile host would say.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import pathlib
import socket
import struct
import threading
import typing as t

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TIK, TEK = b"integrity-key-16", b"encryption-key16"
DIGEST = hashlib.sha256(b"the firmware and the hashes").digest()
FIRMWARE = hashlib.sha256(b"the firmware alone").digest()
NONCE = b"only used once! "
VERSION = {"api-major": 1, "api-minor": 51, "build-id": 3}
# As QEMU 7.2 says it.
GREETING = {
    "QMP": {
        "version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"},
        "capabilities": ["oob"],
    }
}
EVENT = {"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}
# Instead of an answer.
HANG_UP = "hang up"
SILENCE = "silence"

Answer = t.Union[str, bytes, "dict[str, t.Any]", "list[t.Any]"]


def line(message: t.Any) -> bytes:
    """Return a message as it is sent: bytes as they are, all else as JSON and with the end of a line of QEMU."""
    return message if isinstance(message, bytes) else json.dumps(message).encode() + b"\r\n"


def error(text: str) -> dict[str, t.Any]:
    return {"error": {"class": "GenericError", "desc": text}}


def signed(digest: bytes = DIGEST, *, tik: bytes = TIK, policy: int = 11, build: int = 3) -> bytes:
    """Return what the secure processor signs: AMD's SEV API specification, 6.5."""
    version = struct.pack("<BBBBI", 4, 1, 51, build, policy)
    return hmac.new(tik, version + digest + NONCE, "sha256").digest() + NONCE


class Guest:
    """A QEMU that waits for its secret. Each of *answers* replaces that to one command."""

    def __init__(
        self,
        path: pathlib.Path,
        answers: t.Mapping[str, Answer] | None = None,
        *,
        greeting: Answer = GREETING,
        measurement: bytes | None = None,
        policy: int = 11,
    ) -> None:
        self.path, self.answers, self.greeting = path, dict(answers or {}), greeting
        self.measurement = measurement if measurement is not None else signed(policy=policy)
        self.policy = policy
        self.state = {"sev": "launch-secret", "status": "prelaunch"}
        self.heard: list[dict[str, t.Any]] = []
        self.table = b""
        # When the test looks again, what was heard is complete.
        self.connections = 0

    @property
    def commands(self) -> list[str]:
        return [it["execute"] for it in self.heard]

    @contextlib.contextmanager
    def listening(self) -> t.Iterator[Guest]:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path))
            server.listen(1)
            server.settimeout(0.01)
            stop = threading.Event()
            thread = threading.Thread(target=self._serve, args=(server, stop), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                stop.set()
                thread.join(10)
                assert not thread.is_alive()

    def _serve(self, server: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(socket.timeout, ConnectionError):
                link, _address = server.accept()
                self.connections += 1
                with link:
                    link.settimeout(0.01)
                    self._talk(link, stop)

    def _talk(self, link: socket.socket, stop: threading.Event) -> None:
        if not self._say(link, self.greeting):
            return
        buffer = b""
        while not stop.is_set():
            with contextlib.suppress(socket.timeout):
                chunk = link.recv(65536)
                if not chunk:
                    return
                buffer += chunk
            while b"\n" in buffer:
                text, _newline, buffer = buffer.partition(b"\n")
                request = json.loads(text)
                self.heard.append(request)
                if not self._say(link, self._answer(request), request.get("id")):
                    return

    def _say(self, link: socket.socket, answer: Answer, number: t.Any = None) -> bool:
        """Send an answer; say whether the connection goes on."""
        # On a busy machine, who listens reads late.
        link.settimeout(20)
        for message in answer if isinstance(answer, list) else [answer]:
            if message == HANG_UP:
                return False
            if message == SILENCE:
                continue
            if isinstance(message, dict) and {"return", "error"} & set(message):
                message = {"id": number, **message}
            link.sendall(line(message))
        link.settimeout(0.01)
        return True

    def _answer(self, request: dict[str, t.Any]) -> Answer:
        command = request["execute"]
        if command in self.answers:
            found = self.answers[command]
            # A list of lists has one answer for each time; the last stays.
            if isinstance(found, list) and found and isinstance(found[0], list):
                return t.cast("list[t.Any]", found.pop(0) if len(found) > 1 else found[0])
            return found
        if command == "query-sev":
            sev = {"enabled": True, **VERSION, "policy": self.policy, "handle": 1}
            return {"return": {**sev, "state": self.state["sev"]}}
        if command == "query-status":
            status = self.state["status"]
            return {"return": {"status": status, "running": status == "running"}}
        if command == "query-sev-launch-measure":
            return {"return": {"data": base64.b64encode(self.measurement).decode()}}
        if command == "sev-inject-launch-secret":
            return self._inject(**request["arguments"])
        if command == "cont":
            self.state = {"sev": "running", "status": "running"}
            return [EVENT, {"return": {}}]
        return {"return": {}}

    def _inject(self, **arguments: str) -> Answer:
        """Take a packet as the secure processor does: 6.6 of the specification."""
        header, secret = (
            base64.b64decode(arguments[name], validate=True) for name in ("packet-header", "secret")
        )
        flags, iv, mac = struct.unpack("<I16s32s", header)
        size = struct.pack("<II", len(secret), len(secret))
        said = b"\1" + struct.pack("<I", flags) + iv + size + secret + self.measurement[:32]
        if not hmac.compare_digest(mac, hmac.new(TIK, said, "sha256").digest()):
            return error("SEV: failed to inject secret ret=-5 fw_error=11 'Bad measurement'")
        cipher = Cipher(algorithms.AES(TEK), modes.CTR(iv)).decryptor()
        self.table = cipher.update(secret) + cipher.finalize()
        return {"return": {}}


def launch(digest: bytes = DIGEST) -> dict[str, t.Any]:
    """Return what launch_measurement says of this guest."""
    es = {"1": "11" * 32, "2": digest.hex()}
    return {
        "sev": digest.hex(),
        "sev_es": es,
        "by_vcpu_type": {
            "EPYC-v4": {"sev_es": es},
            "EPYC-Milan": {"sev_es": {"1": "33" * 32, "2": "44" * 32}},
        },
        "firmware": {
            "sha256": FIRMWARE.hex(),
            "secret_area": {"base": 0x810000, "size": 0xC00},
            "hashes_area": {"base": 0x810C00, "size": 0x400},
        },
        "kernel": {"sha256": "22" * 32, "authenticode_sha256": "55" * 32},
    }
