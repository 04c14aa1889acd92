"""`app doctor`: checks this installation and this machine, one line each."""

import json
from dataclasses import asdict

from app.doctor import Verdict, examine

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.BROKEN: "bold red", Verdict.ABSENT: "bright_black"}


def run(words: str | None, model: str | None, as_json: bool) -> None:
    """Print what every check found; exit with 1 where something needed is broken."""
    broken = False
    found = []
    for finding in examine(words, model):
        broken |= finding.verdict is Verdict.BROKEN
        if as_json:
            found.append(asdict(finding))
            continue
        from rich.text import Text

        from app.terminal import out

        line = Text(f"{finding.verdict:<8}", STYLES[finding.verdict]) + Text(f"{finding.check}: {finding.detail}")
        out.print(line + Text(f"; {finding.remedy}" if finding.remedy else ""), soft_wrap=True)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    if broken:
        raise SystemExit(1)
