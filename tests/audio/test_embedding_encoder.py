"""The frozen speech embedding and the code behind it."""

import numpy as np
import pytest

from audio import speech_embedding
from audio.embedding_encoder import (
    EmbeddingEncoder,
    EmbeddingEncoderConfig,
    embedding_code,
    fit_embedding_constants,
    fit_embedding_encoder,
)
from audio.errors import AudioError
from audio.speech_embedding import HOP, LEAD_IN, WINDOW, EmbeddingStream, embed


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    mixing = np.random.default_rng(1).standard_normal((96, 96))
    return (np.random.default_rng(0).standard_normal((3000, 96)) @ mixing + 5).astype(np.float32)


def test_a_long_run_equals_windows_one_by_one(make_word) -> None:
    samples = np.concatenate([make_word(seed=seed) for seed in range(3)])
    together = embed(samples)
    assert together.shape == ((len(samples) - WINDOW) // HOP + 1, 96)
    single = np.concatenate([embed(samples[k * HOP : k * HOP + WINDOW]) for k in range(len(together))])
    np.testing.assert_array_equal(together, single)


def test_runs_are_joined_without_a_seam(make_word, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = make_word()
    expected = embed(samples)
    monkeypatch.setattr(speech_embedding, "WINDOWS_PER_RUN", 3)
    np.testing.assert_array_equal(embed(samples), expected)


@pytest.mark.parametrize(("length", "count"), [(0, 0), (WINDOW - 1, 0), (WINDOW, 1), (WINDOW + HOP - 1, 1), (WINDOW + HOP, 2)])
def test_the_number_of_windows(length: int, count: int) -> None:
    assert embed(np.full(length, 0.01, np.float32)).shape == (count, 96)


def test_a_stream_gives_its_first_vector_after_80_ms(make_word) -> None:
    samples = make_word()
    stream = EmbeddingStream()
    assert len(stream.push(samples[: HOP - 1])) == 0
    first = stream.push(samples[HOP - 1 : HOP])
    assert first.shape == (1, 96)
    assert LEAD_IN + HOP == WINDOW


def test_a_later_vector_sees_its_window_only(make_word) -> None:
    samples = make_word()
    streamed = EmbeddingStream().push(samples)
    offset = WINDOW // HOP + 1  # vectors that still see the noise in front
    np.testing.assert_array_equal(streamed[offset], embed(samples[(offset + 1) * HOP - WINDOW : (offset + 1) * HOP])[0])


def test_whitening_matches_a_direct_computation(vectors: np.ndarray) -> None:
    constants = fit_embedding_constants(np.array_split(vectors, 7), seed=3)
    covariance = np.cov(vectors.astype(np.float64).T)
    values, axes = np.linalg.eigh(covariance)
    softened = axes @ np.diag(1 / (values + 0.05 * values.mean())) @ axes.T  # transform @ transform.T, whatever the rotation
    transform = constants["transform"].astype(np.float64)
    np.testing.assert_allclose(transform @ transform.T, softened, atol=1e-5)
    whitened = (vectors - constants["mean"]) @ constants["transform"]
    np.testing.assert_allclose(whitened.std(0), constants["scale"], rtol=1e-3)
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-3)


def test_the_code_matches_its_definition(vectors: np.ndarray) -> None:
    constants = fit_embedding_constants([vectors])
    spikes = embedding_code(vectors, constants)
    values = (vectors - constants["mean"]).astype(np.float64) @ constants["transform"].astype(np.float64) / constants["scale"]
    assert spikes.shape == (2 * len(vectors), 576)
    np.testing.assert_array_equal(spikes[0::2], spikes[1::2])
    for group, threshold in enumerate((0.5, 1.2, 2.0)):
        on, off = spikes[::2, 96 * group : 96 * (group + 1)], spikes[::2, 96 * (group + 3) : 96 * (group + 4)]
        clear = np.abs(np.abs(values) - threshold) > 1e-4
        np.testing.assert_array_equal(on[clear], (values > threshold)[clear])
        np.testing.assert_array_equal(off[clear], (values < -threshold)[clear])


def test_vectors_are_coded_alike_in_any_number(vectors: np.ndarray) -> None:
    constants = fit_embedding_constants([vectors])
    together = embedding_code(vectors, constants)
    for count in (1, 2, 7, 2047, 2049):
        np.testing.assert_array_equal(together[: 2 * count], embedding_code(vectors[:count], constants))
    np.testing.assert_array_equal(together[2000:2002], embedding_code(vectors[1000:1001], constants))
    assert embedding_code(vectors[:0], constants).shape == (0, 576)


def test_the_seed_chooses_the_rotation(vectors: np.ndarray) -> None:
    one, same, other = (fit_embedding_constants([vectors], seed)["transform"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.max(np.abs(one - other)) > 0.01


def test_too_little_speech_to_fit(make_word) -> None:
    with pytest.raises(AudioError, match="too few"):
        fit_embedding_encoder([make_word()])


def test_a_model_of_another_network_or_timing_is_refused(clips) -> None:
    config, constants = fit_embedding_encoder(clips)
    with pytest.raises(AudioError, match="another embedding network"):
        EmbeddingEncoder(config.model_copy(update={"sha256": "0" * 64}), constants)
    with pytest.raises(AudioError, match="80 ms"):
        EmbeddingEncoder(EmbeddingEncoderConfig(steps_per_vector=3), constants)


def test_the_decoder_gives_the_whitened_values_back(vectors: np.ndarray) -> None:
    constants = fit_embedding_constants([vectors])
    encoder = EmbeddingEncoder(EmbeddingEncoderConfig(), constants)
    decoder = encoder.decoder()
    assert (decoder.shape, decoder.dtype) == ((96, encoder.channels), np.float32)
    values = (vectors - constants["mean"]) @ constants["transform"] / constants["scale"]
    decoded = embedding_code(vectors, constants)[::2] @ decoder.T
    assert np.corrcoef(decoded.ravel(), values.ravel())[0, 1] > 0.96
    # A code's bin decodes to the mean of the normal distribution within it.
    for low, high in ((0.5, 1.2), (1.2, 2.0)):
        inside = (values > low) & (values < high)
        assert abs(decoded[inside].mean() - values[inside].mean()) < 0.02
