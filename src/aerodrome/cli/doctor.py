"""`aerodrome doctor`: what this machine offers, and what to do about what is less."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from aerodrome.cli.output import out
from aerodrome.machineroom.doctor import Ground, Verdict, examine
from aerodrome.settings import Settings

_STYLE = {Verdict.OK: "green", Verdict.LESS: "yellow", Verdict.WRONG: "red"}


def doctor_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at this machine, and say what is well and what is less than it could be. Changes nothing.

    Ends with 1 when an installation can't work here.
    """
    settings = Settings()
    findings = examine(Ground(settings.home, settings.sandbox))
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        for finding in findings:
            out.print(
                f"{finding.verdict:5}  {finding.check}: {finding.text}", style=_STYLE[finding.verdict], markup=False
            )
            if finding.advice:
                out.print(f"       {finding.advice}", markup=False)
    raise typer.Exit(1 if any(finding.verdict is Verdict.WRONG for finding in findings) else 0)
