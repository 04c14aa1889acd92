"""Both encoders behind one protocol: blocks of any size give the spikes of the whole signal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from audio.embedding_encoder import EmbeddingEncoderConfig
from audio.encoder import EncoderConfig, SpikeEncoder, build_encoder
from audio.errors import AudioError

SIZES = st.lists(st.one_of(st.integers(0, 20), st.integers(100, 700), st.integers(1000, 20_000)), min_size=1, max_size=40)


def in_blocks(encoder: SpikeEncoder, samples: NDArray[np.float32], sizes: list[int]) -> NDArray[np.uint8]:
    stream, spikes, start = encoder.stream(), [], 0
    for size in sizes:
        spikes.append(stream.push(samples[start : start + size]))
        start += size
    return np.concatenate([*spikes, stream.push(samples[start:])])


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 2**16), level_db=st.floats(-50, 0), length=st.integers(0, 28_000))
def test_any_block_size_gives_the_same_spikes(encoder, make_word, sizes: list[int], seed: int, level_db: float, length: int) -> None:
    samples = np.asarray(10 ** (level_db / 20) * make_word(seed=seed, noise=1e-3), np.float32)[:length]
    whole, blocks = encoder.encode(samples), in_blocks(encoder, samples, sizes)
    assert whole.dtype == blocks.dtype == np.uint8
    np.testing.assert_array_equal(whole, blocks)


@pytest.mark.parametrize("size", [1, 160, 320, 512, 1280, 1281])
def test_fixed_block_sizes_give_the_same_spikes(encoder, make_word, size: int) -> None:
    samples = make_word(noise=1e-2)[:12_345]
    np.testing.assert_array_equal(encoder.encode(samples), in_blocks(encoder, samples, [size] * (len(samples) // size)))


def test_recordings_in_blocks_give_the_same_spikes(encoder, shared_data) -> None:
    from audio.files import file_blocks, read_audio

    for path in sorted((shared_data / "speech_commands" / "happy").glob("*.opus"))[:5]:
        stream = encoder.stream()
        blocks = np.concatenate([stream.push(block) for block in file_blocks(path, block_ms=23.0)])
        np.testing.assert_array_equal(encoder.encode(read_audio(path)), blocks)


def test_an_hour_in_one_push_equals_its_start(encoder) -> None:
    samples = np.tile(0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32), 40)
    np.testing.assert_array_equal(encoder.encode(samples)[:100], encoder.encode(samples[:160_000])[:100])


def test_spikes_are_zero_or_one_and_present(encoder, make_word) -> None:
    spikes = encoder.encode(make_word())
    assert set(np.unique(spikes)) == {0, 1}
    assert spikes.shape[1] == encoder.channels
    assert 0.02 < spikes.mean() < 0.6


def test_no_sound_gives_no_steps(encoder) -> None:
    stream = encoder.stream()
    for samples in ([], np.zeros(0, np.float32)):
        assert stream.push(samples).shape == (0, encoder.channels)
        assert encoder.encode(samples).shape == (0, encoder.channels)
    assert stream.push(np.zeros(1, np.float32)).shape == (0, encoder.channels)


def test_digital_silence_is_encoded_without_complaint(encoder) -> None:
    assert encoder.encode(np.zeros(16_000, np.float32)).shape[0] > 0


@pytest.mark.parametrize("bad", [[float("nan")], [0.0, float("inf")], [[0.0, 0.0]], [20_000.0, -12_000.0]])
def test_what_is_no_audio_is_refused(encoder, bad: list[float]) -> None:
    with pytest.raises(AudioError):
        encoder.stream().push(bad)


def test_missing_and_misshapen_constants_are_refused(encoder) -> None:
    for key, value in encoder.constants.items():
        with pytest.raises(AudioError, match=key):
            build_encoder(encoder.config, {name: array for name, array in encoder.constants.items() if name != key})
        with pytest.raises(AudioError, match=key):
            build_encoder(encoder.config, {**encoder.constants, key: value[:-1]})


def test_the_configuration_survives_json(encoder) -> None:
    adapter: TypeAdapter[EncoderConfig] = TypeAdapter(EncoderConfig)
    again = adapter.validate_json(encoder.config.model_dump_json())
    assert again == encoder.config
    assert type(again) is type(encoder.config)
    with pytest.raises(ValidationError):
        adapter.validate_json('{"kind": "mel", "surprise": 1}')
    with pytest.raises(ValidationError):
        EmbeddingEncoderConfig(thresholds=())
