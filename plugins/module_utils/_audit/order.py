# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run an audit: what to read of the disk, and which checks to make, in order."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    areas as audit_areas,
    checks,
    files as audit_files,
    keys,
    launch as audit_launch,
    secure_boot,
)
from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import (
    Report,
    Subject,
)
from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._disk import (
    esp as disk_esp,
    partitions,
    view as disk_view,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    core_image,
    embedded,
    tpm_program,
    unlock_ways,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata, pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    secret_search,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Limits for reading published files: of one file, and of all. Nothing published with an image is longer.
_MOST_OF_A_FILE, _MOST_PUBLISHED = 16 << 20, 64 << 20


def examine(runner: Runner, subject: Subject, report: Report) -> None:
    """Run all checks that are possible."""
    with report.guard("published"):
        _published(subject, report)
    info = disk_view.format_info(runner, subject.path)
    image_format = str(info["format"])
    report.facts["format"] = image_format
    problems = checks.image_format(info)
    contiguous = image_format == "raw"
    compressed = False
    if not contiguous and not problems:
        found, compressed = disk_view.check_container(runner, subject.path, image_format)
        problems += found
    if not report.add("format", problems, f"one {image_format} file, with nothing outside it"):
        return
    fixed = disk_view.is_fixed_vhd(subject.path, info)
    node = disk_view.disk_node(
        subject.path, image_format, size=int(info["virtual-size"]) if fixed else None
    )
    with disk_view.private_directory(subject.work_dir) as private, contextlib.ExitStack() as stack:
        disk = subject.path
        if not contiguous:
            mountpoint = os.path.join(private, "disk")
            disk = stack.enter_context(disk_view.shown(runner, node, mountpoint=mountpoint))
        handle = os.open(disk, os.O_RDONLY)
        stack.callback(os.close, handle)
        # Search the file itself for keys; only a format that packs data needs the unpacked view.
        packed = not fixed and (compressed or image_format not in ("raw", "qcow2"))
        everywhere = subject.secrets()
        everywhere.update((f"marker {text}", text.encode()) for text in subject.markers)
        # Search while the other checks wait for programs. The pool ends before the view is removed.
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        search = pool.submit(
            audit_areas.anywhere,
            disk if packed else subject.path,
            everywhere,
            cluster=0 if packed or contiguous or fixed else int(info["cluster-size"]),
        )
        try:
            audit = _Audit(runner, subject, report, private, disk, handle, pool, search)
            audit.run(node, image_format)
        except OSError as exc:
            raise SealedRootError(f"{subject.path} cannot be read: {exc.strerror}") from exc


def _published(subject: Subject, report: Report) -> None:
    texts, unseen, left = {}, [], _MOST_PUBLISHED
    for path in subject.public_files:
        name = os.path.basename(path)
        try:
            with open(path, "rb") as handle:
                data = handle.read(min(_MOST_OF_A_FILE, left))
                unseen += [name] if handle.read(1) else []
        except OSError as exc:
            raise SealedRootError(f"{path} cannot be read: {exc.strerror}") from exc
        left -= len(data)
        texts[path] = name.encode("utf-8", "surrogateescape") + b"\n" + data
    problems = secret_search.published(texts, subject.secrets())
    names = ", ".join(os.path.basename(path) for path in texts) or "nothing is published beside it"
    if unseen:
        names += f"; too long to be read to the end: {', '.join(unseen)}"
    report.add("published", problems, f"no key and no digest of one: {names}")


class _Audit:
    """The checks of a readable disk; *work* is a private directory in memory."""

    def __init__(
        self,
        runner: Runner,
        subject: Subject,
        report: Report,
        work: str,
        disk: str,
        handle: int,
        pool: concurrent.futures.Executor,
        search: concurrent.futures.Future[t.List[str]],
    ) -> None:
        self.runner, self.subject, self.report = runner, subject, report
        self.work, self.disk, self.handle = work, disk, handle
        self.pool, self.search = pool, search
        self.ranges = secret_search.extents(handle)
        self.config: t.Optional[str] = None
        # Each GRUB on the ESP that reads the root.
        self.cores: t.Dict[str, core_image.Core] = {}

    def run(self, node: t.Mapping[str, t.Any], image_format: str) -> None:
        """Run the checks; if one cannot be made, those that depend on it are reported as not examined."""
        with self.report.guard("layout"):
            esp, luks = self.layout()
            header = None
            with self.report.guard("header"):
                header = keys.header(
                    self.runner,
                    self.subject,
                    self.report,
                    handle=self.handle,
                    ranges=self.ranges,
                    luks=luks,
                    work=self.work,
                )
            # After the search, and like that while the other checks wait for programs.
            looks = self.pool.submit(self.payload, esp, luks, header)
            if header is not None:
                with self.report.guard("grub_opens"):
                    self.config = keys.grub(self.runner, self.subject, self.report, disk=self.disk)
                with self.report.guard("esp"):
                    self.esp(esp, header)
            if header is not None:
                with self.report.guard("filesystem"):
                    region = {"offset": luks.offset, "size": luks.size}
                    with contextlib.ExitStack() as stack:
                        if header.type == "luks2":
                            view = disk_view.luks2_node(self.runner, self.disk, header, **region)
                            payload = stack.enter_context(view)
                        else:
                            payload = disk_view.payload_node(
                                node, image_format=image_format, **region
                            )
                        self.root(payload, header, luks)
            with self.report.guard("clear_areas"):
                self.areas(esp, luks, header, looks)

    def layout(self) -> t.Tuple[partitions.Partition, partitions.Partition]:
        table = partitions.read_gpt(self.runner, self.disk)
        size = os.lseek(self.handle, 0, os.SEEK_END)
        nonzero: t.List[int] = []
        if table is not None:
            for start, end in audit_areas.gaps(table, size):
                cut = secret_search.within(self.ranges, start, end)
                nonzero += audit_areas.first_nonzero(self.handle, cut)
        problems = checks.layout(table, nonzero)
        self.report.add("layout", problems, "a GPT with an ESP and one LUKS partition, no more")
        if table is None:
            raise SealedRootError("; ".join(problems))
        return partitions.esp_and_luks(table)

    def esp(self, esp: partitions.Partition, header: metadata.Header) -> None:
        files = {
            name: disk_esp.read(self.runner, self.disk, esp.offset, name)
            for name in disk_esp.names(self.runner, self.disk, esp.offset)
        }
        modules = [cfg.LUKS_MODULES[header.type], f"gcry_{header.hash}"]
        problems: t.List[str] = []
        wanted: t.Sequence[str] = []
        if "prompt" in self.subject.unlock:
            wanted = self.subject.esp_files or [architectures.X86_64.boot_file]
        config = embedded.CONFIG
        if "tpm2" in self.subject.unlock:
            modules += unlock_ways.TPM2.modules
            config = tpm_program.config(luks_uuid=header.uuid)
            if wanted and wanted[0] in files:
                self.report.facts["tpm2"] = tpm_program.measured(files[wanted[0]])
        if self.subject.secure_boot:
            needed = {*checks.CORE_MODULES, *cfg.REQUIRED, *cfg.SIGNED, *modules}
            problems, known = secure_boot.chain(files, modules=needed)
            wanted = self.subject.esp_files or known
        problems += checks.esp(
            files,
            wanted=wanted,
            luks_uuid=header.uuid,
            modules=modules,
            signed=self.subject.secure_boot,
            debug_console=self.subject.debug_console,
            config=config,
        )
        # A signed GRUB has its configuration in a separate file.
        signed = self.subject.secure_boot
        cores = {name: core_image.parse(data) for name, data in files.items()}
        self.cores = {name: it for name, it in cores.items() if it and (it.config or signed)}
        said = f"exactly {', '.join(sorted(files)) or 'no file'}, without a key"
        launched = self.subject.launched
        if launched:
            problems += audit_launch.core(launched, luks_uuid=header.uuid, modules=modules)
            problems += audit_launch.firmware(launched)
            files[image_files.CORE] = launched.core
            said += f"; {image_files.CORE} reads a launch secret, and is the one that is measured"
            said += f"; {image_files.FIRMWARE} starts no program of a disk"
        for name, data in files.items():
            found = secret_search.search_bytes(data, self.subject.secrets())
            problems += [f"{name} holds the {label}" for label in found]
        self.report.add("esp", problems, said)

    def areas(
        self,
        esp: partitions.Partition,
        luks: partitions.Partition,
        header: t.Optional[metadata.Header],
        looks: concurrent.futures.Future[t.List[str]],
    ) -> None:
        begin, end = _encrypted(luks, header)
        clear = [
            *secret_search.within(self.ranges, 0, begin),
            *secret_search.within(self.ranges, end, os.lseek(self.handle, 0, os.SEEK_END)),
        ]
        problems = audit_areas.clear_secrets(self.handle, clear, self.subject.secrets())
        problems += self.search.result()
        self.report.add("clear_areas", problems, "no key and no marker is in the clear")
        self.report.add(
            "payload", looks.result(), "no file system in the clear, and all data looks random"
        )

    def payload(
        self,
        esp: partitions.Partition,
        luks: partitions.Partition,
        header: t.Optional[metadata.Header],
    ) -> t.List[str]:
        return audit_areas.payload(
            self.handle,
            self.ranges,
            encrypted=_encrypted(luks, header),
            outside=(esp.offset, esp.offset + esp.size),
        )

    def root(
        self,
        payload: t.Mapping[str, t.Any],
        header: metadata.Header,
        luks: partitions.Partition,
    ) -> None:
        # A pinned header shorter than this is incomplete, even if all its bytes are right.
        least = max(start + size for start, size in pinned_header.ranges(header))
        with disk_view.shown(
            self.runner,
            payload,
            mountpoint=os.path.join(self.work, "payload"),
            key_file=self.subject.key_files["boot"],
        ) as device, confined.together():
            audit_files.examine(
                self.runner,
                self.subject,
                self.report,
                device=device,
                work=self.work,
                luks_uuid=header.uuid,
                disk_header=lambda size: os.pread(self.handle, max(size, least), luks.offset),
                config=self.config,
                cores=self.cores,
            )


def _encrypted(
    luks: partitions.Partition, header: t.Optional[metadata.Header]
) -> t.Tuple[int, int]:
    """Return where the encrypted data is."""
    return luks.offset + (header.payload_offset if header else 0), luks.offset + luks.size


__all__ = ("examine",)
