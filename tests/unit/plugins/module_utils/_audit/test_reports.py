# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of an audit."""

from __future__ import annotations

from ansible_collections.sealedroot.image.plugins.module_utils._audit import reports
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_every_check_is_reported() -> None:
    report = reports.Report()
    assert report.add("format", [], "fine")
    assert not report.add("layout", ["one", "two"], "fine")
    outcome = report.outcome()
    assert [check["name"] for check in outcome["checks"]] == list(reports.CHECKS)
    assert outcome["checks"][0] == {"name": "format", "verdict": "ok", "detail": "fine"}
    assert outcome["checks"][1] == {"name": "layout", "verdict": "failed", "detail": "one; two"}
    assert outcome["checks"][2]["detail"] == "not examined, because of layout"
    # How long a check took would be a time measured with a key.
    assert set(outcome) == {"checks", "facts"}


def test_failed_checks_that_were_made_come_first() -> None:
    report = reports.Report()
    report.add("payload", ["last"], "")
    assert next(check.name for check in report.failed()) == "payload"
    assert len(report.failed()) == len(reports.CHECKS)


def test_what_stops_a_check_is_its_verdict() -> None:
    report = reports.Report()
    with report.guard("header"):
        raise SealedRootError("no header")
    assert report.failed()[0].detail == "no header"


def test_a_verdict_is_not_replaced() -> None:
    report = reports.Report()
    with report.guard("layout"):
        report.add("layout", ["the whole story"], "")
        raise SealedRootError("it goes no further")
    assert report.failed()[0].detail == "the whole story"


def test_secrets_have_names_and_are_not_shown() -> None:
    subject = reports.Subject(
        path="/disk",
        key_files={"boot": "/k/boot.key"},
        keys={"boot": b"boot-secret"},
        dead_key_files=("/k/build.key",),
        dead_keys=(b"dead-secret",),
        markers=(),
        builder_words=(),
        luks_uuid=None,
        luks_type=None,
        hash="sha256",
        root_uuid=None,
        slots={0: 1000},
        digest_iterations=1000,
        esp_files=(),
        secure_boot=False,
        debug_console=False,
        host_agents=(),
        public_files=(),
        selinux="auto",
        work_dir=None,
    )
    assert subject.secrets() == {"boot key": b"boot-secret", "dead key build.key": b"dead-secret"}
    assert "secret" not in repr(subject)
