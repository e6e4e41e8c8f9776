# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way in which the key reaches the guest without a console, and what the host does about it.

usage: ./run unlock

Ends with a line like «unlock: 2 ways, 2 booted without a prompt, 24 attacks stopped, 0 open», and with 1 when a way did
not boot, or takes a second more than a typed key on the same machine to start the kernel, or when the host won. The
firmware is the real one; QEMU plays the secure processor, and swtpm the TPM.
"""

from __future__ import annotations

import functools
import json
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "helpers"))

import collection  # noqa: F401  # before what imports the collection
import debian_firmware
import hidden_kernel
import host_volume
import launched
import pexpect
import tpm_attacks
import tpm_machines
from attack_images import Image, kernel
from attacks import GRUB_SHELL, KERNEL, LOGIN, Outcome, Stage, stopped, won
from builds import Place, playbook
from guests import MENU, PROMPT, SECOND, Guest

NO_SECRET = "No launch secret opens the disk"
REFUSED = "username:"
ROUNDS = 3
Attack = t.Callable[[Stage], Outcome]


def another_volume(stage: Stage) -> Outcome:
    """The host gives a volume of its own, with the UUID of the image."""
    disk, key = stage.folder / "other.raw", stage.folder / "other.key"
    with disk.open("wb") as file:
        file.truncate(32 << 20)
    key.write_text("a key of the host's own")
    uuid = stage.image.manifest["luks_uuid"]
    new = ("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--uuid", uuid)
    how = ("--pbkdf-force-iterations", "1000", "--key-file", str(key), str(disk))
    subprocess.run([*new, *how], check=True)
    guest = launched.start(stage, disk)
    guest.console.expect(NO_SECRET, timeout=120)
    return stage.watch(guest, won=[PROMPT, GRUB_SHELL, KERNEL], seconds=60)


def typed_volume(stage: Stage) -> Outcome:
    """The host gives such a volume, and types its passphrase where GRUB asks; GRUB has had the secret by then."""
    uuid = stage.image.manifest["luks_uuid"]
    own = host_volume.make(stage.folder, uuid=uuid, kernel=kernel(stage.image))
    guest = launched.start(stage, own)
    guest.console.expect(NO_SECRET, timeout=120)
    guest.console.expect(PROMPT, timeout=60)
    guest.console.expect(": ", timeout=30)
    guest.console.send(f"{host_volume.KEY}\r")
    won_by = [host_volume.RUNS, GRUB_SHELL, KERNEL]
    return stage.watch(guest, won=won_by, stopped=[host_volume.NOT_OWN], seconds=120)


def editor(stage: Stage) -> Outcome:
    """The host presses e in the menu."""
    guest = launched.start(stage)
    guest.console.expect(MENU, timeout=120)
    guest.console.send("e")
    return stage.watch(guest, won=["Emacs-like", "setparams"], stopped=[REFUSED], seconds=60)


def shell(stage: Stage) -> Outcome:
    """The host presses c in the menu."""
    guest = launched.start(stage)
    guest.console.expect(MENU, timeout=120)
    guest.console.send("c")
    return stage.watch(guest, won=[GRUB_SHELL], stopped=[REFUSED], seconds=60)


def keys_all_along(stage: Stage) -> Outcome:
    """The host presses Escape and c from the start on, until the menu is there."""
    guest = launched.start(stage)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        guest.console.send("\x1bc")
        which = guest.console.expect(
            [REFUSED, KERNEL, GRUB_SHELL, PROMPT, pexpect.TIMEOUT], timeout=0.5
        )
        if which < 2:
            return stopped("«Enter username:»" if which == 0 else "the genuine kernel starts")
        if which < 4:
            return won(str(guest.console.after))
    raise AssertionError("nothing came of it")


def memory(stage: Stage) -> Outcome:
    """Whoever reads the memory where the secret was, when the volume is open, finds it."""
    guest = launched.start(stage)
    guest.console.expect(MENU, timeout=120)
    _hashes, area = launched.areas(stage.image)
    path = stage.folder / "memory"
    with stage.halted():
        stage.control.do("pmemsave", val=area["base"], size=area["size"], filename=str(path))
    found = path.read_bytes()
    assert len(found) == area["size"]
    if any(found):
        return won(f"{sum(map(bool, found))} bytes are left")
    return stopped(f"all {len(found)} bytes are zero")


def hidden_fw_cfg(stage: Stage) -> Outcome:
    """The host hides the kernel after the measurement, and has a program on its own disk."""
    it = {name: pathlib.Path(path) for name, path in launched.files(stage.image).items()}
    hashes, secret = launched.areas(stage.image)
    (given,) = debian_firmware.files(debian_firmware.SEV)
    found = {}
    for name, firmware in (("given", given), ("made", it["firmware"])):
        folder = stage.folder / name
        folder.mkdir()
        files = hidden_kernel.Files(
            firmware=firmware,
            core=it["core"],
            hashes=it["hashes"],
            secret=it["secret"],
            hashes_base=hashes["base"],
            secret_base=secret["base"],
        )
        found[name] = hidden_kernel.console(files, folder)
    # With the firmware that this one was made of, the host wins: so it can.
    assert hidden_kernel.READ in found["given"]
    if hidden_kernel.HOST in found["made"]:
        return won(found["made"][-200:])
    return stopped(" ".join(found["made"].split())[-100:])


def survives(stage: Stage) -> Outcome:
    """After its menu is made again, and grub-install is called, as by updates, the machine boots, and is as closed."""
    guest = launched.start(stage)
    guest.console.expect(LOGIN, timeout=600)
    guest.log_in(stage.image.password)
    guest.run("update-grub", timeout=300)
    # It leaves the EFI system partition empty.
    guest.run("grub-install && ! mountpoint -q /boot/efi", timeout=60)
    guest.run("mount /boot/efi && ! find /boot/efi -type f | grep . && umount /boot/efi")
    guest.console.send("systemctl poweroff\r")
    guest.console.expect(pexpect.EOF, timeout=300)
    guest.end()
    found = editor(stage)
    stage.power_off()
    if found.won:
        return found
    guest = launched.start(stage)
    return stage.watch(guest, won=[PROMPT, SECOND], stopped=[LOGIN], seconds=600)


def fallback(image: Image) -> bool:
    """Where the prompt is a way as well, the measured GRUB asks for the key as soon as it finds no secret."""
    cases = [{"name": it, "launch": it, "expect": "asked"} for it in ("no_secret", "other_key")]
    options = {
        "path": f"{image.directory}/disk.qcow2",
        "launch": launched.files(image),
        "cases": cases,
    }
    play = image.directory / "boot.yml"
    task = {"sealedroot.image.image_boot_test": options}
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    run = playbook(str(play), {}, "-v")
    if run.rc:
        print(run.output[-3000:])
    return run.rc == 0


def is_quick(
    way: str,
    image: Image,
    start: t.Callable[[Stage], Guest],
    asking: t.Callable[[Stage], Guest] = Stage.genuine,
) -> bool:
    """Say whether the kernel starts as soon as after a key that is typed at once, give or take a second.

    *asking* starts a machine of the same kind that has no key, so its GRUB asks for one.
    """

    def typed(stage: Stage) -> Guest:
        guest = asking(stage)
        stage.unlock(guest)
        return guest

    took: dict[str, list[float]] = {way: [], "a typed key": []}
    for _ in range(ROUNDS):
        for name, play in zip(took, (start, typed), strict=True):
            stage = Stage(image)
            try:
                # The host's copy of the disk, which is made when it is asked for.
                assert stage.raw
                began = time.monotonic()
                play(stage).console.expect(KERNEL, timeout=240)
                took[name].append(time.monotonic() - began)
            finally:
                stage.end()
    more: float = statistics.median(
        given - by_hand for given, by_hand in zip(*took.values(), strict=True)
    )
    print(
        f"seconds to the kernel, in turn: {took}; the median of what {way} takes more is {more:+.1f} s",
        flush=True,
    )
    return more <= 1


ATTACKS: dict[str, Attack] = {
    it.__name__: it
    for it in (another_volume, editor, shell, keys_all_along, memory, hidden_fw_cfg, survives)
}


class Tally:
    """How many ways boot without a prompt, and what came of each attack."""

    def __init__(self) -> None:
        self.booted: list[str] = []
        self.beaten: list[str] = []
        self.open: list[str] = []

    def cases(self, way: str, image: Image) -> None:
        """Count the boots of the image's own test; the build fails where one does not end as it must."""
        cases = image.manifest["boot_test"]["cases"]
        unasked = [it for it in cases if it["expect"] == "login" and it["prompts"] == 0]
        self.booted += [way] if len(unasked) == 1 else []
        self.beaten += [
            it["name"] for it in cases if it["expect"] in ("asked", "halted", "stopped")
        ]
        for case in cases:
            print(f"{case['name']}: {case['verdict']}: {case['detail']}", flush=True)

    def play(self, name: str, stage: Stage, attack: t.Callable[[], Outcome]) -> None:
        try:
            outcome = attack()
            said = f"{'WON' if outcome.won else 'stopped'}: {outcome.evidence}"
        except Exception:  # the other attacks are played
            outcome = won("")
            said = f"FAILED: {traceback.format_exc()}\n{stage.console()[-3000:]}"
        finally:
            stage.end()
        (self.open if outcome.won else self.beaten).append(name)
        print(f"{name}: {said}", flush=True)


