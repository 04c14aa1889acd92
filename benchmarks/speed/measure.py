"""Time and memory of contestants that take turns, on one thread.

Times are processor times unless another clock is named, so that other programs on the machine count as little as they can; contestants take turns and
ratios are taken within a turn, so that what slows the machine slows both. Memory is what PyTorch allocates at its peak above what was there before,
as its profiler records it.
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

Contestant = Callable[[], object]
Clock = Callable[[], float]
TURN_S = 0.1


@dataclass(frozen=True)
class Row:
    """One line of a table: what took how long, and how many times as long as ours."""

    group: str
    name: str
    seconds: float
    times_ours: float
    peak_bytes: int | None = None
    note: str = ""


def take_turns(
    contestants: Mapping[str, Contestant], repeats: int, turn_s: float = TURN_S, clock: Clock = time.process_time
) -> dict[str, list[float]]:
    """Run contestants one after the other, several times.

    Args:
        contestants: by name.
        repeats: turns. Each begins with a call that does not count: it would pay for the caches that the contestant before has filled.
        turn_s: least seconds of a turn; who is quicker is called several times.
        clock: tells seconds.

    Returns:
        Seconds of a call of each, in the order of the turns.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    calls = {name: math.ceil(turn_s / min(_seconds(contestant, 1, clock) for _ in range(3))) or 1 for name, contestant in contestants.items()}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            contestant()
            times[name].append(_seconds(contestant, calls[name], clock))
    return times


def _seconds(contestant: Contestant, calls: int, clock: Clock) -> float:
    begun = clock()
    for _ in range(calls):
        contestant()
    return max(clock() - begun, 1e-6) / calls


def compare(
    group: str, ours: str, contestants: Mapping[str, Contestant], repeats: int, memory: bool = False, clock: Clock = time.process_time
) -> list[Row]:
    """Measure contestants against ours.

    Args:
        group: name of the comparison.
        ours: name of the contestant that the others are compared with.
        contestants: by name.
        repeats: turns.
        memory: whether to measure the peak of memory too.
        clock: tells seconds.

    Returns:
        A row each: the median time, and the median over turns of the ratio to ours.
    """
    times = take_turns(contestants, repeats, clock=clock)
    rows = []
    for name, seconds in times.items():
        ratio = statistics.median(theirs / own for theirs, own in zip(seconds, times[ours], strict=True))
        rows.append(Row(group, name, statistics.median(seconds), ratio, peak_bytes(contestants[name]) if memory else None))
    return rows


def peak_bytes(contestant: Contestant) -> int:
    """Return the largest number of bytes that PyTorch holds during a call beyond what it held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = contestant()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def product_rate(repeats: int = 5) -> float:
    """Measure how many floating-point operations a second a large float32 matrix product does."""
    left, right = torch.randn(2048, 832), torch.randn(832, 256)
    seconds = take_turns({"product": lambda: left @ right}, repeats)["product"]
    return 2 * 2048 * 832 * 256 / statistics.median(seconds)
