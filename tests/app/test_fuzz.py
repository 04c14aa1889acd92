"""Bytes from anywhere: whatever is read is understood or refused in one of our own errors, and nothing is written but the store.

Damage is done to whole files, because random bytes are refused at their first byte. `SAYONCE_FUZZ=20000 pytest tests/app/test_fuzz.py` takes hours.
What the tests of single packages throw at packed spikes, the wire's lines and names is not repeated here.
"""

import asyncio
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wyoming.event import Event

from app.bundle import read_bundle, take_over, write_bundle
from app.errors import StoreError
from app.store import StoredWord, WordStore, encode, read_word
from app.wake_client import Client
from app.wire import ProtocolError, Sound
from audio.errors import AudioError
from audio.files import file_blocks, read_audio, write_wav
from audio.pcm import pcm_blocks
from priming.errors import ModelError
from priming.model import load_model

NewWord = Callable[..., StoredWord]

fuzzed = settings(
    deadline=None,
    max_examples=int(os.environ.get("SAYONCE_FUZZ", "60")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

Damage = Callable[[bytes], bytes]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Ways to damage a file: cut it, and change, remove, double or insert pieces, at its beginning above all, where headers are."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["set", "remove", "double", "insert", "cut", "number"]),
                st.floats(0, 1) | st.floats(0, 0.05),
                st.integers(1, 40),
                st.binary(min_size=1, max_size=8),
            ),
            min_size=1,
            max_size=5,
        )
    )

    def apply(content: bytes) -> bytes:
        for how, where, length, data in steps:
            at = round(where * len(content))
            before, piece, after = content[:at], content[at : at + length], content[at + length :]
            content = {
                "set": before + data + content[at + len(data) :],
                "remove": before + after,
                "double": before + piece + piece + after,
                "insert": before + data + piece + after,
                "cut": before,
                "number": before + bytes(b ^ 1 if chr(b).isdigit() else b for b in piece) + after,
            }[how]
        return content

    return apply


def one_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@fuzzed
@given(damage=damages())
def test_word_files(tmp_path_factory: pytest.TempPathFactory, new_word: NewWord, damage: Damage) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    store = WordStore(folder / "words")
    store.put(new_word("lamp"), new_word("radio", shots=2))
    path = next(store.directory.glob("radio-*"))
    path.write_bytes(damage(path.read_bytes()))
    before = tree(folder)
    assert "lamp" in [word.info.word for word in store.words()]
    try:
        word = read_word(path)
    except StoreError as error:
        one_line(error)
    else:
        assert len(word.shots) == len(word.info.shots)
        assert encode(word)
    assert tree(folder) == before


@fuzzed
@given(damage=damages())
def test_bundles(tmp_path_factory: pytest.TempPathFactory, new_word: NewWord, damage: Damage) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    file, store = folder / "words.bundle", WordStore(folder / "words")
    write_bundle(file, [new_word("lamp"), new_word("radio", shots=2)])
    file.write_bytes(damage(file.read_bytes()))
    try:
        words = read_bundle(file)
        take_over(store, words, [])
    except StoreError as error:
        one_line(error)
        assert tree(folder) == {"words.bundle"}
    else:
        assert [word.info for word in store.words()] == sorted((word.info for word in words), key=lambda info: info.word)
        assert all(name.startswith("words") for name in tree(folder))


