"""How much of a core `app listen` needs: a minute of sound, three enrolled words.

    python benchmarks/listen_load.py [--model embedding] [--words 3] [--seconds 60]

Enrolls words of the demo into a temporary store, lets `app listen` hear a file of the demo's voices, and prints the processor seconds it used
for a second of sound, with and without what it takes to start.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

VOICES = Path(__file__).parent.parent / "app" / "demo_voices"
RATE = 16_000
MARGIN_S = 0.3


def used(arguments: list[str]) -> float:
    """Run `app` and return the processor seconds that it used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "app", *arguments], check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(
    model: str = "embedding",
    words: Annotated[int, typer.Option(min=1, max=11)] = 3,
    seconds: Annotated[float, typer.Option(min=1)] = 60.0,
) -> None:
    """Measure."""
    stream, _ = soundfile.read(VOICES / "stream.flac", dtype="float32")
    truth = json.loads((VOICES / "truth.json").read_text())
    said = {entry["word"]: entry for entry in (truth["utterances"] if isinstance(truth, dict) else truth)}
    with tempfile.TemporaryDirectory() as folder:
        store, whole, moment = Path(folder, "words"), Path(folder, "stream.wav"), Path(folder, "moment.wav")
        soundfile.write(whole, np.resize(stream, round(seconds * RATE)), RATE)
        soundfile.write(moment, stream[: RATE // 5], RATE)
        for word in list(said)[:words]:
            begin, end = (round(said[word][edge] * RATE) for edge in ("start_s", "end_s"))
            recording = Path(folder, "word.wav")
            soundfile.write(recording, stream[max(0, begin - round(MARGIN_S * RATE)) : end + round(MARGIN_S * RATE)], RATE)
            used(["enroll", word, "--from", str(recording), "--words", str(store), "--model", model, "--json"])
        start = used(["listen", "--from", str(moment), "--words", str(store), "--json"])
        total = used(["listen", "--from", str(whole), "--words", str(store), "--json"])
    print(f"{model}, {words} words, {seconds:.0f} s of sound: {(total - start) / seconds:.3f} s of one core per second of sound")
    print(f"start-up {start:.1f} s of one core; with it {total / seconds:.3f} s per second of sound")


if __name__ == "__main__":
    typer.run(main)
