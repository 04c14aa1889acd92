"""Listening without torch: the networks of enrolled words in numpy, with the decisions of the torch emulator.

A step of a small network takes torch longer to dispatch than to compute, and importing torch takes longer than everything else that `app listen`
does before it hears. Spikes are few, so a projection here is the sum of the rows of those synapses whose input spiked, always in the order of the
channels: how a stream is cut cannot change a bit. Sums in another order round differently, so scores differ from the torch emulator's in the last
digits, and now and then a neuron at its threshold fires a step earlier or later.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardware.backend import BackendError, Capabilities, Less, Shot, check_scheme, taken_off
from hardware.numpy_cells import KINDS, Cell, Floats, parameters
from hardware.word_readout import normalised, pooled_readouts
from snn.config import METRIC, LearnerConfig

if TYPE_CHECKING:
    from torch import Tensor

WIDE = 4096  # columns from which on copying the rows takes longer than adding them one by one


def arrays_of(weights: "Mapping[str, Tensor]") -> dict[str, Floats]:
    """Return primed weights as arrays; those of a model that was read without torch are arrays already."""
    held: Mapping[str, Any] = getattr(weights, "arrays", None) or {name: tensor.detach().numpy() for name, tensor in weights.items()}
    return {name: np.asarray(array, np.float32) for name, array in held.items()}


class NumpyBackend:
    """Recognises words that another backend learnt; see `hardware.backend.Backend`."""

    name = "torch"  # whose decisions these are
    capabilities = Capabilities(cells=("lif", "alif", "adlif", "board"), plasticity="none: words are learnt by the torch emulator", live_input=True)

    def __init__(self) -> None:
        self._config: LearnerConfig | None = None

    def load(self, config: LearnerConfig, weights: "Mapping[str, Tensor]") -> None:
        """Load a primed network; see `Backend.load`."""
        check_scheme(self.name, config, runs=("rates", "init", "init+lsg"))
        own = arrays_of(weights)
        self._check(config, own)
        self._config, self._weights = config, own
        group = np.repeat(np.arange(len(config.features)), config.features)
        w_in = own["feature.w_in"] * (group == 0)[:, None]
        hop = group[:, None] - group[None]
        w_rec = own["feature.w_rec"] * (((hop == 0) | (hop == 1)) & ~np.eye(len(group), dtype=bool))
        self._w_features: Floats = np.concatenate([w_in, w_rec], 1).T.astype(np.float32, order="C")  # [I + F, F]
        project, center = own["readout.project"], own["center"]
        self._w_units: Floats = np.concatenate([project, own["readout.salience"][None]]).T.astype(np.float32, order="C")  # [H, K + 1]
        self._ordinary: Floats = project @ center  # [K] what the ordinary activity of every channel adds up to
        self._feature_params, self._word_params = parameters(config, own, "feature."), parameters(config, own)
        self._kappa, self._rest = np.float32(config.readout_kappa), np.float32(1 - config.readout_kappa)
        self._w_rec = own["w_rec"] * (1 - np.eye(config.neurons, dtype=np.float32))
        self.deploy([])

    def _check(self, config: LearnerConfig, weights: Mapping[str, Floats]) -> None:
        neurons, heard, features, units = config.neurons, config.heard, sum(config.features), config.projection
        shapes: dict[str, tuple[int, ...]] = {
            "feature.w_in": (features, config.inputs),
            "feature.w_rec": (features, features),
            "feature.bias": (features,),
            "w_in": (neurons, heard),
            "w_rec": (neurons, neurons),
            "bias": (neurons,),
            "center": (heard,),
            "readout.project": (units, heard),
            "readout.salience": (heard,),
            "readout.gain": (len(config.delays), units),
            "readout.learning": (neurons,),
            "readout.salience_bias": (),
        }
        if config.metric:
            shapes[METRIC] = (len(config.delays) * units,) * 2
        own = {"adlif": ("a", "b"), "board": ("jump",)}.get(config.cell, ("beta",))
        for name in ("log_tau_membrane", "log_tau_adaptation", *own):
            shapes |= {name: (neurons,), f"feature.{name}": (features,)}
        for name in ("in", "rec"):
            shapes[f"log_rate_{name}"] = shapes[f"w_{name}"] if config.rates == "synapse" else ()
        for name, shape in shapes.items():
            if name not in weights or weights[name].shape != shape:
                raise BackendError(f"the model does not hold the weights that its configuration describes ({name}): copy it again or prime a new one")

    def _loaded(self) -> LearnerConfig:
        if self._config is None:
            raise BackendError("no network is loaded; load a primed model first")
        return self._config

    def learn(self, spikes: NDArray[np.uint8]) -> Shot:
        """Refuse: words are learnt elsewhere.

        Raises:
            BackendError: always.
        """
        raise BackendError("this backend only listens; words are learnt by the torch emulator")

    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one learning network per word from now on, from rest; see `Backend.deploy`."""
        config = self._loaded()
        size = (config.neurons, config.inputs, config.features[-1], config.neurons, len(config.delays) * config.projection)
        fast_in, fast_rec = [], []
        for shots in words:
            if not shots:
                raise BackendError("a word without an utterance cannot be recognised; enroll it again")
            if any((*(array.shape[1] for array in shot[:4]), len(shot.readout)) != size for shot in shots):
                raise BackendError("a word was learnt by a network of another size; enroll it again with this model")
            if config.plastic:
                change_in, change_rec = self._weight_changes(shots)
                fast_in.append((self._weights["w_in"] + change_in).T)
                fast_rec.append((self._w_rec + change_rec).T)
        self._compared = pooled_readouts(words, self._weights.get(METRIC), size[-1])  # [W, D K]
        if fast_in:
            self._fast_in: Floats = np.ascontiguousarray(np.concatenate(fast_in, 1))  # [H, W N], rows presynaptic
            self._fast_rec: Floats = np.ascontiguousarray(np.stack(fast_rec))  # [W, N, N], rows presynaptic
        self.reset()

    def _weight_changes(self, shots: Sequence[Shot]) -> tuple[Floats, Floats]:
        """Rebuild a word's weight changes [N, H] and [N, N] from its shots."""
        change_in, change_rec = np.zeros_like(self._weights["w_in"]), np.zeros_like(self._w_rec)
        for shot in shots:
            factor = shot.factor.astype(np.float32)
            heard = np.concatenate([shot.inputs, shot.features], 1).astype(np.float32)
            change_in += factor.T @ (heard - self._weights["center"]) / np.float32(len(shots))
            change_rec += factor.T @ shot.recurrent.astype(np.float32) / np.float32(len(shots))
        rate_in, rate_rec = (np.exp(self._weights[f"log_rate_{name}"]) for name in ("in", "rec"))
        return -rate_in * change_in, -rate_rec * change_rec * (1 - np.eye(len(change_rec), dtype=np.float32))

    def reset(self) -> None:
        """Put every network to rest."""
        config, words = self._loaded(), len(self._compared)
        self._features: Cell = KINDS[config.cell]((sum(config.features),), *self._feature_params)
        self._networks: Cell = KINDS[config.cell]((words, config.neurons), *self._word_params)
        self._units: Floats = np.zeros(config.projection, np.float32)
        self._filtered: Floats = np.zeros((words, config.neurons), np.float32)
        depth = max(config.delays) + 1
        self._line = deque([self._units] * depth, maxlen=depth)

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream; see `Backend.process`."""
        config = self._loaded()
        if spikes.ndim != 2 or spikes.shape[1] != config.inputs:
            raise BackendError(
                f"the network has {config.inputs} input channels; spikes of shape {spikes.shape} do not fit: use the encoder of its model"
            )
        scores = np.zeros((len(spikes), len(self._compared)), np.float32)
        if len(self._compared):
            for t, x in enumerate(spikes):
                scores[t] = self._step(x)
        return scores

    def _step(self, x: NDArray[np.uint8]) -> Floats:
        """Hear one step x [I]; return scores [W]."""
        config, weights = self._loaded(), self._weights
        inputs = np.flatnonzero(x)
        sent = np.flatnonzero(self._features.z)
        first = sum(config.features[:-1])  # of the layer that is heard
        heard = np.concatenate([inputs, sent[sent >= first] - first + config.inputs])  # channels of h that spike
        self._features.step(_sum(self._w_features, np.concatenate([inputs, sent + config.inputs])) + weights["feature.bias"])
        driven = _sum(self._w_units, heard)
        salience = 1 / (1 + np.exp(-np.clip(driven[-1] + weights["readout.salience_bias"], -80, 80)))
        self._units = self._kappa * self._units + self._rest * (salience * (driven[:-1] - self._ordinary)).astype(np.float32)
        self._line.append(self._units)
        seen = (np.stack([self._line[-1 - d] for d in config.delays]) * weights["readout.gain"]).reshape(-1)
        scores: Floats = self._compared @ normalised(seen)
        if not config.plastic:
            return scores
        recurrent = np.matmul(self._networks.z[:, None], self._fast_rec)[:, 0]  # [W, N]
        z = self._networks.step(_sum(self._fast_in, heard).reshape(recurrent.shape) + recurrent + weights["bias"])
        self._filtered *= self._kappa
        self._filtered += self._rest * z
        scores += self._filtered @ weights["readout.learning"]
        return scores

    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest; see `Backend.score`."""
        out = np.zeros((len(clips), len(self._compared)), np.float32)
        for k, clip in enumerate(clips):
            self.reset()
            if len(clip):
                out[k] = (self.process(clip) - taken_off(less, [k])).max(0)
        self.reset()
        return out


def _sum(rows: Floats, spiking: NDArray[np.intp]) -> Floats:
    """Sum the rows of the channels that spike, one after the other whatever their length."""
    if rows.shape[1] < WIDE or not len(spiking):
        total: Floats = np.add.reduce(rows[spiking], axis=0)
        return total
    total = rows[spiking[0]].copy()
    for channel in spiking[1:].tolist():
        total += rows[channel]
    return total
