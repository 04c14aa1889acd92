r"""The board's own cell in the arithmetic of its binary: `IFCurrDeltaCa2Adaptive` (with no jump `IF_curr_delta`), `snn.cells.board`.

The binary forms the closed-form solution for a membrane of resistance R around the resting potential 0, with plain products :math:`\otimes`, and
resets after a spike (sPyNNaker, `neuron_model_lif_impl.h` and `additional_input_ca2_adaptive_impl.h`, read):

.. math::
    c^t = \rho \otimes (c^{t-1} + I_\alpha z^{t-1}), \qquad s^t = (I^t - c^t) \otimes R, \qquad
    v^t = s^t - \alpha \otimes (s^t - (1 - z^{t-1}) v^{t-1}), \qquad d^t = v^t - v_{th}

R is :math:`1/(1-\alpha)`, so that an input reaches the membrane with gain 1. The board finds :math:`\alpha` and :math:`\rho` with its own
exponential, whose last bit may differ from the host's rounding that is used here.
"""

from typing import NamedTuple

import numpy as np

from hardware.fixed.arithmetic import ONE, Accum, add_saturated, multiply, subtract_saturated, to_fixed
from hardware.fixed.cells import Product, fired, zeros
from snn.cells.board import BoardParams
from snn.network import Params


class Constants(NamedTuple):
    """Parameters of a population, s16.15."""

    alpha: Accum  # [N]
    resistance: Accum  # [N] 1 / (1 - alpha)
    rho: Accum  # [N]
    jump: Accum  # [N]
    decayed_jump: Accum  # [N] rho jump, which e-prop needs
    v_th: Accum  # [1]
    height: Accum  # [1] gamma / v_th
    slope: Accum  # [1] 1 / v_th


class State(NamedTuple):
    """State after a step."""

    v: Accum  # [..., N]
    c: Accum  # [..., N]
    z: Accum  # [..., N] 0 or 1
    distance: Accum  # [..., N] of the membrane to its threshold


class Trace(NamedTuple):
    """Online eligibility state of every synapse of a projection, as the next step finds it."""

    epsilon_v: Accum  # [N, I]
    epsilon_c: Accum  # [N, I]


def constants(params: Params) -> Constants:
    """Convert the parameters of a population."""
    assert isinstance(params, BoardParams)
    alpha, rho, jump = params.alpha.double(), params.rho.double(), params.jump.double()
    v_th = params.v_th
    values = (alpha, 1 / (1 - alpha), rho, jump, rho * jump, [v_th], [params.gamma / v_th], [1 / v_th])
    return Constants(*(to_fixed(each) for each in values))


def initial_state(shape: tuple[int, ...]) -> State:
    """Return a population at rest."""
    return State(zeros(shape), zeros(shape), zeros(shape), zeros(shape))


def step(current: Accum, state: State, constants: Constants) -> State:
    """Advance a population by one time step."""
    c = multiply(constants.rho, state.c + state.z * constants.jump)
    settled = multiply(current - c, constants.resistance)
    v = settled - multiply(constants.alpha, settled - (1 - state.z) * state.v)
    distance = v - constants.v_th
    return State(v, c, fired(distance), distance)


def psi(distance: Accum, constants: Constants) -> Accum:
    """Evaluate the triangular pseudo-derivative."""
    return multiply(constants.height, np.maximum(ONE - multiply(np.abs(distance), constants.slope), 0))


def initial_trace(shape: tuple[int, ...]) -> Trace:
    """Return empty eligibility traces."""
    return Trace(zeros(shape), zeros(shape))


def trace_step(x: Accum, psi: Accum, z: Accum, trace: Trace, constants: Constants, product: Product) -> tuple[Accum, Trace]:
    """Advance the eligibility traces of a projection by one step."""
    alpha, rho, decayed_jump = (values[:, None] for values in (constants.alpha, constants.rho, constants.decayed_jump))
    epsilon_v = subtract_saturated(add_saturated(product(alpha, trace.epsilon_v), x), trace.epsilon_c)
    eligibility = product(psi[:, None], epsilon_v)
    epsilon_c = add_saturated(product(rho, trace.epsilon_c), product(decayed_jump, eligibility))
    return eligibility, Trace((1 - z)[:, None] * epsilon_v, epsilon_c)


def factors(psi: Accum, signal: Accum, z: Accum, constants: Constants, product: Product) -> Accum:
    """Fold learning signals backwards in time."""
    a_v, a_c = zeros(psi.shape[1:]), zeros(psi.shape[1:])
    out = zeros(psi.shape)
    for t in range(len(psi) - 1, -1, -1):
        driven = product(psi[t], add_saturated(signal[t], product(constants.decayed_jump, a_c)))
        a_v = add_saturated(driven, (1 - z[t]) * product(constants.alpha, a_v))
        a_c = subtract_saturated(product(constants.rho, a_c), a_v)
        out[t] = a_v
    return out
