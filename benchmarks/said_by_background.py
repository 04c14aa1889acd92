"""How often the background of a role says a word without meaning it: inside another word, or as one that sounds the same.

    python benchmarks/said_by_background.py --data DIR [--role test]

"Upon" says "up", "know" says "no". A listener that knows words by their sound cannot tell such an occurrence from the word, yet `app evaluate
--stream` counts it as a false accept: the truth goes by spelling. The table bounds what any such listener can reach there. It is made from
transcripts (`alignments.csv`) and the CMU Pronouncing Dictionary alone; nothing is listened to.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from alternatives.plain_errors import plain_errors
from priming.corpus import role_clips
from priming.errors import DataError
from priming.homophones import pronunciations, written
from priming.streams import role_background

EXAMPLES = 4  # of the commonest words that say it


def saying(word: str, spoken: Counter[str]) -> Counter[str]:
    """Return the other words that say a word, and how often each was spoken; none for a word that the dictionary does not know."""
    sounds = [written(phones) for phones in pronunciations(word)]

    def says(other: str) -> bool:
        return other != word and any(sound in written(phones) for sound in sounds for phones in pronunciations(other))

    return Counter({other: count for other, count in spoken.items() if says(other)})


def measure(data: Path, role: str) -> tuple[float, list[dict[str, Any]]]:
    """Count for every word of a role.

    Args:
        data: the data folder.
        role: `test` or `validation`.

    Returns:
        Hours of background with a transcript, and a row for each word.

    Raises:
        DataError: an unusable folder, background without transcripts, or no pronouncing dictionary.
    """
    background = role_background(data, role)
    spoken = Counter(word.word for _, words in background.speech for word in words)
    hours = sum(clip.duration_s for clip, words in background.speech if words) / 3600
    if not hours:
        raise DataError(f"{data} has no transcripts of the {role} part of its continuous speech: add alignments.csv (see priming/manifest.py)")
    rows = []
    for word in sorted({clip.word for clip in role_clips(data, role)}):
        others = saying(word, spoken)
        examples = [other for other, _ in others.most_common(EXAMPLES)]
        rows.append({"word": word, "per_hour": others.total() / hours, "itself_per_hour": spoken[word] / hours, "said_by": examples})
    return hours, rows


def main(
    data: Annotated[Path, typer.Option(help="The data folder.")],
    role: Annotated[str, typer.Option(help="test or validation")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count how often the background of a role says its words without meaning them."""
    with plain_errors():
        hours, rows = measure(data, role)
    if as_json:
        json.dump({"role": role, "hours": hours, "words": rows}, sys.stdout, ensure_ascii=False)
        print()
        return
    table = Table(title=f"Said without being meant, role {role}, {hours:.2f} hours of background with transcripts")
    for name in ("word", "an hour", "by", "the word itself, an hour"):
        table.add_column(name, justify="left" if name in ("word", "by") else "right")
    for row in sorted(rows, key=lambda row: -row["per_hour"]):
        table.add_row(row["word"], f"{row['per_hour']:.0f}", ", ".join(row["said_by"]), f"{row['itself_per_hour']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
