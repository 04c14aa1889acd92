"""The torch emulator: online e-prop and inference step by step, on the CPU, without autograd.

Learning runs as a device would run it: one eligibility trace per synapse, forward in time, the change applied once after the last step. The sum of
the traces is then checked against the factors that are kept of it (`hardware.backend.Shot`), so that a word that is loaded again is the word that was
learnt. The feature population runs once for all words, the learning networks of all words as one batch.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Capabilities, Less, Shot, Trace, check_scheme, taken_off
from hardware.heard import Heard
from hardware.numpy_cells import Adlif, Alif, Board, Cell
from hardware.word_readout import pooled_readouts
from snn import broadcast, eprop, features, lsg, network, readout, schemes
from snn.cells.adlif import AdlifParams
from snn.cells.board import BoardParams
from snn.config import METRIC, LearnerConfig
from snn.learner import readout_inputs
from snn.populations import cell_params, without_autapses

MAX_STEPS = 1000  # of one utterance: a learning accumulator must not run for ever
AGREEMENT = 1e-3  # largest relative difference between online traces and kept factors, in float32


class _Networks:
    """Neurons that do not learn: cells without what only learning needs, at rest."""

    def __init__(self, params: network.Params, shape: tuple[int, ...]) -> None:
        kind = {AdlifParams: Adlif, BoardParams: Board}.get(type(params), Alif)
        self._cell: Cell = kind(shape, *(value.numpy() for value in params if isinstance(value, Tensor)))
        self.z = torch.from_numpy(self._cell.z)  # [..., N] spikes of the last step

    def step(self, current: Tensor) -> Tensor:
        """Advance by one step with the summed input [..., N]; return the spikes, which are valid until the next step."""
        self._cell.step(current.numpy())
        return self.z


class _Shared(NamedTuple):
    """What every run of the feature population is made of."""

    w_in: Tensor  # [I, F]
    w_rec: Tensor  # [F, F], rows presynaptic
    bias: Tensor  # [F]
    params: network.Params
    last: int  # neurons of the layer that is heard


def _shared(config: LearnerConfig, weights: Mapping[str, Tensor]) -> _Shared:
    w_in, w_rec = features.masked(config, weights)
    return _Shared(w_in.T, w_rec.T, weights["feature.bias"], cell_params(config, weights, "feature."), config.features[-1])


class _Features:
    """The feature population, one step at a time for Q parallel streams."""

    def __init__(self, shared: _Shared, streams: int) -> None:
        self._shared, self._neurons = shared, _Networks(shared.params, (streams, len(shared.bias)))

    def step(self, x: Tensor) -> Tensor:
        """Hear x [Q, I]; return h [Q, H]."""
        sent, shared = self._neurons.z, self._shared
        heard = torch.cat([x, sent[:, -shared.last :]], 1)
        self._neurons.step(x @ shared.w_in + sent @ shared.w_rec + shared.bias)
        return heard


class _Readout:
    """The readout units and their delay lines, one step at a time for Q parallel streams."""

    def __init__(self, config: LearnerConfig, weights: Mapping[str, Tensor], streams: int) -> None:
        self._kappa, self._delays = config.readout_kappa, config.delays
        self._inputs, self._gain = readout_inputs(weights), weights["readout.gain"]
        self.units = torch.zeros(streams, config.projection)  # [Q, K]
        depth = max(config.delays) + 1
        self._line: deque[Tensor] = deque([self.units] * depth, maxlen=depth)

    def step(self, heard: Tensor) -> Tensor:
        """Advance by what is heard, [Q, H]; return the features f [Q, D, K]."""
        self.units = self._kappa * self.units + (1 - self._kappa) * readout.drive(heard, *self._inputs)
        return self.follow(self.units)

    def follow(self, units: Tensor) -> Tensor:
        """Take in the next units [Q, K]; return the features f [Q, D, K]."""
        self._line.append(units)
        return torch.stack([self._line[-1 - d] for d in self._delays], 1) * self._gain


class TorchBackend:
    """Runs a primed network on the CPU; see `hardware.backend.Backend`."""

    name = "torch"
    capabilities = Capabilities(cells=("lif", "alif", "adlif", "board"), plasticity="online e-prop in the emulator", live_input=True)

    def __init__(self) -> None:
        self._config: LearnerConfig | None = None

    @torch.no_grad()
    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network; see `Backend.load`."""
        check_scheme(self.name, config, runs=("rates", "init", "init+lsg"))
        self._config = config
        self._weights = {name: tensor.detach().to(torch.float32) for name, tensor in weights.items()}
        self._params, self._shared = cell_params(config, self._weights), _shared(config, self._weights)
        self._cell = network.cell_of(self._params)
        self._w_in, self._w_rec = self._weights["w_in"], without_autapses(self._weights["w_rec"])
        self._bias, self._center, self._kappa = self._weights["bias"], self._weights["center"], config.readout_kappa
        self._rate_in, self._rate_rec = (self._weights[f"log_rate_{name}"].exp() for name in ("in", "rec"))  # of a projection, or of each synapse
        self._metric = self._weights[METRIC].numpy() if METRIC in self._weights else None
        self._words: list[Sequence[Shot]] = []
        self.deploy([])

    def _loaded(self) -> LearnerConfig:
        if self._config is None:
            raise BackendError("no network is loaded; load a primed model first")
        return self._config

    def _spikes(self, spikes: NDArray[np.uint8]) -> Tensor:
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
        x_all = self._spikes(spikes)
        if not 0 < len(spikes) <= MAX_STEPS:
            raise BackendError(f"an utterance has {len(spikes)} steps; between 1 and {MAX_STEPS} can be learnt")
        if config.inner == "bptt":
            raise BackendError(
                "this model was primed to learn by back-propagation through time, which no device runs: take one primed with --inner eprop"
            )
        source = schemes.online(config, self._weights, len(x_all))
        online_in = eprop.OnlineEprop(tuple(self._w_in.shape), self._params, torch.float32, source.kappa)
        online_rec = eprop.OnlineEprop(tuple(self._w_rec.shape), self._params, torch.float32, source.kappa)
        population, units = _Features(self._shared, streams=1), _Readout(config, self._weights, streams=1)
        word = torch.zeros(len(config.delays), config.projection)
        state: Any = self._cell.initial_state((config.neurons,), torch.float32)
        heard_all, recurrent, psis, signals, fired = [], [], [], [], []
        for x, marked in zip(x_all, lsg.profile_gate(len(x_all), self._weights["lsg.profile"]), strict=True):
            heard, arrived = population.step(x[None])[0], state.z
            spiking = torch.ones(())
            if config.plastic:
                out, state = self._cell.step(self._w_in @ heard + self._w_rec @ arrived + self._bias, state, self._params)
                signal, spiking = source.step(heard, out.z)
                online_in.step(heard - self._center, out.psi, signal, out.z)
                online_rec.step(arrived, out.psi, signal, out.z)
                psis.append(out.psi)
                signals.append(signal)
                fired.append(out.z)
                recurrent.append(arrived)
            word += marked * spiking * units.step(heard[None])[0]
            heard_all.append(heard)
        heard = torch.stack(heard_all)
        silent = torch.zeros(len(x_all), config.neurons)
        psi, signal_all, z, sent = (torch.stack(rows) if rows else silent for rows in (psis, signals, fired, recurrent))
        factor = eprop.factors(psi, broadcast.filtered_back(signal_all, source.kappa), self._params, z)
        for online, presynaptic in ((online_in, heard - self._center), (online_rec, sent)):
            kept = eprop.gradient(factor, presynaptic)
            if not bool((online.gradient - kept).abs().max() <= AGREEMENT * (1e-6 + online.gradient.abs().max())):
                raise BackendError("learning left the range in which the weight change is reliable; the utterance was not learnt")
        arrived_features = heard[:, config.inputs :].numpy().astype(np.uint8)
        learnt = readout.normalised(word).reshape(-1).numpy()
        shot = Shot(factor.numpy(), spikes.astype(np.uint8), arrived_features, sent.numpy().astype(np.uint8), learnt)
        return shot, Trace(shot.inputs, z.numpy().astype(np.uint8), signal_all.numpy(), np.zeros(0, np.float32))

    def weight_changes(self, shots: Sequence[Shot]) -> tuple[Tensor, Tensor]:
        """Rebuild a word's weight changes from its shots.

        Returns:
            Change of W_in [N, H] and of W_rec [N, N], averaged over the shots.
        """
        change_in, change_rec = torch.zeros_like(self._w_in), torch.zeros_like(self._w_rec)
        for shot in shots:
            factor = torch.from_numpy(shot.factor.astype(np.float32))
            heard = torch.from_numpy(np.concatenate([shot.inputs, shot.features], 1).astype(np.float32))
            change_in += eprop.gradient(factor, heard - self._center) / len(shots)
            change_rec += eprop.gradient(factor, torch.from_numpy(shot.recurrent.astype(np.float32))) / len(shots)
        return -self._rate_in * change_in, without_autapses(-self._rate_rec * change_rec)

    @torch.no_grad()
    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one learning network per word from now on, from rest; see `Backend.deploy`."""
        config = self._loaded()
        size = (config.neurons, config.inputs, config.features[-1], config.neurons, len(config.delays) * config.projection)
        for shots in words:
            if not shots:
                raise BackendError("a word without an utterance cannot be recognised; enroll it again")
            if any((*(array.shape[1] for array in shot[:4]), len(shot.readout)) != size for shot in shots):
                raise BackendError("a word was learnt by a network of another size; enroll it again with this model")
        self._words = list(words)
        self._compared = torch.from_numpy(pooled_readouts(words, self._metric, size[-1]))  # [W, D K]
        if config.plastic and words:
            changes = [self.weight_changes(shots) for shots in words]
            # Laid out presynaptic first, as the products of a step read them.
            self._fast_in = torch.stack([(self._w_in + change).T for change, _ in changes]).transpose(1, 2)  # [W, N, H]
            self._fast_rec = torch.stack([(self._w_rec + change).T for _, change in changes]).transpose(1, 2)  # [W, N, N]
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Put every network to rest."""
        self._start(streams=1)

    def _start(self, streams: int) -> None:
        config = self._loaded()
        self._features, self._units = _Features(self._shared, streams), _Readout(config, self._weights, streams)
        self._networks = _Networks(self._params, (len(self._words), streams, config.neurons))
        self._filtered = torch.zeros(len(self._words), streams, config.neurons)

    def _step(self, x: Tensor) -> Tensor:
        """Hear one step x [Q, I]; return scores [W, Q]."""
        heard = self._features.step(x)
        seen = self._units.step(heard).flatten(1)  # [Q, D K]
        return self._answer(heard, seen, _norms(seen))

    def _answer(self, heard: Tensor, seen: Tensor, norms: Tensor) -> Tensor:
        """Let the words hear what the shared part made of a step: h [Q, H], f [Q, D K] and its norms [Q, 1]; return scores [W, Q]."""
        compared = self._compared @ (seen / norms).T
        if not self._loaded().plastic:
            return compared
        z = self._networks.step(heard @ self._fast_in.transpose(1, 2) + self._networks.z @ self._fast_rec.transpose(1, 2) + self._bias)
        self._filtered = self._kappa * self._filtered + (1 - self._kappa) * z
        return compared + self._filtered @ self._weights["readout.learning"]

    @torch.no_grad()
    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream; see `Backend.process`."""
        x_all = self._spikes(spikes)
        if not self._words:
            return np.zeros((len(spikes), 0), np.float32)
        scores = [self._step(x[None])[:, 0] for x in x_all]
        return torch.stack(scores).numpy() if scores else np.zeros((0, len(self._words)), np.float32)

    @torch.no_grad()
    def process_traced(self, spikes: NDArray[np.uint8]) -> Trace:
        """Hear the next steps of a stream with the first deployed word's network and record what it did."""
        fired, scores = [], []
        for x in self._spikes(spikes):
            scores.append(self._step(x[None])[0, 0])
            fired.append(self._networks.z[0, 0].clone())
        z = torch.stack(fired).numpy()
        return Trace(spikes, z.astype(np.uint8), np.zeros_like(z), torch.stack(scores).numpy())

    @torch.no_grad()
    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest; see `Backend.score`."""
        self._loaded()
        out = np.zeros((len(clips), len(self._words)), np.float32)
        for length in sorted({len(clip) for clip in clips}):
            index = [k for k, clip in enumerate(clips) if len(clip) == length]
            self._start(streams=len(index))
            x_all = self._spikes(np.stack([clips[k] for k in index], 1))  # [T, Q, I]
            if self._words and length:
                running = torch.stack([self._step(x) for x in x_all])  # [T, W, Q]
                out[index] = (running - torch.from_numpy(taken_off(less, index))[:, None]).amax(0).T.numpy()
        self.reset()
        return out

    @property
    def arithmetic(self) -> str:
        """See `hardware.heard.HearsOnce`."""
        return f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}"

    @torch.no_grad()
    def hear(self, clips: NDArray[np.uint8], features: NDArray[np.uint8] | None = None) -> Heard:
        """Let what all words share hear clips; see `hardware.heard.HearsOnce`."""
        config = self._loaded()
        population, units = _Features(self._shared, len(clips)), _Readout(config, self._weights, len(clips))
        size = (clips.shape[1], len(clips))
        arrived, shared, norms = [], np.empty((*size, config.projection), np.float32), np.empty(size, np.float32)
        for t in range(clips.shape[1]):
            heard = population.step(self._spikes(clips[:, t])) if features is None else self._joined(clips[:, t], features[t])
            norms[t] = _norms(units.step(heard).flatten(1))[:, 0].numpy()
            shared[t] = units.units.numpy()
            arrived.append(np.packbits(heard[:, config.inputs :].numpy().astype(np.uint8), axis=1))
        self.reset()
        return Heard(clips, np.stack(arrived), shared, norms)

    def _joined(self, x: NDArray[np.uint8], features: NDArray[np.uint8]) -> Tensor:
        """Put input spikes [Q, I] and packed spikes of the feature population together: h [Q, H]."""
        config = self._loaded()
        heard = np.empty((len(x), config.heard), np.float32)
        heard[:, : config.inputs] = x
        heard[:, config.inputs :] = np.unpackbits(features, axis=1, count=config.features[-1])
        return torch.from_numpy(heard)

    @torch.no_grad()
    def score_heard(self, heard: Heard, less: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Score clips that were heard; see `hardware.heard.HearsOnce`."""
        self._start(streams=len(heard.inputs))
        best = torch.full((len(self._words), len(heard.inputs)), -torch.inf)
        units, norms = torch.from_numpy(heard.units), torch.from_numpy(heard.norms)
        taken = torch.zeros(units.shape[:2]) if less is None else torch.from_numpy(less.T.copy())  # [T, Q]
        for t, arrived in enumerate(heard.features):
            seen = self._units.follow(units[t]).flatten(1)
            running = self._answer(self._joined(heard.inputs[:, t], arrived), seen, norms[t, :, None])
            best = torch.maximum(best, running - taken[t])
        self.reset()
        return np.asarray(best.T.numpy())


def _norms(seen: Tensor) -> Tensor:
    """Return the norms [Q, 1] of the readout's features [Q, D K]."""
    return (seen.square().sum(1, keepdim=True) + readout.EPSILON).sqrt()
