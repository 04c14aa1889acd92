"""The backend `nest`: feature population and learning networks are spiking networks on NEST 3.10, in float64, and e-prop is NEST's own.

Divided as a board would divide it:

* **on NEST**: every neuron of the feature population and of the words' learning networks (`hardware.nest.network`), and the eligibility traces and
  weight changes of learning (`hardware.nest.eprop`);
* **on the host**, by the code of the torch emulator: the learning-signal generator, the readout, and how shots become weights.

An enrolment runs twice. A learning signal depends on the learning network's spikes up to its step, and these do not depend on the update, which comes
after the last step: so the utterance runs once with the primed weights, the host computes all learning signals from the recorded spikes, and a second
run, from the same state and hence with the same spikes, has them injected. What is kept of a word is the factors (`hardware.backend.Shot`), computed
from the pseudo-derivatives and learning signals that NEST recorded, and checked against the weights that its e-prop synapses ended with.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Capabilities, Less, Shot, Trace, check_scheme, taken_off
from hardware.nest.eprop import Update, update
from hardware.nest.network import Block, Floats, Spikes, SpikingNetwork, State
from hardware.nest.simulator import simulators
from hardware.torch_backend import MAX_STEPS, TorchBackend, _Readout
from snn import broadcast, eprop, features, lsg, network, readout, schemes
from snn.cells.alif import AlifParams
from snn.config import LearnerConfig
from snn.populations import cell_params

AGREEMENT = 1e-9  # largest relative difference between the change of NEST's weights and what the kept factors give, in float64


def _double(params: AlifParams) -> AlifParams:
    """The emulator's float32 parameters as float64."""
    return params._replace(alpha=params.alpha.double(), rho=params.rho.double(), beta=params.beta.double())


def _numbers(tensor: Tensor) -> Floats:
    found: Floats = tensor.double().numpy()
    return found


