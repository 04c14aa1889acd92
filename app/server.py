"""A Wyoming server: enrolled words as wake words for Home Assistant and its satellites.

Clients share the primed model and the deployed words; each stream has a network state of its own. Hearing happens in threads, so that one client's
sound does not hold up another's words. A client that sends faster than it can be heard waits: the server reads its next event when the last is dealt
with. One that sends garbage, nothing, or does not read costs a bounded amount of memory and time, and nobody else's attention (limits: `app.wire`).
"""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from app import wire
from app.engine import listening_backend
from app.errors import AppError, StoreError
from app.live import Listener
from app.portable import on_terminate_in_loop
from app.store import WordStore
from app.watch import StoreWatch
from app.wire import ProtocolError, Sound, read_event
from audio.constants import SAMPLE_RATE
from audio.errors import AudioError

log = logging.getLogger("sayonce")

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 10400
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_CLIENTS = 32
CLOSE_SECONDS = 1.0  # for a client to take its last answers
BLOCK = SAMPLE_RATE // 2  # samples that are heard at once
WATCH_S = 1.0


class Words:
    """The enrolled words and the model they share.

    Args:
        folder: of the word store; the default one when None.
        model: primed model; that of most of the words when None.
        backend: name of the backend.

    Attributes:
        listener: with all words deployed, to be forked for each stream; None where there is no word.
    """

    def __init__(self, folder: str | None, model: str | None, backend: str) -> None:
        self._store, self._model, self._backend = WordStore(folder), model, backend
        self._watch = StoreWatch(self._store.directory)
        self.listener: Listener | None = None
        self.load()

    @property
    def names(self) -> list[str]:
        """Names of the words."""
        return [word.info.word for word in self.listener.words] if self.listener else []

    def load(self) -> None:
        """Read the store; the model is loaded once there is something to listen for.

        Raises:
            ModelError: the model cannot be loaded.
            BackendError: the backend cannot run it.
        """
        found = self._store.words()
        engine = self.listener.engine if self.listener else None
        try:
            # A new backend: streams that are being heard go on with the old one until their next block.
            if engine is not None:
                backend = listening_backend(self._backend)
                backend.load(engine.model.config.learner, engine.model.weights)
                engine = dataclasses.replace(engine, backend=backend)
            self.listener = Listener(found, self._model, self._backend, engine=engine) if found else None
        except StoreError as error:
            log.warning("%s", error)
            self.listener = None
        log.info("wake words: %s", ", ".join(map(repr, self.names)) or f"none yet in {self._store.directory}; enroll one with: app enroll WORD")

    def changed(self) -> bool:
        """Say whether the store was changed since the last look."""
        return self._watch.changed()


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
            await self._tell(await self._server.compute(self._listener.flush), timestamp)
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


class WakeServer:
    """Serves wake-word detection.

    Args:
        words: that can be detected.
        most_clients: connections at a time; more are refused.
    """

    def __init__(self, words: Words, most_clients: int = MOST_CLIENTS) -> None:
        self.words, self._most = words, most_clients
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        # Loading a network and hearing happen here; more threads than cores only take turns.
        self._threads = ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)), "hearing")

    async def compute(self, call: Callable[[], Any]) -> Any:
        """Run a call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def info(self) -> Info:
        """Describe the service: one program, a model for each enrolled word."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            release = version("sayonce")
        except PackageNotFoundError:
            release = "0"
        about: dict[str, Any] = {"attribution": Attribution(name="Sayonce", url=""), "installed": True, "version": release}
        models = [WakeModel(name=name, description=name, phrase=name, languages=[], **about) for name in self.words.names]
        return Info(wake=[WakeProgram(name="sayonce", description="Wake words learnt from one utterance", models=models, **about)])

    @contextlib.asynccontextmanager
    async def open(self, uri: str) -> AsyncIterator[str]:
        """Listen for clients while the context lasts.

        Args:
            uri: tcp://HOST:PORT, HOST and PORT may be missing; port 0 takes a free one; or unix:///PATH.

        Yields:
            The URI under which the server can be reached.

        Raises:
            AppError: a URI of another kind, or an address that cannot be used.
        """
        scheme, host, port, path = parse(uri)
        if scheme == "unix" and not hasattr(asyncio, "start_unix_server"):
            raise AppError(f"{uri} cannot be used: this system has no Unix sockets; use tcp://HOST:PORT")
        try:
            if scheme == "unix":
                server = await asyncio.start_unix_server(self._connected, path, limit=wire.LINE_BYTES)
                address = f"unix://{path}"
            else:
                server = await asyncio.start_server(self._connected, host, port, limit=wire.LINE_BYTES)
                shown = f"[{host}]" if ":" in host else host
                address = f"tcp://{shown}:{server.sockets[0].getsockname()[1]}"
        except OSError as error:
            raise AppError(f"{uri} cannot be used ({error.strerror or error}); is another server running there?") from None
        if scheme == "tcp" and host not in LOOPBACK:
            log.warning("%s can be reached from other machines: whoever does may send sound and read the words' names; there is no password", address)
        watcher = asyncio.create_task(self._follow())
        try:
            yield address
        finally:
            watcher.cancel()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(watcher, *self._tasks, return_exceptions=True)
            if scheme == "unix":
                Path(path).unlink(missing_ok=True)
            self._threads.shutdown(cancel_futures=True)

    async def _follow(self) -> None:
        """Take over changes of the word store."""
        while True:
            await asyncio.sleep(WATCH_S)
            if await self.compute(self.words.changed):
                try:
                    await self.compute(self.words.load)
                except Exception as error:  # a model that is gone: what was there goes on
                    log.warning("the changed word store cannot be used: %s", error)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self._count += 1
        peer, connection = writer.get_extra_info("peername"), writer.get_extra_info("socket")
        name = f"client {self._count}" + (f" from {peer[0]}" if isinstance(peer, tuple) else "")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a satellite that lost its power is noticed in the end
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._tasks) >= self._most:
                log.warning("%s refused: %d clients are connected already", name, self._most)
                return
            self._tasks.add(task)
            await Client(self, reader, writer, name).run()
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await writer.wait_closed()
            writer.transport.abort()  # a client that does not read would keep what waits for it, and its connection, for ever


def parse(uri: str) -> tuple[str, str, int, str]:
    """Split a URI into scheme, host, port and path.

    Raises:
        AppError: neither tcp nor unix, or incomplete.
    """
    try:
        parts = urlsplit(uri)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise AppError(f"--uri {uri}: {error}; use tcp://HOST:PORT or unix:///PATH") from None
    if parts.scheme == "tcp" and parts.path in ("", "/"):
        return "tcp", parts.hostname or DEFAULT_HOST, port, ""
    if parts.scheme == "unix" and parts.path:
        return "unix", "", 0, (f"/{parts.netloc}" if parts.netloc else "") + parts.path
    raise AppError(f"--uri {uri}: use tcp://HOST:PORT or unix:///PATH")


async def serve(words: Words, uri: str) -> bool:
    """Serve until cancelled or terminated.

    Returns:
        True when the process was asked to terminate.
    """
    terminated = asyncio.Event()
    on_terminate_in_loop(terminated.set)  # else the handler of the process raises in whatever task is running
    async with WakeServer(words).open(uri) as address:
        log.info("serving wake words at %s; Ctrl-C ends", address)
        return await terminated.wait()
