"""Mel bands, PCEN and the thermometer code."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audio import mel
from audio.errors import AudioError
from audio.mel import MelEncoderConfig, MelStream, Pcen, mel_filters
from audio.mel_encoder import MelEncoder, fit_mel_encoder

CONFIG = MelEncoderConfig()


@pytest.fixture(scope="module")
def fitted(clips) -> MelEncoder:
    return MelEncoder(*fit_mel_encoder(clips))


@pytest.mark.filterwarnings("ignore")  # librosa's own
def test_the_filters_equal_librosas() -> None:
    import librosa

    for config in (CONFIG, MelEncoderConfig(bands=24, fmin=0.0, fmax=8000.0, window_ms=64.0)):
        expected = librosa.filters.mel(
            sr=16_000, n_fft=config.window, n_mels=config.bands, fmin=config.fmin, fmax=config.fmax, htk=False, norm="slaney"
        )
        np.testing.assert_allclose(mel_filters(config), expected.T, atol=1e-6)


def test_magnitudes_match_a_direct_computation(make_word) -> None:
    samples, filters = make_word(), mel_filters(CONFIG)
    magnitudes = MelStream(CONFIG, filters).push(samples)
    assert magnitudes.shape == (len(samples) // 320, 40)
    for frame in (2, 30, 50):
        window = samples[(frame + 1) * 320 - 512 : (frame + 1) * 320].astype(np.float64)  # ends with the frame's step
        power = np.abs(np.fft.rfft(window * np.hanning(513)[:512]) * 2 / 512) ** 2
        np.testing.assert_allclose(magnitudes[frame], np.sqrt(power @ filters), rtol=1e-4)


def test_a_full_scale_tone_has_its_own_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    magnitudes = MelStream(CONFIG, mel_filters(CONFIG)).push(tone)[10:]
    centre = np.argmax(mel_filters(CONFIG)[32])  # the bin of 1000 Hz
    assert np.all(np.argmax(magnitudes, 1) == centre)


def test_pcen_matches_a_hand_computed_example() -> None:
    config = MelEncoderConfig(pcen_gain=1.0, pcen_bias=1.0, pcen_power=0.5, pcen_floor=0.0, pcen_time_ms=20.0 / np.log(2.0))  # s = 1/2
    values = Pcen(config, np.array([10.0])).push(np.array([[1.0], [4.0], [20.0]], np.float32))
    # M: start 1 -> 1, 2.5, 11.25; E / M: 1, 1.6, 1.777...
    np.testing.assert_allclose(values[:, 0], np.sqrt([2.0, 2.6, 1 + 20 / 11.25]) - 1, rtol=1e-6)
    capped = Pcen(config, np.array([10.0])).push(np.array([[30.0]], np.float32))  # M: start 10, not 30 -> 20
    np.testing.assert_allclose(capped[0, 0], np.sqrt(2.5) - 1, rtol=1e-6)


@pytest.mark.parametrize("gain_db", [-20, -10, 6])
def test_the_level_hardly_changes_the_spikes(fitted: MelEncoder, make_word, gain_db: float) -> None:
    samples = make_word(noise=1e-2)  # a background that stays above the floor of -80 dBFS
    louder = np.asarray(10 ** (gain_db / 20) * samples, np.float32)
    assert np.mean(fitted.encode(samples) != fitted.encode(louder)) < 0.05


def test_the_levels_have_the_fitted_shares(fitted: MelEncoder, clips) -> None:
    spikes = np.concatenate([fitted.encode(clip) for clip in clips])
    shares = spikes[:, : len(CONFIG.quantiles) * 40].reshape(len(spikes), -1, 40).mean((0, 2))
    np.testing.assert_allclose(shares, 1 - np.array(CONFIG.quantiles), atol=0.02)


def test_the_code_is_a_thermometer_with_onsets_and_offsets(fitted: MelEncoder, make_word) -> None:
    spikes = fitted.encode(make_word()).reshape(-1, len(CONFIG.quantiles) + 2, 40)
    levels, onset, offset = spikes[:, :-2].astype(int), spikes[:, -2], spikes[:, -1]
    assert np.all(np.diff(levels, axis=1) <= 0)  # a band above a level is above every lower one
    assert not np.any(onset & offset)
    rate = onset.mean(1)
    assert rate[25:28].max() > 0.5  # speech begins at 0.5 s, step 25
    assert offset.mean(1)[52:57].max() > 0.3  # and ends at 1.05 s
    assert rate[60:].max() < 0.3


def test_channels_stay_few(fitted: MelEncoder) -> None:
    assert fitted.channels == 320
    assert fitted.step_ms == 20.0


def test_too_little_audio_to_fit(make_word) -> None:
    with pytest.raises(AudioError, match="too few"):
        fit_mel_encoder([make_word()])


def test_listening_imports_neither_torch_nor_librosa(fitted: MelEncoder, tmp_path: Path) -> None:
    np.savez(tmp_path / "constants.npz", **fitted.constants)
    program = (
        "import sys, numpy; from audio.encoder import build_encoder, MelEncoderConfig\n"
        f"encoder = build_encoder(MelEncoderConfig(), dict(numpy.load({str(tmp_path / 'constants.npz')!r})))\n"
        "encoder.encode(numpy.zeros(16000)); sys.exit(bool({'torch', 'torchaudio', 'librosa', 'numba', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(mel.__file__).parents[1]).returncode == 0


def test_the_decoder_gives_levels_and_changes_back() -> None:
    bands, levels = MelEncoderConfig().bands, len(MelEncoderConfig().quantiles)
    heights = np.array([0.1, 0.2, 0.4, 0.7, 1.1, 1.6], np.float32)[:levels, None] * np.linspace(1, 2, bands, dtype=np.float32)
    constants = {
        "filters": np.ones((MelEncoderConfig().window // 2 + 1, bands), np.float32),
        "ceiling": np.ones(bands, np.float32),
        "levels": heights,
        "rise": np.ones(bands, np.float32),
    }
    encoder = MelEncoder(MelEncoderConfig(), constants)
    decoder = encoder.decoder()
    assert (decoder.shape, decoder.dtype) == ((2 * bands, encoder.channels), np.float32)
    ladder = np.tril(np.ones((levels + 1, levels)), -1)  # 0, 1, ... thresholds passed
    first = np.diff(heights, axis=0).mean(0)  # what the lowest threshold is worth
    for passed, code in enumerate(ladder):
        values = decoder @ np.concatenate([np.repeat(code, bands), np.zeros(2 * bands)])
        expected = 0.0 if not passed else heights[passed - 1] - heights[0] + first
        np.testing.assert_allclose(values[:bands], 2 * expected / (heights[-1] - heights[0] + first), rtol=1e-4)
        assert not values[bands:].any()
    spikes = np.zeros(encoder.channels)
    spikes[-2 * bands] = spikes[-1] = 1  # band 0 rises, the last one falls
    change = (decoder @ spikes)[bands:]
    assert (change[0], change[-1], np.abs(change).sum()) == (1.0, -1.0, 2.0)