class NestBackend(TorchBackend):
    """Runs a primed network on NEST; see `hardware.backend.Backend`. Slower than the emulator (docs/nest.md)."""

    name = "nest"
    capabilities = Capabilities(cells=("lif", "alif"), plasticity="NEST's e-prop synapses; learning signals and readout on the host", live_input=True)

    # What words share runs on NEST like the rest and cannot be heard apart: None says that `hardware.heard.HearsOnce` does not hold.
    hear = None  # type: ignore[assignment]
    score_heard = None  # type: ignore[assignment]

    @torch.no_grad()
    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network; see `Backend.load`."""
        if config.cell not in self.capabilities.cells:
            known = " and ".join(self.capabilities.cells)
            raise BackendError(f"NEST has no e-prop for this model's cell '{config.cell}', only for {known}: take another model or backend")
        check_scheme(self.name, config, runs=("rates", "init", "init+lsg"))
        simulators()
        self._primed: SpikingNetwork | None = None
        super().load(config, weights)

    def _network(self, learning: Sequence[tuple[Tensor, Tensor]]) -> SpikingNetwork:
        """Put the feature population and learning networks together.

        Args:
            learning: W_in [N, H] and W_rec [N, N] of each learning network.

        Returns:
            A network whose first neurons are the feature population, followed by the learning networks. What they hear of the feature population are
            recurrent connections, one step old as in `snn.features`.
        """
        config = self._loaded()
        shared = cell_params(config, self._weights, "feature.")
        assert isinstance(shared, AlifParams)
        assert isinstance(self._params, AlifParams)
        first, own = sum(config.features), [self._params] * len(learning)
        alpha, rho, beta = (torch.cat([getattr(p, key) for p in (shared, *own)]) for key in ("alpha", "rho", "beta"))
        params = shared._replace(alpha=alpha, rho=rho, beta=beta)
        feature_in, feature_rec = map(_numbers, features.masked(config, self._weights))
        blocks_in, blocks_rec = [Block(0, 0, feature_in)], [Block(0, 0, feature_rec)]
        for k, (w_in, w_rec) in enumerate(learning):
            row = first + k * config.neurons
            blocks_in.append(Block(row, 0, _numbers(w_in[:, : config.inputs])))
            blocks_rec += [Block(row, first - config.features[-1], _numbers(w_in[:, config.inputs :])), Block(row, row, _numbers(w_rec))]
        bias = torch.cat([self._weights["feature.bias"], *[self._bias] * len(learning)])
        return SpikingNetwork(_double(params), config.inputs, blocks_in, blocks_rec, _numbers(bias))

    def _divide(self, spikes: NDArray[np.uint8], raster: Spikes, before: Spikes) -> tuple[Tensor, Tensor]:
        """Tell populations apart.

        Args:
            spikes: [T, I] input spikes.
            raster: [T, M] of all neurons.
            before: [M] their spikes before the first step.

        Returns:
            What the learning networks heard, [T, H], and their spikes, [T, W, N]; float32.
        """
        config = self._loaded()
        first = sum(config.features)
        arrived = np.concatenate([before[None], raster[:-1]])[:, first - config.features[-1] : first]
        heard = torch.from_numpy(np.concatenate([spikes, arrived], 1).astype(np.float32))
        return heard, torch.from_numpy(raster[:, first:].astype(np.float32)).reshape(len(raster), -1, config.neurons)

    @torch.no_grad()
    def learn_traced(self, spikes: NDArray[np.uint8]) -> tuple[Shot, Trace]:
        """Learn from one utterance and record what the networks did."""
        config = self._loaded()
        self._spikes(spikes)
        if not 0 < len(spikes) <= MAX_STEPS:
            raise BackendError(f"an utterance has {len(spikes)} steps; between 1 and {MAX_STEPS} can be learnt")
        online = schemes.SCHEMES[config.theta].online
        if config.inner == "bptt" or online is None:
            raise BackendError(
                "this model was primed to learn by back-propagation through time, which no device runs: take one primed with --inner eprop"
            )
        if self._primed is None:
            self._primed = self._network([(self._w_in, self._w_rec)] if config.plastic else [])
        (raster,), _ = self._primed.run([spikes])
        heard, fired = self._divide(spikes, raster, self._primed.rest.z)
        z = fired[:, 0] if config.plastic else torch.zeros(len(spikes), config.neurons)
        source, units = online(config, self._weights, len(spikes)), _Readout(config, self._weights, streams=1)
        word, signals = torch.zeros(len(config.delays), config.projection), torch.zeros_like(z)
        for t, marked in enumerate(lsg.profile_gate(len(spikes), self._weights["lsg.profile"])):
            spiking = torch.ones(())
            if config.plastic:
                signals[t], spiking = source.step(heard[t], z[t])
            word += marked * spiking * units.step(heard[t, None])[0]
        factor = self._eligible(heard, z, signals, source.kappa) if config.plastic else torch.zeros_like(z)
        fed = heard[:, config.inputs :].numpy().astype(np.uint8)
        sent = network.delayed(z).numpy().astype(np.uint8)
        shot = Shot(factor.float().numpy(), spikes.astype(np.uint8), fed, sent, readout.normalised(word).reshape(-1).numpy())
        return shot, Trace(shot.inputs, z.numpy().astype(np.uint8), signals.numpy(), np.zeros(0, np.float32))

    def _eligible(self, heard: Tensor, z: Tensor, signals: Tensor, kappa: float) -> Tensor:
        """Have NEST's synapses learn, and return the factors [T, N] of what they learnt, float64."""
        assert isinstance(self._params, AlifParams)
        params = _double(self._params)
        w_in, w_rec, bias = (_numbers(w) for w in (self._w_in, self._w_rec, self._bias))
        # The optimiser's rate is 1, so a weight changes by its gradient: the model's rates, perhaps one a synapse, come in `weight_changes`.
        found = update(params, (w_in, w_rec, bias), heard.numpy().astype(np.uint8), _numbers(signals), (1.0, 1.0), kappa)
        if not (np.array_equal(found.z, z.numpy()) and np.array_equal(found.signals, _numbers(signals))):
            raise BackendError("NEST's second run of the utterance differs from its first; the utterance was not learnt")
        factor = eprop.factors(torch.from_numpy(found.psi), broadcast.filtered_back(signals.double(), kappa), params, z.double())
        self._check(found, factor, heard, z)
        return factor

    def _check(self, found: Update, factor: Tensor, heard: Tensor, z: Tensor) -> None:
        """Hold the change of NEST's weights against the factors that are kept of it."""
        center = _numbers(self._center)
        learnt_in = _numbers(self._w_in) - found.centred(_numbers(self._bias), center)
        learnt_rec = _numbers(self._w_rec) - found.w_rec
        kept_in = eprop.gradient(factor, heard.double() - self._center.double()).numpy()
        kept_rec = eprop.gradient(factor, network.delayed(z).double()).numpy() * (1 - np.eye(len(learnt_rec)))
        for learnt, kept in ((learnt_in, kept_in), (learnt_rec, kept_rec)):
            if not np.abs(learnt - kept).max() <= AGREEMENT * (1 + np.abs(learnt).max()):  # NaN is refused too
                raise BackendError("learning left the range in which the weight change is reliable; the utterance was not learnt")

    @torch.no_grad()
    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one learning network per word from now on, from rest; see `Backend.deploy`."""
        super().deploy(words)
        self._running = self._network(list(zip(self._fast_in, self._fast_rec, strict=True)) if self._loaded().plastic and words else [])

    def _start(self, streams: int) -> None:
        config = self._loaded()
        self._units, self._filtered = _Readout(config, self._weights, streams), torch.zeros(len(self._words), streams, config.neurons)
        self._state: State | None = None  # rest

    def _score(self, heard: Tensor, z: Tensor) -> Tensor:
        """Read one step of what is heard [Q, H] and of the learning networks' spikes [W, Q, N] out; return scores [W, Q]."""
        config = self._loaded()
        seen = self._units.step(heard).reshape(len(heard), -1)  # [Q, D K]
        compared = self._compared @ (seen / (seen.square().sum(1, keepdim=True) + readout.EPSILON).sqrt()).T
        if not config.plastic:
            return compared
        self._filtered = config.readout_kappa * self._filtered + (1 - config.readout_kappa) * z
        return compared + self._filtered @ self._weights["readout.learning"]

    def _hear(self, spikes: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Spikes]:
        """Hear the next steps of a stream [T, I]; return scores [T, W] and spikes [T, W, N]."""
        state = self._state or self._running.rest
        (raster,), self._state = self._running.run([spikes], state)
        heard, z = self._divide(spikes, raster, state.z)
        scores = [self._score(heard_t[None], z_t[:, None])[:, 0] for heard_t, z_t in zip(heard, z, strict=True)]
        return torch.stack(scores).numpy(), z.numpy().astype(np.uint8)

    @torch.no_grad()
    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream; see `Backend.process`."""
        self._spikes(spikes)
        return self._hear(spikes)[0] if self._words and len(spikes) else np.zeros((len(spikes), len(self._words)), np.float32)

    @torch.no_grad()
    def process_traced(self, spikes: NDArray[np.uint8]) -> Trace:
        """Hear the next steps of a stream with the first deployed word's network and record what it did."""
        self._spikes(spikes)
        scores, z = self._hear(spikes)
        return Trace(spikes, z[:, 0], np.zeros(z[:, 0].shape, np.float32), scores[:, 0])

    @torch.no_grad()
    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest; see `Backend.score`."""
        self._loaded()
        out = np.zeros((len(clips), len(self._words)), np.float32)
        for length in sorted({len(clip) for clip in clips}):
            index = [k for k, clip in enumerate(clips) if len(clip) == length]
            for k in index:
                self._spikes(clips[k])
            if not self._words or not length:
                continue
            self._start(streams=len(index))
            rasters, _ = self._running.run([clips[k] for k in index])
            both = [self._divide(clips[k], raster, self._running.rest.z) for k, raster in zip(index, rasters, strict=True)]
            heard, z = torch.stack([h for h, _ in both], 1), torch.stack([fired for _, fired in both], 2)  # [T, Q, H], [T, W, Q, N]
            running = torch.stack([self._score(*step) for step in zip(heard, z, strict=True)])  # [T, W, Q]
            out[index] = (running - torch.from_numpy(taken_off(less, index))[:, None]).amax(0).T.numpy()
        self.reset()
        return out
