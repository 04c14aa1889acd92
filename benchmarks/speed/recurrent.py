"""A recurrent layer of adaptive neurons, forward and backward through time: ours, Norse's LSNN and snnTorch's RLeaky on the same shapes.

Each hears the same input spikes through its own input weights, runs T steps and differentiates the sum of its spikes by input and recurrent weights.
Norse and snnTorch are called as their documentation does, step by step (`lsnn_step`; `Linear`, then `RLeaky`, which has no adaptation). Norse's
neurons have a synaptic current besides. `plain` is our cell's step under autograd.
"""

import warnings
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from snn import network
from snn.cells import alif, stepwise
from snn.cells.alif import AlifParams
from speed.measure import Contestant, Row, compare

NEURONS, INPUTS = 256, 576  # of the shipped feature population
INPUT_RATE = 0.15


def population() -> AlifParams:
    """Return neurons whose time constants are learnt, as in priming."""
    alpha, rho, beta = (torch.full((NEURONS,), value, requires_grad=True) for value in (0.7, 0.9, 0.3))
    return AlifParams(alpha, rho, beta)


def ours(x: Tensor, w_in: Tensor, w_rec: Tensor, params: AlifParams) -> None:
    """Run and differentiate our layer."""
    network.run(network.project(x, w_in), w_rec, params).z.sum().backward()


def plain(x: Tensor, w_in: Tensor, w_rec: Tensor, params: AlifParams) -> None:
    """Run and differentiate the same layer as a loop over the cell's step, under autograd."""
    state = alif.initial_state((x.shape[1], NEURONS), x.dtype)
    stepwise.run(alif.step, network.project(x, w_in), w_rec, state, params, False)[0].sum().backward()


def library(name: str) -> ModuleType | None:
    """Import a library if it is installed; both still use a part of PyTorch that warns of its end."""
    if find_spec(name.partition(".")[0]) is None:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        return import_module(name)


def norse(x: Tensor, w_in: Tensor, w_rec: Tensor, lsnn: ModuleType) -> None:
    """Run and differentiate Norse's recurrent LSNN."""
    zero = torch.zeros(x.shape[1], NEURONS)
    state = lsnn.LSNNState(zero, zero, zero, zero)
    spikes = []
    for x_t in x:
        z, state = lsnn.lsnn_step(x_t, state, w_in, w_rec)
        spikes.append(z)
    torch.stack(spikes).sum().backward()


def snntorch(x: Tensor, linear: torch.nn.Linear, cell: torch.nn.Module) -> None:
    """Run and differentiate snnTorch's recurrent leaky neurons."""
    spike = membrane = torch.zeros(x.shape[1], NEURONS)
    spikes = []
    for x_t in x:
        spike, membrane = cell(linear(x_t), spike, membrane)
        spikes.append(spike)
    torch.stack(spikes).sum().backward()


def contestants(steps: int, batch: int) -> dict[str, Contestant]:
    """Prepare the layers that are installed."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, batch, INPUTS, generator=rng) < INPUT_RATE).float()
    w_in = (torch.randn(NEURONS, INPUTS, generator=rng) / 12).requires_grad_()
    w_rec = (torch.randn(NEURONS, NEURONS, generator=rng) / 16).requires_grad_()
    params = population()
    found: dict[str, Contestant] = {"ours": partial(ours, x, w_in, w_rec, params), "plain": partial(plain, x, w_in, w_rec, params)}
    if (lsnn := library("norse.torch.functional.lsnn")) is not None:
        found["Norse"] = partial(norse, x, w_in, w_rec, lsnn)
    if (snn := library("snntorch")) is not None:
        found["snnTorch"] = partial(snntorch, x, torch.nn.Linear(INPUTS, NEURONS), snn.RLeaky(beta=0.7, linear_features=NEURONS))
    return found


def measure(steps: int, batches: list[int], repeats: int) -> list[Row]:
    """Compare the layers at several batch sizes."""
    return [row for batch in batches for row in compare(f"layer, T={steps}, B={batch}", "ours", contestants(steps, batch), repeats)]
