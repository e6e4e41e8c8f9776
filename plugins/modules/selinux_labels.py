#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: selinux_labels
short_description: Give every file of an image the label of its own SELinux policy
version_added: 1.0.0
description:
  - Runs on the builder. The image's own C(setfiles) says which label each file is to have. It runs in a sandbox
    in which it can write nothing, so it may come from a root that is not trusted. The module then writes the
    labels, without following a symbolic link of the image.
  - Which policy counts is what C(/etc/selinux/config) in the image says.
  - A file for which the policy has no label, and which has none, gets that of its directory, as it would if it
    were made in the booted machine.
  - Neither the builder's kernel nor the builder needs SELinux. On a builder that has it, the running policy must
    know the labels, or must let the module write unknown ones.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
attributes:
  diff_mode:
    support: none
options:
  root:
    description: The root directory of the image on the builder, an absolute path, with nothing mounted in it.
    type: path
    required: true
  state:
    description:
      - V(labelled) writes the labels, and removes a request to relabel at boot that the root came with.
      - V(relabel_at_boot) writes no label, but C(/.autorelabel). The machine then labels itself at its first boot
        and boots a second time, so that GRUB asks for the key twice.
    type: str
    choices: [labelled, relabel_at_boot]
    default: labelled
requirements:
  - bwrap, prlimit and libseccomp on the builder
  - setfiles in the image
"""

EXAMPLES = r"""
- name: Label the root
  sealedroot.image.selinux_labels:
    root: /var/tmp/sealedroot/web-1/root
"""

RETURN = r"""
mode:
  description: What the image boots in, V(enforcing), V(permissive) or V(disabled); empty when nothing says it.
  type: str
  returned: success
type:
  description: The name of the policy.
  type: str
  returned: success
  sample: default
policy:
  description: The policy file in the image.
  type: str
  returned: success
  sample: /etc/selinux/default/policy/policy.33
labelled:
  description: How many files got a label that the policy has for them.
  type: int
  returned: success
inherited:
  description: How many files got the label of their directory, since the policy has none for them.
  type: int
  returned: success
"""

import errno
import os
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import selinux
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

PACKAGES = "selinux-policy-default (Debian) or selinux-policy-targeted (Fedora)"
# Run in the image: prints its configuration, its policies, and the path of its setfiles.
LOOK = (
    "cat /etc/selinux/config; printf '\\0'; cd /etc/selinux && printf '%s\\n' */policy/policy.*;"
    " printf '\\0'; command -v setfiles"
)
SETFILES_SECONDS = 1800
# The longest path in Linux, in bytes (path_resolution(7)).
LONGEST = 4096


def look(runner: Runner, root: str) -> t.Tuple[selinux.Config, str]:
    """Return the image's SELinux configuration and the file name of its policy; raise an error if one is missing."""
    output = confined.run_program(runner, root, ["/bin/sh", "-c", LOOK], timeout=60)
    config, _nul, rest = output.stdout.partition("\0")
    names, nul, setfiles = rest.partition("\0")
    if not nul:
        raise SealedRootError(f"no command can run in {root}: {output.stderr.strip()}")
    if not config.strip():
        raise SealedRootError(
            f"the image has no {selinux.CONFIG}, so no policy counts: install {PACKAGES} in it"
        )
    parsed = selinux.parse_config(config)
    paths = (name.split("/") for name in names.splitlines())
    policy = selinux.newest_policy(path[-1] for path in paths if path[0] == parsed.type)
    if not policy:
        raise SealedRootError(
            f"{selinux.CONFIG} of the image names the policy '{parsed.type}', which has no file"
            f" {parsed.directory}/policy/policy.*: install {PACKAGES} in it, or correct SELINUXTYPE"
        )
    if not setfiles.strip():
        raise SealedRootError("the image has a policy but no setfiles: install policycoreutils")
    return parsed, policy


def plan(runner: Runner, root: str, config: selinux.Config, policy: str) -> t.Dict[str, str]:
    """Ask the image's own setfiles which files lack the right label."""
    argv = selinux.setfiles_argv(config, policy)
    done = confined.run_program(runner, root, argv, timeout=SETFILES_SECONDS)
    if done.rc != 0:
        said = "; ".join(done.stderr.strip().splitlines()[:10]) or "no reason given"
        raise SealedRootError(
            f"the image's own setfiles fails with exit status {done.rc} ({said}): install the policy"
            f" '{config.type}' anew in the root, or set image_selinux to off"
        )
    return selinux.parse_plan(done.stdout)


