r"""Other vocal tracts, other tempos, gaps in frequency and in time: random changes of spikes in mel bands, anew whenever a clip is drawn.

Copies of a clip with noise, level and speed are encoded once (`priming.augmentation`), so there are few of them. The changes here only look bands and
steps up elsewhere, or silence them, which costs so little that no two draws of a clip are alike:

* vocal tract length perturbation (Jaitly & Hinton 2013): band b, of centre :math:`f_b`, hears the band that lies at :math:`a f_b`;
* tempo: the step t before the end hears the step :math:`c\,t` before the end;
* masks (SpecAugment, Park et al. 2019): a few stretches of neighbouring bands, and a few of steps, are silent.

:math:`\log a` and :math:`\log c` are uniform. A band between two others is rounded to one of them by chance, the same way for all bands of a clip.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.constants import SAMPLE_RATE


@dataclass(frozen=True)
class BandAugmentation:
    """Ranges of the random changes; a range of 0 leaves its change out.

    Attributes:
        warp: largest log a of frequencies, and its negative the least.
        tempo: largest log c.
        masks: how many stretches of bands are silenced, and how many of steps.
        masked_bands: most bands of a stretch.
        masked_steps: most steps of a stretch.
    """

    warp: float = 0.0
    tempo: float = 0.0
    masks: int = 0
    masked_bands: int = 6
    masked_steps: int = 6


def band_centres(filters: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centre of gravity of each mel filter in Hz: [bands], of filters [window // 2 + 1, bands]."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, len(filters))
    return np.asarray(hertz @ filters / filters.sum(0), np.float64)


def augment_bands(spikes: Tensor, centres: NDArray[np.float64], config: BandAugmentation, rng: np.random.Generator) -> Tensor:
    """Change every clip of a batch in its own way.

    Args:
        spikes: [T, n, groups * bands] of the `mel` encoder: levels, onsets and offsets, each a group of all bands.
        centres: [bands] of the bands, in Hz.
        config: ranges of the changes.
        rng: source of all draws.

    Returns:
        [T, n, groups * bands]; values are those of the spikes, or 0.
    """
    (steps, clips, channels), bands, device = spikes.shape, len(centres), spikes.device
    banded = spikes.reshape(steps, clips, channels // bands, bands)
    if config.warp:
        factor = np.exp(rng.uniform(-config.warp, config.warp, (clips, 1)))
        place = np.interp(factor * centres, centres, np.arange(bands))
        source = np.minimum(np.floor(place + rng.random((clips, 1))), bands - 1).astype(np.int64)
        banded = torch.gather(banded, 3, torch.from_numpy(source).to(device).reshape(1, clips, 1, bands).expand_as(banded))
    if config.tempo:
        factor = np.exp(rng.uniform(-config.tempo, config.tempo, clips))
        before_end = np.rint(np.arange(steps - 1, -1, -1)[:, None] * factor)
        source = np.maximum(steps - 1 - before_end, 0).astype(np.int64)
        banded = torch.gather(banded, 0, torch.from_numpy(source).to(device).reshape(steps, clips, 1, 1).expand_as(banded))
    if config.masks:
        silent = (
            _stretches(bands, config.masked_bands, (config.masks, clips), rng)[None]
            | _stretches(steps, config.masked_steps, (config.masks, clips), rng).T[:, :, None]
        )
        banded = banded * torch.from_numpy(~silent).to(device).unsqueeze(2)
    return banded.reshape(spikes.shape)


def _stretches(places: int, most: int, drawn: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw stretches of 0 to `most` places: bool [clips, places], True where one of a clip's lies.

    torchaudio has such masks too, but draws them from the global generator.
    """
    length = rng.integers(min(most, places) + 1, size=drawn)
    begin = rng.integers(places - length + 1)
    place = np.arange(places)
    within = (place >= begin[..., None]) & (place < (begin + length)[..., None])
    return np.asarray(within.any(0), np.bool_)
