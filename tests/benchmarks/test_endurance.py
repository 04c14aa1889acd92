"""The benchmarks of listening: a day is the same hour over and over, a drift would be seen, and two runs are matched rightly."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import endurance
import listening
import listening_agreement as agreement
import numpy as np
import pytest
from numpy.typing import NDArray

from app.detector import Detection
from app.engine import Engine
from app.live import Listener
from audio.voice import level_dbfs

RATE = 16_000


def drifting(fakes: ModuleType) -> Any:
    """A backend that scores a little higher after a hundred seconds."""

    class Drifting(fakes.CountingBackend):  # type: ignore[name-defined, misc]
        steps = 0

        def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.steps += len(spikes)
            scores: NDArray[np.float32] = super().process(spikes)
            return scores * np.float32(1.0001 if self.steps > 2_500 else 1.0)

    return Drifting()


def hours(fakes: ModuleType, backend: Any, gate: bool, tone_stream: NDArray[np.float32]) -> list[Any]:
    words = [fakes.make_word("lamp", threshold=2.5), fakes.make_word("radio", threshold=2.5)]
    model = SimpleNamespace(sha256=fakes.SHA, name="embedding", listens_for_running_speech=lambda: None)
    engine = Engine("embedding", model, backend, fakes.ToneEncoder())  # type: ignore[arg-type]
    lead = listening.room(40.0)
    silence = listening.room(20.0)
    found: list[Any] = []
    endurance.run(Listener(words, engine=engine, gate=gate), [lead, tone_stream, silence[: 14 * RATE]], 3, found.append)
    return found


@pytest.fixture(scope="module")
def tone_stream(fakes: ModuleType) -> NDArray[np.float32]:
    stream: NDArray[np.float32] = fakes.tone_stream.__wrapped__()
    return stream


@pytest.mark.parametrize("gate", [False, True])
def test_every_hour_is_heard_alike(fakes: ModuleType, gate: bool, tone_stream: NDArray[np.float32]) -> None:
    found = hours(fakes, fakes.CountingBackend(), gate, tone_stream)
    assert [(hour.hour, hour.detections, hour.same_detections, hour.same_scores) for hour in found] == [(k, 2, True, True) for k in range(3)]
    assert all(10 < hour.resident_mb < 100_000 and hour.edges_s < 0.05 for hour in found)
    assert not endurance.drifted([replace(hour, resident_mb=200.0) for hour in found])


def test_a_drift_is_seen(fakes: ModuleType, tone_stream: NDArray[np.float32]) -> None:
    found = hours(fakes, drifting(fakes), False, tone_stream)
    assert [hour.same_scores for hour in found] == [True, False, False]
    assert endurance.drifted(found)


def test_memory_that_grows_is_seen() -> None:
    flat = [endurance.Hour(k, 200.0, 1, 0, True, True, 0.0, 0.1) for k in range(4)]
    assert not endurance.drifted(flat)
    assert not endurance.drifted([replace(flat[0], resident_mb=150.0), *flat[1:]])  # what the first hour loads is no growth
    assert endurance.drifted([*flat, replace(flat[0], resident_mb=211.0)])


def test_a_scene_is_an_hour_with_silence_before_what_is_compared() -> None:
    pieces = endurance.scene(0.1, None)
    assert sum(map(len, pieces)) == endurance.HOUR
    assert len(pieces[0]) == endurance.LEAD_S * RATE
    assert level_dbfs(pieces[0]) == pytest.approx(listening.ROOM_DBFS, abs=0.2)
    loud = sum(len(piece) for piece in pieces if level_dbfs(piece) > listening.ROOM_DBFS + 3)
    assert loud / endurance.HOUR == pytest.approx(0.1, abs=0.03)


def test_blocks_are_the_pieces() -> None:
    pieces = [np.arange(length, dtype=np.float32) for length in (5, 400_000, 0, 17, 160_000)]
    blocks = list(endurance.blocks(pieces))
    assert {len(block) for block in blocks[:-1]} == {endurance.BLOCK_S * RATE}
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(pieces))


def test_two_runs_are_matched_by_word_and_time() -> None:
    reference = [Detection("lamp", 0.5, 1.0, 4.0, 2.5), Detection("lamp", 2.5, 3.0, 4.0, 2.5), Detection("radio", 4.0, 5.0, 3.0, 2.5)]
    other = [Detection("lamp", 0.5, 1.05, 4.2, 2.5), Detection("lamp", 3.1, 3.6, 4.0, 2.5), Detection("lamp", 4.0, 5.0, 3.0, 2.5)]
    found = agreement.compare(reference, other)
    assert (found["reference"], found["detections"], found["same"]) == (3, 3, 1)
    assert found["largest_difference"] == found["mean_difference"] == pytest.approx(0.2)
    assert agreement.compare(reference, reference)["same"] == 3


def test_what_a_program_used_is_measured(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.touch()
    used = listening.measure(["--help"], nothing)
    assert "app" in used.lines[0]
    assert 0 < used.cpu_s < 60
    assert 5 < used.resident_mb < 1_000
    with pytest.raises(SystemExit, match="status 2"):
        listening.measure(["nothing-of-ours"], nothing)
