"""Scores are placed between quantiles of the background, and thresholds aim at a rate: against numbers worked out by hand and known distributions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audio.encoder import MelEncoderConfig
from hardware.backend import Backend, Less, Shot
from priming.calibration import (
    DEFAULT_PER_HOUR,
    PIECES,
    SMALLEST_SCALE,
    Calibration,
    Scale,
    average_tail_for,
    calibrate,
    scale_deployed,
)
from priming.errors import CalibrationError
from priming.model import ModelConfig, PrimedModel
from priming.tail import Tail, blended
from snn.config import LearnerConfig

STEPS = 80  # of a piece: 1.6 s in steps of 20 ms
COUNT = 11  # pieces of the small bank
TAIL = Tail(level=2.0, per_hour=60.0, spread=0.5, shape=-0.1, highest=3.1, minutes=40.0)
SEVERAL_TAIL = Tail(level=3.0, per_hour=50.0, spread=0.8, shape=-0.3, highest=4.1, minutes=20.0)
CALIBRATION = Calibration(offset=0.0, scale=1.0, threshold=3.0, per_hour=1.0, tail=TAIL, own=(4.5, 5.0))


class Counting:
    """Scores a clip with the number of its spikes: word 0 as it is, word 1 doubled and shifted, word 2 not at all."""

    def __init__(self, words: int = 3) -> None:
        self.deployed: list[Any] = []
        self.lengths: list[int] = []
        self._words = words

    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        self.deployed = list(words)
        self._words = len(words)

    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        self.lengths += [len(clip) for clip in clips]
        count = np.array([clip.sum() for clip in clips], np.float32)
        return np.stack([count, 2 * count - 7, 0 * count], 1)[:, : self._words]


class Louder(Counting):
    """Scores everything higher."""

    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        return 2 * super().score(clips, less) - 7


class Wordless(Counting):
    """Scores nothing with a number."""

    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        return np.full((len(clips), 1), np.nan, np.float32)


def model_with(background: NDArray[np.uint8]) -> PrimedModel:
    learner = LearnerConfig(inputs=background.shape[1], step_ms=20.0)
    config = ModelConfig(name="fake", encoder=MelEncoderConfig(), learner=learner, provenance={})
    return PrimedModel(config, {"w_in": torch.zeros(1)}, {}, background, "0" * 64)


@pytest.fixture
def model() -> PrimedModel:
    """A model whose background bank has 0, 1, ... 10 spikes in its pieces, shuffled, and half a piece of spikes after them."""
    background = np.zeros((COUNT * STEPS + STEPS // 2, 4), np.uint8)
    for place, count in enumerate(np.random.default_rng(0).permutation(COUNT)):
        background[place * STEPS : place * STEPS + count, place % 4] = 1
    background[COUNT * STEPS :] = 1
    return model_with(background)


def utterance(spikes: int) -> Shot:
    inputs = np.zeros((30, 4), np.uint8)
    inputs[:spikes, 0] = 1
    silent = np.zeros((30, 1), np.uint8)
    return Shot(np.zeros((30, 1), np.float32), inputs, silent, silent, np.zeros(1, np.float32))


def test_the_median_becomes_0_and_a_twentieth_passes_1(model: PrimedModel) -> None:
    backend = Counting()
    found = scale_deployed(cast(Backend, backend), model)
    assert backend.lengths == [STEPS] * COUNT  # each once
    assert found == [Scale(offset=5.0, scale=4.5), Scale(offset=3.0, scale=9.0), Scale(offset=0.0, scale=SMALLEST_SCALE)]
    assert [found[0].normalise(raw) for raw in (5.0, 9.5, 7.25, 0.5)] == [0.0, 1.0, 0.5, -1.0]
    assert found[1].normalise(2 * 9.0 - 7) == found[0].normalise(9.0)  # a word that scores higher on everything gains nothing by it


def test_three_quarters_of_a_scale_are_that_of_words_on_average(model: PrimedModel) -> None:
    known = replace(model, config=model.config.model_copy(update={"levels": (7.0, 10.5)}))
    found = scale_deployed(cast(Backend, Counting()), known)
    assert found[0] == Scale(offset=6.5, scale=3.75)  # 0 at (5 + 3 * 7) / 4, 1 at (9.5 + 3 * 10.5) / 4
    assert found[1] == Scale(offset=6.0, scale=4.875)
    assert found[2] == Scale(offset=5.25, scale=2.625)  # a word that never answers is not blown up


def test_normalisation_listens_to_pieces_from_the_whole_of_a_long_bank() -> None:
    background = np.zeros((4 * PIECES * STEPS, 4), np.uint8)
    background[-3 * PIECES * STEPS :, 0] = 1
    backend = Counting(1)
    assert scale_deployed(cast(Backend, backend), model_with(background))[0].offset == STEPS
    assert backend.lengths == [STEPS] * PIECES


def test_a_word_is_calibrated_with_its_own_utterances(model: PrimedModel) -> None:
    backend = Counting()
    shots = [utterance(14), utterance(23)]
    found = calibrate(cast(Backend, backend), model, shots)
    assert backend.deployed == [shots]
    assert found.own == (2.0, 4.0)
    assert found.per_hour == DEFAULT_PER_HOUR
    assert found.threshold == found.tail.threshold(DEFAULT_PER_HOUR)


def test_a_word_that_scores_higher_on_everything_needs_no_other_threshold(model: PrimedModel) -> None:
    ordinary, louder = (calibrate(cast(Backend, backend), model, [utterance(14)]) for backend in (Counting(), Louder()))
    assert (louder.tail, louder.threshold, louder.own) == (ordinary.tail, ordinary.threshold, ordinary.own)
    assert louder.scale == 2 * ordinary.scale


def test_three_quarters_of_a_tail_are_that_of_words_on_average(model: PrimedModel) -> None:
    own = calibrate(cast(Backend, Counting()), model, [utterance(14)]).tail
    found = calibrate(cast(Backend, Counting()), with_tails(model, TAIL, None), [utterance(14)])
    assert found.tail == blended(own, TAIL, 0.25)
    assert found.threshold == found.tail.threshold(DEFAULT_PER_HOUR)


def with_tails(model: PrimedModel, one: Tail | None, several: Tail | None) -> PrimedModel:
    return replace(model, config=model.config.model_copy(update={"tail": one, "tail_several": several}))


@pytest.mark.parametrize(("count", "share"), [(1, 0.0), (2, 0.4306766), (5, 1.0), (7, 1.0)])  # log 2 / log 5
def test_the_average_is_of_words_of_as_many_utterances(model: PrimedModel, count: int, share: float) -> None:
    shots = [utterance(14)] * count
    own = calibrate(cast(Backend, Counting()), model, shots).tail
    found = calibrate(cast(Backend, Counting()), with_tails(model, TAIL, SEVERAL_TAIL), shots)
    for name in ("level", "per_hour", "spread", "shape"):
        average = (1 - share) * getattr(TAIL, name) + share * getattr(SEVERAL_TAIL, name)
        assert getattr(found.tail, name) == pytest.approx(0.25 * getattr(own, name) + 0.75 * average, rel=1e-6), name
    assert (found.tail.highest, found.tail.minutes) == (own.highest, own.minutes)  # counted, not mixed
    assert found.threshold == found.tail.threshold(DEFAULT_PER_HOUR)


def test_an_utterance_that_is_heard_at_several_speeds_is_one(model: PrimedModel) -> None:
    known, shots = with_tails(model, TAIL, SEVERAL_TAIL), [utterance(14)] * 6
    alone, two = (calibrate(cast(Backend, Counting()), known, shots, own_raw=[14.0] * count) for count in (1, 2))
    assert alone.tail == calibrate(cast(Backend, Counting()), known, shots[:1]).tail
    assert two.tail == calibrate(cast(Backend, Counting()), known, shots[:2]).tail
    assert (alone.own, two.own) == ((2.0,), (2.0, 2.0))


def test_shots_whose_utterances_were_forgotten_stand_for_as_many_as_there_were(model: PrimedModel) -> None:
    known, shots = with_tails(model, TAIL, SEVERAL_TAIL), [utterance(14)] * 5
    found = calibrate(cast(Backend, Counting()), known, shots[:1], own_raw=[14.0, 23.0, 14.0, 14.0, 14.0])
    assert found.own == (2.0, 4.0, 2.0, 2.0, 2.0)
    assert found.tail == calibrate(cast(Backend, Counting()), known, shots).tail


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_a_model_that_knows_one_average_takes_it_for_all_words(model: PrimedModel, count: int) -> None:
    assert average_tail_for(with_tails(model, TAIL, None), count) == TAIL
    assert average_tail_for(model, count) is None
    shots = [utterance(14)] * count
    own = calibrate(cast(Backend, Counting()), model, shots).tail
    assert calibrate(cast(Backend, Counting()), with_tails(model, TAIL, None), shots).tail == blended(own, TAIL, 0.25)


def test_one_word_is_calibrated_alone(model: PrimedModel) -> None:
    backend = Counting()
    shots = [utterance(3)]
    found = calibrate(cast(Backend, backend), model, shots, per_hour=5.0)
    assert backend.deployed == [shots]
    assert (found.offset, found.scale, found.per_hour) == (5.0, 4.5, 5.0)
    assert found.threshold == found.aimed(5.0).threshold < found.aimed(1.0).threshold


def test_a_silent_bank_gives_a_threshold_above_it(model: PrimedModel) -> None:
    silent = model_with(np.zeros_like(model.background))
    found = calibrate(cast(Backend, Counting()), silent, [utterance(0)])
    assert found.tail.highest == found.tail.level == 0.0
    assert found.threshold > 0
    with pytest.raises(CalibrationError, match="does not stand out from background"):
        found.check()  # it scores like silence


def test_a_network_that_answers_with_no_number_is_refused(model: PrimedModel) -> None:
    with pytest.raises(CalibrationError, match="record the word again"):
        calibrate(cast(Backend, Wordless()), model, [utterance(1)])


def test_a_threshold_by_rate_and_by_hand() -> None:
    assert CALIBRATION.aimed(60 * 0.9**10).threshold == pytest.approx(2.5)
    assert CALIBRATION.aimed(2.0).per_hour == 2.0
    assert (CALIBRATION.fixed(2.5).threshold, CALIBRATION.fixed(2.5).per_hour) == (2.5, None)
    assert TAIL.rate(2.5) == pytest.approx(60 * 0.9**10)
    assert TAIL.rate(7.1) == 0.0  # higher than the tail reaches
    assert TAIL.rate(-3.0) == 60.0


@pytest.mark.parametrize("rate", [0.0, -1.0, 61.0, float("nan"), float("inf")])
def test_a_rate_that_the_bank_says_nothing_about_is_refused(rate: float) -> None:
    with pytest.raises(CalibrationError, match=r"from 0\.01 to 60"):
        CALIBRATION.aimed(rate)


@pytest.mark.parametrize("threshold", [1.0, 0.0, -2.0, float("nan"), float("inf")])
def test_a_threshold_that_everything_passes_or_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(CalibrationError, match="above 1"):
        CALIBRATION.fixed(threshold)


def test_a_word_that_its_own_utterances_would_not_be_taken_for_is_refused() -> None:
    CALIBRATION.fixed(5.0).check()  # one of two utterances passes
    with pytest.raises(CalibrationError, match=r"score of 5\.1"):
        CALIBRATION.fixed(5.1).check()
    with pytest.raises(CalibrationError, match=r"at 0\.02 false accepts an hour"):
        CALIBRATION.model_copy(update={"own": (4.5,)}).aimed(0.02).model_copy(update={"threshold": 6.0}).check()
