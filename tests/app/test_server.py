"""The Wyoming server over real sockets: words for many clients at a time, changes of the store, addresses, and its end."""

import asyncio
import logging
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from wyoming.client import AsyncClient
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from app import server as module
from app import watch
from app.errors import AppError
from app.server import WakeServer, parse
from app.store import WordStore
from app.wake_words import Words

ANY = "tcp://127.0.0.1:0"
Cli = Callable[..., tuple[int, str, str]]
VOICES = Path(__file__).resolve().parents[2] / "app" / "demo_voices"


def test_words_are_offered_as_wake_models(wyoming: Any) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event is not None
            (program,) = Info.from_event(event).wake
            assert [(model.name, model.phrase, model.installed) for model in program.models] == [
                ("lights on", "lights on", True),
                ("radio", "radio", True),
            ]
            assert program.installed
            await client.write_event(Ping("here?").event())
            pong = await client.read_event()
            assert pong is not None
            assert Pong.from_event(pong).text == "here?"

    wyoming.run(scenario)


def test_many_clients_hear_their_own_streams(wyoming: Any, tone_stream: NDArray[np.float32]) -> None:
    silence = np.zeros_like(tone_stream)

    async def one(uri: str, sound: NDArray[np.float32]) -> list[str]:
        async with AsyncClient.from_uri(uri) as client:
            return await wyoming.said(client, sound, size=2048)

    async def scenario(uri: str) -> None:
        sounds = [tone_stream, -tone_stream, silence] * 5
        told = await asyncio.gather(*(one(uri, sound) for sound in sounds))
        assert told == [["lights on", "radio"], ["radio", "lights on"], ["not-detected"]] * 5

    wyoming.run(scenario)


def test_a_client_beyond_the_limit_is_refused_and_the_others_are_served(
    wyoming: Any, tone_stream: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as first, AsyncClient.from_uri(uri) as second:
            for client in (first, second):
                await client.write_event(Ping().event())
                assert await client.read_event() is not None
            async with AsyncClient.from_uri(uri) as third:
                assert await third.read_event() is None
            assert await wyoming.said(first, tone_stream) == ["lights on", "radio"]
        for _ in range(100):  # a client that left makes room
            async with AsyncClient.from_uri(uri) as fourth:
                try:
                    if await wyoming.said(fourth, tone_stream) == ["lights on", "radio"]:
                        return
                except ConnectionError:
                    pass
            await asyncio.sleep(0.05)
        raise AssertionError("no room was made")

    with caplog.at_level(logging.WARNING, "sayonce"):
        wyoming.run(scenario, most_clients=2)
    assert "refused: 2 clients are connected already" in caplog.text


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("tcp://127.0.0.1:10400", ("tcp", "127.0.0.1", 10400, "")),
        ("tcp://", ("tcp", "127.0.0.1", 10400, "")),  # loopback unless told otherwise
        ("tcp://0.0.0.0:1", ("tcp", "0.0.0.0", 1, "")),
        ("tcp://[::1]:7", ("tcp", "::1", 7, "")),
        ("unix:///run/wake.sock", ("unix", "", 0, "/run/wake.sock")),
    ],
)
def test_addresses(uri: str, parts: tuple[str, str, int, str]) -> None:
    assert parse(uri) == parts


@pytest.mark.parametrize("uri", ["", "127.0.0.1:1", "http://x:1", "tcp://x:99999", "tcp://x:y", "unix://", "tcp://x:1/path", "stdio://"])
def test_addresses_that_are_none_are_refused(cli: Cli, uri: str) -> None:
    status, out, err = cli("serve", "--uri", uri)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "tcp://HOST:PORT" in err


