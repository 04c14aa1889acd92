"""A chip that learns, emulated bit for bit: `--backend fixed`.

On the chip, in its arithmetic: the feature population, the learning network of every word, the learning-signal generator, eligibility, and the update
of the weights. On the host, in float32: the encoder, the readout and its learning (`hardware.fixed.readout`). No released binary of SpiNNaker holds
the ALIF cell or e-prop; for these the emulator says what a chip would decide that did (docs/on_chip_eprop.md).

An enrolled word is kept as on every backend (`hardware.backend.Shot`): a word learnt here runs elsewhere, and the other way round. Its factors are
whole multiples of 2^-25 and survive the word file's float32 while they are below a half; larger ones are rounded once, before they are used anywhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Capabilities, Less, Shot, Trace, check_scheme, taken_off
from hardware.fixed import eprop
from hardware.fixed.arithmetic import LARGEST, SMALLEST, multiply_nearest, to_fixed, to_float
from hardware.fixed.cells import cell_named
from hardware.fixed.generator import Generator, generating
from hardware.fixed.population import Population, Spikes
from hardware.fixed.readout import HostReadout
from hardware.fixed.synapses import Synapses
from hardware.numpy_cells import Floats
from hardware.torch_backend import MAX_STEPS, TorchBackend
from hardware.word_readout import normalised, pooled_readouts
from snn import features, lsg
from snn.config import METRIC, LearnerConfig
from snn.populations import cell_params, lsg_weights, without_autapses

Learning = Literal["fixed", "float"]


class FixedBackend:
    """Runs a primed network in SpiNNaker's arithmetic; see `hardware.backend.Backend`.

    Args:
        learning: "fixed" learns on the chip as well; "float" learns in float32 on the host (the torch emulator), which then quantises the word's
            weights and loads them: a chip that only listens.
    """

    name = "fixed"

    def __init__(self, learning: Learning = "fixed") -> None:
        where = "e-prop in the chip's fixed point, emulated" if learning == "fixed" else "e-prop in float32 on the host"
        self.capabilities = Capabilities(cells=("lif", "alif", "adlif", "board"), plasticity=where, live_input=True)
        self._learning = learning
        self._host = TorchBackend()
        self._config: LearnerConfig | None = None

    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network; see `Backend.load`."""
        if self._learning == "fixed":
            check_scheme(self.name, config)
        self._host.load(config, weights)
        single = {name: tensor.detach().float() for name, tensor in weights.items()}
        self._weights: dict[str, Floats] = {name: tensor.numpy() for name, tensor in single.items()}
        if self._learning == "fixed":
            self._lsg = lsg_weights(config, single)
            self._generating = generating(self._lsg)
        cell = cell_named(config.cell)
        shared = [matrix[None] for matrix in features.masked(config, single)]
        constants = cell.constants(cell_params(config, single, "feature."))
        self._features = Population(cell, constants, Synapses.quantised(shared), to_fixed(single["feature.bias"]))
        self._own = [single["w_in"].double().numpy()[None], without_autapses(single["w_rec"]).double().numpy()[None]]
        constants = cell.constants(cell_params(config, single))
        self._primed = Population(cell, constants, Synapses.quantised(self._own), to_fixed(single["bias"]))
        self._center = to_fixed(single["center"])
        self._config = config
        self.deploy([])

    def _loaded(self) -> LearnerConfig:
        if self._config is None:
            raise BackendError("no network is loaded; load a primed model first")
        return self._config

    def _checked(self, spikes: NDArray[np.uint8]) -> Spikes:
        inputs = self._loaded().inputs
        if spikes.ndim < 2 or spikes.shape[-1] != inputs:
            raise BackendError(f"the network has {inputs} input channels; spikes of shape {spikes.shape} do not fit: use the encoder of its model")
        return spikes.astype(np.int32)

    def learn(self, spikes: NDArray[np.uint8]) -> Shot:
        """Learn from one utterance, from the primed weights; see `Backend.learn`."""
        return self.learn_traced(spikes)[0]

    def learn_traced(self, spikes: NDArray[np.uint8]) -> tuple[Shot, Trace]:
        """Learn from one utterance and record what the networks did."""
        config = self._loaded()
        if self._learning == "float":
            return self._host.learn_traced(spikes)
        x_all = self._checked(spikes)
        if not 0 < len(spikes) <= MAX_STEPS:
            raise BackendError(f"an utterance has {len(spikes)} steps; between 1 and {MAX_STEPS} can be learnt")
        steps, neurons = len(x_all), config.neurons
        population, network = self._features, self._primed
        shared, state = population.rest(1), network.rest(1)
        generator, units = Generator(self._lsg, self._generating), HostReadout(config, self._weights, 1)
        profile = lsg.gate_profile(steps, self._lsg).numpy()
        word = np.zeros(len(config.delays) * config.projection, np.float32)
        heard_all = np.zeros((steps, config.heard), np.int32)
        psi, signals, fired, sent = (np.zeros((steps, neurons), np.int32) for _ in range(4))
        for t, x in enumerate(x_all):
            heard, shared = self._hear(x[None], shared)
            heard_all[t] = heard[0]
            spiking = 1.0
            if config.plastic:
                sent[t] = state.z[0, 0]
                state = network.step([heard, state.z], state)
                fired[t], psi[t] = state.z[0, 0], network.cell.psi(state.distance, network.constants)[0, 0]
                signals[t], spiking = generator.step(heard[0], fired[t])
            word += np.float32(profile[t] * spiking) * units.step(heard.astype(np.float32))[0]
        factor = network.cell.factors(psi, signals, fired, network.constants, multiply_nearest)
        if not np.isfinite(word).all() or any((values == limit).any() for values in (signals, factor) for limit in (LARGEST, SMALLEST)):
            raise BackendError("learning left the range of the chip's numbers; the utterance was not learnt")
        numbers = to_float(factor, eprop.SCALED).astype(np.float32)
        arrived = heard_all[:, config.inputs :].astype(np.uint8)
        shot = Shot(numbers, spikes.astype(np.uint8), arrived, sent.astype(np.uint8), normalised(word))
        trace = Trace(shot.inputs, fired.astype(np.uint8), to_float(signals, eprop.SCALED).astype(np.float32), np.zeros(0, np.float32))
        return shot, trace

    def _hear(self, x: Spikes, state: Any) -> tuple[Spikes, Any]:
        """Let the feature population hear x [Q, I]; return h [Q, H] and its new state."""
        heard = np.concatenate([x, state.z[:, 0, -self._loaded().features[-1] :]], 1)
        return heard, self._features.step([x, state.z], state)

    def _update(self, shots: Sequence[Shot]) -> list[NDArray[np.int64]]:
        """Return a word's changes of W_in [N, H] and W_rec [N, N] in units of 2^-15, as the chip applies them: averaged over the shots."""
        sums: list[Any] = [0, 0]
        for shot in shots:
            factor = to_fixed(np.clip(shot.factor.astype(np.float64) * 2.0**eprop.SCALED, SMALLEST, LARGEST), 0)
            heard = np.concatenate([shot.inputs, shot.features], 1)
            sums[0] = sums[0] + eprop.gradient(factor, heard, self._center).astype(np.int64)
            sums[1] = sums[1] + eprop.gradient(factor, shot.recurrent).astype(np.int64)
        rates = [to_fixed(np.exp(np.atleast_1d(self._weights[f"log_rate_{name}"]), dtype=np.float64) / len(shots)) for name in ("in", "rec")]
        change_in, change_rec = (eprop.change(total, rate) for total, rate in zip(sums, rates, strict=True))
        np.fill_diagonal(change_rec, 0)
        return [change_in, change_rec]

    def _learnt(self, words: Sequence[Sequence[Shot]]) -> Synapses:
        """Return the synapses of words' learning networks."""
        if self._learning == "fixed":
            updates = [self._update(shots) for shots in words]
            return self._primed.synapses.changed([np.stack(changes) for changes in zip(*updates, strict=True)])
        updates = [[change.double().numpy() for change in self._host.weight_changes(shots)] for shots in words]
        return Synapses.quantised([own + np.stack(changes) for own, changes in zip(self._own, zip(*updates, strict=True), strict=True)])

    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one learning network per word from now on, from rest; see `Backend.deploy`."""
        config = self._loaded()
        size = (config.neurons, config.inputs, config.features[-1], config.neurons, len(config.delays) * config.projection)
        for shots in words:
            if not shots:
                raise BackendError("a word without an utterance cannot be recognised; enroll it again")
            if any((*(array.shape[1] for array in shot[:4]), len(shot.readout)) != size for shot in shots):
                raise BackendError("a word was learnt by a network of another size; enroll it again with this model")
        self._compared = pooled_readouts(words, self._weights.get(METRIC), size[-1])  # [W, D K]
        self._networks: Population | None = None
        if config.plastic and words:
            primed = self._primed
            self._networks = Population(primed.cell, primed.constants, self._learnt(words), primed.bias)
        self.reset()

    def reset(self) -> None:
        """Put every network to rest."""
        self._start(streams=1)

    def _start(self, streams: int) -> None:
        config = self._loaded()
        self._shared, self._units = self._features.rest(streams), HostReadout(config, self._weights, streams)
        self._state: Any = self._networks.rest(streams) if self._networks else None
        self._filtered: Floats = np.zeros((streams, len(self._compared), config.neurons), np.float32)

    def _step(self, x: Spikes) -> Floats:
        """Hear one step x [Q, I]; return scores [Q, W]."""
        config = self._loaded()
        heard, self._shared = self._hear(x, self._shared)
        scores = normalised(self._units.step(heard.astype(np.float32))) @ self._compared.T
        if self._networks is None:
            return scores
        self._state = self._networks.step([heard, self._state.z], self._state)
        kappa = np.float32(config.readout_kappa)
        self._filtered = kappa * self._filtered + (1 - kappa) * self._state.z.astype(np.float32)
        added: Floats = scores + self._filtered @ self._weights["readout.learning"]
        return added

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream; see `Backend.process`."""
        out = np.zeros((len(spikes), len(self._compared)), np.float32)
        for t, x in enumerate(self._checked(spikes)):
            if self._compared.size:
                out[t] = self._step(x[None])[0]
        return out

    def process_traced(self, spikes: NDArray[np.uint8]) -> Trace:
        """Hear the next steps of a stream with the first deployed word's network and record what it did."""
        z, scores = np.zeros((len(spikes), self._loaded().neurons), np.uint8), np.zeros(len(spikes), np.float32)
        for t, x in enumerate(self._checked(spikes)):
            scores[t] = self._step(x[None])[0, 0]
            if self._state is not None:
                z[t] = self._state.z[0, 0]
        return Trace(spikes, z, np.zeros(z.shape, np.float32), scores)

    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest; see `Backend.score`."""
        self._loaded()
        out = np.zeros((len(clips), len(self._compared)), np.float32)
        for length in sorted({len(clip) for clip in clips}):
            index = [k for k, clip in enumerate(clips) if len(clip) == length]
            self._start(streams=len(index))
            x_all = self._checked(np.stack([clips[k] for k in index], 1))  # [T, Q, I]
            if self._compared.size and length:
                running = np.stack([self._step(x) for x in x_all])  # [T, Q, W]
                out[index] = (running - taken_off(less, index)[:, :, None]).max(0)
        self.reset()
        return out
