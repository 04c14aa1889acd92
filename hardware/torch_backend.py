"""The torch emulator: online e-prop and inference step by step, on the CPU, without autograd.

Learning runs as a device would run it: one eligibility trace per synapse, forward in time, the change applied once after the last step. The sum of
the traces is then checked against the factors that are kept of it (`hardware.backend.Shot`), so that a word that is loaded again is the word that was
learnt.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Capabilities, Shot, Trace
from snn import eprop, lsg, network, readout
from snn.learner import LearnerConfig, cell_params, lsg_weights, masked

MAX_STEPS = 1000  # of one utterance: a learning accumulator must not run for ever
AGREEMENT = 1e-3  # largest relative difference between online traces and kept factors, in float32


class _Readout:
    """The readout of W words, one step at a time: filters, delay lines, weights.

    Args:
        config: of the learner.
        weights: primed.
        kernels: [W, D, J] readout weights of each source times gain; empty while learning.
        streams: parallel sequences Q.
    """

    def __init__(self, config: LearnerConfig, weights: Mapping[str, Tensor], kernels: list[Tensor], streams: int) -> None:
        self._kappa, self._delays, self._slice = config.readout_kappa, config.delays, config.readout_slice
        names = [("readout.center", "readout.gain")]
        if config.readout_sees_input:
            names.append(("readout.input_center", "readout.input_gain"))
        self.centers = [weights[center] for center, _ in names]
        self.gains = [weights[gain] for _, gain in names]
        self._kernels = kernels
        words = kernels[0].shape[0] if kernels else 1
        shapes = [(words, streams, len(self.centers[0])), (streams, len(self.centers[-1]))]
        self._filters = [torch.zeros(shape) for shape in shapes[: len(names)]]
        depth = max(self._delays) + 1
        empty = torch.zeros(words, streams, len(self._delays))
        self._numerators: deque[Tensor] = deque([empty] * depth, maxlen=depth)
        self._norms: deque[Tensor] = deque([empty] * depth, maxlen=depth)

    def traces(self, x: Tensor, z: Tensor) -> list[Tensor]:
        """Advance the filters by spikes x [Q, I] and z [W, Q, N]; return centred traces [W, Q, J] and [Q, I]."""
        seen = [z[..., self._slice], x][: len(self._filters)]
        self._filters = [self._kappa * r + (1 - self._kappa) * y for r, y in zip(self._filters, seen, strict=True)]
        return [r - c for r, c in zip(self._filters, self.centers, strict=True)]

    def step(self, x: Tensor, z: Tensor) -> Tensor:
        """Advance by one step and return the scores [W, Q]."""
        numerator = torch.zeros_like(self._numerators[0])
        norm = torch.zeros_like(numerator)
        for trace, kernel, gain in zip(self.traces(x, z), self._kernels, self.gains, strict=True):
            numerator = numerator + trace @ kernel.transpose(-1, -2)
            norm = norm + trace.square() @ gain.square().T
        self._numerators.append(numerator)
        self._norms.append(norm)
        top = sum(self._numerators[-1 - d][..., k] for k, d in enumerate(self._delays))
        bottom = sum(self._norms[-1 - d][..., k] for k, d in enumerate(self._delays))
        assert isinstance(top, Tensor)
        assert isinstance(bottom, Tensor)
        return top / (bottom + readout.EPSILON).sqrt()


class TorchBackend:
    """Runs a primed network on the CPU; see `hardware.backend.Backend`."""

    name = "torch"
    capabilities = Capabilities(cells=("lif", "alif", "adlif"), plasticity="online e-prop in the emulator", live_input=True)

    def __init__(self) -> None:
        self._config: LearnerConfig | None = None

    @torch.no_grad()
    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network; see `Backend.load`."""
        self._config = config
        self._weights = {name: tensor.detach().to(torch.float32) for name, tensor in weights.items()}
        self._params = cell_params(config, self._weights)
        self._cell = network.cell_of(self._params)
        self._w_in, self._w_rec = masked(config, self._weights)
        self._bias = self._weights["bias"]
        mask_in, mask_rec = network.masks(config.groups, config.inputs)
        self._steps_in = -self._weights["log_rate_in"].exp() * mask_in  # [N, I]: eta where a synapse exists
        self._steps_rec = -self._weights["log_rate_rec"].exp() * mask_rec
        self._words: list[Sequence[Shot]] = []
        self.deploy([])

    def _loaded(self) -> LearnerConfig:
        if self._config is None:
            raise BackendError("no network is loaded; load a primed model first")
        return self._config

    def _heard(self, spikes: NDArray[np.uint8]) -> Tensor:
        """Check spikes [..., I] against the network and return them as float32."""
        inputs = self._loaded().inputs
        if spikes.ndim < 2 or spikes.shape[-1] != inputs:
            raise BackendError(f"the network has {inputs} input channels; spikes of shape {spikes.shape} do not fit: use the encoder of its model")
        return torch.from_numpy(spikes.astype(np.float32))  # a copy: torch wants arrays that it may write to

    @torch.no_grad()
    def learn(self, spikes: NDArray[np.uint8]) -> Shot:
        """Learn from one utterance by online e-prop; see `Backend.learn`."""
        return self.learn_traced(spikes)[0]

    @torch.no_grad()
    def learn_traced(self, spikes: NDArray[np.uint8]) -> tuple[Shot, Trace]:
        """Learn from one utterance and record what the networks did."""
        config = self._loaded()
        x_all = self._heard(spikes)
        if not 0 < len(spikes) <= MAX_STEPS:
            raise BackendError(f"an utterance has {len(spikes)} steps; between 1 and {MAX_STEPS} can be learnt")
        generator = lsg.OnlineLsg(lsg_weights(config, self._weights), torch.float32)
        online_in = eprop.OnlineEprop(tuple(self._w_in.shape), self._params, torch.float32)
        online_rec = eprop.OnlineEprop(tuple(self._w_rec.shape), self._params, torch.float32)
        filters = _Readout(config, self._weights, [], streams=1)
        sums = [torch.zeros_like(gain) for gain in filters.gains]  # [D, J]
        history: deque[list[Tensor]] = deque(maxlen=max(config.delays) + 1)
        profile = lsg.gate_profile(len(x_all), lsg_weights(config, self._weights))
        state: Any = self._cell.initial_state((config.neurons,), torch.float32)
        recurrent, psis, signals, network_spikes = [], [], [], []
        for x, marked in zip(x_all, profile, strict=True):
            arrived = state.z
            out, state = self._cell.step(self._w_in @ x + self._w_rec @ arrived + self._bias, state, self._params)
            signal, gate = generator.step(x, out.z)
            if config.plastic:
                online_in.step(x, out.psi, signal)
                online_rec.step(arrived, out.psi, signal)
            history.append([trace.reshape(-1) for trace in filters.traces(x[None], out.z[None, None])])
            for k, d in enumerate(config.delays):
                if d < len(history):
                    for total, trace in zip(sums, history[-1 - d], strict=True):
                        total[k] += marked * gate * trace
            recurrent.append(arrived)
            psis.append(out.psi)
            signals.append(signal)
            network_spikes.append(out.z)
        psi, signal_all = torch.stack(psis), torch.stack(signals)
        factor = eprop.factors(psi, signal_all, self._params) if config.plastic else torch.zeros_like(psi)
        sent = torch.stack(recurrent)
        for online, presynaptic in ((online_in, x_all), (online_rec, sent)):
            kept = eprop.gradient(factor, presynaptic)
            if not bool((online.gradient - kept).abs().max() <= AGREEMENT * (1e-6 + online.gradient.abs().max())):
                raise BackendError("learning left the range in which the weight change is reliable; the utterance was not learnt")
        word = torch.cat([(total * gain).reshape(-1) for total, gain in zip(sums, filters.gains, strict=True)])
        word = word / (word.square().sum() + readout.EPSILON).sqrt()
        shot = Shot(factor.numpy(), spikes.astype(np.uint8), sent.numpy().astype(np.uint8), word.numpy())
        fired = torch.stack(network_spikes).numpy().astype(np.uint8)
        return shot, Trace(shot.inputs, fired, signal_all.numpy(), np.zeros(0, np.float32))

    def weight_changes(self, shots: Sequence[Shot]) -> tuple[Tensor, Tensor]:
        """Rebuild a word's weight changes from its shots.

        Returns:
            Change of W_in [N, I] and of W_rec [N, N], averaged over the shots.
        """
        change_in = torch.zeros_like(self._w_in)
        change_rec = torch.zeros_like(self._w_rec)
        for shot in shots:
            factor = torch.from_numpy(shot.factor.astype(np.float32))
            change_in += eprop.gradient(factor, torch.from_numpy(shot.inputs.astype(np.float32))) / len(shots)
            change_rec += eprop.gradient(factor, torch.from_numpy(shot.recurrent.astype(np.float32))) / len(shots)
        return self._steps_in * change_in, self._steps_rec * change_rec

    @torch.no_grad()
    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one network per word from now on, from rest; see `Backend.deploy`."""
        config = self._loaded()
        gains = _Readout(config, self._weights, [], streams=1).gains
        sizes = [gain.numel() for gain in gains]
        size = (config.neurons, config.inputs, config.neurons, sum(sizes))
        readouts = []
        for shots in words:
            if any((*(array.shape[1] for array in shot[:3]), len(shot.readout)) != size for shot in shots):
                raise BackendError("a word was learnt by a network of another size; enroll it again with this model")
            total = torch.from_numpy(np.mean([shot.readout for shot in shots], axis=0).astype(np.float32))
            readouts.append((total / (total.square().sum() + readout.EPSILON).sqrt()).split(sizes))
        changes = [self.weight_changes(shots) for shots in words]
        self._words = list(words)
        if words:
            self._fast_in = torch.stack([self._w_in + change for change, _ in changes])  # [W, N, I]
            self._fast_rec = torch.stack([self._w_rec + change for _, change in changes])  # [W, N, N]
            self._kernels = [torch.stack([word[s].reshape(gain.shape) for word in readouts]) * gain for s, gain in enumerate(gains)]
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Put every network to rest."""
        self._start(streams=1)

    def _start(self, streams: int) -> None:
        config = self._loaded()
        if self._words:
            self._state: Any = self._cell.initial_state((len(self._words), streams, config.neurons), torch.float32)
            self._readout = _Readout(config, self._weights, self._kernels, streams)

    def _step(self, x: Tensor, driven: Tensor | None = None) -> Tensor:
        """Hear one step x [Q, I], whose input currents [W, Q, N] may be known already; return scores [W, Q]."""
        if driven is None:
            driven = x @ self._fast_in.transpose(1, 2)
        out, self._state = self._cell.step(driven + self._state.z @ self._fast_rec.transpose(1, 2) + self._bias, self._state, self._params)
        return self._readout.step(x, out.z)

    def _input_currents(self, x: Tensor) -> Tensor:
        """Sum the input projections of whole clips, x [T, Q, I], into [T, W, Q, N].

        The words share W_in, and their changes are products of few factors: x (F^T X)^T = (x X^T) F. Many clips, heard by many words, cost a fraction
        of the products with each word's own matrix.
        """
        shared = x @ self._w_in.T
        driven = []
        for shots in self._words:
            heard = torch.from_numpy(np.concatenate([shot.inputs for shot in shots]).astype(np.float32))
            factor = torch.from_numpy(np.concatenate([shot.factor for shot in shots]) / len(shots))
            driven.append(shared + (x @ heard.T) @ (factor * self._steps_in[:, 0]))
        return torch.stack(driven, 1)

    @torch.no_grad()
    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream; see `Backend.process`."""
        x_all = self._heard(spikes)
        if not self._words:
            return np.zeros((len(spikes), 0), np.float32)
        scores = [self._step(x[None])[:, 0] for x in x_all]
        return torch.stack(scores).numpy() if scores else np.zeros((0, len(self._words)), np.float32)

    @torch.no_grad()
    def process_traced(self, spikes: NDArray[np.uint8]) -> Trace:
        """Hear the next steps of a stream with the first deployed word's network and record what it did."""
        fired, scores = [], []
        for x in self._heard(spikes):
            scores.append(self._step(x[None])[0, 0])
            fired.append(self._state.z[0, 0])
        z = torch.stack(fired).numpy()
        return Trace(spikes, z.astype(np.uint8), np.zeros_like(z), torch.stack(scores).numpy())

    @torch.no_grad()
    def score(self, clips: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest; see `Backend.score`."""
        self._loaded()
        out = np.zeros((len(clips), len(self._words)), np.float32)
        for length in sorted({len(clip) for clip in clips}):
            index = [k for k, clip in enumerate(clips) if len(clip) == length]
            self._start(streams=len(index))
            x_all = self._heard(np.stack([clips[k] for k in index], 1))  # [T, Q, I]
            if self._words and length:
                pairs = zip(x_all, self._input_currents(x_all), strict=True)
                out[index] = torch.stack([self._step(x, driven) for x, driven in pairs]).amax(0).T.numpy()
        self.reset()
        return out
