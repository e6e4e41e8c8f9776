# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What came of attacks: a line for each, the summary, and the table of docs/threat_model.md."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import typing as t

from attacks import Attack, Outcome

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "threat_model.md"
BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"


@dataclasses.dataclass(frozen=True)
class Result:
    """One attack on one image."""

    name: str
    attack: Attack
    kind: str
    defended: bool
    # Without one it was not played to the end, and *failure* says why.
    outcome: Outcome | None
    failure: str = ""

    @property
    def right(self) -> bool:
        """Whether it ended as it must: won where nothing defends or the documents say so, and stopped elsewhere."""
        must_win = not self.defended or bool(self.attack.open_because)
        return self.outcome is not None and self.outcome.won == must_win

    @property
    def line(self) -> str:
        where = self.kind if self.defended else f"{self.kind}, undefended"
        if self.outcome is None:
            return f"{self.name} on {where}: FAILED: {self.failure}"
        word = "won" if self.outcome.won else "stopped"
        wrong = "" if self.right else "WRONG: "
        seconds = f"{self.outcome.seconds:.0f} s"
        return f"{self.name} on {where}: {wrong}{word}, {seconds}: {self.outcome.evidence}"


def finish(results: t.Sequence[Result], *, write: bool, page: pathlib.Path = PAGE) -> int:
    """Print the summary, write the table if asked to, and return the exit status."""
    product = [result for result in results if result.defended]
    tried = {result.name for result in product}
    beaten = {result.name for result in product if not result.outcome or result.outcome.won}
    documented = {result.name for result in product if result.attack.open_because}
    wrong = [result for result in results if not result.right]
    if write:
        text = page.read_text()
        before, _begin, rest = text.partition(BEGIN)
        old, end, after = rest.partition(END)
        assert end, f"{page} has no place for the table"
        page.write_text(f"{before}{BEGIN}\n\n{table(product, old)}\n\n{END}{after}")
    for result in wrong:
        print(f"not as it must be: {result.line}")
    print(
        f"attacks: {len(tried)} tried, {len(tried - beaten)} stopped,"
        f" {len(beaten & documented)} open (documented)"
        + (f", {len(beaten - documented)} WON BY THE HOST" if beaten - documented else "")
    )
    return 1 if wrong else 0


def table(results: t.Sequence[Result], old: str = "") -> str:
    """Return a row for each attack: what the host does, what the guest must do, and what was measured.

    Of what was not played this time, the table keeps what *old* has.
    """
    rows = {}
    for line in old.strip().splitlines()[2:]:
        name, *cells = line.strip("| ").split(" | ")
        rows[name] = cells
    for name in dict.fromkeys(result.name for result in results):
        of_it = [result for result in results if result.name == name]
        attack = of_it[0].attack
        before = rows[name][2].split("<br>") if name in rows else []
        found = {line.partition(":")[0]: line for line in [*before, *map(measured, of_it)]}
        last = "<br>".join(line for kind, line in found.items() if kind != "open")
        if attack.open_because:
            last += f"<br>open: {attack.open_because} Combine with: {attack.combine_with}"
        rows[name] = [cell.replace("|", "/") for cell in (attack.host, attack.guest, last)]
    lines = ["| attack | the host | the guest must | measured |", "|---|---|---|---|"]
    lines += [f"| {' | '.join([name, *rows[name]])} |" for name in sorted(rows)]
    return "\n".join(lines)


def measured(result: Result) -> str:
    """Say how an attack on one image ended, and when that was."""
    if not result.outcome:
        return f"{result.kind}: not played"
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    word = "won" if result.outcome.won else "stopped"
    # A guest's console can hold anything.
    evidence = "".join(it for it in result.outcome.evidence if it.isprintable())
    evidence = evidence.replace("<", "&lt;")
    return f"{result.kind}: {word} after {result.outcome.seconds:.0f} s, {evidence} ({date})"
