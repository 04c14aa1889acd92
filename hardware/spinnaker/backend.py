"""Backends whose network runs on a chip and whose learning runs on the host: `ChipInTheLoop`, and SpiNNaker's, `--backend spinnaker`.

An utterance is heard by the chip, its spikes are replayed (`hardware.spinnaker.replay`), and a learnt word is one more learning network on the chip:
deploying quantises and loads the whole circuit anew, since sPyNNaker cannot change the weights of a mapped one.

In a stream the chip's answers come one step after the input (`hardware.spinnaker.chip`): row t of `process` is the score after step t - 1. Whole
clips are heard to their end, so that `score` and `learn` are what `hardware.torch_backend` gives, up to the chip's arithmetic.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Capabilities, Less, Shot, Trace, check_scheme, taken_off
from hardware.fixed.readout import HostReadout
from hardware.numpy_cells import Floats
from hardware.spinnaker import replay
from hardware.spinnaker.board import SpynnakerChip
from hardware.spinnaker.chip import Chip, Spikes
from hardware.spinnaker.circuit import FEATURES, Circuit, circuit
from hardware.spinnaker.machine import Machine
from hardware.torch_backend import MAX_STEPS, TorchBackend
from hardware.word_readout import normalised, pooled_readouts
from snn.config import METRIC, LearnerConfig


class ChipInTheLoop:
    """Runs a primed network on a chip and learns on the host; see `hardware.backend.Backend`.

    Args:
        chip: to run on.
    """

    name = "chip in the loop"
    capabilities = Capabilities(cells=("board",), plasticity="e-prop on the host, from the spikes of the chip", live_input=True)

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._host = TorchBackend()
        self._config: LearnerConfig | None = None

    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network; see `Backend.load`. The chip is touched when a word is learnt or deployed."""
        check_scheme(self.name, config)
        circuit(config, weights, [])  # a cell that the chip lacks is refused now
        self._host.load(config, weights)
        self._config = config
        self._weights = {name: tensor.detach().float() for name, tensor in weights.items()}
        self._numbers: dict[str, Floats] = {name: tensor.numpy() for name, tensor in self._weights.items()}
        self._untaught = [(torch.zeros_like(self._weights["w_in"]), torch.zeros_like(self._weights["w_rec"]))]
        self._on_chip: Sequence[tuple[Tensor, Tensor]] | None = None
        self.deploy([])

    def _loaded(self) -> LearnerConfig:
        if self._config is None:
            raise BackendError("no network is loaded; load a primed model first")
        return self._config

    def _checked(self, spikes: Spikes) -> Spikes:
        inputs = self._loaded().inputs
        if spikes.ndim != 2 or spikes.shape[1] != inputs:
            raise BackendError(f"the network has {inputs} input channels; spikes of shape {spikes.shape} do not fit: use the encoder of its model")
        return spikes.astype(np.uint8)

    def _put(self, changes: Sequence[tuple[Tensor, Tensor]]) -> Circuit:
        """Bring learning networks with these weight changes onto the chip unless they are there."""
        if self._on_chip is not changes:
            self._on_chip = None
            self._held = self._chip.load(circuit(self._loaded(), self._weights, changes))
            self._on_chip = changes
        return self._held

    def learn(self, spikes: Spikes) -> Shot:
        """Learn from one utterance; see `Backend.learn`."""
        return self.learn_traced(spikes)[0]

    def learn_traced(self, spikes: Spikes) -> tuple[Shot, Trace]:
        """Learn from one utterance and record what the networks did."""
        config, checked = self._loaded(), self._checked(spikes)
        if not 0 < len(spikes) <= MAX_STEPS:
            raise BackendError(f"an utterance has {len(spikes)} steps; between 1 and {MAX_STEPS} can be learnt")
        held = self._put(self._untaught)
        shot, trace, _ = replay.learn(config, self._weights, self._chip, held, checked)
        return shot, trace

    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one learning network per word from now on, from rest; see `Backend.deploy`."""
        self._host.deploy(words)  # checks the shots
        config = self._loaded()
        self._compared = pooled_readouts(words, self._numbers.get(METRIC), len(config.delays) * config.projection)
        self._changes = [self._host.weight_changes(shots) for shots in words] if config.plastic else []
        self.reset()

    def reset(self) -> None:
        """Put every network to rest."""
        config = self._loaded()
        self._units = HostReadout(config, self._numbers, 1)
        self._filtered = np.zeros((len(self._compared), config.neurons), np.float32)
        self._before: dict[str, Spikes] = {}  # of the last tick: what was sent, and what the feature population emitted; empty at rest

    def _scores(self, x: Spikes, features: Spikes, networks: Sequence[Spikes]) -> Floats:
        """Read one step: x [I], spikes [F] that arrived from the feature population, [N] of every word; return scores [W]."""
        config = self._loaded()
        heard = np.concatenate([x, features[-config.features[-1] :]]).astype(np.float32)[None]
        scores: Floats = self._compared @ normalised(self._units.step(heard))[0]
        if not config.plastic:
            return scores
        kappa = np.float32(config.readout_kappa)
        self._filtered = kappa * self._filtered + (1 - kappa) * np.stack(networks).astype(np.float32)
        added: Floats = scores + self._filtered @ self._numbers["readout.learning"]
        return added

    def process(self, spikes: Spikes) -> NDArray[np.float32]:
        """Hear the next steps of a stream, answering one step late; see `Backend.process`."""
        return self._process(spikes)[0]

    def process_traced(self, spikes: Spikes) -> Trace:
        """Hear the next steps of a stream with the first deployed word's network and record what it did."""
        scores, networks = self._process(spikes)
        config = self._loaded()
        z = networks[0] if networks else np.zeros((len(spikes), config.neurons), np.uint8)
        return Trace(spikes, z, np.zeros(z.shape, np.float32), scores[:, 0])

    def _process(self, spikes: Spikes) -> tuple[NDArray[np.float32], list[Spikes]]:
        checked, out = self._checked(spikes), np.zeros((len(spikes), len(self._compared)), np.float32)
        if not len(self._compared) or not len(spikes):
            return out, []
        held = self._put(self._changes)
        emitted = self._chip.run(checked, rest=not self._before)
        networks = [emitted[name] for name in held.words]
        for t, x in enumerate(checked):
            if self._before:
                out[t] = self._scores(self._before["sent"], self._before["features"], [z[t] for z in networks])
            self._before = {"sent": x, "features": emitted[FEATURES][t]}
        return out, networks

    def score(self, clips: Sequence[Spikes], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest; see `Backend.score`."""
        self._loaded()
        out = np.zeros((len(clips), len(self._compared)), np.float32)
        for number, clip in enumerate(clips):
            self.reset()
            scores = self._process(np.concatenate([clip, np.zeros_like(clip[:1])]))[0]  # its last step is answered one tick later
            if len(clip):
                out[number] = (scores[1:] - taken_off(less, [number])).max(0)
        self.reset()
        return out


class SpinnakerBackend(ChipInTheLoop):
    """A SpiNNaker board through PyNN on sPyNNaker; see `hardware.backend.Backend`.

    Args:
        machine: what differs from `~/.spynnaker.cfg`.
    """

    name = "spinnaker"

    def __init__(self, machine: Machine | None = None) -> None:
        self._board = SpynnakerChip(machine)
        super().__init__(self._board)

    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network; see `Backend.load`.

        Raises:
            BackendError: its cell is not the board's, sPyNNaker is missing, or there is no board.
        """
        super().load(config, weights)
        self._board.check()
