"""s16.15 against exact fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.backend import BackendError
from hardware.fixed import arithmetic as fx

WORD = st.integers(-(2**31), 2**31 - 1)
WORDS = st.lists(st.tuples(WORD, WORD), min_size=1, max_size=20)
EDGES = [-(2**31), -(2**31) + 1, -32769, -32768, -16384, -1, 0, 1, 16384, 32767, 32768, 2**31 - 1]


def arrays(pairs: list[tuple[int, int]]) -> tuple[fx.Accum, fx.Accum]:
    a, b = np.array(pairs, np.int64).T
    return a.astype(np.int32), b.astype(np.int32)


def wrapped(n: int) -> int:
    return (n + 2**31) % 2**32 - 2**31


def clamped(n: int) -> int:
    return max(-(2**31), min(2**31 - 1, n))


def exact(a: int, b: int) -> Fraction:
    """The product in units of the last place."""
    return Fraction(a, 2**15) * Fraction(b, 2**15) * 2**15


def check(pairs: list[tuple[int, int]]) -> None:
    a, b = arrays(pairs)
    assert fx.multiply(a, b).tolist() == [wrapped(floor(exact(*pair))) for pair in pairs]
    assert fx.multiply_nearest(a, b).tolist() == [clamped(floor(exact(*pair) + Fraction(1, 2))) for pair in pairs]
    assert (a + b).tolist() == [wrapped(sum(pair)) for pair in pairs]
    assert fx.add_saturated(a, b).tolist() == [clamped(sum(pair)) for pair in pairs]
    assert fx.subtract_saturated(a, b).tolist() == [clamped(first - second) for first, second in pairs]
    assert fx.multiply(a, b).dtype == fx.multiply_nearest(a, b).dtype == np.int32


@given(WORDS)
def test_products_and_sums_of_any_words(pairs: list[tuple[int, int]]) -> None:
    check(pairs)


def test_products_and_sums_at_the_edges() -> None:
    check([(a, b) for a in EDGES for b in EDGES])


def test_products_broadcast() -> None:
    a, b = np.array([[fx.ONE], [-3]], np.int32), np.array([5, 7], np.int32)
    assert fx.multiply(a, b).tolist() == [[5, 7], [-1, -1]]


@given(st.integers(-(2**61), 2**61), st.integers(0, 40))
def test_shifts_round_half_up(n: int, bits: int) -> None:
    assert fx.shift_nearest(np.array([n]), bits).tolist() == [floor(Fraction(n, 2**bits) + Fraction(1, 2))]


@given(st.floats(-65535, 65535), st.integers(0, 15))
def test_conversion_is_to_the_nearest(value: float, bits: int) -> None:
    (found,) = fx.to_fixed([value], bits).tolist()
    assert found == round(Fraction(value) * 2**bits)  # Python rounds half to even, as NumPy does
    assert fx.to_float(np.array([found]), bits).tolist() == [found / 2**bits]


@pytest.mark.parametrize("value", [65536.0, -65537.0, float("nan"), float("inf")])
def test_what_is_too_large_is_refused(value: float) -> None:
    with pytest.raises(BackendError, match="65536"):
        fx.to_fixed([0.0, value])
