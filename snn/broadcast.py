r"""Learning signals from the readout error: what a word is learnt from where no learning-signal generator was primed.

While a word is taught, its score is to be 1 just after the word has ended, which is when the gate G (a primed profile over the time to the end of the
utterance, `snn.lsg.profile_gate`) is open. The word's readout is still empty, so the score is what the learning network contributes:

.. math::
    E = \tfrac12 \sum_t G^t (1 - y^t)^2, \qquad y^t = \sum_j v_j \bar z_j^t, \qquad \bar z_j^t = \kappa \bar z_j^{t-1} + (1-\kappa) z_j^t

.. math::
    L_j^t = B_j\, G^t (y^t - 1), \qquad g_{ji} = \sum_t L_j^t\, \mathcal F_\kappa(e_{ji})^t = \sum_t \Big( \sum_{t' \ge t} (1-\kappa)
    \kappa^{t'-t} L_j^{t'} \Big) e_{ji}^t

(Bellec et al. 2020, eq. 28.) The first form of g runs forward in time, on a device; the second is what priming differentiates through. The broadcast
weights B are **symmetric** (B = v, the exact gradient of E but for the recurrent path of the spikes), **random** (drawn once, never primed; feedback
alignment), or **learned** (primed, from v on). **BPTT** in place of e-prop keeps the recurrent path as well, :math:`g = dE/dW`: model-agnostic
meta-learning (Finn et al. 2017) in its full form, an upper bound that no device runs.
"""

import torch
from torch import Tensor

from snn import eprop, lsg, network, readout
from snn.cells import stepwise
from snn.config import LearnerConfig
from snn.populations import Weights, cell_params, without_autapses

START = 0.02  # size of the random broadcast weights: that of the readout weights v before priming
LOG_RATE = 0.0  # of the inner learning rates at the start: the signals are fainter than a generator's


def start(config: LearnerConfig, weights: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Turn the weights of natural e-prop before priming into those of this scheme: no generator, but broadcast weights where they are not v."""
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("lsg.") or name == "lsg.profile"}
    own |= {name: torch.full_like(own[name], LOG_RATE) for name in ("log_rate_in", "log_rate_rec")}
    drawn = START * torch.randn(config.neurons, generator=rng)
    broadcast = {"symmetric": {}, "random": {"broadcast": drawn}, "learned": {"broadcast": own["readout.learning"].clone()}}
    return own | broadcast[config.broadcast]


def broadcast_weights(config: LearnerConfig, weights: Weights) -> Tensor:
    """Return B [N]."""
    return weights["readout.learning"] if config.broadcast == "symmetric" else weights["broadcast"]


def teach(config: LearnerConfig, weights: Weights, heard: Tensor, current: Tensor, activity: network.Activity) -> tuple[lsg.Signals, Tensor]:
    """Find the learning signals of an utterance, and the factors of the weight changes that they make.

    Args:
        config: of the learner.
        weights: primed.
        heard: [T, B, H] of the utterances.
        current: [T, B, N] what the learning network received besides its own spikes.
        activity: what it did.

    Returns:
        Learning signals [T, B, N] with the gate [T, B], and factors [T, B, N] as of `eprop.factors`.
    """
    gate = lsg.profile_gate(len(heard), weights["lsg.profile"]).unsqueeze(1).expand(-1, heard.shape[1])
    answer = readout.low_pass(activity.z, config.readout_kappa) @ weights["readout.learning"]  # y [T, B]
    signals = lsg.Signals((gate * (answer - 1)).unsqueeze(-1) * broadcast_weights(config, weights), gate, None)
    if config.inner == "bptt":
        return signals, _through_time(config, weights, current, gate)
    learning = filtered_back(signals.learning, config.readout_kappa)
    return signals, eprop.factors(activity.psi, learning, cell_params(config, weights), activity.z)


def filtered_back(signal: Tensor, kappa: float) -> Tensor:
    """Move the low-pass of the eligibility traces to the learning signals [T, ...], where it runs backwards in time."""
    return readout.low_pass(signal.flip(0), kappa).flip(0) if kappa else signal


def error(config: LearnerConfig, weights: Weights, z: Tensor, gate: Tensor) -> Tensor:
    """Evaluate E for spikes z [T, B, N] and a gate [T, B], summed over tasks."""
    answer = readout.low_pass(z, config.readout_kappa) @ weights["readout.learning"]
    return 0.5 * (gate * (1 - answer).square()).sum()


def _through_time(config: LearnerConfig, weights: Weights, current: Tensor, gate: Tensor) -> Tensor:
    """Return dE/dI [T, B, N], the recurrent path included: its product with presynaptic spikes is dE/dW. Itself differentiable."""
    differentiate = torch.is_grad_enabled()
    with torch.enable_grad():
        received = current if current.requires_grad else current.detach().requires_grad_()
        params, w_rec = cell_params(config, weights), without_autapses(weights["w_rec"])
        cell = network.cell_of(params)
        rest = cell.initial_state(tuple(received.shape[1:]), received.dtype, received.device)
        z, _, _ = stepwise.run(cell.step, received, w_rec, rest, params, detach_recurrent=False)  # the form that can be differentiated twice
        factor = torch.autograd.grad(error(config, weights, z, gate), received, create_graph=differentiate)[0]
    return factor


class OnlineError:
    """The same learning signals as a device makes them: one step at a time.

    Args:
        config: of the learner.
        weights: primed.
        steps: length of the utterance, which whoever teaches the word marks.

    Attributes:
        kappa: low-pass of the eligibility traces, per step.
    """

    def __init__(self, config: LearnerConfig, weights: Weights, steps: int) -> None:
        self.kappa = config.readout_kappa
        self._output, self._broadcast = weights["readout.learning"], broadcast_weights(config, weights)
        self._gate = iter(lsg.profile_gate(steps, weights["lsg.profile"]))
        self._filtered = torch.zeros_like(self._output)

    def step(self, heard: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Hear one step.

        Args:
            heard: [H]; the error does not depend on it.
            z: [N] spikes of the learning network.

        Returns:
            Learning signals [N], and 1 for the spiking part of the gate, which this scheme lacks.
        """
        self._filtered = self.kappa * self._filtered + (1 - self.kappa) * z
        return self._broadcast * next(self._gate) * (self._filtered @ self._output - 1), torch.ones_like(self._output[0])
