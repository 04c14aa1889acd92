"""The Wyoming server over real sockets, with the package's own client: wake words for many clients, and no client can hurt the others."""

import asyncio
import json
import logging
import signal
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection

from app import server as module
from app import watch, wire
from app.errors import AppError
from app.live import Listener
from app.server import WakeServer, Words, parse
from app.store import StoredWord, WordStore
from app.wire import LINE_BYTES, ProtocolError, read_event

ANY = "tcp://127.0.0.1:0"
Cli = Callable[..., tuple[int, str, str]]
VOICES = Path(__file__).resolve().parents[2] / "app" / "demo_voices"


@pytest.fixture
def words(new_word: Callable[..., StoredWord], tone_engine: Any) -> Any:
    """Two words, "lights on" and "radio", on the made-up network."""
    listener = Listener([new_word("lights on", threshold=2.5), new_word("radio", threshold=2.5)], engine=tone_engine())
    return SimpleNamespace(listener=listener, names=["lights on", "radio"], changed=lambda: False)


def run(words: Any, scenario: Callable[[str], Coroutine[Any, Any, None]], **limits: int) -> None:
    """Serve, and play a scenario against the server; fails where the scenario takes a minute."""

    async def main() -> None:
        async with WakeServer(words, **limits).open(ANY) as uri, asyncio.timeout(120):
            await scenario(uri)

    asyncio.run(main())


def pcm(sound: NDArray[np.float32], width: int = 2, channels: int = 1) -> bytes:
    """Encode sound as signed integers of a width, or unsigned bytes."""
    many = np.repeat(sound[:, None].astype(np.float64), channels, 1)
    if width == 1:
        return (np.round(many * 127) + 128).astype(np.uint8).tobytes()
    if width == 3:
        return (np.round(many * (2**23 - 1)).astype("<i4")[..., None].view(np.uint8).reshape(-1, 4)[:, :3]).tobytes()
    return np.round(many * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()


async def stream(
    client: AsyncClient, data: bytes, rate: int = 16_000, width: int = 2, channels: int = 1, size: int = 4096, stamped: bool = True
) -> None:
    await client.write_event(AudioStart(rate, width, channels, timestamp=0).event())
    for first in range(0, len(data), size):
        at = round(1000 * (first + size) / (rate * width * channels)) if stamped else None
        await client.write_event(AudioChunk(rate, width, channels, data[first : first + size], timestamp=at).event())
    await client.write_event(AudioStop().event())


async def answers(client: AsyncClient, until: Callable[[Event], bool] | None = None, seconds: float = 60.0) -> list[Event]:
    """Collect events until one, or until nothing more comes."""
    found: list[Event] = []
    while True:
        try:
            event = await asyncio.wait_for(client.read_event(), seconds)
        except TimeoutError:
            return found
        if event is None:
            return found
        found.append(event)
        if until is not None and until(event):
            return found


async def said(client: AsyncClient, sound: NDArray[np.float32], **options: Any) -> list[str]:
    """Stream a sound and return the words told; a ping afterwards marks the end of the answers."""
    await stream(client, pcm(sound, options.get("width", 2), options.get("channels", 1)), **options)
    await client.write_event(Ping("end").event())
    events = await answers(client, lambda event: Pong.is_type(event.type))
    return [str(Detection.from_event(event).name) if Detection.is_type(event.type) else event.type for event in events[:-1]]


def test_words_are_offered_as_wake_models(words: Any) -> None:
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

    run(words, scenario)


def test_detections_carry_word_and_time(words: Any, tone_stream: NDArray[np.float32]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Detect().event())
            await stream(client, pcm(tone_stream))
            told = [Detection.from_event(event) for event in await answers(client, lambda event: event.data.get("name") == "radio")]
            assert [d.name for d in told] == ["lights on", "radio"]
            assert told[0].timestamp == pytest.approx(1500, abs=700)
            assert told[1].timestamp == pytest.approx(3600, abs=700)
            assert await said(client, tone_stream, stamped=False) == ["lights on", "radio"]  # a second stream on the same connection

    run(words, scenario)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (None, ["lights on", "radio"]),
        ([], ["lights on", "radio"]),
        (["radio"], ["radio"]),
        (["Lights_On"], ["lights on"]),
        (["ok_nabu"], ["not-detected"]),
    ],
)
def test_only_the_words_that_were_asked_for_are_told(words: Any, tone_stream: NDArray[np.float32], names: list[str] | None, told: list[str]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Detect(names=names).event())
            assert await said(client, tone_stream) == told
            assert await said(client, np.zeros(32_000, np.float32)) == ["not-detected"]

    run(words, scenario)


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(16_000, 2, 1), (48_000, 2, 2), (44_100, 4, 1), (8_000, 3, 1), (22_050, 1, 6), (192_000, 2, 1)]
)
def test_any_format_is_heard(words: Any, tone_stream: NDArray[np.float32], rate: int, width: int, channels: int) -> None:
    import soxr

    sound = np.clip(soxr.resample(tone_stream, 16_000, rate), -1, 1)

    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            assert await said(client, sound, rate=rate, width=width, channels=channels, size=50_001) == ["lights on", "radio"]  # frames are cut

    run(words, scenario)


