#!/bin/sh
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# The Python of the image: says that it ran a module, and lets the builder's do it.
[ "$1" = -BIc ] || : >/srv/ran-by-own-python
exec /run/sealedroot/python3 "$@"
