# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The way of the key from a TPM: what GRUB runs, and the program that seals the key: pure.

The latter is a program of the image, because a new GRUB has to have its key before the machine restarts, and Ansible
may not be there then. GRUB reads a TPM 2.0 key file from an index of the TPM (docs/facts.md: grub-tpm2, tpm-index).
"""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import pcrs
from ansible_collections.sealedroot.image.plugins.module_utils._grub import embedded, pe
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

PROGRAM = "/usr/local/sbin/sealedroot-tpm"
KEPT = "/var/lib/sealedroot-tpm"
# There once a key was sealed.
REGISTERS = f"{KEPT}/registers"
# Not 0 and 2, which a provider's new firmware changes; so drivers are not compared (docs/facts.md: tpm-drivers).
PCRS = (4, 7, 8, 9)
# Without these, what starts or what is typed is not compared.
NEEDED_PCRS = (4, 8, 9)

# Where the TPM has the sealed key (docs/facts.md: tpm-index).
INDEX = "0x1a5ea1d"

# These functions work in the present directory. ``policy VALUES LIST`` makes the policy for the values of registers, in
# hexadecimal, and ``seal LIST`` seals what it reads from standard input as sealed.tpm. ``stored`` says which attributes
# and size the index has, nothing if there is none; ``room`` makes one for sealed.tpm, and ``store`` writes that there.
SEAL = r"""
bin() { printf %s "$1" | tr a-f A-F | basenc --base16 --decode; }
hex() { od -An -v -t x1 "$1" | tr -d ' \n'; }
der() {
  size=$((${#2} / 2))
  if [ "$size" -lt 128 ]; then
    printf '%s%02x%s' "$1" "$size" "$2"
  elif [ "$size" -lt 256 ]; then
    printf '%s81%02x%s' "$1" "$size" "$2"
  else
    printf '%s82%04x%s' "$1" "$size" "$2"
  fi
}
policy() {
  bin "$1" >values
  tpm2_createpolicy -Q --policy-pcr -l "sha256:$2" -f values -L policy
}
primary() {
  tpm2_createprimary -Q -C o -g sha256 -G ecc256:null:aes128cfb -c primary \
    -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt'
}
seal() {
  tpm2_create -Q -C primary -g sha256 -a 'fixedtpm|fixedparent|noda' -L policy -i - -u public -r private
  key_file "$1" >sealed.tpm
}
key_file() {
  mask=0
  for number in $(echo "$1" | tr , ' '); do mask=$((mask | 1 << number)); done
  registers=$(printf '000000000001000b03%02x%02x%02x' $((mask & 255)) $((mask >> 8 & 255)) $((mask >> 16)))
  compared=$(der 30 "$(der a0 "$(der 02 017f)")$(der a1 "$(der 04 "$registers")")")
  bin "$(der 30 "$(der 06 6781050a0105)$(der a0 "$(der 01 ff)")$(der a1 "$(der 30 "$compared")")$(
    der 02 40000001
  )$(der 04 "$(hex public)")$(der 04 "$(hex private)")")"
}
stored() {
  # tpm2_nvreadpublic of 5.4 crashes where there is none.
  indices=$(tpm2_getcap handles-nv-index) || return 1
  ! echo "$indices" | grep -Eiq ' @INDEX@$' ||
    tpm2_nvreadpublic @INDEX@ | awk '/friendly:/ { it = $2 } /size:/ { sub(/\|written/, "", it); print it, $2 }'
}
room() {
  size=$(($(wc -c <sealed.tpm)))
  is=$(stored) || return 1
  # GRUB takes the whole index for the key. Where the machine is cut off before the new one is filled, GRUB asks once.
  [ -z "$is" ] || [ "${is##* }" -eq "$size" ] || tpm2_nvundefine -Q -C o @INDEX@ || return 1
  [ "${is##* }" = "$size" ] || tpm2_nvdefine -Q -C o -s "$size" -a 'ownerread|ownerwrite' @INDEX@
}
store() { tpm2_nvwrite -Q -C o -i sealed.tpm @INDEX@; }
""".replace("@INDEX@", INDEX)

_TEXT = r"""#!/bin/sh
# sealedroot-tpm [--check] [REGISTERS]: seal the key of the root in the TPM, for the GRUB that starts next, as
# docs/deploy.md of sealedroot.image says. It says "sealed", "unchanged" or, with --check, "stale".
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TPM2TOOLS_TCTI=device:/dev/tpmrm0
umask 077
kept=@KEPT@
log=/sys/kernel/security/tpm0/binary_bios_measurements
# It is there while the bank is active (docs/facts.md: tpm-bank).
bank=/sys/class/tpm/tpm0/pcr-sha256
fail() {
  echo "$*" >&2
  exit 3
}
@SEAL@
extend() { bin "$1$2" | sha256sum | cut -c 1-64; }
now() { tr A-F a-f <"$bank/$1"; }
# The hash that the firmware compares and measures: without checksum and signatures (PE32+, one part behind the other).
authenticode() {
  start=$(($(od -An -t u4 -j 60 -N 4 "$1")))
  {
    head -c $((start + 88)) "$1"
    tail -c +$((start + 93)) "$1" | head -c 76
    tail -c +$((start + 177)) "$1"
  } | sha256sum | cut -c 1-64
}
# Register 4 as GRUB will find it: as it was before GRUB was started, and GRUB's own hash. Linux was started last.
before_grub() {
  events=$(tpm2_eventlog "$log" 2>/dev/null | awk '
    /PCRIndex:/ { register = $2 } /EventType:/ { type = $2 }
    /AlgorithmId: sha256/ { getline; gsub(/[" ]/, ""); sub(/Digest:/, ""); if (register == 4) print type, $0 }')
  programs=$(printf '%s\n' "$events" | grep -c EV_EFI_BOOT_SERVICES_APPLICATION || true)
  [ "$programs" -ge 2 ] ||
    fail "the log of this start does not say how GRUB and Linux were started: start the machine from its own disk"
  # It could change what GRUB does, and the TPM would give the key all the same. Drivers of devices are in register 2.
  [ "$programs" -eq 2 ] ||
    fail "the firmware started another program before GRUB: remove its boot option, restart the machine, and enrol it"
  all=$zero seen=0 value=$zero
  while read -r type digest; do
    all=$(extend "$all" "$digest")
    [ "$type" != EV_EFI_BOOT_SERVICES_APPLICATION ] || seen=$((seen + 1))
    if [ "$seen" -lt $((programs - 1)) ]; then
      value=$all
    elif [ "$seen" -lt "$programs" ] && [ "$type" = EV_EFI_BOOT_SERVICES_APPLICATION ]; then
      value=$(extend "$value" "$1")
    fi
  done <<EOF
$events
EOF
  [ "$all" = "$(now 4)" ] ||
    fail "register 4 of the TPM is not what the log of this start says: restart the machine, then enrol it again"
}

check=
if [ "${1-}" = --check ]; then
  check=1
  shift
fi
[ -e /dev/tpmrm0 ] || fail "this machine has no TPM 2.0 (/dev/tpmrm0): give it one, or start it by the prompt"
[ -d "$bank" ] ||
  fail "the TPM has no active bank of SHA-256 for its registers: switch it on in the firmware's setup or by swtpm_setup"
[ -r "$log" ] || fail "there is no $log: the firmware measured nothing, so take UEFI firmware that uses the TPM"
list=${1-$(cat "$kept/registers" 2>/dev/null)} || fail "this machine is not enrolled: run the playbook enroll_tpm"
case ,$list, in
*[!0-9,]* | *,,*) fail "$kept/registers is damaged ('$list'): remove it, and run the playbook enroll_tpm" ;;
esac
# The values are in this order, too.
list=$(echo "$list" | tr , '\n' | sort -nu | paste -s -d , -)
for number in @NEEDED@; do
  case ,$list, in
  *",$number,"*) ;;
  *) fail "the registers $list lack $number, so whoever has the disk could have the key: add it" ;;
  esac
done
if tpm2_getcap properties-variable | grep -Eq 'inLockout: +(1|set)'; then
  fail "the TPM is locked out after wrong passwords: wait, or clear that with tpm2_dictionarylockout --clear-lockout"
fi
key=$(awk '$1 == "@MAPPING@" { print $3 }' /etc/crypttab)
case $key in
/*) ;;
*) key=/etc/cryptsetup-keys.d/@MAPPING@.key ;;
esac
[ -r "$key" ] || fail "there is no key of the root in $key: this machine was changed, or its image was built otherwise"
# The clock says nothing of which key was sealed. This stays in the volume, as the key does.
key_hash=$(sha256sum <"$key" | cut -c 1-64)
work=$(mktemp -d /run/sealedroot-tpm.XXXXXX)
mounted=
trap 'cd /; [ -z "$mounted" ] || umount /boot/efi; rm -rf "$work"' EXIT
# The EFI system partition is mounted when it is needed.
if ! mountpoint -q /boot/efi; then
  mount /boot/efi || fail "the EFI system partition cannot be mounted on /boot/efi: look at its line in /etc/fstab"
  mounted=1
fi
cd "$work"
# The host can write the EFI system partition at any time, so the key is sealed for what the root makes, and not for
# what is there.
@MAKE@
cmp -s core.efi /boot/efi/EFI/BOOT/@BOOT_FILE@ ||
  fail "EFI/BOOT/@BOOT_FILE@ on the EFI system partition is not what this root makes: run @TOOL@, then enrol again"
zero=$(printf '%064d' 0)
before_grub "$(authenticode core.efi)"
values=
for number in $(echo "$list" | tr , ' '); do
  case $number in
  4) values=$values$value ;;
  # The sealed key is read before GRUB has measured anything there.
  8 | 9) values=$values$zero ;;
  *) values=$values$(now "$number") ;;
  esac
done
policy "$values" "$list" || fail "the TPM makes no policy for the registers $list: see what it says above"
primary || fail "the TPM makes no key for its owner: if that has a password, remove it with tpm2_changeauth -c owner"
found=$(stored) || fail "the TPM does not say which indices it has: see what it says above"
case $found in
'' | 'ownerwrite|ownerread '*) ;;
*) fail "the TPM's index @INDEX@ is something else's ($found): if nothing needs it, run tpm2_nvundefine -C o @INDEX@" ;;
esac
if [ "$(cat "$kept/registers" 2>/dev/null)" = "$list" ] && cmp -s policy "$kept/policy" &&
  [ "$found" ] && tpm2_nvread -C o -o there @INDEX@ 2>/dev/null && cmp -s there "$kept/sealed.tpm" &&
  [ "$(cat "$kept/key.sha256" 2>/dev/null)" = "$key_hash" ] &&
  tpm2_load -Q -C primary -u "$kept/public" -r "$kept/private" -c loaded 2>/dev/null; then
  echo unchanged
  exit
fi
if [ "$check" ]; then
  echo stale
  exit
fi
seal "$list" <"$key"
# GRUB reads the index by one command, and the tools write it by one as well: it has the old key or the new one.
most=$(tpm2_getcap properties-fixed | awk '/TPM2_PT_NV_BUFFER_MAX/ { getline; print $2 }')
[ "$(wc -c <sealed.tpm)" -le "$((most))" ] ||
  fail "the TPM hands out $((most)) bytes at once, fewer than the sealed key has: take a shorter key"
room || fail "the TPM has no room for the sealed key: see tpm2_getcap handles-nv-index, and remove what nothing needs"
mkdir -p "$kept"
echo "$list" >registers
# From now on a new key is sealed, too. The policy comes last: without it, what is there is not believed.
rm -f "$kept/policy"
cp registers "$kept/registers.new"
mv "$kept/registers.new" "$kept/registers"
store
echo "$key_hash" >key.sha256
cp public private sealed.tpm key.sha256 policy "$kept"
echo sealed
"""


def config(*, luks_uuid: str) -> str:
    """Return what the core image's own parser runs: it opens the volume by the TPM, and goes on to the script.

    That parser is not measured, so registers 8 and 9 are zero until the script is read, and never later. Where the TPM
    does not give the key, GRUB asks for it once here, and the script goes on asking (docs/facts.md: grub-tpm2). The
    volume can be another one then, so GRUB must find no lists of modules in it before the script has looked
    (docs/facts.md: grub-lists).
    """
    lines = (
        "set prefix=(memdisk)",
        "set cryptodisk_passphrase_tries=1",
        f"tpm2_key_protector_init --mode=nv --nvindex={INDEX}",
        f"cryptomount -u {luks_uuid.replace('-', '')} -P tpm2",
    )
    return embedded.text(before=lines)


def registers(core: bytes) -> t.Dict[int, str]:
    """Return what the registers hold when GRUB asks for the key, on a machine without Secure Boot."""
    program = pe.parse(core)
    if program is None:
        raise SealedRootError("GRUB's core image on the EFI system partition is no EFI program")
    zero = "00" * 32
    return {
        4: pcrs.boot_loader(program.digests[0]),
        7: pcrs.without_secure_boot(),
        8: zero,
        9: zero,
    }


def measured(core: bytes) -> t.Dict[str, t.Any]:
    """Return what a manifest says of a core image: its Authenticode hash, and the registers."""
    program = pe.parse(core)
    found = {str(number): value for number, value in registers(core).items()}
    return {"authenticode": program.digests[0].hex() if program else "", "pcrs": found}


def text(*, mapping: str, boot_file: str, tool: str, make: str) -> str:
    """Return the program for a root that is open as *mapping*.

    The command *make* makes the core image *boot_file* as core.efi, and *tool* puts it on the EFI system partition.
    """
    places = {
        "KEPT": KEPT,
        "SEAL": SEAL.strip(),
        "INDEX": INDEX,
        "NEEDED": " ".join(map(str, NEEDED_PCRS)),
        "MAPPING": mapping,
        "BOOT_FILE": boot_file,
        "TOOL": tool,
        "MAKE": make,
    }
    found = _TEXT
    for name, value in places.items():
        found = found.replace(f"@{name}@", value)
    return found


__all__ = (
    "INDEX",
    "KEPT",
    "NEEDED_PCRS",
    "PCRS",
    "PROGRAM",
    "REGISTERS",
    "SEAL",
    "config",
    "measured",
    "registers",
    "text",
)