def test_many_clients_hear_their_own_streams(words: Any, tone_stream: NDArray[np.float32]) -> None:
    silence = np.zeros_like(tone_stream)

    async def one(uri: str, sound: NDArray[np.float32]) -> list[str]:
        async with AsyncClient.from_uri(uri) as client:
            return await said(client, sound, size=2048)

    async def scenario(uri: str) -> None:
        sounds = [tone_stream, -tone_stream, silence] * 5
        told = await asyncio.gather(*(one(uri, sound) for sound in sounds))
        assert told == [["lights on", "radio"], ["radio", "lights on"], ["not-detected"]] * 5

    run(words, scenario)


def test_a_client_beyond_the_limit_is_refused_and_the_others_are_served(
    words: Any, tone_stream: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as first, AsyncClient.from_uri(uri) as second:
            for client in (first, second):
                await client.write_event(Ping().event())
                assert await client.read_event() is not None
            async with AsyncClient.from_uri(uri) as third:
                assert await third.read_event() is None
            assert await said(first, tone_stream) == ["lights on", "radio"]
        for _ in range(100):  # a client that left makes room
            async with AsyncClient.from_uri(uri) as fourth:
                try:
                    if await said(fourth, tone_stream) == ["lights on", "radio"]:
                        return
                except ConnectionError:
                    pass
            await asyncio.sleep(0.05)
        raise AssertionError("no room was made")

    with caplog.at_level(logging.WARNING, "sayonce"):
        run(words, scenario, most_clients=2)
    assert "refused: 2 clients are connected already" in caplog.text


GARBAGE = {
    "no JSON": b"GET / HTTP/1.1\r\n\r\n",
    "no UTF-8": b"\xff\xfe\x00\x80\n",
    "a list": b"[1, 2]\n",
    "no type": b'{"data": {}}\n',
    "a type that is none": b'{"type": 7}\n',
    "nested deeply": b"[" * 60_000 + b"\n",
    "a line without an end": b"x" * (LINE_BYTES * 3),
    "a huge payload": b'{"type": "audio-chunk", "payload_length": 1000000000000}\n',
    "huge data": b'{"type": "detect", "data_length": 1000000000000}\n',
    "a negative length": b'{"type": "detect", "payload_length": -1}\n',
    "a length that is none": b'{"type": "detect", "data_length": "many"}\n',
    "data that are no object": b'{"type": "detect", "data_length": 2}\n[]',
    "names that are none": b'{"type": "detect", "data": {"names": "lamp"}}\n',
    "sound of no format": b'{"type": "audio-chunk", "payload_length": 2}\nab',
    "sound of a rate of none": b'{"type": "audio-chunk", "data": {"rate": 0, "width": 2, "channels": 1}, "payload_length": 2}\nab',
    "sound of many channels": b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1000000}, "payload_length": 2}\nab',
    "sound of a rate that is true": b'{"type": "audio-chunk", "data": {"rate": true, "width": 2, "channels": 1}, "payload_length": 2}\nab',
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_ends_its_own_connection_with_one_line_and_nobody_elses(
    words: Any, tone_stream: NDArray[np.float32], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async def scenario(uri: str) -> None:
        port = int(uri.rsplit(":", 1)[1])
        async with AsyncClient.from_uri(uri) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(GARBAGE[kind])
                await writer.drain()
                assert await reader.read() == b""
            except ConnectionError:
                pass  # closed with our bytes unread
            finally:
                writer.close()
            assert await said(client, tone_stream) == ["lights on", "radio"]

    with caplog.at_level(logging.WARNING):
        run(words, scenario)
    assert [record.message.count("connection closed") for record in caplog.records] == [1]
    assert caplog.records[0].name == "sayonce"


def test_unknown_events_are_passed_over(words: Any, tone_stream: NDArray[np.float32]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Event("transcribe", {"language": "en"}, b"payload"))
            await client.write_event(AudioStop().event())  # of no stream
            assert await said(client, tone_stream) == ["lights on", "radio"]

    run(words, scenario)


def test_clients_that_say_nothing_or_half_an_event_or_do_not_read_are_given_up(
    words: Any, tone_stream: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "EVENT_SECONDS", 4.0)  # a loaded machine must still serve within it

    async def scenario(uri: str) -> None:
        port = int(uri.rsplit(":", 1)[1])
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        connections[1][1].write(b'{"type": "detect", "payload_length": 100}\nhalf')
        describe = b'{"type": "describe"}\n'
        flood = asyncio.create_task(_flood(connections[2][1], describe))
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Ping().event())
            assert await client.read_event() is not None
            for reader, _ in connections[:2]:
                assert await reader.read() == b""
            with pytest.raises(ConnectionError):
                await flood
            assert await said(client, tone_stream) == ["lights on", "radio"]  # it was silent for longer than an event may take
        for _, writer in connections:
            writer.close()

    async def _flood(writer: asyncio.StreamWriter, data: bytes) -> None:
        while True:  # asks and never reads the answers
            writer.write(data * 1000)
            await writer.drain()

    run(words, scenario)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=100).map(lambda text: json.dumps({"type": text, "data_length": len(text)}).encode() + b"\n{}"))
