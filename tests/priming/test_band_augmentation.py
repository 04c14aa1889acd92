"""Changes of spikes in mel bands: what they move, what they leave, and that they are drawn from the generator alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.mel import MelEncoderConfig, mel_filters
from priming.band_augmentation import BandAugmentation, augment_bands, band_centres

CENTRES = np.linspace(100.0, 1000.0, 10)
NOTHING = BandAugmentation()


def batch(seed: int, steps: int = 12, clips: int = 5, groups: int = 3) -> torch.Tensor:
    return (torch.rand(steps, clips, groups * len(CENTRES), generator=torch.Generator().manual_seed(seed)) < 0.4).to(torch.uint8)


def tone(band: int, steps: int = 12, clips: int = 64) -> torch.Tensor:
    spikes = torch.zeros(steps, clips, 2, len(CENTRES), dtype=torch.uint8)
    spikes[:, :, 0, band] = 1
    return spikes.reshape(steps, clips, -1)


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    spikes = batch(0)
    assert torch.equal(augment_bands(spikes, CENTRES, NOTHING, np.random.default_rng(0)), spikes)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 0.3), st.floats(0, 0.3), st.integers(0, 3))
def test_spikes_stay_spikes_and_a_seed_gives_the_same(seed: int, warp: float, tempo: float, masks: int) -> None:
    config, spikes = BandAugmentation(warp, tempo, masks), batch(seed)
    first, second = (augment_bands(spikes, CENTRES, config, np.random.default_rng(seed)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == spikes.shape
    assert first.dtype == spikes.dtype
    assert set(first.unique().tolist()) <= {0, 1}


def test_a_warp_moves_a_tone_by_no_more_than_its_range() -> None:
    heard = augment_bands(tone(4), CENTRES, BandAugmentation(warp=0.2), np.random.default_rng(1)).reshape(12, 64, 2, -1)
    assert not heard[:, :, 1].any()  # groups do not mix
    assert torch.equal(heard, heard[:1].expand_as(heard))  # nor do steps
    found = {int(band) for band in heard[0, :, 0].nonzero()[:, 1]}
    frequencies = CENTRES[sorted(found)]
    step = CENTRES[1] - CENTRES[0]
    assert len(found) > 1
    assert CENTRES[4] * np.exp(-0.2) - step <= frequencies.min() < CENTRES[4] < frequencies.max() <= CENTRES[4] * np.exp(0.2) + step


def test_a_tempo_keeps_the_end_and_moves_what_came_before() -> None:
    spikes = torch.zeros(40, 64, len(CENTRES), dtype=torch.uint8)
    spikes[39], spikes[19] = 1, 1  # 20 steps apart
    heard = augment_bands(spikes, CENTRES, BandAugmentation(tempo=0.2), np.random.default_rng(2))[:, :, 0]
    assert heard[39].all()
    moved = {39 - int(step) for step in heard[:39].nonzero()[:, 0]}
    assert len(moved) > 3
    assert min(moved) >= np.floor(20 * np.exp(-0.2))
    assert max(moved) <= np.ceil(20 * np.exp(0.2))


def test_masks_silence_stretches_and_nothing_else() -> None:
    everything = torch.ones(30, 200, 3 * len(CENTRES), dtype=torch.uint8)
    config = BandAugmentation(masks=1, masked_bands=3, masked_steps=4)
    heard = augment_bands(everything, CENTRES, config, np.random.default_rng(3)).reshape(30, 200, 3, -1)
    assert torch.equal(heard, heard[:, :, :1].expand_as(heard))  # all groups alike
    bands, steps = (heard[:, :, 0] == 0).all(0).sum(-1), (heard[:, :, 0] == 0).all(-1).sum(0)
    assert set(bands.tolist()) == {0, 1, 2, 3}
    assert set(steps.tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal((heard[:, :, 0] == 0).sum((0, 2)), 30 * bands + steps * (len(CENTRES) - bands))


def test_clips_are_changed_each_in_its_own_way() -> None:
    same = batch(4, clips=1).expand(-1, 8, -1)
    heard = augment_bands(same, CENTRES, BandAugmentation(0.2, 0.2, 2), np.random.default_rng(4))
    assert len({tuple(heard[:, k].flatten().tolist()) for k in range(8)}) > 4


def test_masks_as_wide_as_the_clip_are_possible() -> None:
    config = BandAugmentation(masks=2, masked_bands=50, masked_steps=50)
    assert augment_bands(batch(5), CENTRES, config, np.random.default_rng(5)).shape == batch(5).shape


def test_centres_of_the_encoders_filters_rise_within_their_range() -> None:
    config = MelEncoderConfig()
    centres = band_centres(mel_filters(config))
    assert len(centres) == config.bands
    assert config.fmin < centres[0]
    assert centres[-1] < config.fmax
    assert (np.diff(centres) > 0).all()
    assert np.diff(centres)[-1] == pytest.approx(np.diff(centres)[-2], rel=0.15)