def tpm(tally: Tally, place: Place) -> bool:
    """Enrol a machine, and attack what it leaves on its disk when it is off; return whether it starts quickly."""
    image = tpm_machines.build(place, image_boot_test=True)
    tally.cases("tpm2", image)
    machine = tpm_machines.Tpm(place.path / "tpm")
    stage = Stage(image)
    try:
        tpm_machines.enrol(stage, machine)
        tpm_attacks.survives(stage, machine)
        # From now on, that is the disk.
        shutil.move(stage.raw, image.raw)
    finally:
        stage.end()
    # GRUB gives all that it reads to a TPM, whichever way opens the volume, and the firmware hashes it.
    other = tpm_machines.Tpm(place.path / "other")
    quick = is_quick(
        "tpm2",
        image,
        functools.partial(tpm_machines.start, machine=machine),
        functools.partial(tpm_machines.start, machine=other),
    )
    other.end()
    for name, attack in tpm_attacks.ATTACKS.items():
        stage = Stage(image)
        tally.play(name, stage, functools.partial(attack, stage, machine))
    machine.end()
    return quick


def main() -> int:
    """Build an image for each way, boot it, attack it, and say how that went."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="sealedroot-unlock-", dir="/var/tmp") as folder:
        places = [Place(pathlib.Path(folder, name)) for name in ("alone", "with-prompt", "tpm")]
        for place in places:
            place.path.mkdir()
        image = launched.build(places[0], image_boot_test=True)
        tally.cases("launch_secret", image)
        for name, attack in ATTACKS.items():
            stage = Stage(image)
            tally.play(name, stage, functools.partial(attack, stage))
        asking = launched.build(places[1], ("launch_secret", "prompt"))
        stage = Stage(asking)
        tally.play("typed_volume", stage, functools.partial(typed_volume, stage))
        asks = fallback(asking)
        print(
            f"launch_secret and prompt: {'ok: it asks where' if asks else 'WRONG where'} there is no secret"
        )
        quick = is_quick("launch_secret", asking, launched.start)
        quick = tpm(tally, places[2]) and quick
    print(
        f"unlock: 2 ways, {len(tally.booted)} booted without a prompt, {len(tally.beaten)} attacks"
        f" stopped, {len(tally.open)} open"
    )
    return 0 if len(tally.booted) == 2 and asks and quick and not tally.open else 1


if __name__ == "__main__":
    # As Ctrl-C does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
