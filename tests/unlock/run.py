# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way in which the key reaches the guest without a console, and what the host does about it.

usage: ./run unlock

Ends with a line like «unlock: 1 ways, 1 booted without a prompt, 11 attacks stopped, 0 open», and with 1 when a way did
not boot, or when the host won. The firmware is the real one; QEMU plays the secure processor.
"""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "helpers"))

import debian_firmware
import hidden_kernel
import launched
import pexpect
from attacks import GRUB_SHELL, KERNEL, LOGIN, Outcome, Stage, stopped, won
from builds import Place, playbook
from guests import MENU, PROMPT, SECOND

NO_SECRET = "No launch secret opens the disk"
REFUSED = "username:"
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


def fallback(place: Place) -> bool:
    """Where the prompt is a way as well, the measured GRUB asks for the key as soon as it finds no secret."""
    image = launched.build(place, ("launch_secret", "prompt"))
    cases = [
        {"name": it, "launch": it, "expect": end}
        for it, end in (("no_secret", "asked"), ("other_key", "asked"), ("no_hashes", "stopped"))
    ]
    options = {
        "path": f"{image.directory}/disk.qcow2",
        "launch": launched.files(image),
        "cases": cases,
    }
    play = place.path / "boot.yml"
    task = {"sealedroot.image.image_boot_test": options}
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    run = playbook(str(play), {}, "-v")
    if run.rc:
        print(run.output[-3000:])
    return run.rc == 0


ATTACKS: dict[str, Attack] = {
    it.__name__: it
    for it in (another_volume, editor, shell, keys_all_along, memory, hidden_fw_cfg, survives)
}


def main() -> int:
    """Build an image for each way, boot it, attack it, and say how that went."""
    with tempfile.TemporaryDirectory(prefix="sealedroot-unlock-", dir="/var/tmp") as folder:
        places = [Place(pathlib.Path(folder, name)) for name in ("alone", "with-prompt")]
        for place in places:
            place.path.mkdir()
        image = launched.build(places[0], image_boot_test=True)
        cases = image.manifest["boot_test"]["cases"]
        # The build fails where one of these does not end as it must.
        booted = [it for it in cases if it["expect"] == "login" and it["prompts"] == 0]
        refused = [it["name"] for it in cases if it["expect"] in ("halted", "stopped")]
        for case in cases:
            print(f"{case['name']}: {case['verdict']}: {case['detail']}", flush=True)
        beaten: list[str] = list(refused)
        open_: list[str] = []
        for name, attack in ATTACKS.items():
            stage = Stage(image)
            try:
                outcome = attack(stage)
                said = f"{'WON' if outcome.won else 'stopped'}: {outcome.evidence}"
            except Exception:  # the other attacks are played
                outcome = won("")
                said = f"FAILED: {traceback.format_exc()}\n{stage.console()[-3000:]}"
            finally:
                stage.end()
            (open_ if outcome.won else beaten).append(name)
            print(f"{name}: {said}", flush=True)
        asks = fallback(places[1])
        print(
            f"launch_secret and prompt: {'ok: it asks where' if asks else 'WRONG where'} there is no secret"
        )
    print(
        f"unlock: 1 ways, {len(booted)} booted without a prompt, {len(beaten)} attacks stopped,"
        f" {len(open_)} open"
    )
    return 0 if len(booted) == 1 and asks and not open_ else 1


if __name__ == "__main__":
    # As Ctrl-C does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
