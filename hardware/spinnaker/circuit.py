r"""The spiking part of a learner as a chip runs it: populations of the board's cell, signed weights between them, one step of delay everywhere.

On the chip are the feature population and one learning network per word. The readout, the learning-signal generator (adLIF cells, which no released
binary has) and the update of the weights stay on the host. Input channels and the last feature layer project to every learning network,

.. math::
    I^t = W^{input} x^{t} + W^{features} z_{features}^{t-1} + W^{own} z^{t-1} + b

which is `snn.features` and `snn.network` with the columns of :math:`W^{in}` split by source.

In **board units** a step is one millisecond of the machine and the threshold one millivolt. All currents pass a membrane of resistance
:math:`R = \tau_m / C_m` and enter with gain :math:`R (1 - \alpha)`, which is 1 for

.. math::
    \tau_m = -1 / \ln \alpha, \qquad C_m = \tau_m (1 - \alpha), \qquad \tau_{Ca} = -1 / \ln \rho
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError
from hardware.fixed.quantiser import dequantise, half_largest_sum, quantise, split
from snn import features
from snn.cells.board import BoardParams
from snn.config import LearnerConfig
from snn.populations import cell_params, without_autapses

Floats = NDArray[np.float64]
INPUT, FEATURES = "input", "features"
LONGEST_TAU = 1e4  # in steps: a decay of 1 has none, and s16.15 ends at 65535


class Population(NamedTuple):
    """Neurons of the board's cell and everything that reaches them."""

    params: BoardParams  # [N], float64
    bias: Floats  # [N] a constant current
    weights: Mapping[str, Floats]  # [N, I] by source, 0 where there is no synapse

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds on the summed excitatory and inhibitory input of a step: PyNN's max_expected_summed_weight."""
        return half_largest_sum(list(self.weights.values()))


class Circuit(NamedTuple):
    """What is put on a chip."""

    inputs: int  # spike sources, called `INPUT`
    step_ms: float  # that a step lasts in sound
    populations: Mapping[str, Population]  # by name; sources of weights are these names and `INPUT`

    @property
    def words(self) -> list[str]:
        """Names of the learning networks, in the order of the words."""
        return [name for name in self.populations if name != FEATURES]


def word_name(number: int) -> str:
    """Name the learning network of a word."""
    return f"word {number}"


def circuit(config: LearnerConfig, weights: Mapping[str, Tensor], changes: Sequence[tuple[Tensor, Tensor]]) -> Circuit:
    """Collect what a chip runs.

    Args:
        config: of the learner, with the cell `board`.
        weights: primed.
        changes: of W_in [N, H] and W_rec [N, N], for each word; zeros for a network that is to learn.

    Returns:
        The circuit in float64; nothing is quantised yet.

    Raises:
        BackendError: the model has another cell.
    """
    if config.cell != "board":
        raise BackendError(
            f"the cell of this model is '{config.cell}', and a SpiNNaker board has none such: take a model with the cell 'board' (--model board)"
        )
    wide = {name: tensor.detach().double() for name, tensor in weights.items()}
    populations = {FEATURES: _population(cell_params(config, wide, "feature."), wide["feature.bias"], features_reached_by(config, wide))}
    for number, change in enumerate(changes):
        name = word_name(number)
        populations[name] = _population(cell_params(config, wide), wide["bias"], word_reached_by(config, wide, name, change))
    return Circuit(config.inputs, config.step_ms, populations)


def features_reached_by(config: LearnerConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights [F, I] of all that reaches the feature population, by source."""
    return dict(zip((INPUT, FEATURES), features.masked(config, weights), strict=True))


def word_reached_by(
    config: LearnerConfig, weights: Mapping[str, Tensor], name: str, change: tuple[Tensor, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the weights [N, I] of all that reaches a learning network, by source.

    Args:
        config: of the learner.
        weights: primed.
        name: of the network.
        change: of W_in [N, H] and W_rec [N, N]; none when None.
    """
    heard, own = weights["w_in"], weights["w_rec"]
    if change is not None:
        heard, own = heard + change[0].to(heard.dtype), own + change[1].to(own.dtype)
    from_features = heard.new_zeros(config.neurons, sum(config.features))
    from_features[:, -config.features[-1] :] = heard[:, config.inputs :]
    return {INPUT: heard[:, : config.inputs], FEATURES: from_features, name: without_autapses(own)}


def _population(params: object, bias: Tensor, weights: Mapping[str, Tensor]) -> Population:
    assert isinstance(params, BoardParams)
    return Population(params, bias.numpy(), {source: matrix.numpy() for source, matrix in weights.items()})


def quantised(ideal: Circuit) -> Circuit:
    """Return the circuit with the weights that a board will hold: 16 bits and a shift per population and type (`hardware.fixed.quantiser`).

    Raises:
        BackendError: a weight is no finite number or leaves the range of a board's inputs.
    """
    held = {}
    for name, population in ideal.populations.items():
        exc, inh = population.bounds
        weights = {}
        for source, matrix in population.weights.items():
            parts = split(matrix)
            weights[source] = dequantise(quantise(parts[0], exc)) - dequantise(quantise(parts[1], inh))
        held[name] = population._replace(weights=weights)
    return ideal._replace(populations=held)


def cell_parameters(population: Population) -> dict[str, Floats | float]:
    """Return the parameters of IFCurrDeltaCa2Adaptive in board units (ms, mV, nF, nA), arrays [N]."""
    tau_m, tau_ca2 = (_tau(decay) for decay in (population.params.alpha, population.params.rho))
    own: dict[str, Floats | float] = {"tau_m": tau_m, "cm": tau_m * (1 - population.params.alpha.numpy()), "tau_ca2": tau_ca2}
    own |= {"i_alpha": population.params.jump.numpy(), "i_offset": population.bias, "v_thresh": population.params.v_th}
    return own | {"v_rest": 0.0, "v_reset": 0.0, "tau_refrac": 0.0, "i_ca2": 0.0}


def _tau(decay: Tensor) -> Floats:
    """Return the time constant in steps of a decay per step."""
    found: Floats = (-1 / decay.log()).clamp_max(LONGEST_TAU).numpy()
    return found
