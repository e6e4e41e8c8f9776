# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the builder gives to the user's roles and tasks in an image, so that they need not know of it: pure."""

from __future__ import annotations

from ansible_collections.sealedroot.image.plugins.module_utils._launcher.request import (
    IN_IMAGE,
    OWN,
)

# The image's own Python, or ours: the start of ours decides (python_runtime).
IMAGE_PYTHON = f"""\
#!/bin/sh
{OWN}=1 exec {IN_IMAGE}/python3 "$@"
"""
# What changes the running system has nothing to change: files say what the machine does when it boots. Else the image's
# own program answers, as for a query. For systemctl see docs/facts.md: systemctl-offline.
TOLERANT = """\
#!/bin/sh
name=${0##*/}
# PATH without the directory of this program, wherever it is there: exec would find the program itself again.
rest=$PATH: others=
while [ -n "$rest" ]; do
  [ "${rest%%:*}" = "${0%/*}" ] || others=$others${others:+:}${rest%%:*}
  rest=${rest#*:}
done
use_others() {
  [ -n "$others" ] || { echo "$name: PATH has no directory of the image" >&2; exit 127; }
  PATH=$others
}
# The first word that is neither an option nor the value of one.
verb="" is_value=""
for word; do
  case $is_value$word in
    -[HMPnopst] | --host | --image | --job-mode | --kill-who* | --lines | --machine | --output | --property | --root \\
      | --signal | --state | --type | --what) is_value=: ;;
    :*) is_value="" ;;
    -*) ;;
    *) verb=$word; break ;;
  esac
done
case $name in
  sysctl)
    for word; do
      case $word in
        --l* | --s* | --w*) exit 0 ;;
        --*) ;;
        -*)
          # Letters can share a word, before the one that has a value (sysctl(8)).
          while word=${word#?}; do
            case $word in
              [fpw]*) exit 0 ;;
              [ANXabdenoqux]*) ;;
              *) break ;;
            esac
          done ;;
        *=*) exit 0 ;;
      esac
    done ;;
  modprobe | mount | rmmod | umount) [ $# = 0 ] || exit 0 ;;
  systemctl)
    case $verb in
      is-active | is-failed | status) echo inactive; exit 3 ;;
      is-system-running) echo offline; exit 1 ;;
      is-enabled)
        # Ansible knows no service of which this is said.
        use_others
        answer=$(systemctl "$@")
        status=$?
        [ "$answer" != alias ] || answer=enabled
        [ -z "$answer" ] || echo "$answer"
        exit $status ;;
    esac ;;
  hostnamectl)
    case $verb in set-* | hostname) exit 0 ;; esac ;;
esac
use_others
command -v "$name" >/dev/null || exit 0
exec "$name" "$@"
"""
# The directories that a service finds in /run: systemd.exec(5), tmpfiles.d(5). Some programs need theirs to check a
# configuration, such as sshd. Not /run/systemd, by which scripts know that systemd runs (sd_booted(3)).
DIRECTORIES = """\
#!/bin/sh
exec >/dev/null 2>&1
systemd-tmpfiles --create --prefix=/run --exclude-prefix=/run/systemd
sed -n 's/^RuntimeDirectory=//p' /lib/systemd/system/*.service /usr/lib/systemd/system/*.service \\
  /etc/systemd/system/*.service | tr ' ' '\\n' | while IFS=: read -r name _; do
  case $name in "" | systemd | systemd/* | *..* | *%* | /*) ;; *) mkdir -p "/run/$name" ;; esac
done
exit 0
"""
# apt.conf(5): lists and downloads are in memory.
APT = f"""\
Dir::State::Lists "/run/apt/lists";
Dir::Cache "/run/apt/cache";
DPkg::Post-Invoke {{"{IN_IMAGE}/make-directories; rm -f /run/apt/cache/archives/*.deb";}};
"""

TOLERATED = ("hostnamectl", "modprobe", "mount", "rmmod", "sysctl", "systemctl", "umount")
FILES = (
    ("image-python3", IMAGE_PYTHON, 0o755),
    ("make-directories", DIRECTORIES, 0o755),
    *((f"bin/{name}", TOLERANT, 0o755) for name in TOLERATED),
)


def apt_conf(*, checks_valid_until: bool) -> str:
    """Return the configuration of apt for the steps, which trusts lists of packages as the builder's apt does."""
    return APT if checks_valid_until else f'{APT}Acquire::Check-Valid-Until "false";\n'


__all__ = ("FILES", "apt_conf")
