"""One connection of the Wyoming server: what a client asks for, the sound that it sends, and the words that it is told."""

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, async_write_event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from app import wire
from app.live import Listener
from app.wire import ProtocolError, Sound, read_event
from audio.constants import SAMPLE_RATE
from audio.errors import AudioError

if TYPE_CHECKING:
    from app.server import WakeServer

log = logging.getLogger("sayonce")

BLOCK = SAMPLE_RATE // 2  # samples that are heard at once


def key(name: str) -> str:
    """Bring a name that a client sends into the form in which names are compared."""
    return " ".join(name.replace("_", " ").casefold().split())


class Client:
    """One connection: its stream, and what it asked for."""

    def __init__(self, server: "WakeServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self._server, self._reader, self._writer, self._name = server, reader, writer, name
        self._wanted: set[str] | None = None  # None for any word
        self._listener: Listener | None = None
        self._template: Listener | None = None  # that it was forked from
        self._sound = Sound()
        self._streaming = False
        self._told = False

    async def run(self) -> None:
        """Serve the client until it goes or breaks the rules."""
        try:
            async with asyncio.timeout(wire.EVENT_SECONDS):  # whoever connects wants something; later pauses may be long
                event = await read_event(self._reader)
            while event is not None:
                await self._handle(event)
                event = await read_event(self._reader)
        except (ProtocolError, AudioError) as error:
            log.warning("%s: %s; connection closed", self._name, error)
        except (ConnectionError, TimeoutError):
            log.info("%s: gone, or it does not read what is sent", self._name)

    async def _send(self, event: Event) -> None:
        """Send an event; a client that does not read is given up."""
        async with asyncio.timeout(wire.EVENT_SECONDS):
            await async_write_event(event, self._writer)

    async def _handle(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._send(self._server.info().event())
        elif Ping.is_type(event.type):
            await self._send(Pong(text=event.data.get("text")).event())
        elif Detect.is_type(event.type):
            self._want(event.data.get("names"))
        elif AudioStart.is_type(event.type):
            self._begin()
        elif AudioChunk.is_type(event.type):
            if not self._streaming:
                self._begin()
            await self._hear(event)
        elif AudioStop.is_type(event.type) and self._streaming:
            await self._end(event.data.get("timestamp"))
        # every other event is for other services, and is passed over as the protocol asks

    def _want(self, names: Any) -> None:
        """Note which words the client wants to hear of."""
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ProtocolError("the names to detect are no list of strings")
        self._wanted = {key(name) for name in names} if names else None
        enrolled = {key(name) for name in self._server.words.names}
        if self._wanted is not None and not self._wanted & enrolled:
            log.warning("%s wants %s, none of which is enrolled", self._name, ", ".join(map(repr, sorted(self._wanted)[:10])))

    def _begin(self) -> None:
        """Begin a stream."""
        self._listener = self._template = None
        self._sound, self._streaming, self._told = Sound(), True, False

    async def _hear(self, event: Event) -> None:
        """Hear a chunk and tell what was recognised."""
        data = event.data
        samples = self._sound.push(data.get("rate"), data.get("width"), data.get("channels"), event.payload or b"")
        for first in range(0, len(samples), BLOCK):
            template = self._server.words.listener
            if template is not self._template:  # the stream begins, or the words were changed
                self._listener, self._template = (await self._server.compute(template.fork) if template else None), template
            if self._listener is None:
                return  # nothing is enrolled
            block = samples[first : first + BLOCK]
            await self._tell(await self._server.compute(functools.partial(self._listener.push, block)), data.get("timestamp"))

    async def _end(self, timestamp: Any) -> None:
        """End the stream: tell what was being recognised, or that nothing was."""
        if self._listener is not None:
            await self._tell(await self._server.compute(self._listener.end), timestamp)
        if not self._told:
            await self._send(NotDetected().event())
        self._listener, self._template, self._streaming = None, None, False

    async def _tell(self, detections: list[Any], timestamp: Any) -> None:
        for detection in detections:
            if self._wanted is not None and key(detection.word) not in self._wanted:
                continue
            self._told = True
            heard_ms = timestamp if isinstance(timestamp, int) else round(self._listener.time_s * 1000) if self._listener else None
            log.info("%s: '%s', score %.1f (needs %.1f)", self._name, detection.word, detection.score, detection.threshold)
            await self._send(Detection(name=detection.word, timestamp=heard_ms).event())
