"""The board's cell: golden voltages and traces, worked by hand with decays of one half, and what its hard reset does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from snn import eprop, network
from snn.cells import board
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.populations import cell_params

HALF = torch.tensor([0.5], dtype=torch.float64)
PARAMS = board.BoardParams(HALF, HALF, jump=2 * HALF, v_th=1.0, gamma=0.5)


def play(params: board.BoardParams, currents: list[float]) -> tuple[list[float], list[float], list[float], list[float]]:
    state = board.initial_state((1,), torch.float64)
    rows = []
    for current in currents:
        out, state = board.step(torch.tensor([current], dtype=torch.float64), state, params)
        rows.append((state.v.item(), state.c.item(), out.z.item(), out.psi.item()))
    v, c, z, psi = (list(column) for column in zip(*rows, strict=True))
    return v, c, z, psi


def test_by_hand() -> None:
    v, c, z, psi = play(PARAMS, [2.0, 1.0, 1.5, 2.0, -1.0])
    # c: 0; 0.5*(0 + 1); 0.25; 0.5*(0.25 + 1); 0.5*(0.625 + 1). v: 2; reset, 1 - 0.5; 0.25 + 1.5 - 0.25; reset, 2 - 0.625; reset, -1 - 0.8125
    assert c == [0.0, 0.5, 0.25, 0.625, 0.8125]
    assert v == [2.0, 0.5, 1.5, 1.375, -1.8125]
    assert z == [1, 0, 1, 1, 0]
    assert psi == [0.0, 0.25, 0.25, 0.3125, 0.0]


def test_without_a_jump_there_is_no_adaptation() -> None:
    v, c, z, _ = play(PARAMS._replace(jump=0 * HALF), [2.0, 0.5, 0.75])
    assert (v, c, z) == ([2.0, 0.5, 1.0], [0.0, 0.0, 0.0], [1, 0, 1])


def test_the_threshold_is_a_scale() -> None:
    """Currents, jump and threshold doubled: the same spikes."""
    doubled = PARAMS._replace(jump=4 * HALF, v_th=2.0)
    assert play(doubled, [4.0, 2.0, 3.0, 4.0])[2] == play(PARAMS, [2.0, 1.0, 1.5, 2.0])[2]


def test_eligibility_by_hand() -> None:
    trace = board.initial_trace((1, 1), torch.float64)
    eligibility = []
    for x, psi, z in ((1.0, 0.5, 0.0), (1.0, 0.5, 1.0), (1.0, 1.0, 0.0), (0.0, 0.5, 0.0)):
        now = [value * torch.ones(1).double() for value in (x, psi, z)]
        e, trace = board.trace_step(now[0], now[1], trace, PARAMS, now[2])
        eligibility.append(e.item())
    # epsilon_c: 0; 0.5*(0 + 0.5); 0.5*(0.25 + 0.625); 0.5*(0.4375 + 0.5625). epsilon_v: 1; 0.5 + 1 - 0.25; reset, 1 - 0.4375; 0.28125 - 0.5
    assert eligibility == [0.5, 0.625, 0.5625, 0.5 * (0.28125 - 0.5)]


def test_a_reset_forgets_what_came_before(make_params: Callable[..., Any]) -> None:
    """Without adaptation, nothing that arrived up to a spike is eligible after it."""
    rng = torch.Generator().manual_seed(0)
    params = make_params("board", 3, rng)._replace(jump=torch.zeros(3, dtype=torch.float64))
    psi = torch.rand(6, 3, generator=rng, dtype=torch.float64)
    z = torch.zeros(6, 3, dtype=torch.float64)
    z[2] = 1
    late = torch.zeros(6, 3, dtype=torch.float64)
    late[3:] = 1
    factor = eprop.factors(psi, late, params, z)
    assert not factor[:3].any()
    assert factor[3:].all()


def test_spikes_are_required() -> None:
    one = torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="pass z"):
        board.factors(one, one, PARAMS)
    with pytest.raises(ValueError, match="pass z"):
        board.trace_step(one[0], one[0], board.initial_trace((1, 1), torch.float64), PARAMS)


def test_parameters_from_primed_tensors() -> None:
    config = LearnerConfig(inputs=2, step_ms=40, cell="board", features=(4,), neurons=4, adaptive_fraction=0.5)
    weights = initial_weights(config, torch.full((2,), 0.2), 0) | {"jump": torch.tensor([-1.0, 0.4, 0.5, 0.6])}
    params = cell_params(config, weights)
    assert isinstance(params, board.BoardParams)
    assert params.jump.tolist() == pytest.approx([0.0, 0.0, 0.5, 0.0])
    assert (params.v_th, params.gamma) == (1.0, config.gamma)
    torch.testing.assert_close(params.rho, torch.exp(-40 / weights["log_tau_adaptation"].exp()))


def test_priming_brings_the_initial_adaptation_to_all_populations() -> None:
    config = LearnerConfig(inputs=2, step_ms=40, cell="board", features=(4,), neurons=3, lsg_neurons=5)
    weights = initial_weights(config, torch.full((2,), 0.2), 0)
    assert weights["jump"].shape == (3,)
    assert weights["feature.jump"].shape == (4,)
    assert not {"beta", "a", "b", "feature.beta"} & set(weights)
    assert weights["lsg.b"].shape == (5,)  # the generator stays adLIF: it runs on the host


def test_adaptation_lowers_the_rate() -> None:
    currents = torch.full((200, 1), 1.2, dtype=torch.float64)
    silent = torch.zeros(1, 1, dtype=torch.float64)
    rates = [network.run(currents, silent, PARAMS._replace(jump=jump * HALF)).z.mean().item() for jump in (0.0, 0.5, 2.0)]
    assert rates[0] > rates[1] > rates[2] > 0.05
