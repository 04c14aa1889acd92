r"""adLIF in s16.15: `snn.cells.adlif`, with its products of constants formed on the host.

.. math::
    w^t = \rho \otimes w^{t-1} + [(1-\rho) a] \otimes u^{t-1} + b z^{t-1}, \qquad
    u^t = \alpha \otimes (u^{t-1} - z^{t-1}) + [1-\alpha] \otimes (I^t - w^t), \qquad d^t = u^t - 1, \qquad \psi^t = \gamma\,[\,|d^t| \le 1/2\,]
"""

from typing import NamedTuple

import numpy as np

from hardware.fixed.arithmetic import ONE, Accum, add_saturated, multiply, subtract_saturated, to_fixed
from hardware.fixed.cells import Product, fired, zeros
from snn.cells.adlif import AdlifParams
from snn.network import Params


class Constants(NamedTuple):
    """Parameters of a population, s16.15."""

    alpha: Accum  # [N]
    gain: Accum  # [N] 1 - alpha
    rho: Accum  # [N]
    coupling: Accum  # [N] (1 - rho) a
    b: Accum  # [N]
    gamma: Accum  # [1]


class State(NamedTuple):
    """State after a step."""

    u: Accum  # [..., N]
    w: Accum  # [..., N]
    z: Accum  # [..., N] 0 or 1
    distance: Accum  # [..., N] of the membrane to its threshold


class Trace(NamedTuple):
    """Online eligibility state of every synapse of a projection."""

    epsilon_u: Accum  # [N, I]
    epsilon_w: Accum  # [N, I]
    psi: Accum  # [N] of the previous step


def constants(params: Params) -> Constants:
    """Convert the parameters of a population."""
    assert isinstance(params, AdlifParams)
    alpha, rho = params.alpha.double(), params.rho.double()
    return Constants(*(to_fixed(values) for values in (alpha, 1 - alpha, rho, (1 - rho) * params.a, params.b, [params.gamma])))


def initial_state(shape: tuple[int, ...]) -> State:
    """Return a population at rest."""
    return State(zeros(shape), zeros(shape), zeros(shape), zeros(shape))


def step(current: Accum, state: State, constants: Constants) -> State:
    """Advance a population by one time step."""
    w = multiply(constants.rho, state.w) + multiply(constants.coupling, state.u) + state.z * constants.b
    u = multiply(constants.alpha, state.u - state.z * ONE) + multiply(constants.gain, current - w)
    distance = u - ONE
    return State(u, w, fired(distance), distance)


def psi(distance: Accum, constants: Constants) -> Accum:
    """Evaluate the boxcar pseudo-derivative."""
    return (np.abs(distance) <= ONE // 2) * constants.gamma


def initial_trace(shape: tuple[int, ...]) -> Trace:
    """Return empty eligibility traces."""
    return Trace(zeros(shape), zeros(shape), zeros(shape[:1]))


def trace_step(x: Accum, psi: Accum, z: Accum, trace: Trace, constants: Constants, product: Product) -> tuple[Accum, Trace]:
    """Advance the eligibility traces of a projection by one step; spikes z have no influence on them."""
    alpha, gain, rho, coupling, b = (values[:, None] for values in constants[:5])
    before = trace.psi[:, None]
    epsilon_w = add_saturated(product(rho, trace.epsilon_w), product(coupling + product(b, before), trace.epsilon_u))
    epsilon_u = add_saturated(product(product(alpha, ONE - before), trace.epsilon_u), product(gain, subtract_saturated(x, epsilon_w)))
    return product(psi[:, None], epsilon_u), Trace(epsilon_u, epsilon_w, psi)


def factors(psi: Accum, signal: Accum, z: Accum, constants: Constants, product: Product) -> Accum:
    """Fold learning signals backwards in time."""
    a_u, a_w = zeros(psi.shape[1:]), zeros(psi.shape[1:])
    out = zeros(psi.shape)
    for t in range(len(psi) - 1, -1, -1):
        kept = product(product(constants.alpha, ONE - psi[t]), a_u)
        a_u = add_saturated(product(psi[t], signal[t]), kept, product(constants.coupling + product(constants.b, psi[t]), a_w))
        out[t] = product(constants.gain, a_u)
        a_w = subtract_saturated(product(constants.rho, a_w), out[t])
    return out