def test_bytes_are_an_event_or_a_protocol_error(data: bytes) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        try:
            while (event := await read_event(reader)) is not None:
                assert isinstance(event.type, str)
                assert isinstance(event.data, dict)
        except ProtocolError:
            pass

    asyncio.run(main())


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


def test_a_port_that_is_taken_is_refused_and_an_open_one_is_warned_of(words: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with WakeServer(words).open(ANY) as uri:
            with pytest.raises(AppError, match="another server"):
                async with WakeServer(words).open(uri):
                    pass
        assert caplog.text == ""
        async with WakeServer(words).open("tcp://0.0.0.0:0"):
            assert "there is no password" in caplog.text

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())


def test_a_unix_socket_is_served_and_removed(words: Any, tmp_path: Path, tone_stream: NDArray[np.float32]) -> None:
    path = tmp_path / "wake"

    async def main() -> None:
        async with WakeServer(words).open(f"unix://{path}") as uri, AsyncClient.from_uri(uri) as client:
            assert await said(client, tone_stream) == ["lights on", "radio"]
        assert not path.exists()

    asyncio.run(main())


@pytest.fixture
def enrolled(cli: Cli, tiny_model: Path) -> WordStore:
    """A store with "connect", enrolled on a real network that was never primed: it recognises what it was taught."""
    assert cli("enroll", "connect", "--from", VOICES / "enroll.flac", "--model", tiny_model)[0] == 0
    return WordStore()


def test_words_that_come_and_go_are_taken_over_without_a_restart(
    enrolled: WordStore, tiny_model: Path, enrolled_sound: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    monkeypatch.setattr(module, "WATCH_S", 0.05)
    sound = np.concatenate([enrolled_sound, enrolled_sound[:8_000]])

    async def until(client: AsyncClient, told: list[str]) -> None:
        found: list[str] = []
        for _ in range(200):
            found = await said(client, sound)
            if found == told:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(found)

    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            assert await said(client, sound) == ["connect"]
            enrolled.rename("connect", "lights on")
            await until(client, ["lights on"])
            enrolled.remove("lights on")
            await until(client, ["not-detected"])

    run(Words(None, str(tiny_model), "torch"), scenario)


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
def test_the_program_serves_from_an_empty_store_and_ends_quietly(start: Callable[..., "subprocess.Popen[bytes]"], number: signal.Signals) -> None:
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
                assert await said(client, np.zeros(16_000, np.float32)) == ["not-detected"]

        asyncio.run(ask())
        program.send_signal(number)
        out, err = program.communicate(timeout=60)
    assert program.returncode == (0 if number is signal.SIGINT else 143), err
    assert (out, err) == (b"", b"")


def test_a_word_that_is_being_said_at_the_end_is_told(words: Any, tone_stream: NDArray[np.float32]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            assert await said(client, tone_stream[: round(16_000 * 1.5)]) == ["lights on"]

    run(words, scenario)
