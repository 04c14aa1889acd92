"""One listening session: states, pauses, a device that goes and comes, heartbeats, words that change; time goes on through all of it."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app import session as module
from app import watch
from app.detector import Detection
from app.events import Event, Heartbeat, State, StateChange, description
from app.live import Listener
from app.near_misses import NearMiss
from app.session import Session, Source
from app.store import StoredWord, WordStore

BLOCK = 1280  # samples: 80 ms


class Clock:
    """A clock that moves only when told."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(module.time, "monotonic", lambda: self.now)


class Device:
    lost = False
    overflows = 0
    behind_s = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def listener(new_word: Callable[..., StoredWord], tone_engine: Any) -> Listener:
    return Listener([new_word("lamp", threshold=4.5), new_word("radio", threshold=4.7)], engine=tone_engine())


def blocks(sound: NDArray[np.float32], clock: Clock | None = None) -> Iterator[NDArray[np.float32]]:
    """Blocks of a device; each takes its time."""
    for first in range(0, len(sound), BLOCK):
        piece = sound[first : first + BLOCK]
        if clock is not None:
            clock.now += len(piece) / 16_000
        yield piece


def states(events: list[Event]) -> list[State]:
    return [event.state for event in events if isinstance(event, StateChange)]


def detections(events: list[Event]) -> list[Detection]:
    return [event for event in events if isinstance(event, Detection)]


