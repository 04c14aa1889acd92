"""What a listening session tells: words, near misses, changes of state, and a heartbeat; and how each looks as JSON.

The JSON is a promise to the programs that read it: docs/json.md describes it, names and meanings stay, fields may be added.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from app.detector import Detection
from app.near_misses import NearMiss


class State(StrEnum):
    """What a session is doing."""

    LISTENING = "listening"
    SPEECH = "hearing speech"
    MUTED = "muted"
    LOST = "device lost"
    BEHIND = "falling behind"


@dataclass(frozen=True)
class StateChange:
    """The session does something else from now on."""

    time_s: float  # from the start of the stream
    state: State


@dataclass(frozen=True)
class Heartbeat:
    """The session is alive; totals are since its start."""

    time_s: float
    state: State
    level_dbfs: float  # of the latest block
    real_time_factor: float  # seconds of computing for a second of sound, lately
    behind_s: float  # sound that waits to be heard
    lost_blocks: int  # of the microphone
    detections: int
    near_misses: int
    words: tuple[str, ...]


Event = Detection | NearMiss | StateChange | Heartbeat

NAMES = {Detection: "detection", NearMiss: "near miss", StateChange: "state", Heartbeat: "heartbeat"}


def description(event: Event, *, tagged: bool) -> dict[str, Any]:
    """Describe an event for JSON.

    Args:
        event: any.
        tagged: add what kind of event it is, and the time of day.
    """
    fields = event._asdict() if isinstance(event, Detection | NearMiss) else dict(vars(event))
    rounded = {name: round(value, 4) if isinstance(value, float) and name not in ("score", "threshold") else value for name, value in fields.items()}
    if not tagged:
        return rounded
    return {"event": NAMES[type(event)], "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **rounded}
