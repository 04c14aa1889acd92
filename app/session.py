"""One listening session: a source of sound, a listener, and everything that there is to tell about them.

The session turns blocks into events and knows what it is doing: listening, hearing speech, muted, without its device, or falling behind. Time goes on
while it does not listen, so that times of detections stay those of the source.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.detector import Detection
from app.errors import StoreError
from app.events import Event, Heartbeat, State, StateChange
from app.live import Listener
from app.near_misses import NearMiss
from app.store import WordStore
from app.watch import StoreWatch
from audio.constants import SAMPLE_RATE

log = logging.getLogger("sayonce")

HEARTBEAT_S = 10.0
SPEECH_S = 0.5  # how long speech is shown after it ended
BEHIND_S, CAUGHT_UP_S = 1.0, 0.3  # sound that waits: when it is worth telling, and when no longer
LOAD_S = 5.0  # over which the real-time factor is taken
COMPLAINT_S = 60.0  # between two complaints about lost blocks


class Device(Protocol):
    """What a session asks of a microphone."""

    lost: bool
    overflows: int

    @property
    def behind_s(self) -> float:
        """How much sound waits."""


@dataclass(frozen=True)
class Source:
    """Where sound comes from."""

    blocks: Iterator[NDArray[np.float32]]  # float32 [n] at 16 kHz; empty where nothing came for a moment
    live: bool = True  # whether it goes on while nobody listens
    device: Device | None = None


class Session:
    """Runs a listener on a source.

    Args:
        listener: with its words.
        source: of sound.
        store: whose changes are followed; none when None.
        tick: called before every block, for keys and the like.
        hear: called with every block that was heard and the stream's time after it.

    Attributes:
        muted: whether sound is passed over. Setting it has effect at the next block.
        state: what the session is doing.
        real_time_factor: seconds of computing for a second of sound, over the last seconds.
    """

    def __init__(
        self,
        listener: Listener,
        source: Source,
        store: WordStore | None = None,
        *,
        tick: Callable[[], object] = lambda: None,
        hear: Callable[[NDArray[np.float32], float], object] = lambda samples, time_s: None,
    ) -> None:
        self.listener, self._source, self._tick, self._hear = listener, source, tick, hear
        self._store, self._watch = store, StoreWatch(store.directory) if store else None
        self.muted = False
        self.state = State.LISTENING
        self._away_s = 0.0  # passed over since something was last heard
        self._last_block = time.monotonic()
        self._spoke_s = -math.inf
        self._busy, self._sound = 0.0, 0.0
        self._lost_blocks, self._complained = 0, -math.inf
        self._counts = {Detection: 0, NearMiss: 0}

    @property
    def time_s(self) -> float:
        """Time of the stream: heard, passed over, or gone by while the device was away."""
        return self.listener.time_s + self._away_s

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for a second of sound, lately; 0 before anything was heard."""
        return self._busy / self._sound if self._sound else 0.0

    @property
    def behind_s(self) -> float:
        """How much sound waits to be heard."""
        return self._source.device.behind_s if self._source.device else 0.0

    def toggle(self, *_: Any) -> None:
        """Pause, or resume."""
        self.muted = not self.muted

    def events(self) -> Iterator[Event]:
        """Listen until the source ends or the user interrupts.

        Yields:
            What happens, a change of state before what follows from it, a heartbeat every ten seconds and at the end.
        """
        yield StateChange(self.time_s, self.state)
        beat = self._now() + HEARTBEAT_S
        try:
            for block in self._source.blocks:
                self._tick()
                while self.muted and not self._source.live:  # a file waits
                    yield from self._change(State.MUTED)
                    time.sleep(0.05)
                    self._tick()
                yield from self._count(self._take(block))
                yield from self._change(self._state())
                self._complain()
                if self._now() >= beat:
                    beat = self._now() + HEARTBEAT_S
                    yield self.heartbeat()
            last = self.listener.end
        except KeyboardInterrupt:
            last = self.listener.flush
        yield from self._count(last())
        yield self.heartbeat()

    def heartbeat(self) -> Heartbeat:
        """Describe how the session is doing."""
        return Heartbeat(
            time_s=self.time_s,
            state=self.state,
            level_dbfs=self.listener.level_dbfs,
            real_time_factor=self.real_time_factor,
            behind_s=self.behind_s,
            lost_blocks=self._source.device.overflows if self._source.device else 0,
            detections=self._counts[Detection],
            near_misses=self._counts[NearMiss],
            words=tuple(word.info.word for word in self.listener.words),
        )

    def _now(self) -> float:
        """Clock of the heartbeat: a file's own time, for it is read faster than it sounds."""
        return time.monotonic() if self._source.live else self.time_s

    def _take(self, block: NDArray[np.float32]) -> list[Detection]:
        """Hear a block, or pass over it."""
        now = time.monotonic()
        elapsed, self._last_block = now - self._last_block, now
        told: list[Detection] = []
        lost = self._source.device is not None and self._source.device.lost
        if self.muted or lost:
            if not self._away_s:
                told = self.listener.flush()
            self._away_s += elapsed if lost else len(block) / SAMPLE_RATE
            return told
        if self._away_s and len(block):
            self.listener.skip(self._away_s)
            self._away_s = 0.0
        told += self._reload()
        told += self.listener.push(block)
        seconds = len(block) / SAMPLE_RATE
        kept = math.exp(-seconds / LOAD_S)
        self._busy, self._sound = self._busy * kept + time.monotonic() - now, self._sound * kept + seconds
        if len(block):
            self._hear(block, self.time_s)
        return told

    def _reload(self) -> list[Detection]:
        """Take over the words of a store that was changed."""
        if self._store is None or self._watch is None or not self._watch.changed():
            return []
        try:
            told = self.listener.replace(self._store.words())
        except (StoreError, OSError) as error:
            log.warning("%s; still listening for the words that were there", error)
            return []
        log.info("the word store was changed: listening for %s", ", ".join(word.info.word for word in self.listener.words))
        return told

    def _count(self, told: list[Detection]) -> list[Event]:
        """Count what was told, near misses too."""
        near, self.listener.near_misses = self.listener.near_misses, []
        self._counts[Detection] += len(told)
        self._counts[NearMiss] += len(near)
        return [*told, *near]

    def _state(self) -> State:
        """Say what the session is doing."""
        if self._source.device is not None and self._source.device.lost:
            return State.LOST
        if self.muted:
            return State.MUTED
        behind = CAUGHT_UP_S if self.state is State.BEHIND else BEHIND_S
        if self.behind_s > behind or (self._source.live and self._sound > LOAD_S / 2 and self.real_time_factor > 1):
            return State.BEHIND
        if self.listener.speech:
            self._spoke_s = self.time_s
        return State.SPEECH if self.time_s - self._spoke_s < SPEECH_S else State.LISTENING

    def _change(self, state: State) -> list[Event]:
        """Go to a state; tell it when it is another."""
        if state is self.state:
            return []
        self.state = state
        return [StateChange(self.time_s, state)]

    def _complain(self) -> None:
        """Tell of blocks that were lost since the last complaint."""
        lost = self._source.device.overflows if self._source.device else 0
        if lost > self._lost_blocks and time.monotonic() - self._complained >= COMPLAINT_S:
            log.warning("%d blocks of sound were lost: this machine is too slow or too busy; listening goes on", lost - self._lost_blocks)
            self._lost_blocks, self._complained = lost, time.monotonic()
