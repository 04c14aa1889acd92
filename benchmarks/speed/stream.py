"""Back-propagation through a long stream: time and peak memory of a plain run and of runs in segments (`snn.checkpointed`).

The input currents are a projection of what is heard, whose weights are differentiated too: what is kept of them counts.
"""

from functools import partial

import torch
from torch import Tensor

from snn import network
from snn.cells.alif import AlifParams
from snn.cells.board import BoardParams
from snn.checkpointed import segments
from speed.measure import Contestant, Row, compare

NEURONS, INPUTS, STEPS, SEQUENCES = 256, 64, 2000, 8
SEGMENTS = (100, 45)


def differentiate(x: Tensor, w_in: Tensor, w_rec: Tensor, params: network.Params, length: int | None) -> None:
    """Run a population, in segments of so many steps, and differentiate the sum of its spikes."""
    with segments(length):
        network.run(network.project(x, w_in), w_rec, params).z.sum().backward()


def contestants(kind: type[AlifParams] | type[BoardParams], steps: int = STEPS, sequences: int = SEQUENCES) -> dict[str, Contestant]:
    """Prepare a plain run and runs in segments, of one kind of cell."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, sequences, INPUTS, generator=rng) < 0.15).float()
    w_in = (torch.randn(NEURONS, INPUTS, generator=rng) / 4).requires_grad_()
    w_rec = (torch.randn(NEURONS, NEURONS, generator=rng) / 16).requires_grad_()
    params = kind(*(torch.full((NEURONS,), value, requires_grad=True) for value in (0.7, 0.9, 0.3)))
    lengths = {"plain": None} | {f"segments of {length}": length for length in SEGMENTS}
    return {name: partial(differentiate, x, w_in, w_rec, params, length) for name, length in lengths.items()}


def measure(repeats: int) -> list[Row]:
    """Compare time and peak memory of ALIF and of the board's cell, whose plain run is a loop under autograd."""
    rows = []
    for name, kind in (("ALIF", AlifParams), ("board", BoardParams)):
        group = f"stream, {name}, T={STEPS}, B={SEQUENCES}, N={NEURONS}"
        rows += compare(group, "plain", contestants(kind), repeats, memory=True)
    return rows
