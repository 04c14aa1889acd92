"""Scores are placed between quantiles of what a word's network makes of the background: against numbers worked out by hand."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audio.encoder import MelEncoderConfig
from hardware.backend import Backend, Shot
from priming.calibration import SMALLEST_SCALE, THRESHOLDS, Calibration, calibrate, calibrate_deployed
from priming.model import ModelConfig, PrimedModel
from snn.learner import LearnerConfig

STEPS = 80  # of a piece: 1.6 s in steps of 20 ms
PIECES = 11


class Counting:
    """Scores a clip with the number of its spikes: word 0 as it is, word 1 doubled and shifted, word 2 not at all."""

    def __init__(self, words: int = 3) -> None:
        self.deployed: list[Any] = []
        self.lengths: list[int] = []
        self._words = words

    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        self.deployed = list(words)
        self._words = len(words)

    def score(self, clips: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.lengths = [len(clip) for clip in clips]
        count = np.array([clip.sum() for clip in clips], np.float32)
        return np.stack([count, 2 * count - 7, 0 * count], 1)[:, : self._words]


@pytest.fixture
def model() -> PrimedModel:
    """A model whose background bank has 0, 1, ... 10 spikes in its pieces, shuffled, and half a piece of spikes after them."""
    learner = LearnerConfig(inputs=4, step_ms=20.0)
    background = np.zeros((PIECES * STEPS + STEPS // 2, 4), np.uint8)
    for place, count in enumerate(np.random.default_rng(0).permutation(PIECES)):
        background[place * STEPS : place * STEPS + count, place % 4] = 1
    background[PIECES * STEPS :] = 1
    config = ModelConfig(name="fake", encoder=MelEncoderConfig(), learner=learner, provenance={})
    return PrimedModel(config, {"w_in": torch.zeros(1)}, {}, background, "0" * 64)


def test_the_median_becomes_0_and_the_ninth_decile_1(model: PrimedModel) -> None:
    backend = Counting()
    found = calibrate_deployed(cast(Backend, backend), model)
    assert backend.lengths == [STEPS] * PIECES
    assert found == [
        Calibration(offset=5.0, scale=4.0, threshold=THRESHOLDS["mel"]),
        Calibration(offset=3.0, scale=8.0, threshold=THRESHOLDS["mel"]),
        Calibration(offset=0.0, scale=SMALLEST_SCALE, threshold=THRESHOLDS["mel"]),
    ]
    assert [found[0].normalise(raw) for raw in (5.0, 9.0, 7.0, 1.0)] == [0.0, 1.0, 0.5, -1.0]
    assert found[1].normalise(2 * 9.0 - 7) == found[0].normalise(9.0)  # a word that scores higher on everything gains nothing by it


def test_one_word_is_calibrated_alone(model: PrimedModel) -> None:
    backend = Counting()
    shot = cast(Shot, object())
    assert calibrate(cast(Backend, backend), model, [shot, shot]) == Calibration(offset=5.0, scale=4.0, threshold=THRESHOLDS["mel"])
    assert backend.deployed == [[shot, shot]]
