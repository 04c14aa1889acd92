"""A recurrent layer of ALIF neurons on a GPU, forward and backward through time: fused kernels, loops of PyTorch's operations, and autograd.

`fused` is what `snn.network.run` does there (`snn.cells.alif_fused`), `loop` the same by one operation after the other (`snn.cells.alif_sweeps`),
`plain` the cell's step under autograd. Sequences that share their weights, as in the feature population, then networks of tasks with weights of their
own, as in the e-prop stage. The clock is read when the GPU has finished.
"""

import time
from functools import partial

import torch
from torch import Tensor

from snn.cells import alif, alif_run, stepwise
from snn.cells.alif import AlifParams
from snn.cells.alif_sweeps import EAGER, Sweeps
from speed.measure import Contestant, Row, compare

NEURONS = 256  # of the shipped feature population
TASKS, QUERIES, TASK_NEURONS = 12, 41, 64  # of the shipped e-prop stage


def clock() -> float:
    """Tell seconds when the GPU has done all that it was asked to do."""
    torch.cuda.synchronize()
    return time.perf_counter()


def swept(current: Tensor, w_rec: Tensor, params: AlifParams, sweeps: Sweeps | None) -> None:
    """Run and differentiate a layer by our operation."""
    state = alif.initial_state(tuple(current.shape[1:]), current.dtype, current.device)
    alif_run.run(current, w_rec, state, params, False, sweeps)[0].sum().backward()


def plain(current: Tensor, w_rec: Tensor, params: AlifParams) -> None:
    """Run and differentiate the same layer as a loop over the cell's step, under autograd."""
    state = alif.initial_state(tuple(current.shape[1:]), current.dtype, current.device)
    stepwise.run(alif.step, current, w_rec, state, params, False)[0].sum().backward()


def contestants(steps: int, shape: tuple[int, ...], device: str) -> dict[str, Contestant]:
    """Prepare the three forms of a layer.

    Args:
        steps: of the sequences.
        shape: [R, N] of sequences that share weights, or [B, Q, N] of tasks with their own.
        device: to run on.
    """
    rng = torch.Generator().manual_seed(0)
    neurons = shape[-1]
    current = (0.2 + torch.randn(steps, *shape, generator=rng)).to(device).requires_grad_()
    w_rec = (torch.randn(*shape[:-2], neurons, neurons, generator=rng) / neurons**0.5).to(device).requires_grad_()
    alpha, rho, beta = (torch.full((neurons,), value, device=device, requires_grad=True) for value in (0.7, 0.9, 0.3))
    layer = current, w_rec, AlifParams(alpha, rho, beta)
    return {"fused": partial(swept, *layer, None), "loop": partial(swept, *layer, EAGER), "plain": partial(plain, *layer)}


def measure(steps: int, batches: list[int], repeats: int) -> list[Row]:
    """Compare the forms at several batch sizes; without a GPU say so and compare nothing."""
    if not torch.cuda.is_available():
        print("no GPU that PyTorch can use: fused kernels are left out")
        return []
    if alif_run.sweeps_for(torch.zeros(1, 1, NEURONS, device="cuda")) is EAGER:
        print("no Triton, or a GPU that it does not serve: fused kernels are left out")
        return []
    shapes: list[tuple[int, ...]] = [*((batch, NEURONS) for batch in batches), (TASKS, QUERIES, TASK_NEURONS)]
    name = torch.cuda.get_device_name()
    return [
        row
        for shape in shapes
        for row in compare(f"{name}, T={steps}, {list(shape)}", "fused", contestants(steps, shape, "cuda"), repeats, clock=clock)
    ]
