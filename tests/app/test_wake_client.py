"""What a client of the Wyoming server is told, over real sockets and with the package's own client; and no client can hurt the others."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from wyoming.audio import AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.ping import Ping
from wyoming.wake import Detect, Detection

from app import wire
from app.wire import LINE_BYTES


def test_detections_carry_word_and_time(wyoming: Any, tone_stream: NDArray[np.float32]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Detect().event())
            await wyoming.stream(client, wyoming.pcm(tone_stream))
            told = [Detection.from_event(event) for event in await wyoming.answers(client, lambda event: event.data.get("name") == "radio")]
            assert [d.name for d in told] == ["lights on", "radio"]
            assert told[0].timestamp == pytest.approx(1500, abs=700)
            assert told[1].timestamp == pytest.approx(3600, abs=700)
            assert await wyoming.said(client, tone_stream, stamped=False) == ["lights on", "radio"]  # a second stream on the same connection

    wyoming.run(scenario)


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
def test_only_the_words_that_were_asked_for_are_told(
    wyoming: Any, tone_stream: NDArray[np.float32], names: list[str] | None, told: list[str]
) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Detect(names=names).event())
            assert await wyoming.said(client, tone_stream) == told
            assert await wyoming.said(client, np.zeros(32_000, np.float32)) == ["not-detected"]

    wyoming.run(scenario)


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(16_000, 2, 1), (48_000, 2, 2), (44_100, 4, 1), (8_000, 3, 1), (22_050, 1, 6), (192_000, 2, 1)]
)
def test_any_format_is_heard(wyoming: Any, tone_stream: NDArray[np.float32], rate: int, width: int, channels: int) -> None:
    import soxr

    sound = np.clip(soxr.resample(tone_stream, 16_000, rate), -1, 1)

    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            told = await wyoming.said(client, sound, rate=rate, width=width, channels=channels, size=50_001)  # frames are cut
            assert told == ["lights on", "radio"]

    wyoming.run(scenario)


def test_a_word_that_is_being_said_at_the_end_is_told(wyoming: Any, tone_stream: NDArray[np.float32]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            assert await wyoming.said(client, tone_stream[: round(16_000 * 1.5)]) == ["lights on"]

    wyoming.run(scenario)


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
    wyoming: Any, tone_stream: NDArray[np.float32], caplog: pytest.LogCaptureFixture, kind: str
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
            assert await wyoming.said(client, tone_stream) == ["lights on", "radio"]

    with caplog.at_level(logging.WARNING):
        wyoming.run(scenario)
    assert [record.message.count("connection closed") for record in caplog.records] == [1]
    assert caplog.records[0].name == "sayonce"


def test_unknown_events_are_passed_over(wyoming: Any, tone_stream: NDArray[np.float32]) -> None:
    async def scenario(uri: str) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await client.write_event(Event("transcribe", {"language": "en"}, b"payload"))
            await client.write_event(AudioStop().event())  # of no stream
            assert await wyoming.said(client, tone_stream) == ["lights on", "radio"]

    wyoming.run(scenario)


def test_clients_that_say_nothing_or_half_an_event_or_do_not_read_are_given_up(
    wyoming: Any, tone_stream: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
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
            assert await wyoming.said(client, tone_stream) == ["lights on", "radio"]  # it was silent for longer than an event may take
        for _, writer in connections:
            writer.close()

    async def _flood(writer: asyncio.StreamWriter, data: bytes) -> None:
        while True:  # asks and never reads the answers
            writer.write(data * 1000)
            await writer.drain()

    wyoming.run(scenario)
