"""A Wyoming server: enrolled words as wake words for Home Assistant and its satellites.

Clients share the primed model and the deployed words; each stream has a network state of its own (`app.wake_client`). Hearing happens in threads, so
that one client's sound does not hold up another's words. A client that sends faster than it can be heard waits: the server reads its next event when
the last is dealt with. One that sends garbage, nothing, or does not read costs a bounded amount of memory and time, and nobody else's attention
(limits: `app.wire`).
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wyoming.info import Attribution, Info, WakeModel, WakeProgram

from app import wire
from app.errors import AppError
from app.portable import on_terminate_in_loop
from app.wake_client import Client
from app.wake_words import Words

log = logging.getLogger("sayonce")

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 10400
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_CLIENTS = 32
CLOSE_SECONDS = 1.0  # for a client to take its last answers
WATCH_S = 1.0


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
