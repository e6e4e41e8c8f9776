#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_collect
short_description: Bring the files of an image from its builder to the control node
version_added: 1.0.0
description:
  - Fetches files from the host of the task into a new directory of the control node, in pieces, so that a disk may
    be larger than the memory of the control node, and by the host's own connection, C(become) included.
  - Unlike M(ansible.builtin.fetch), which takes a whole file into memory with C(become), and which may show it
    at high verbosity.
  - What is collected only in part is removed again.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
attributes:
  diff_mode:
    support: none
options:
  files:
    description: The files to fetch.
    type: list
    elements: dict
    required: true
    suboptions:
      src:
        description: The file on the host of the task.
        type: path
        required: true
      name:
        description: Its name in O(dest), which is that of O(files[].src) or one in C(launch/).
        type: str
      mode:
        description: The mode that it gets, in octal.
        type: str
        default: "0600"
      sha256:
        description: The SHA-256 that it must have when it has arrived.
        type: str
      sparse:
        description: Whether long runs of zeros are left out on the way and become holes, as suits a raw disk.
        type: bool
        default: false
  dest:
    description: The directory on the control node, made anew with mode 0700.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Bring an image and its keys to the control node
  delegate_to: builder-2
  sealedroot.image.image_collect:
    files:
      - src: /var/tmp/sealedroot/web-1/sealed/disk.qcow2
        mode: "0644"
      - src: /var/tmp/sealedroot/web-1/private/keys/boot.key
    dest: /srv/images/.web-1.partial
"""

RETURN = r"""
files:
  description: SHA-256 and size in bytes of each file that arrived; nothing of one that others may not read.
  type: dict
  returned: success
  sample: {"boot.key": {}, "disk.qcow2": {"sha256": "2c26b46b...", "size": 548405248}}
"""
