"""What the benchmarks of listening share: words of the demo's voices, a silent room, and what a program used."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.engine import Engine, open_engine
from app.enrolment import describe, judge, learn
from app.store import StoredWord, WordStore, now
from audio.files import read_audio

RATE = 16_000
VOICES = Path(__file__).resolve().parent.parent / "app" / "demo_voices"
MARGIN_S = 0.3  # kept around a word of the demo
ROOM_DBFS = -60.0
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


def voices() -> NDArray[np.float32]:
    """Return the demo's stream: 32 s of words, float32 [n]."""
    return read_audio(VOICES / "stream.flac")


def utterances() -> dict[str, NDArray[np.float32]]:
    """Cut one recording of each word out of the demo's stream."""
    stream, found = voices(), dict[str, NDArray[np.float32]]()
    for said in json.loads((VOICES / "truth.json").read_text()):
        begin, end = (round((said[edge] + margin) * RATE) for edge, margin in (("start_s", -MARGIN_S), ("end_s", MARGIN_S)))
        found.setdefault(said["word"], stream[max(0, begin) : end])
    return found


def words(engine: Engine, count: int) -> list[StoredWord]:
    """Learn the demo's words, and give them more names until there are enough: what a network says does not change what it costs."""
    learnt = [describe(engine, name, [learn(engine, judge(sound, name))], now()) for name, sound in list(utterances().items())[:count]]
    numbered = [StoredWord(info=word.info.model_copy(update={"word": f"word {k}"}), shots=word.shots) for k, word in enumerate(learnt * count)]
    return [*learnt, *numbered[len(learnt) : count]]


def _store(model: str, count: int, folder: Path) -> None:
    WordStore(folder).put(*words(open_engine(model, "torch"), count))


def store_words(model: str, count: int, folder: Path) -> list[StoredWord]:
    """Learn the demo's words into a store, in another process: whoever only listens has no torch in its memory."""
    learning = multiprocessing.get_context("spawn").Process(target=_store, args=(model, count, folder))
    learning.start()
    learning.join()
    if learning.exitcode:
        raise SystemExit("the words could not be learnt")
    return WordStore(folder).words()


def room(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Return the noise of a silent room, float32 [n]."""
    return (10 ** (ROOM_DBFS / 20) * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def pcm(samples: NDArray[np.float32]) -> bytes:
    """Encode samples as raw PCM, what `app listen --from -` takes."""
    return (np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2").tobytes()


@dataclass(frozen=True)
class Usage:
    """What a program used."""

    first_s: float  # wall seconds until its first line
    cpu_s: float  # processor seconds of all its threads
    resident_mb: float  # largest resident memory, in MB of 10^6 bytes
    lines: list[str]  # of its standard output


def measure(arguments: Sequence[str | Path], standard_input: Path) -> Usage:
    """Run `app` to its end."""
    command = [sys.executable, "-m", "app", *(str(argument) for argument in arguments)]
    begin = time.perf_counter()
    with standard_input.open("rb") as file, subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        peak = _Peak(program.pid)
        lines = [program.stdout.readline()]
        first_s = time.perf_counter() - begin
        lines += program.stdout.readlines()
        peak.join()
        _, status, used = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {program.returncode}")
    return Usage(first_s, used.ru_utime + used.ru_stime, peak.megabytes or used.ru_maxrss * MAXRSS_BYTES / 1e6, lines)


class _Peak(threading.Thread):
    """Watches the largest resident memory of a process until its end; what `wait4` reports is that of its parent where this was larger."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status, self.megabytes = Path(f"/proc/{pid}/status"), 0.0
        self.start()

    def run(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
            if not kilobytes:  # it has ended
                return
            self.megabytes = int(kilobytes[0]) * 1024 / 1e6
            time.sleep(0.05)


def resident_mb() -> float:
    """Return the resident memory of this process now; its largest where the system tells no more."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError, ValueError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / 1e6
