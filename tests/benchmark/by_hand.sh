#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The same image made by hand: what a person would type on a builder with dm-crypt, or on one without it and without a FAT driver.
# No checks, no proof, one key. It is the time to beat, and a plain example of every step.
#
# usage: by_hand.sh ROOT.tar OUT.qcow2 [SIZE_MIB [userspace|dm_crypt]]
# Prints 'used_bytes: N qcow2_bytes: N' and last 'by_hand: N.N s'; leaves OUT.qcow2 and OUT.qcow2.key.
set -euo pipefail
tar=$(realpath "$1") out=$(realpath -m "$2") mib=${3:-4096} backend=${4:-userspace}
t0=$(date +%s.%N)
w=$(mktemp -d); loop='' name=byhand-$$
stop_export() {                 # the process removes its pid file itself
  local pid; pid=$(cat "$w/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null; while [ -n "$pid" ] && [ -d "/proc/$pid" ]; do sleep 0.05; done
}
close() {
  [ "$backend" = userspace ] || [ ! -e "/dev/mapper/$name" ] || cryptsetup close "$name"
  if [ -n "$loop" ]; then losetup -d "$loop"; loop=''; fi
  if [ "$backend" = userspace ]; then stop_export; rm -f "/dev/mapper/$name"; fi
}
cleanup() {
  set +e
  for m in dev proc sys run; do mountpoint -q "$w/m/$m" && umount "$w/m/$m"; done
  mountpoint -q "$w/m" && umount "$w/m"
  close
  rm -rf "$w"
}
trap cleanup EXIT
cd "$w"
truncate -s "${mib}M" d.img
sfdisk -q d.img <<X
label: gpt
start=1MiB, size=99MiB, type=uefi, name=ESP
start=100MiB, type=CA7D7CCB-63ED-4C53-861C-1742536059CC, name=root
X
off=$((100 << 20)) size=$(((mib - 101) << 20))
l=$(losetup -f --show -o $((1 << 20)) --sizelimit $((99 << 20)) d.img); mkfs.vfat -F 32 -n ESP "$l" >/dev/null; losetup -d "$l"
head -c33 /dev/urandom | base64 -w0 >key
l=$(losetup -f --show -o $off --sizelimit $size d.img)
cryptsetup luksFormat --type luks1 -q --hash sha256 --key-size 512 --pbkdf-force-iterations 1000 "$l" key
uuid=$(cryptsetup luksUUID "$l"); losetup -d "$l"; u=${uuid//-/}
if [ "$backend" = dm_crypt ]; then
  loop=$(losetup -f --show -o $off --sizelimit $size d.img)
  cryptsetup open --allow-discards --key-file key "$loop" "$name"
else
  touch cr
  qemu-storage-daemon --object secret,id=s,file=key --blockdev driver=file,node-name=f,filename=d.img,discard=unmap \
    --blockdev driver=raw,node-name=p,file=f,offset=$off,size=$size --blockdev driver=luks,node-name=l,file=p,key-secret=s,discard=unmap \
    --export type=fuse,id=e,node-name=l,mountpoint="$w/cr",writable=on,growable=off,allow-other=off --daemonize --pidfile pid
  loop=$(losetup -f --show --direct-io=on cr)
  mkdir -p /dev/mapper; mknod -m600 "/dev/mapper/$name" b 7 "${loop#/dev/loop}"
fi
mkfs.ext4 -q -E nodiscard "/dev/mapper/$name"; fs=$(blkid -p -s UUID -o value "/dev/mapper/$name")
mkdir -p m; mount "/dev/mapper/$name" m
tar -C m --xattrs --xattrs-include='*' --acls -xpf "$tar"
mount -t tmpfs -o mode=755 dev m/dev; mount -t proc proc m/proc; mount -t sysfs -o ro sys m/sys; mount -t tmpfs run m/run
for d in null zero full random urandom tty; do cp -a /dev/$d m/dev/; done
mkdir -p m/dev/mapper m/dev/disk/by-uuid; cp -aL "/dev/mapper/$name" m/dev/mapper/; ln -s /proc/self/fd m/dev/fd; ln -s "../../mapper/$name" "m/dev/disk/by-uuid/$fs"
printf 'UUID=%s / ext4 errors=remount-ro 0 1\nLABEL=ESP /boot/efi vfat umask=0077,nofail 0 2\n' "$fs" >m/etc/fstab
install -d -m700 m/etc/cryptsetup-keys.d; mkdir -p m/boot/efi; install -m600 key "m/etc/cryptsetup-keys.d/luks-$uuid.key"
cmdline=console=ttyS0
printf '%s\n' GRUB_ENABLE_CRYPTODISK=y 'GRUB_CMDLINE_LINUX_DEFAULT=""' "GRUB_CMDLINE_LINUX=\"$cmdline\"" 'GRUB_TERMINAL="serial console"' \
  'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"' GRUB_TIMEOUT=1 >>m/etc/default/grub
echo root:root | chroot m chpasswd
printf 'cr_root UUID=%s /etc/cryptsetup-keys.d/luks-%s.key luks,initramfs\n' "$uuid" "$uuid" >m/etc/crypttab
echo 'KEYFILE_PATTERN="/etc/cryptsetup-keys.d/*"' >>m/etc/cryptsetup-initramfs/conf-hook
echo UMASK=0077 >m/etc/initramfs-tools/conf.d/umask
chroot m update-initramfs -c -k "$(ls m/lib/modules)" >/dev/null 2>&1
chroot m grub-mkconfig -o /boot/grub/grub.cfg >/dev/null 2>&1
printf '%s\n' 'serial --unit=0 --speed=115200' 'terminal_input serial console' 'terminal_output serial console' \
  "cryptomount -u $u" "set root=cryptouuid/$u" "set prefix=(cryptouuid/$u)/boot/grub" >m/run/early.cfg
chroot m grub-mkimage -O x86_64-efi -o /run/BOOTX64.EFI -c /run/early.cfg -p "(cryptouuid/$u)/boot/grub" part_gpt cryptodisk luks gcry_rijndael \
  gcry_sha256 pbkdf2 ext2 fat normal configfile search search_fs_uuid linux serial terminal echo test all_video gzio boot minicmd ls cat
mkdir -p m/boot/grub/x86_64-efi; cp m/usr/lib/grub/x86_64-efi/*.{mod,lst} m/boot/grub/x86_64-efi/
export MTOOLS_SKIP_CHECK=1
mmd -i d.img@@1M ::EFI ::EFI/BOOT; mcopy -i d.img@@1M m/run/BOOTX64.EFI ::EFI/BOOT/BOOTX64.EFI
for m in dev proc sys run; do umount "m/$m"; done
fstrim m; used=$(df --output=used -B1 m | tail -1); umount m; close
qemu-img convert -O qcow2 d.img "$out"; cp key "$out.key"; chmod 600 "$out.key"
echo "used_bytes: $used qcow2_bytes: $(stat -c %s "$out")"
echo "by_hand: $(awk "BEGIN { print $(date +%s.%N) - $t0 }") s"
