"""Weights as a board stores them."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.backend import BackendError
from hardware.fixed.quantiser import LARGEST_STORED, dequantise, half_largest_sum, quantise, shift_of, split

BOUND = st.floats(0, 2**15, exclude_max=True)


@given(BOUND)
def test_the_shift_is_the_least_that_exceeds_the_bound(bound: float) -> None:
    shift = shift_of(bound)
    assert 2**shift > bound
    assert shift == 0 or 2 ** (shift - 1) <= bound


@pytest.mark.parametrize(("bound", "shift"), [(0, 0), (0.75, 0), (1, 1), (1.5, 1), (2, 2), (4, 3), (5, 3), (8 - 1e-15, 3), (8, 4)])
def test_shifts_of_sums_that_spynnaker_was_asked_for(bound: float, shift: int) -> None:
    assert shift_of(bound) == shift


@given(BOUND, st.lists(st.floats(-70000, 70000), max_size=20))
def test_stored_magnitudes_are_the_nearest(bound: float, weights: list[float]) -> None:
    found = quantise(weights, bound)
    wanted = [round(abs(Fraction(w)) * Fraction(2) ** (15 - found.shift)) for w in weights]
    assert found.stored.tolist() == [min(LARGEST_STORED, n) for n in wanted]
    assert found.saturated == sum(n > LARGEST_STORED for n in wanted)
    values = dequantise(found)
    for w, n, value in zip(weights, wanted, values, strict=True):
        assert n > LARGEST_STORED or abs(Fraction(float(value)) - abs(Fraction(w))) <= Fraction(2) ** (found.shift - 16)
    assert quantise(values, bound).stored.tolist() == found.stored.tolist()  # what a board gave back is stored as it was


@given(st.lists(st.floats(-100, 100), max_size=20))
def test_types_make_up_the_signed_weights(weights: list[float]) -> None:
    exc, inh = split(weights)
    assert (exc - inh).tolist() == weights
    assert not (exc * inh).any()
    assert (exc >= 0).all()
    assert (inh >= 0).all()


@given(st.integers(0, 2**31), st.floats(1e-3, 30))
def test_half_of_the_largest_sum_is_bound_enough(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    projections = [scale * rng.standard_normal((4, inputs)) for inputs in (30, 7)]
    bounds = half_largest_sum(projections)
    sums = []
    for k, bound in enumerate(bounds):
        total = sum(quantise(split(weights)[k], bound).stored.sum(1) for weights in projections)
        sums.append(np.max(total))
        assert 2 * bound == pytest.approx(max(sum(split(weights)[k][j].sum() for weights in projections) for j in range(4)))
    assert max(sums) <= LARGEST_STORED + 37  # the rounding of 37 weights, at most half a unit each, beyond an exact sum below 65536


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf"), 2.0**15])
def test_a_bound_that_no_board_can_hold(bound: float) -> None:
    with pytest.raises(BackendError, match="leave the range"):
        shift_of(bound)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(weight: float) -> None:
    with pytest.raises(BackendError, match="no finite number"):
        quantise([0.0, weight], 1.0)
