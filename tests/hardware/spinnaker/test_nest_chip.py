"""NEST plays the chip: its LIF neuron with hard reset is IF_curr_delta, the board's cell without adaptation current."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.nest.simulator import KERNEL, empty_kernel, simulators
from hardware.spinnaker.backend import ChipInTheLoop
from hardware.spinnaker.chip import ReferenceChip
from hardware.spinnaker.circuit import INPUT, Circuit, quantised
from snn.config import LearnerConfig

Spikes = NDArray[np.uint8]
Primed = tuple[LearnerConfig, dict[str, Tensor]]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if find_spec("nest") is None or find_spec("pyNN") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("NEST is not installed: pip install 'sayonce[nest]'")


class NestChip:
    """A chip made of `iaf_psc_delta`, with a board's weights. A tick is a step of NEST: what is sent or emitted in one arrives in the next."""

    def load(self, ideal: Circuit) -> Circuit:
        self._held = quantised(ideal)
        assert not any(p.params.jump.any() for p in self._held.populations.values()), "this neuron does not adapt"
        return self._held

    def _build(self) -> None:
        nest = simulators().nest
        empty_kernel()
        self._sources = nest.Create("spike_generator", self._held.inputs)
        self._nodes: dict[str, Any] = {INPUT: self._sources}
        for name, p in self._held.populations.items():
            alpha = p.params.alpha.numpy()
            tau = -1 / np.log(alpha)
            shared = {"E_L": 0.0, "V_reset": 0.0, "V_th": p.params.v_th, "t_ref": 0.0, "C_m": 1.0, "V_min": -1e9}
            # A constant current I raises the membrane by I tau (1 - alpha) a step; as on the board, the first tick is to end at rest.
            own = zip(tau, p.bias / (tau * (1 - alpha)), -p.bias / alpha, strict=True)
            self._nodes[name] = nest.Create("iaf_psc_delta", len(tau), params=[shared | {"tau_m": t, "I_e": i, "V_m": v} for t, i, v in own])
        self._recorders = {name: nest.Create("spike_recorder") for name in self._held.populations}
        for name, p in self._held.populations.items():
            nest.Connect(self._nodes[name], self._recorders[name])
            for source, weights in p.weights.items():
                post, pre = np.nonzero(weights)
                if len(post):
                    spec = {"weight": weights[post, pre], "delay": np.ones(len(post))}
                    ids = [np.array(self._nodes[end].tolist()) for end in (source, name)]
                    nest.Connect(ids[0][pre], ids[1][post], "one_to_one", {"synapse_model": "static_synapse"} | spec)

    def run(self, spikes: Spikes, *, rest: bool) -> Mapping[str, Spikes]:
        with KERNEL:
            if rest:
                self._build()
            nest = simulators().nest
            start = nest.biological_time
            for source, column in zip(self._sources, spikes.T, strict=True):
                source.spike_times = (start + 1.0 + np.flatnonzero(column)).tolist()
            nest.Simulate(float(len(spikes)))
            return {name: self._raster(name, start, len(spikes)) for name in self._recorders}

    def _raster(self, name: str, start: float, ticks: int) -> Spikes:
        events, nodes = self._recorders[name].events, self._nodes[name]
        out = np.zeros((ticks, len(nodes)), np.uint8)
        tick = np.rint(np.asarray(events["times"]) - start).astype(np.int64) - 1
        now = tick >= 0
        out[tick[now], np.asarray(events["senders"])[now] - nodes[0].global_id] = 1
        return out


@pytest.mark.parametrize("features", [(10,), (8, 6)])
def test_a_word_learnt_from_nest_s_spikes(make_primed: Callable[..., Primed], make_spikes: Callable[..., Spikes], features: tuple[int, ...]) -> None:
    """As from the spikes of a float chip with a board's weights."""
    config, weights = make_primed(1, cell="board", adaptive_fraction=0.0, features=features)
    for number, name in enumerate(("feature.bias", "bias")):  # no membrane meets the threshold exactly
        weights[name] = weights[name] + 0.01 * torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(number))
    backends = [ChipInTheLoop(chip) for chip in (ReferenceChip(bits=True), NestChip())]
    for backend in backends:
        backend.load(config, weights)
    pairs = [[backend.learn(make_spikes(24, seed)) for backend in backends] for seed in range(2)]
    for expected, shot in pairs:
        np.testing.assert_array_equal(shot.features, expected.features)
        np.testing.assert_array_equal(shot.recurrent, expected.recurrent)
        np.testing.assert_allclose(shot.factor, expected.factor, rtol=0, atol=1e-6)
        np.testing.assert_allclose(shot.readout, expected.readout, rtol=0, atol=1e-6)
        assert shot.features.any()
        assert shot.recurrent.any()
    query = make_spikes(30, 5)
    for backend in backends:
        backend.deploy([[pairs[0][0]], [expected for expected, _ in pairs]])
    answers = [np.concatenate([backend.process(query[:13]), backend.process(query[13:])]) for backend in backends]
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-5)
    assert np.abs(answers[0]).max() > 0.05