class Labels:
    """The labels of a tree, and how many of them were written. Paths are bytes, as in the file system."""

    def __init__(self, wanted: t.Mapping[str, str], *, check_mode: bool) -> None:
        self._wanted = {_bytes(path): label for path, label in wanted.items()}
        self._check_mode = check_mode
        self.labelled = self.inherited = 0

    def set(self, path: bytes, name: bytes, above: str) -> str:
        """Set the label of *name* in the image by *path*, without following a symlink at its end; return the label."""
        label = self._wanted.get(name, "")
        if label:
            self.labelled += 1
        else:
            label = _get(path)
            if label and selinux.type_of(label) not in selinux.UNLABELLED:
                return label
            label = above
            self.inherited += bool(label)
        if label and not self._check_mode:
            _set(path, name, label)
        return label


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _get(path: bytes) -> str:
    try:
        value = os.getxattr(path, selinux.ATTRIBUTE, follow_symlinks=False)
    except OSError as exc:
        if exc.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return ""
        raise
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _set(path: bytes, name: bytes, label: str) -> None:
    try:
        os.setxattr(path, selinux.ATTRIBUTE, _bytes(label) + b"\0", follow_symlinks=False)
    except OSError as exc:
        shown = name.decode("utf-8", "replace")
        if exc.errno == errno.EINVAL:
            raise SealedRootError(
                f"the builder's own SELinux policy does not know the label {label}, which {shown} of the image"
                " is to get, and does not let this module write unknown ones. Build on a builder where SELinux"
                " is permissive or off, or give the builder the image's policy, or set image_selinux to"
                " relabel_at_boot"
            ) from exc
        raise SealedRootError(
            f"the label of {shown} cannot be written: {exc.strerror}. The file system and its mount options must"
            f" allow the attribute {selinux.ATTRIBUTE}, and the file must not be immutable (lsattr)"
        ) from exc


class Folder:
    """A directory whose entries are labelled; *left* are its subdirectories that are still to be entered."""

    def __init__(self, handle: int, path: bytes, label: str) -> None:
        self.handle, self.path, self.label = handle, path, label
        self.left: t.List[t.Tuple[bytes, str]] = []

    def enter(self, labels: Labels, device: int) -> None:
        """Label the entries. Do not enter symlinks or other file systems."""
        for name in map(os.fsencode, os.listdir(self.handle)):
            path = b"%s/%s" % (self.path, name)
            if len(path) > LONGEST:
                raise SealedRootError(
                    "the image has a name that is longer than a path can be: remove it from the root"
                )
            label = labels.set(b"/proc/self/fd/%d/%s" % (self.handle, name), path, self.label)
            info = os.stat(name, dir_fd=self.handle, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode) and info.st_dev == device:
                self.left.append((name, label))


def write(root: str, wanted: t.Mapping[str, str], *, check_mode: bool) -> Labels:
    """Label the tree at *root*. Each directory is opened by name from its parent, and no symlink is followed.

    Memory holds only the names next to the current path, whereas os.fwalk() keeps whole paths.
    """
    labels = Labels(wanted, check_mode=check_mode)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    top = os.open(root, flags)
    trail = [Folder(top, b"", "")]
    try:
        device = os.fstat(top).st_dev
        trail[0].label = labels.set(b"/proc/self/fd/%d/." % top, b"/", "")
        trail[0].enter(labels, device)
        while trail:
            here = trail[-1]
            if not here.left:
                os.close(trail.pop().handle)
                continue
            name, label = here.left.pop()
            handle = os.open(name, flags, dir_fd=here.handle)
            trail.append(Folder(handle, b"%s/%s" % (here.path, name), label))
            trail[-1].enter(labels, device)
    finally:
        for folder in trail:
            os.close(folder.handle)
    return labels


def flag(root: str, wanted: t.Optional[bytes], *, check_mode: bool) -> bool:
    """Create, change or remove the request to relabel at boot (None: no request); return whether it changed."""
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        have = _content(top)
        if have == wanted:
            return False
        if check_mode:
            return True
        if have is not None:
            os.unlink(selinux.FLAG, dir_fd=top)
        if wanted is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(selinux.FLAG, flags, 0o644, dir_fd=top), "wb") as file:
                file.write(wanted)
        return True
    finally:
        os.close(top)


def _content(top: int) -> t.Optional[bytes]:
    """Return the content of the flag; None if it does not exist, and empty if it is not a regular file."""
    try:
        info = os.stat(selinux.FLAG, dir_fd=top, follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode):
            return b""
        handle = os.open(selinux.FLAG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=top)
    except FileNotFoundError:
        return None
    with open(handle, "rb") as file:
        return file.read(64)


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Label the image, or request that it labels itself."""
    root = params["root"]
    if not os.path.isabs(root) or os.path.realpath(root) == "/":
        raise SealedRootError(f"root is '{root}': it must be an absolute path, and not /")
    if not os.path.isdir(root):
        raise SealedRootError(f"{root} is no directory: mount the image there first")
    config, policy = look(runner, root)
    wanted: t.Mapping[str, str] = {}
    if params["state"] == "labelled":
        wanted = plan(runner, root, config, policy)
        labels = write(root, wanted, check_mode=check_mode)
        changed = flag(root, None, check_mode=check_mode)
    else:
        labels = Labels({}, check_mode=check_mode)
        changed = flag(root, selinux.FLAG_CONTENT, check_mode=check_mode)
    return {
        "changed": bool(changed or labels.labelled or labels.inherited),
        "mode": config.mode,
        "type": config.type,
        "policy": f"{config.directory}/policy/{policy}",
        "labelled": labels.labelled,
        "inherited": labels.inherited,
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "choices": ["labelled", "relabel_at_boot"],
                "default": "labelled",
            },
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
