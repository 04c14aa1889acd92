"""How much of a core and of memory `app listen` needs, by the number of words, among voices and in a silent room.

    python benchmarks/listen_load.py [--model embedding] [--words 1 --words 10 --words 100] [--seconds 60] [--no-gate] [--json]

The program itself hears raw PCM in the blocks of a live session. Words are those of the demo, some under more than one name. Processor seconds are
those that it uses beyond starting (median of five starts), for a second of sound; `voices` is the demo's stream, in which somebody speaks half of
the time, over and over.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import listening
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from app.store import WordStore

MOMENT_S = 0.2  # of sound: what is used for it is used for starting
STARTS = 5  # whose median is taken


def rows(model: str, counts: list[int], seconds: float, gate: bool) -> list[dict[str, float | int | str]]:
    """Measure one row for each number of words."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        everybody = listening.store_words(model, max(counts), Path(folder, "everybody"))
        sounds = {"voices": np.resize(listening.voices(), round(seconds * listening.RATE)), "silent room": listening.room(seconds)}
        sounds["start"] = sounds["voices"][: round(MOMENT_S * listening.RATE)]
        files = {name: Path(folder, name) for name in sounds}
        for name, sound in sounds.items():
            files[name].write_bytes(listening.pcm(sound))
        for count in counts:
            store = WordStore(Path(folder, f"words {count}"))
            store.put(*everybody[:count])
            arguments = ["listen", "--from", "-", "--events", "--words", store.directory, *([] if gate else ["--no-gate"])]
            used = {name: listening.measure(arguments, file) for name, file in files.items()}
            starts = [used["start"], *(listening.measure(arguments, files["start"]) for _ in range(STARTS - 1))]
            start_cpu_s, start_wall_s = (statistics.median(start) for start in zip(*((u.cpu_s, u.first_s) for u in starts), strict=True))
            load = {name: (used[name].cpu_s - start_cpu_s) / (seconds - MOMENT_S) for name in ("voices", "silent room")}
            row = {"words": count, "voices": load["voices"], "silent_room": load["silent room"], "resident_mb": used["voices"].resident_mb}
            found.append({"model": model, **row, "start_cpu_s": start_cpu_s, "start_wall_s": start_wall_s})
    return found


def main(
    model: str = "embedding",
    words: Annotated[list[int] | None, typer.Option(min=1)] = None,
    seconds: Annotated[float, typer.Option(min=1)] = 60.0,
    no_gate: Annotated[bool, typer.Option("--no-gate")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    found = rows(model, words or [1, 10, 100], seconds, not no_gate)
    if as_json:
        print(json.dumps(found))
        return
    table = Table(title=f"app listen, {model}, {seconds:.0f} s of sound{', no gate' if no_gate else ''}", box=None)
    for name in ("words", "core, voices", "core, silent room", "resident MB", "start, core s", "start, wall s"):
        table.add_column(name, justify="right")
    for row in found:
        shares = (f"{float(row[name]):.1%}" for name in ("voices", "silent_room"))
        table.add_row(
            str(row["words"]),
            *shares,
            *(f"{float(row[name]):.{digits}f}" for name, digits in (("resident_mb", 0), ("start_cpu_s", 2), ("start_wall_s", 2))),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
