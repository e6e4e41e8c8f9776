# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host replaces GRUB on the EFI system partition by its own, which asks the same question and shows the answer.

The guest cannot notice.

Why: nothing on that partition is encrypted or signed, and who types the key types it into the host's program.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, clean, stopped, won
from hostile import esp_write, grub_core


def play(stage: Stage) -> Outcome:
    question = f"Enter passphrase for hd0,gpt2 ({stage.image.luks_uuid.replace('-', '')}): "
    script = f'echo -n "{question}"\nread key\necho "HOST-HAS $key"\nsleep 5\nreboot\n'
    core = grub_core(stage.folder / "host.efi", script, "sleep", "reboot", "terminal")
    esp_write(stage.image, stage.raw, "EFI/BOOT/BOOTX64.EFI", core)
    guest = stage.genuine()
    stage.unlock(guest)
    guest.console.expect("HOST-HAS ", timeout=60)
    guest.console.expect(r"\s", timeout=10)
    # The key itself is nothing to print.
    if clean(guest.console.before or "").strip() == stage.image.boot_key.strip():
        return won("the host's program has the key")
    return stopped("the host's program has something else than the key")


ATTACK = Attack(
    images=ONE_EACH,
    play=play,
    open_because="the program that asks for the key comes from the host.",
    combine_with="a measured boot that releases the key only to the genuine core image, or Secure Boot with keys of"
    " your own against a host that does not run the firmware.",
)
