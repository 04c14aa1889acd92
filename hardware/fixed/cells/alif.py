r"""ALIF (and LIF, :math:`\beta = 0`) in s16.15: `snn.cells.alif`, a cell that no released binary of SpiNNaker holds.

With floored products :math:`\otimes`, one of them each for membrane, adaptation and threshold:

.. math::
    v^t = \alpha \otimes v^{t-1} + I^t - v_{th} z^{t-1}, \qquad a^t = \rho \otimes a^{t-1} + z^{t-1}, \qquad
    d^t = v^t - v_{th} - \beta \otimes a^t, \qquad \psi^t = \tfrac{\gamma}{v_{th}} \otimes \max(0, 1 - |d^t| \otimes \tfrac{1}{v_{th}})
"""

from typing import NamedTuple

import numpy as np

from hardware.fixed.arithmetic import ONE, Accum, add_saturated, multiply, subtract_saturated, to_fixed
from hardware.fixed.cells import Product, fired, zeros
from snn.cells.alif import AlifParams
from snn.network import Params


class Constants(NamedTuple):
    """Parameters of a population, s16.15."""

    alpha: Accum  # [N]
    rho: Accum  # [N]
    beta: Accum  # [N]
    v_th: Accum  # [1]
    height: Accum  # [1] gamma / v_th
    slope: Accum  # [1] 1 / v_th


class State(NamedTuple):
    """State after a step."""

    v: Accum  # [..., N]
    a: Accum  # [..., N]
    z: Accum  # [..., N] 0 or 1
    distance: Accum  # [..., N] of the membrane to its threshold


class Trace(NamedTuple):
    """Online eligibility state of every synapse of a projection."""

    p: Accum  # [N, I]
    epsilon: Accum  # [N, I]


def constants(params: Params) -> Constants:
    """Convert the parameters of a population."""
    assert isinstance(params, AlifParams)
    v_th = params.v_th
    return Constants(*(to_fixed(values) for values in (params.alpha, params.rho, params.beta, [v_th], [params.gamma / v_th], [1 / v_th])))


def initial_state(shape: tuple[int, ...]) -> State:
    """Return a population at rest."""
    return State(zeros(shape), zeros(shape), zeros(shape), zeros(shape))


def step(current: Accum, state: State, constants: Constants) -> State:
    """Advance a population by one time step."""
    v = multiply(constants.alpha, state.v) + current - state.z * constants.v_th
    a = multiply(constants.rho, state.a) + state.z * ONE
    distance = v - constants.v_th - multiply(constants.beta, a)
    return State(v, a, fired(distance), distance)


def psi(distance: Accum, constants: Constants) -> Accum:
    """Evaluate the triangular pseudo-derivative."""
    return multiply(constants.height, np.maximum(ONE - multiply(np.abs(distance), constants.slope), 0))


def initial_trace(shape: tuple[int, ...]) -> Trace:
    """Return empty eligibility traces."""
    return Trace(zeros(shape), zeros(shape))


def trace_step(x: Accum, psi: Accum, z: Accum, trace: Trace, constants: Constants, product: Product) -> tuple[Accum, Trace]:
    """Advance the eligibility traces of a projection by one step; spikes z have no influence on them."""
    psi, alpha, rho, beta = (values[:, None] for values in (psi, constants.alpha, constants.rho, constants.beta))
    p = add_saturated(product(alpha, trace.p), x)
    eligibility = product(psi, subtract_saturated(p, product(beta, trace.epsilon)))
    return eligibility, Trace(p, add_saturated(eligibility, product(rho, trace.epsilon)))


def factors(psi: Accum, signal: Accum, z: Accum, constants: Constants, product: Product) -> Accum:
    r"""Fold learning signals backwards in time.

    :math:`m = \psi (L + \lambda)` serves both recursions: :math:`\lambda^t = \rho \lambda^{t+1} - \beta m`, :math:`B^t = m + \alpha B^{t+1}`.
    """
    lam, b = zeros(psi.shape[1:]), zeros(psi.shape[1:])
    out = zeros(psi.shape)
    for t in range(len(psi) - 1, -1, -1):
        m = product(psi[t], add_saturated(signal[t], lam))
        b = add_saturated(m, product(constants.alpha, b))
        lam = subtract_saturated(product(constants.rho, lam), product(constants.beta, m))
        out[t] = b
    return out
