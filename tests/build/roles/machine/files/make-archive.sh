#!/bin/sh
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes a package with a service, and an archive of it for apt.
set -eu
mkdir -p /srv/archive /run/tiny.deb/DEBIAN /run/tiny.deb/usr/lib/systemd/system /run/tiny.deb/usr/lib/tmpfiles.d
cd /run/tiny.deb
printf '%s\n' 'Package: tiny' 'Version: 1' 'Architecture: all' 'Description: a service' \
  'Maintainer: Nobody <nobody@example.org>' >DEBIAN/control
# The script does what those of services do.
printf '%s\n' '#!/bin/sh' 'test -x /usr/sbin/policy-rc.d && ! test -d /run/systemd/system' >DEBIAN/postinst
chmod 755 DEBIAN/postinst
printf '%s\n' '[Service]' 'ExecStart=/bin/true' 'RuntimeDirectory=tiny' \
  '[Install]' 'WantedBy=multi-user.target' >usr/lib/systemd/system/tiny.service
echo 'd /run/tiny-by-tmpfiles 0755 root root' >usr/lib/tmpfiles.d/tiny.conf
dpkg-deb --root-owner-group --build . /srv/archive/tiny.deb
cd /srv/archive
{
  dpkg-deb --field tiny.deb
  echo "Filename: ./tiny.deb"
  echo "Size: $(stat -c %s tiny.deb)"
  echo "SHA256: $(sha256sum tiny.deb | cut -d' ' -f1)"
} >Packages
echo 'deb [trusted=yes] file:/srv/archive ./' >/etc/apt/sources.list
