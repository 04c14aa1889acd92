r"""A recurrent network of spiking neurons: input and recurrent projection, weights as arguments.

.. math::
    I_j^t = \sum_i W_{ji}^{in} x_i^t + \sum_{i \ne j} W_{ji}^{rec} z_i^{t-1} + b_j

Axis letters, fixed everywhere: B tasks, Q sequences of a task, T steps, I inputs, N neurons. Time comes first, so a step is a view. A projection may
have a task axis ([B, N, I]: fast weights, one network a task) or none ([N, I]: shared). Nothing here holds weights or state.

**Groups.** The population may be divided into a chain of groups: the input reaches group 0, group k projects to itself and to group k+1. The mask
also removes autapses. A network of one group is an ordinary recurrent layer; of two, two stacked ones with a delay of one step between them.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from snn import checkpointed
from snn.cells import adlif, adlif_run, alif, alif_run, board, stepwise
from snn.cells.common import CellOutput
from snn.precision import product


class Cell(Protocol):
    """The functions that a cell's file offers."""

    def initial_state(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> Any:
        """Return a population at rest; `shape` is [..., N]."""

    def step(self, current: Tensor, state: Any, params: Any) -> tuple[CellOutput, Any]:
        """Advance a population by one time step."""

    def initial_trace(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> Any:
        """Return empty eligibility traces; `shape` is [..., N, I]."""

    def trace_step(self, x: Tensor, psi: Tensor, trace: Any, params: Any, z: Tensor | None = None) -> tuple[Tensor, Any]:
        """Advance the eligibility traces of a projection by one step, causally."""

    def factors(self, psi: Tensor, signal: Tensor, params: Any, z: Tensor | None = None) -> Tensor:
        """Fold learning signals backwards in time into one factor per neuron and step."""


Params = alif.AlifParams | adlif.AdlifParams | board.BoardParams


def cell_of(params: Params) -> Cell:
    """Return the cell whose parameters these are."""
    if isinstance(params, board.BoardParams):
        return board
    return alif if isinstance(params, alif.AlifParams) else adlif


class Activity(NamedTuple):
    """What a population did during a run."""

    z: Tensor  # [T, ..., N] spikes
    psi: Tensor  # [T, ..., N] pseudo-derivatives
    state: Any  # after the last step


def masks(groups: tuple[int, ...], inputs: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Build the connectivity of a chain of groups.

    Args:
        groups: neurons of each group.
        inputs: input channels.
        dtype: of the result.

    Returns:
        Masks [N, I] and [N, N], rows postsynaptic, 1 where a synapse exists.
    """
    group = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(groups))
    w_in = (group == 0).to(dtype).unsqueeze(1).expand(-1, inputs)
    hop = group.unsqueeze(1) - group.unsqueeze(0)
    w_rec = ((hop == 0) | (hop == 1)).to(dtype)
    return w_in.contiguous(), w_rec * (1 - torch.eye(len(group), dtype=dtype))


def project(x: Tensor, weights: Tensor) -> Tensor:
    """Sum spikes over a projection.

    Args:
        x: [T, ..., I], or [T, B, ..., I] when the projection has a task axis.
        weights: [N, I] shared, or [B, N, I].

    Returns:
        [T, ..., N] or [T, B, ..., N].
    """
    if weights.dim() == 2:
        return product(x, weights.T)
    return torch.einsum("tb...i,bni->tb...n", x, weights)


def run(
    current: Tensor,
    w_rec: Tensor,
    params: Params,
    state: Any = None,
    *,
    detach_recurrent: bool = False,
) -> Activity:
    """Run a population over a sequence; within `snn.checkpointed.segments`, a long one in bounded memory.

    Args:
        current: [T, ..., N], or [T, B, Q, N] when w_rec has a task axis: input currents and bias of every step.
        w_rec: [N, N] or [B, N, N], already masked.
        params: of the population.
        state: to start from; at rest when None. A run in pieces equals one run.
        detach_recurrent: cut the gradient of the spikes that travel over w_rec: what autograd then computes is e-prop.

    Returns:
        Spikes and pseudo-derivatives of every step and the last state.
    """
    cell = cell_of(params)
    if state is None:
        state = cell.initial_state(tuple(current.shape[1:]), current.dtype, current.device)

    def plain(current: Tensor, w_rec: Tensor, params: Params, state: Any) -> tuple[Tensor, Tensor, Any]:
        if isinstance(params, alif.AlifParams):
            return alif_run.run(current, w_rec, state, params, detach_recurrent)
        if isinstance(params, adlif.AdlifParams):
            return adlif_run.run(current, w_rec, state, params, detach_recurrent)
        return stepwise.run(cell.step, current, w_rec, state, params, detach_recurrent)

    return Activity(*checkpointed.run(plain, current, w_rec, params, state))


def delayed(z: Tensor, first: Tensor | None = None) -> Tensor:
    """Shift spikes by the one step that a recurrent connection takes.

    Args:
        z: [T, ..., N].
        first: [..., N] spikes of the step before the run; none when omitted.

    Returns:
        [T, ..., N]: what arrives at each step.
    """
    head = torch.zeros_like(z[:1]) if first is None else first.unsqueeze(0)
    return torch.cat([head, z[:-1]])
