r"""e-prop with fixed random broadcast: the learning signals of Bellec et al. (2020) in place of the primed ones.

The generator's spikes reach every neuron through a fixed random matrix, and every neuron has a fixed random offset, of the norms of the primed
:math:`\Omega_{jm}` and :math:`\Omega_{j0}`. All else stays as primed: what the generator hears, how it spikes, and its gate of the readout.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

REPLACED = ("lsg.out", "lsg.out_bias")


def random_broadcast(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Replace the generator's output by a random one.

    Args:
        weights: primed, with lsg.out [N, M] and lsg.out_bias [N].
        seed: of the draw.

    Returns:
        The same weights with these two drawn from a normal distribution and scaled to the Frobenius norm of the primed ones.
    """
    rng = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(weights[name].shape, generator=rng, dtype=weights[name].dtype) for name in REPLACED}
    return {**weights, **{name: tensor * weights[name].norm() / tensor.norm() for name, tensor in drawn.items()}}
