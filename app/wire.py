"""The wire of the Wyoming protocol, with limits: one event from a stream of bytes, and sound from its chunks.

An event is a line of JSON, optional data and an optional payload. The reader of the package `wyoming` takes the lengths that a client names on trust;
this one bounds every length and the time that an event may take, and tells what is wrong as one kind of error.
"""

import asyncio
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wyoming.event import Event

from audio.errors import AudioError
from audio.pcm import MAX_CHANNELS, decode
from audio.resample import StreamResampler
from audio.samples import as_samples

LINE_BYTES, DATA_BYTES, PAYLOAD_BYTES = 1 << 16, 1 << 18, 1 << 20  # of an event
EVENT_SECONDS = 30.0  # for an event to arrive once it has begun, or to be taken by the client
FORMATS = {1: "u8", 2: "s16le", 3: "s24le", 4: "s32le"}  # by width in bytes


class ProtocolError(ValueError):
    """A client sent what is no Wyoming event, or one beyond the limits."""


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Read one event.

    Args:
        reader: of a client, with a limit of LINE_BYTES.

    Returns:
        The event; None when the client ended the connection between two events.

    Raises:
        ProtocolError: no event, or too long, or it did not arrive in time.
    """
    first = await reader.read(1)  # a client may be silent for days between two events, not within one
    if not first:
        return None
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            return await _rest_of_event(first, reader)
    except TimeoutError:
        raise ProtocolError(f"an event did not arrive within {EVENT_SECONDS:.0f} s") from None
    except asyncio.IncompleteReadError:
        raise ProtocolError("the connection ended inside an event") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a line without an end
        raise error if isinstance(error, ProtocolError) else ProtocolError("what was sent is no line of JSON") from None


async def _rest_of_event(first: bytes, reader: asyncio.StreamReader) -> Event:
    head = json.loads(first + await reader.readline())
    if not isinstance(head, dict) or not isinstance(head.get("type"), str):
        raise ProtocolError("an event has no type")
    lengths = []
    for field, most in (("data_length", DATA_BYTES), ("payload_length", PAYLOAD_BYTES)):
        length = head.get(field) or 0
        if not isinstance(length, int) or not 0 <= length <= most:
            raise ProtocolError(f"{field} must lie between 0 and {most}")
        lengths.append(length)
    data = head.get("data") or {}
    more = json.loads(await reader.readexactly(lengths[0])) if lengths[0] else {}
    if not isinstance(data, dict) or not isinstance(more, dict):
        raise ProtocolError("the data of an event are no object")
    payload = await reader.readexactly(lengths[1]) if lengths[1] else None
    return Event(type=head["type"], data={**data, **more}, payload=payload)


class Sound:
    """Turns chunks of any rate, width and channel count into 16 kHz mono; a change between two chunks begins a new stream of samples."""

    def __init__(self) -> None:
        self._format: tuple[Any, Any, Any] | None = None
        self._held = b""

    def push(self, rate: Any, width: Any, channels: Any, data: bytes) -> NDArray[np.float32]:
        """Take a chunk.

        Returns:
            float32 [n] at 16 kHz.

        Raises:
            ProtocolError: a format that is none.
        """
        wanted = (rate, width, channels)
        if wanted != self._format:
            if any(type(value) is not int for value in wanted) or width not in FORMATS or not 1 <= channels <= MAX_CHANNELS:
                raise ProtocolError(f"sound of rate {rate!r}, width {width!r} and {channels!r} channels cannot be used")
            try:
                self._resampler = StreamResampler(rate)
            except AudioError as error:
                raise ProtocolError(str(error)) from None
            self._format, self._held = wanted, b""
        assert self._format is not None
        data = self._held + data
        whole = len(data) // (width * channels) * width * channels
        self._held = data[whole:]
        mixed = decode(data[:whole], FORMATS[width]).reshape(-1, channels).mean(axis=1)
        return self._resampler.push(as_samples(mixed, "the client's sound"))
