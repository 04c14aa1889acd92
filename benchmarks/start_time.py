"""How long it takes until `app listen` hears, and from the end of a word until it is stored.

    python benchmarks/start_time.py [--model embedding] [--runs 5] [--json]

**Start**: from starting the program until it says that it listens, with ten words, the files in the system's cache; median of the runs. **Enroll**:
in a process that runs already, from the last sample of a recording until its word is on the disk, checked; median over the demo's words. `first` is
what the process has to do once before that, with and without what an earlier process left in the cache folder. Processor seconds stand beside wall
seconds: they tell a slow program from a busy machine.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import listening
import typer
from rich.console import Console
from rich.table import Table

from app.engine import open_engine
from app.enrolment import judge, learn, store_shots
from app.safety import SafetyError
from app.store import WordStore
from priming.errors import CalibrationError

WORDS = 10


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and the processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measurements(model: str, runs: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Measure everything: wall and processor seconds by name."""
    found = {}
    os.environ["SAYONCE_HOME"] = str(folder / "home")
    engine = open_engine(model, "torch")
    found["first, nothing kept"] = timed(engine.prepare)
    again = open_engine(model, "torch")
    found["first, kept by an earlier process"] = timed(again.prepare)

    taken = []
    for number, (name, sound) in enumerate(listening.utterances().items()):
        store = WordStore(folder / f"store {number}")

        def one(name: str = name, sound: object = sound, store: WordStore = store) -> None:
            store_shots(engine, store, name, [learn(engine, judge(sound, name))])  # type: ignore[arg-type]

        try:
            taken.append(timed(one))
        except (SafetyError, CalibrationError):
            continue  # refused, which takes as long but stores nothing
    found[f"enroll, median of {len(taken)} words"] = statistics.median(wall for wall, _ in taken), statistics.median(cpu for _, cpu in taken)

    store, moment = WordStore(folder / "ten"), folder / "moment"
    store.put(*listening.words(engine, WORDS))
    moment.write_bytes(listening.pcm(listening.room(0.1)))
    starts = [listening.measure(["listen", "--from", "-", "--events", "--words", store.directory], moment) for _ in range(runs + 1)][1:]
    found[f"start to listening, median of {runs}"] = statistics.median(u.first_s for u in starts), statistics.median(u.cpu_s for u in starts)
    return found


def main(
    model: str = "embedding",
    runs: Annotated[int, typer.Option(min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        found = measurements(model, runs, Path(folder))
    if as_json:
        print(json.dumps({name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in found.items()}))
        return
    table = Table(title=f"{model}", box=None)
    table.add_column("")
    for name in ("wall s", "core s"):
        table.add_column(name, justify="right")
    for name, (wall, cpu) in found.items():
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