@fuzzed
@given(damage=damages())
def test_model_files(tmp_path: Path, tiny_model: Path, damage: Damage) -> None:
    path = tmp_path / "model.safetensors"
    content = tiny_model.read_bytes()
    header = int.from_bytes(content[:8], "little") + 8
    path.write_bytes(damage(content[:header]) + content[header:])  # random changes of weights are weights
    try:
        assert load_model(path).config.learner.inputs > 0
    except ModelError as error:
        one_line(error)
    assert tree(tmp_path) == {"model.safetensors"}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short sound in six formats that people have."""
    import soundfile

    folder = tmp_path_factory.mktemp("sounds")
    sound = (0.3 * np.sin(np.arange(4000) / 5)).astype(np.float32)
    write_wav(folder / "a.wav", sound)
    for name, subtype in (("a.flac", None), ("a.ogg", "VORBIS"), ("a.aiff", None), ("b.wav", "FLOAT"), ("c.wav", "PCM_24")):
        soundfile.write(folder / name, sound, 16_000, subtype=subtype)
    return folder


@fuzzed
@given(which=st.integers(0, 5), damage=damages())
def test_audio_files(tmp_path: Path, recordings: Path, which: int, damage: Damage) -> None:
    path = tmp_path / "sound"
    path.write_bytes(damage(sorted(recordings.iterdir())[which].read_bytes()))
    readers: list[Callable[[], Any]] = [
        lambda: read_audio(path, max_seconds=30.0),
        lambda: [len(block) for block, _ in zip(file_blocks(path), range(1000), strict=False)],
    ]
    for reader in readers:
        try:
            samples = reader()
        except AudioError as error:
            one_line(error)
        else:
            assert np.isfinite(np.asarray(samples)).all()
    assert tree(tmp_path) == {"sound"}


def test_a_number_that_traps_is_refused_in_one_line(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "sound.wav"
    soundfile.write(path, np.full(400, 0.25, np.float32), 16_000, subtype="FLOAT")
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\xa0\x7f")  # a signalling NaN, which numpy warns of
    with pytest.raises(AudioError, match="NaN"):
        read_audio(path)
    with pytest.raises(AudioError, match="NaN"):
        list(pcm_blocks(io.BytesIO(b"\x00\x00\xa0\x7f" * 400), 16_000, 1, "f32le"))


@fuzzed
@given(
    data=st.binary(max_size=3000),
    sample_format=st.sampled_from(["u8", "s16le", "s24le", "s32le", "f32le", "mp3", ""]),
    rate=st.integers(-10, 400_000),
    channels=st.integers(-1, 300),
)
def test_raw_sound(data: bytes, sample_format: str, rate: int, channels: int) -> None:
    try:
        for block in pcm_blocks(io.BytesIO(data), rate, channels, sample_format):
            assert block.dtype == np.float32
            assert np.isfinite(block).all()
            assert not len(block) or np.abs(block).max() <= 1e4
    except AudioError as error:
        one_line(error)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.sampled_from(["describe", "ping", "detect", "audio-start", "audio-chunk", "audio-stop", "transcribe"])
FIELDS = st.sampled_from(["rate", "width", "channels", "timestamp", "names", "text"])


@fuzzed
@given(events=st.lists(st.tuples(EVENTS, st.dictionaries(FIELDS, ANY_JSON, max_size=4), st.binary(max_size=100)), max_size=6))
def test_wyoming_events_of_any_content(events: list[tuple[str, dict[str, Any], bytes]]) -> None:
    """A client is served or told to break the rules; nothing else comes out of it."""

    class Server:
        class words:  # noqa: N801 - stands for an attribute
            names = ("lamp",)
            listener = None

        @staticmethod
        def info() -> Any:
            from wyoming.info import Info

            return Info()

        @staticmethod
        async def compute(call: Callable[[], Any]) -> Any:
            return call()

    class Writer:
        def write(self, data: bytes) -> None:
            json.loads(data.splitlines()[0])

        def writelines(self, lines: list[bytes]) -> None:
            json.loads(lines[0])

        async def drain(self) -> None:
            pass

    async def main() -> None:
        client = Client(Server(), asyncio.StreamReader(), Writer(), "client")  # type: ignore[arg-type]
        for kind, data, payload in events:
            try:
                await client._handle(Event(kind, data, payload))
            except (ProtocolError, AudioError) as error:
                one_line(error)

    asyncio.run(main())


@fuzzed
@given(
    chunks=st.lists(
        st.tuples(ANY_JSON | st.integers(8_000, 48_000), ANY_JSON | st.integers(1, 4), ANY_JSON | st.integers(1, 3), st.binary(max_size=400))
    )
)
def test_wyoming_sound_of_any_format(chunks: list[tuple[Any, Any, Any, bytes]]) -> None:
    sound = Sound()
    for rate, width, channels, data in chunks:
        try:
            samples = sound.push(rate, width, channels, data)
        except (ProtocolError, AudioError) as error:
            one_line(error)
        else:
            assert samples.dtype == np.float32
            assert np.isfinite(samples).all()
