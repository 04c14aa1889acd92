"""Detections against truth, on cases counted by hand, and invariants of the matching."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priming.detection import LATE_S, WITHIN_S, Counts, Curve, Event, Heard, count, crossing, match
from priming.errors import DataError
from priming.streams import Occurrence


def said(word: str, start_s: float, end_s: float, counted: bool = True) -> Occurrence:
    return Occurrence(word, "someone", start_s, end_s, counted)


def event(word: str, told_s: float) -> Event:
    return Event(word, told_s, 3.0)


def test_a_detection_in_time_late_early_and_of_another_word() -> None:
    truth = [said("lamp", 1.0, 1.5), said("lamp", 5.0, 5.5), said("lamp", 9.0, 9.5), said("lamp", 13.0, 13.5), said("lamp", 17.0, 17.5)]
    events = [event("lamp", 1.9), event("lamp", 6.2), event("lamp", 8.9), event("radio", 13.6), event("lamp", 17.2)]
    matching = match(events, truth)
    assert matching.latency_s == pytest.approx([0.4, 0.7, np.nan, np.nan, -0.3], nan_ok=True)
    assert matching.wrong == [events[2], events[3]]


def test_an_occurrence_takes_one_detection() -> None:
    matching = match([event("lamp", 1.6), event("lamp", 1.9)], [said("lamp", 1.0, 1.5)])
    assert matching.latency_s == pytest.approx([0.1])
    assert [wrong.told_s for wrong in matching.wrong] == [1.9]


def test_a_detection_in_time_is_not_given_to_an_earlier_word_as_a_late_one() -> None:
    matching = match([event("lamp", 2.6)], [said("lamp", 1.0, 1.5), said("lamp", 2.0, 2.4)])
    assert matching.latency_s == pytest.approx([np.nan, 0.2], nan_ok=True)


times = st.floats(0, 20).map(lambda t: round(t, 2))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), times), max_size=12), st.lists(st.tuples(st.sampled_from("ab"), times), max_size=8))
def test_every_detection_is_matched_once_or_wrong(told: list[tuple[str, float]], spoken: list[tuple[str, float]]) -> None:
    events = [event(word, time) for word, time in told]
    truth = [said(word, time, time + 0.5) for word, time in spoken]
    matching = match(events, truth)
    found = ~np.isnan(matching.latency_s)
    assert found.sum() + len(matching.wrong) == len(events)
    assert np.all(matching.latency_s[found] <= LATE_S + 1e-6)
    assert np.all(matching.latency_s[found] >= -0.5 - 1e-6)
    for wrong in matching.wrong:  # what is wrong fits no occurrence that was left over
        free = [o for o, hit in zip(truth, found, strict=True) if not hit and o.word == wrong.word]
        assert not any(o.start_s <= wrong.told_s <= o.end_s + LATE_S for o in free)
    shuffled = match(events[::-1], truth)
    assert np.array_equal(shuffled.latency_s, matching.latency_s, equal_nan=True)


def test_words_in_the_background_are_no_false_accepts_and_the_supports_speaker_is_not_counted() -> None:
    background = [said("lamp", 10.0, 10.4, counted=False)]
    utterances = [said("lamp", 1.0, 1.5), said("radio", 4.0, 4.5), said("lamp", 7.0, 7.5, counted=False), said("other", 9.0, 9.4)]
    strict = Heard([], [event("lamp", 1.7)])
    loose = Heard(
        [event("lamp", 10.6), event("lamp", 20.0), event("radio", 21.0)],
        [event("lamp", 1.7), event("radio", 5.3), event("lamp", 7.6), event("lamp", 9.5)],
    )
    counts = count(["radio", "lamp"], [loose, strict], background, utterances)
    assert counts.false_accepts.tolist() == [[1, 1], [0, 0]]
    assert counts.spoken.tolist() == [1, 1]
    assert counts.hits.tolist() == [[0, 1], [0, 1]]
    assert counts.late.tolist() == [[1, 0], [0, 0]]
    assert counts.wrong.tolist() == [1, 0]
    assert counts.latency_s[0] == pytest.approx([0.2, 0.8])


def made_up(accepts: list[list[int]], hits: list[list[int]], spoken: int, words: int = 1) -> list[Counts]:
    """One enrolment for each list; all words of an enrolment alike."""
    counts = []
    for accepted, heard in zip(accepts, hits, strict=True):
        columns = np.tile(np.array(accepted)[:, None], (1, words)), np.tile(np.array(heard)[:, None], (1, words))
        none = np.zeros_like(columns[0])
        names = tuple(f"w{k}" for k in range(words))
        latencies = tuple(np.full(words * h, 0.3) for h in heard)
        counts.append(Counts(names, columns[0], columns[1], none, np.full(words, spoken), none[:, 0], latencies))
    return counts


def test_rates_are_per_hour_and_word_and_pooled_over_enrolments() -> None:
    curve = Curve(np.array([1.0, 2.0]), made_up([[8, 2], [4, 0]], [[9, 6], [7, 4]], spoken=10, words=3), hours=2.0)
    assert curve.false_accept_rates() == pytest.approx([(8 + 4) / 2 / 2.0, 1 / 2.0])
    assert curve.misses() == pytest.approx([0.2, 0.5])
    assert curve.word_hours == 12.0
    estimate = curve.misses_at(1.0)
    assert estimate.value == pytest.approx(0.2 + 0.3 * (3 - 1) / (3 - 0.5))
    assert estimate.interval is not None
    assert estimate.interval[0] < estimate.value < estimate.interval[1]
    assert curve.setting_at(1.0) == pytest.approx(1.8)
    rate, misses = curve.at(1)
    assert (rate.value, misses.value) == pytest.approx((0.5, 0.5))
    assert rate.interval == pytest.approx((0.0, 1.0))  # of two enrolments: either one alone, or both
    assert len(curve.latency_s(0)) == 3 * 16
    assert curve.by_word(0)["w0"] == pytest.approx((3.0, 0.2))


def test_equal_enrolments_have_no_spread_and_a_single_one_no_interval() -> None:
    same = Curve(np.array([1.0, 2.0]), made_up([[4, 1]] * 5, [[8, 6]] * 5, spoken=10), hours=1.0)
    interval = same.misses_at(1.0).interval
    assert interval == pytest.approx((0.4, 0.4))
    alone = Curve(np.array([1.0, 2.0]), made_up([[4, 1]], [[8, 6]], spoken=10), hours=1.0)
    assert alone.misses_at(1.0) == (pytest.approx(0.4), None)
    assert alone.at(0)[1] == (pytest.approx(0.2), None)


def test_words_with_thresholds_of_their_own_choice_do_better_than_with_one() -> None:
    easy, hard = made_up([[0, 0, 0]], [[9, 5, 1]], 10)[0], made_up([[5, 1, 0]], [[9, 8, 2]], 10)[0]
    curve = Curve(np.array([1.0, 2.0, 3.0]), [easy, hard], hours=1.0)
    assert curve.misses_with_own_best(1.0) == pytest.approx((1 + 2) / 20)
    assert curve.misses_with_own_best(1.0) < curve.misses_at(0.5).value
    assert curve.misses_with_own_best(0.5) == pytest.approx((1 + 8) / 20)


def test_late_detections_are_missed_unless_they_are_asked_for() -> None:
    truth = [said("lamp", float(t), t + 0.5) for t in range(0, 40, 10)]
    events = [event("lamp", 0.5 + WITHIN_S), event("lamp", 10.5 + WITHIN_S + 0.01), event("lamp", 20.5 + LATE_S)]
    curve = Curve(np.zeros(1), [count(["lamp"], [Heard([], events)], [], truth)], hours=1.0)
    assert curve.misses() == pytest.approx([0.75])
    assert curve.misses(late=True) == pytest.approx([0.25])


def test_a_curve_is_read_where_it_comes_down_for_good() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4])
    assert crossing(np.array([3.0, 0.5, 2.0, 0.0]), values, 1.0) == pytest.approx(0.35)
    assert crossing(np.array([0.9, 0.5, 0.2, 0.0]), values, 1.0) == 0.1  # never above: the most permissive point
    assert crossing(np.array([9.0, 8.0, 7.0, 6.0]), values, 1.0) == 0.4  # never below: the strictest


def test_a_curve_of_nothing_is_refused() -> None:
    with pytest.raises(DataError):
        Curve(np.zeros(1), [], hours=1.0)
    with pytest.raises(DataError):
        Curve(np.zeros(2), made_up([[1, 0]], [[1, 0]], spoken=1), hours=0.0)
