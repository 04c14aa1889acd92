"""The detector: one detection for each spoken word, with its edges, however the stream is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.detector import FRAME_S, HOLD_S, Detection, Detector, Rule

STEP_S = 0.04


def bump(time_s: NDArray[np.float64], peak_s: float, height: float, width_s: float = 0.15) -> NDArray[np.float64]:
    return height * np.exp(-0.5 * ((time_s - peak_s) / width_s) ** 2)


def times(seconds: float) -> NDArray[np.float64]:
    return (np.arange(round(seconds / STEP_S)) + 1) * STEP_S


def voice(seconds: float, *spans: tuple[float, float]) -> list[bool]:
    middle = (np.arange(round(seconds / FRAME_S)) + 0.5) * FRAME_S
    return [bool(any(start <= m < end for start, end in spans)) for m in middle]


def detect(detector: Detector, scores: NDArray[np.float64], voiced: list[bool]) -> list[Detection]:
    return [*detector.push(scores.astype(np.float32).reshape(len(scores), -1), voiced), *detector.flush()]


def one(threshold: float = 2.0, duration_s: float = 0.5, lag_s: float = 0.2, **options: float) -> Detector:
    return Detector([Rule("lamp", threshold, duration_s, lag_s)], STEP_S, **options)


def test_a_word_fires_once_with_its_edges_and_what_it_scored_until_then() -> None:
    t = times(4)
    found = detect(one(), bump(t, 2.2, 5.0), voice(4, (1.5, 2.0)))
    assert len(found) == 1
    assert found[0].word == "lamp"
    assert (found[0].start_s, found[0].end_s) == pytest.approx((1.5, 2.0), abs=1e-6)
    over = bump(t, 2.2, 5.0)[bump(t, 2.2, 5.0) >= 2.0]
    assert found[0].score == pytest.approx(over[1])  # told one step after it came over the threshold
    assert found[0].threshold == 2.0


def test_nothing_fires_below_the_threshold() -> None:
    assert detect(one(threshold=5.1), bump(times(4), 2.2, 5.0), voice(4, (1.5, 2.0))) == []


def test_a_word_is_told_at_its_peak_where_another_is_near_and_else_at_once() -> None:
    t = times(4)
    for height, expected in ((0.9, 2.2 - 0.2 + STEP_S), (1.5, 2.2 + HOLD_S)):  # of the other word, whose threshold is 2
        scores = np.stack([bump(t, 2.2, 5.0), np.full(len(t), height)], 1).astype(np.float32)
        detector, told = Detector([Rule("lamp", 2.0, 0.5), Rule("radio", 2.0, 0.5)], STEP_S), []
        for k, row in enumerate(scores):
            told += [t[k] for _ in detector.push(row[None], [])]
        assert told == [pytest.approx(expected, abs=STEP_S + 1e-9)]


def test_a_word_is_told_within_the_holding_time_after_its_peak() -> None:
    t = times(4)
    scores = np.where(t < 2.0, 0.0, 5.0 - 0.01 * t)  # stays over the threshold for ever
    detector, told = one(), None
    for k, row in enumerate(scores.astype(np.float32)[:, None]):
        if detector.push(row[None], []):
            told = t[k]
            break
    assert told == pytest.approx(2.0 + HOLD_S, abs=STEP_S + 1e-9)


def test_a_score_that_stays_high_is_one_word() -> None:
    assert len(detect(one(), np.full(200, 3.0), voice(8, (0, 8)))) == 1


def test_two_words_with_a_pause_are_two_detections() -> None:
    t = times(6)
    found = detect(one(), bump(t, 2.0, 5.0) + bump(t, 3.5, 5.0), voice(6, (1.3, 1.8), (2.8, 3.3)))
    assert [(d.start_s, d.end_s) for d in found] == [pytest.approx((1.3, 1.8)), pytest.approx((2.8, 3.3))]


def test_a_word_cannot_fire_again_within_its_refractory_time() -> None:
    t = times(6)
    scores = bump(t, 2.0, 5.0) + bump(t, 2.8, 6.0)
    assert len(detect(one(), scores, [])) == 1
    assert len(detect(one(refractory_s=0.5), scores, [])) == 2


@pytest.mark.parametrize(("second", "winner"), [(6.0, "radio"), (4.0, "lamp")])
@pytest.mark.parametrize("lag_s", [-0.04, 0.0, 0.04])
def test_of_words_that_peak_together_the_one_furthest_over_its_threshold_is_meant(second: float, winner: str, lag_s: float) -> None:
    t = times(5)
    scores = np.stack([bump(t, 2.0, 5.0), bump(t, 2.0 + lag_s, second + 1.0)], 1)
    detector = Detector([Rule("lamp", 2.0, 0.5), Rule("radio", 3.0, 0.5)], STEP_S)
    assert [d.word for d in detect(detector, scores, [])] == [winner]


def test_words_after_each_other_both_fire() -> None:
    t = times(5)
    scores = np.stack([bump(t, 2.0, 5.0), bump(t, 2.7, 5.0)], 1)
    detector = Detector([Rule("lamp", 2.0, 0.5), Rule("radio", 2.0, 0.5)], STEP_S)
    assert [d.word for d in detect(detector, scores, [])] == ["lamp", "radio"]


def test_in_running_speech_the_edges_follow_from_the_enrolled_utterance() -> None:
    found = detect(one(duration_s=0.4), bump(times(5), 3.0, 5.0, 0.1), voice(5, (0.5, 4.5)))
    assert (found[0].start_s, found[0].end_s) == pytest.approx((2.4, 2.8), abs=STEP_S)


def test_a_pause_on_one_side_is_taken_for_that_edge() -> None:
    t = times(5)
    assert detect(one(), bump(t, 3.0, 5.0), voice(5, (2.1, 4.5)))[0].start_s == pytest.approx(2.1)
    assert detect(one(), bump(t, 3.0, 5.0), voice(5, (0.5, 2.7)))[0].end_s == pytest.approx(2.7)


def test_a_gap_inside_a_word_and_clicks_beside_it_do_not_move_its_edges() -> None:
    found = detect(one(duration_s=0.6), bump(times(5), 3.0, 5.0), voice(5, (1.8, 1.82), (2.2, 2.5), (2.6, 2.8), (3.04, 3.06)))
    assert (found[0].start_s, found[0].end_s) == pytest.approx((2.2, 2.8))


def test_without_voice_the_edges_follow_from_the_enrolled_utterance() -> None:
    found = detect(one(), bump(times(4), 2.0, 5.0, 0.1), [])
    assert (found[0].start_s, found[0].end_s) == pytest.approx((1.3, 1.8), abs=STEP_S)


def test_the_end_of_the_stream_tells_what_is_being_recognised() -> None:
    detector = one()
    scores = np.append(np.zeros(49), 3.0).astype(np.float32)[:, None]  # has just come over the threshold
    assert detector.push(scores, []) == []
    assert [d.word for d in detector.flush()] == ["lamp"]
    assert detector.flush() == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 60), max_size=12))
def test_how_the_stream_is_cut_changes_nothing(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    t = times(12)
    scores = np.stack([sum(bump(t, p, h) for p, h in zip(rng.uniform(0, 12, 8), rng.uniform(0, 6, 8), strict=True)) for _ in range(3)], 1)
    voiced = (rng.random(600) < 0.5).tolist()
    rules = [Rule("lamp", 2.0, 0.5), Rule("radio", 2.5, 0.3), Rule("door", 3.0, 0.7)]
    whole = detect(Detector(rules, STEP_S), scores, voiced)
    pieces, at, detector = [], 0, Detector(rules, STEP_S)
    for size in [*cuts, len(t)]:
        pieces += detector.push(scores[at : at + size].astype(np.float32), voiced[2 * at : 2 * (at + size)])
        at = min(at + size, len(t))
    assert pieces + detector.flush() == whole
    for rule in rules:  # a word's detections keep the refractory time
        ends = [d.end_s for d in whole if d.word == rule.word]
        assert all(d.start_s <= d.end_s for d in whole)
        assert len(ends) <= 12 / 1.0 + 1