def test_a_port_that_is_taken_is_refused_and_an_open_one_is_warned_of(wyoming: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with WakeServer(wyoming.words).open(ANY) as uri:
            with pytest.raises(AppError, match="another server"):
                async with WakeServer(wyoming.words).open(uri):
                    pass
        assert caplog.text == ""
        async with WakeServer(wyoming.words).open("tcp://0.0.0.0:0"):
            assert "there is no password" in caplog.text

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())


def test_a_unix_socket_is_served_and_removed(wyoming: Any, tmp_path: Path, tone_stream: NDArray[np.float32]) -> None:
    path = tmp_path / "wake"

    async def main() -> None:
        async with WakeServer(wyoming.words).open(f"unix://{path}") as uri, AsyncClient.from_uri(uri) as client:
            assert await wyoming.said(client, tone_stream) == ["lights on", "radio"]
        assert not path.exists()

    asyncio.run(main())


@pytest.fixture
def enrolled(cli: Cli, tiny_model: Path) -> WordStore:
    """A store with "connect", enrolled on a real network that was never primed: it recognises what it was taught."""
    assert cli("enroll", "connect", "--from", VOICES / "enroll.flac", "--model", tiny_model)[0] == 0
    return WordStore()


def test_words_that_come_and_go_are_taken_over_without_a_restart(
    wyoming: Any, enrolled: WordStore, tiny_model: Path, enrolled_sound: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    monkeypatch.setattr(module, "WATCH_S", 0.05)
    sound = np.concatenate([enrolled_sound, enrolled_sound[:8_000]])

    async def until(client: AsyncClient, told: list[str]) -> None:
        found: list[str] = []
        for _ in range(200):
            found = await wyoming.said(client, sound)
            if found == told:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(found)

    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            assert await wyoming.said(client, sound) == ["connect"]
            enrolled.rename("connect", "lights on")
            await until(client, ["lights on"])
            enrolled.remove("lights on")
            await until(client, ["not-detected"])

    wyoming.run(scenario, Words(None, str(tiny_model), "torch"))


def test_clients_of_a_real_network_do_not_disturb_each_other(
    enrolled: WordStore, tiny_model: Path, enrolled_sound: NDArray[np.float32], stream_sound: NDArray[np.float32]
) -> None:
    words = Words(None, str(tiny_model), "torch")
    assert words.listener is not None
    twice = np.concatenate([enrolled_sound, enrolled_sound, enrolled_sound[:8_000]])
    sounds = [twice, stream_sound[: len(twice)], twice[4_000:]]
    alone = [list(words.listener.listen([sound])) for sound in sounds]
    assert len(alone[0]) == 2
    forks = [words.listener.fork() for _ in sounds]
    together: list[list[Any]] = [[], [], []]
    for pieces in zip(*(np.array_split(sound, 30) for sound in sounds), strict=True):
        for fork, piece, told in zip(forks, pieces, together, strict=True):
            told += fork.push(piece)
    assert [told + fork.flush() for told, fork in zip(together, forks, strict=True)] == alone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_serves_from_an_empty_store_and_ends_quietly(
    wyoming: Any, start: Callable[..., "subprocess.Popen[bytes]"], number: signal.Signals
) -> None:
    with start("serve", "--uri", ANY) as program:
        assert program.stderr is not None
        assert b"app enroll WORD" in program.stderr.readline()
        line = program.stderr.readline().decode()
        assert "serving wake words at tcp://127.0.0.1:" in line
        uri = next(word.rstrip(";") for word in line.split() if word.startswith("tcp://"))

        async def ask() -> None:
            async with AsyncClient.from_uri(uri) as client:
                await client.write_event(Describe().event())
                event = await client.read_event()
                assert event is not None
                assert Info.from_event(event).wake[0].models == []
                assert await wyoming.said(client, np.zeros(16_000, np.float32)) == ["not-detected"]

        asyncio.run(ask())
        program.send_signal(number)
        out, err = program.communicate(timeout=60)
    assert program.returncode == (0 if number is signal.SIGINT else 143), err
    assert (out, err) == (b"", b"")
