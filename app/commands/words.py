"""`app words`: list, show, rename and remove enrolled words."""

import json
from typing import Any

from app.store import StoredWord, WordStore


def description(word: StoredWord) -> dict[str, Any]:
    """Describe a word for JSON: everything but the arrays."""
    return {"word": word.info.word, **word.info.model_dump(mode="json", exclude={"version", "word"})}


def list_words(words: str | None, as_json: bool) -> None:
    """List the enrolled words."""
    store = WordStore(words)
    found = store.words()
    if as_json:
        print(json.dumps([description(word) for word in found], ensure_ascii=False))
        return
    from app.terminal import err, out, words_table

    if found:
        out.print(words_table(found))
    else:
        err.print(f"no word is enrolled in {store.directory}; enroll one with: app enroll WORD", markup=False, soft_wrap=True)


def show(word: str, words: str | None, as_json: bool) -> None:
    """Show what is stored about a word."""
    found = WordStore(words).require(word)
    if as_json:
        print(json.dumps(description(found), ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from app.terminal import out, words_table

    out.print(words_table([found]))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in ("utterance", "speech", "level", "over noise", "heard", "remarks"):
        table.add_column(name)
    for shot in found.info.shots:
        figures = f"{shot.duration_s:.2f} s", f"{shot.level_dbfs:.0f} dB", f"{shot.snr_db:.0f} dB"
        table.add_row(Text(shot.source), *figures, shot.heard_at[:16].replace("T", " "), Text("; ".join(shot.remarks), "yellow"))
    out.print()
    out.print(table)


def rename(word: str, new: str, words: str | None) -> None:
    """Give a word another name."""
    WordStore(words).rename(word, new)


def remove(names: list[str], words: str | None) -> None:
    """Forget words."""
    WordStore(words).remove(*names)
