#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes what the builder boots from its root tar: disk.raw (ext4), vmlinuz and initramfs. Mounts nothing.
# Beside them it puts root.tar, the root of the images that are built there: ROOT.tar with an initramfs that is quick to
# make, which takes 5 minutes otherwise. The builder has it as /srv/root.tar.
#
# usage: disk.sh BUILDER.tar ROOT.tar DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tar=$1 images_tar=$2 out=$3
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"
flock -w 600 9
if [ -e "$out" ]; then touch "$out"; exit 0; fi
# Older ones that nobody used for a week.
find "$(dirname "$out")" -maxdepth 1 -name 'builder-vm-*' -mtime +7 -exec rm -rf {} +
partial=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$partial"' EXIT
root=$partial/root
mkdir -p "$root" "$partial/initramfs.d/bin" "$partial/initramfs.d/lib"
tar -C "$root" --xattrs --xattrs-include='*' --acls -xpf "$tar"

# The initramfs: busybox, the virtio drivers in the order of their dependencies, and init.
kernel=$(basename "$root"/lib/modules/*)
initramfs=$partial/initramfs.d
cp "$root/usr/bin/busybox" "$initramfs/bin/"
ln -s busybox "$initramfs/bin/sh"
install -m 0755 "$here/init" "$initramfs/init"
for module in virtio_pci virtio_blk virtio_net virtio_rng; do
  chroot "$root" modprobe --set-version "$kernel" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
  cp "$root$module" "$initramfs/lib/"
  echo "/lib/$(basename "$module")"
done >"$initramfs/modules"
(cd "$initramfs" && find . | cpio --create --format=newc --quiet --owner=0:0) >"$partial/initramfs"
cp "$root/boot/vmlinuz-$kernel" "$partial/vmlinuz"
rm -f "$root"/boot/initrd.img-*

# The root of the images: only the drivers of QEMU's disk, packed quickly. aesni_intel: with MODULES=list the hook of
# cryptsetup takes it where the builder's own processor has AES, and the image must not depend on that.
fast=$partial/fast
hooks=usr/share/initramfs-tools/conf-hooks.d
mkdir -p "$fast/etc/initramfs-tools" "$fast/$hooks"
printf '%s\n' virtio_pci virtio_blk aesni_intel >"$fast/etc/initramfs-tools/modules"
# Read after what the collection writes in conf.d, as packages may.
printf '%s\n' MODULES=list COMPRESS=zstd COMPRESSLEVEL=1 >"$fast/$hooks/fast"
cp --sparse=always "$images_tar" "$partial/root.tar"
tar -C "$partial/fast" --owner=0 --group=0 --append -f "$partial/root.tar" \
  ./etc/initramfs-tools/modules "./$hooks/fast"
cp "$partial/root.tar" "$root/srv/"

# The root: log in by key alone, start nothing that is not needed.
echo builder-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost builder-vm\n' >"$root/etc/hosts"
echo '/dev/vda / ext4 noatime 0 0' >"$root/etc/fstab"
rm -f "$root"/etc/ssh/ssh_host_*
printf '%s\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'UseDNS no' 'UsePAM no' 'PasswordAuthentication no' \
  'MaxStartups 100' 'MaxSessions 100' >"$root/etc/ssh/sshd_config.d/builder.conf"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf"
units=$root/etc/systemd/system
rm -rf "$units"/*.wants
mkdir "$units/multi-user.target.wants"
ln -s /lib/systemd/system/ssh.service "$units/multi-user.target.wants/"
for unit in dbus.service dbus.socket dev-hugepages.mount dev-mqueue.mount serial-getty@.service \
  sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
  systemd-binfmt.service systemd-hwdb-update.service systemd-journal-flush.service systemd-logind.service \
  systemd-modules-load.service systemd-random-seed.service systemd-tmpfiles-clean.timer \
  systemd-update-utmp-runlevel.service systemd-update-utmp.service; do
  ln -sf /dev/null "$units/$unit"
done

truncate -s 16G "$partial/disk.raw"
mkfs.ext4 -q -O ^has_journal -E nodiscard -d "$root" "$partial/disk.raw"
rm -rf "$root" "$initramfs" "$partial/fast"
chmod 0755 "$partial"
mv -T "$partial" "$out"
echo made