def test_words_speech_and_heartbeats_of_a_file(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    sound = np.concatenate([tone_stream, np.zeros(16_000 * 30, np.float32)])
    events = list(Session(listener, Source(blocks(sound), live=False)).events())
    assert [d.word for d in detections(events)] == ["lamp", "radio"]
    assert states(events)[:3] == [State.LISTENING, State.SPEECH, State.LISTENING]
    beats = [event for event in events if isinstance(event, Heartbeat)]
    assert [beat.time_s for beat in beats] == pytest.approx([10, 20, 30, 36], abs=0.2)  # by the file's own time, and at its end
    assert (beats[-1].detections, beats[-1].near_misses, beats[-1].words) == (2, 0, ("lamp", "radio"))
    assert 0 < beats[-1].real_time_factor < 1


def test_what_is_muted_is_not_heard_and_time_goes_on(listener: Listener, tone_stream: NDArray[np.float32], clock: Clock) -> None:
    session = Session(listener, Source(blocks(tone_stream, clock)), tick=lambda: setattr(session, "muted", 0.8 <= session.time_s < 2.5))
    events = list(session.events())
    assert [d.word for d in detections(events)] == ["radio"]
    assert detections(events)[0].end_s == pytest.approx(3.6, abs=0.1)
    assert [state for state in states(events) if state is not State.SPEECH] == [State.LISTENING, State.MUTED, State.LISTENING, State.LISTENING]
    muted = next(event for event in events if isinstance(event, StateChange) and event.state is State.MUTED)
    assert muted.time_s == pytest.approx(0.8, abs=0.1)
    assert session.time_s == pytest.approx(6.0)


def test_a_paused_file_waits(listener: Listener, tone_stream: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(listener, Source(blocks(tone_stream), live=False))
    session.muted, waits = True, []

    def sleep(_: float) -> None:
        waits.append(session.state)
        session.muted = len(waits) < 5

    monkeypatch.setattr(module.time, "sleep", sleep)
    events = list(session.events())
    assert waits == [State.MUTED] * 5
    assert len(detections(events)) == 2


def test_a_device_that_goes_and_comes(listener: Listener, tone_stream: NDArray[np.float32], clock: Clock) -> None:
    device = Device()

    def sound() -> Iterator[NDArray[np.float32]]:
        yield from blocks(tone_stream[: 16_000 * 2], clock)
        device.lost = True
        for _ in range(200):
            clock.now += 0.1
            yield np.zeros(0, np.float32)
        device.lost = False
        yield from blocks(tone_stream[16_000 * 2 :], clock)

    session = Session(listener, Source(sound(), device=device))
    events = list(session.events())
    assert [d.end_s for d in detections(events)] == pytest.approx([1.5, 23.6], abs=0.2)
    assert states(events).count(State.LOST) == 1
    beats = [event for event in events if isinstance(event, Heartbeat)]
    assert [beat.state for beat in beats[:2]] == [State.LOST, State.LOST]  # it goes on beating
    assert session.time_s == pytest.approx(26.0, abs=0.2)


def test_falling_behind_and_lost_blocks_are_told(listener: Listener, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    device = Device()

    def sound() -> Iterator[NDArray[np.float32]]:
        for k, block in enumerate(blocks(np.zeros(16_000 * 8, np.float32), clock)):
            device.behind_s = 1.5 if 10 <= k < 20 else 0.5 if 20 <= k < 30 else 0.0
            device.overflows = 3 if k >= 15 else 0
            yield block

    with caplog.at_level(logging.WARNING, "sayonce"):
        events = list(Session(listener, Source(sound(), device=device)).events())
    changes = [event for event in events if isinstance(event, StateChange)]
    assert states(events) == [State.LISTENING, State.BEHIND, State.LISTENING]
    assert changes[2].time_s - changes[1].time_s == pytest.approx(20 * 0.08, abs=0.1)  # until it has caught up
    assert caplog.text.count("3 blocks of sound were lost") == 1
    assert events[-1].lost_blocks == 3  # type: ignore[union-attr]


def test_a_machine_that_is_too_slow_for_a_pipe_is_told(listener: Listener, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    push = listener.push

    def slow(samples: NDArray[np.float32]) -> list[Detection]:
        clock.now += 0.2  # for 0.08 s of sound
        return push(samples)

    monkeypatch.setattr(listener, "push", slow)
    events = list(Session(listener, Source(blocks(np.zeros(16_000 * 8, np.float32)))).events())
    assert State.BEHIND in states(events)
    assert events[-1].real_time_factor == pytest.approx(2.5)  # type: ignore[union-attr]


def test_an_interrupt_tells_what_was_being_said(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    def sound() -> Iterator[NDArray[np.float32]]:
        yield tone_stream[: round(16_000 * 1.5)]
        raise KeyboardInterrupt

    assert [d.word for d in detections(list(Session(listener, Source(sound())).events()))] == ["lamp"]


def test_a_changed_store_is_taken_over(
    tone_engine: Any, new_word: Callable[..., StoredWord], tone_stream: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    store = WordStore()
    store.put(new_word("lamp", threshold=4.5))
    store.put(new_word("radio", threshold=4.7))
    listener = Listener(engine=tone_engine())

    def sound() -> Iterator[NDArray[np.float32]]:
        yield tone_stream[: 16_000 * 2]
        store.rename("radio", "sofa")
        yield tone_stream[16_000 * 2 :]
        store.remove("lamp", "sofa")
        yield tone_stream

    with caplog.at_level(logging.INFO, "sayonce"):
        found = detections(list(Session(listener, Source(sound()), store).events()))
    assert [d.word for d in found] == ["lamp", "sofa", "lamp", "sofa"]  # with no word left, those that were there are kept
    assert "listening for lamp, sofa" in caplog.text
    assert "still listening for the words that were there" in caplog.text


def test_recordings_get_every_block_that_was_heard(listener: Listener, tone_stream: NDArray[np.float32]) -> None:
    heard: list[tuple[int, float]] = []
    list(Session(listener, Source(blocks(tone_stream), live=False), hear=lambda block, time_s: heard.append((len(block), time_s))).events())
    assert sum(size for size, _ in heard) == len(tone_stream)
    assert heard[-1][1] == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (Detection("lamp", 1.0, 2.0, 3.123456, 2.5), "detection"),
        (NearMiss("lamp", 1.0, 2.4, 2.5), "near miss"),
        (StateChange(1.23456, State.LOST), "state"),
        (Heartbeat(1.0, State.LISTENING, -31.23456, 0.02, 0.0, 0, 1, 2, ("lamp",)), "heartbeat"),
    ],
)
def test_events_as_json_are_as_documented(event: Event, name: str) -> None:
    from pathlib import Path

    told = description(event, tagged=True)
    assert list(told)[:2] == ["event", "at"]
    assert told["event"] == name
    assert told["at"].endswith("+00:00")
    plain = description(event, tagged=False)
    assert {"event": told["event"], "at": told["at"], **plain} == told
    text = (Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text()
    section = text.split(f'"event": "{name}"', 1)[1]
    assert all(f"`{field}`" in text for field in plain)
    assert all(f'"{field}"' in section.split("\n", 1)[0] for field in plain)
