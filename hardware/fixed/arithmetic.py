r"""Numbers as a SpiNNaker core holds them: `accum` (s16.15), 32 bits of which 15 are behind the binary point.

An integer array stands for :math:`x = n \cdot 2^{-15}`. Arrays are int32, so that their sums and differences wrap as those of an ARM core do;
products are formed in 64 bits, as SMULL forms them, and then brought back in one of two ways:

* :func:`multiply` is C's plain ``a * b``: :math:`\lfloor n_a n_b / 2^{15} \rfloor`, wrapped;
* :func:`multiply_nearest` is the library's ``MULT_ROUND_NEAREST``: :math:`\lfloor n_a n_b / 2^{15} + 1/2 \rfloor`, saturated.

Flooring loses half a unit of the last place at every product, always downwards. That is harmless for a membrane, whose products are near 1, and ruins
the small products of e-prop (`hardware.fixed.eprop`).

>>> import numpy as np
>>> to_float(multiply(to_fixed(np.array([1.5, -1.5])), to_fixed(np.array([0.5, 0.5])))).tolist()
[0.75, -0.75]
>>> smallest = np.array([1, -1], np.int32)
>>> multiply(smallest, to_fixed(np.array([0.5, 0.5]))).tolist(), multiply_nearest(smallest, to_fixed(np.array([0.5, 0.5]))).tolist()
([0, -1], [1, 0])
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardware.backend import BackendError

Accum = NDArray[np.int32]  # s16.15

FRACTION_BITS = 15
ONE = 1 << FRACTION_BITS
LARGEST = (1 << 31) - 1
SMALLEST = -(1 << 31)


def to_fixed(values: ArrayLike, bits: int = FRACTION_BITS) -> Accum:
    """Convert numbers on the host, to the nearest and half to even, as sPyNNaker converts a parameter.

    Args:
        values: any shape.
        bits: behind the binary point; more than 15 for numbers that are kept scaled up by a power of two.

    Returns:
        Integers, same shape.

    Raises:
        BackendError: a value is no number or too large for 32 bits.
    """
    scaled = np.rint(np.asarray(values, np.float64) * 2.0**bits)
    if not (np.abs(scaled) <= LARGEST).all():  # NaN is refused too
        raise BackendError(
            f"a value of this network is too large for the chip's numbers, which end at {LARGEST / 2.0**bits:g}; use the backend torch"
        )
    return scaled.astype(np.int32)


def to_float(values: NDArray[np.integer], bits: int = FRACTION_BITS) -> NDArray[np.float64]:
    """Return what integers stand for."""
    found: NDArray[np.float64] = values.astype(np.float64) * 2.0**-bits
    return found


def wrap(values: NDArray[np.int64]) -> Accum:
    """Keep the low 32 bits."""
    return values.astype(np.int32)


def saturate(values: NDArray[np.int64]) -> Accum:
    """Keep numbers within 32 bits at the ends of the range."""
    return np.clip(values, SMALLEST, LARGEST).astype(np.int32)


def shift_nearest(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Divide by 2^bits, to the nearest and half up; bits >= 0, |values| < 2^62."""
    return values if bits == 0 else (values + (1 << (bits - 1))) >> bits


def multiply(a: Accum, b: Accum) -> Accum:
    """Multiply as C does: floor, then wrap. Arguments broadcast."""
    return wrap(np.multiply(a, b, dtype=np.int64) >> FRACTION_BITS)


def multiply_nearest(a: Accum, b: Accum) -> Accum:
    """Multiply as MULT_ROUND_NEAREST does: half up, then saturate. Arguments broadcast."""
    return saturate(shift_nearest(np.multiply(a, b, dtype=np.int64), FRACTION_BITS))


def add_saturated(*terms: Accum) -> Accum:
    """Add up, saturating the sum. Arguments broadcast."""
    total = terms[0].astype(np.int64)
    for term in terms[1:]:
        total = total + term
    return saturate(total)


def subtract_saturated(a: Accum, b: Accum) -> Accum:
    """Subtract, saturating the difference. Arguments broadcast."""
    return saturate(a.astype(np.int64) - b)
