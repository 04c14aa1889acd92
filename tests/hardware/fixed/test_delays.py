"""On a board every spike takes a step or more: the networks run some steps later, and do the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.fixed import eprop
from hardware.fixed.arithmetic import to_float
from hardware.fixed.backend import FixedBackend
from hardware.fixed.generator import Generator

STEPS = 30


class Line:
    """Spikes of a population on their way; nothing is on its way at first."""

    def __init__(self, width: int) -> None:
        self._sent: list[NDArray[np.int32]] = []
        self._none = np.zeros(width, np.int32)

    def send(self, spikes: Any) -> None:
        self._sent.append(np.asarray(spikes, np.int32))

    def arriving(self, delay: int) -> NDArray[np.int32]:
        """What was sent `delay` steps before the step that is about to be computed; the latest entry was sent one step before."""
        return self._sent[-delay] if delay <= len(self._sent) else self._none


def test_delays_of_a_step_or_more_change_no_spike(make_primed: Callable[..., Any], make_spikes: Callable[..., NDArray[np.uint8]]) -> None:
    """Input, recurrent and feature connections take one step; those to the generator two from input and features, one from the network."""
    config, weights = make_primed(2, cell="alif", features=(9, 7))
    backend = FixedBackend()
    backend.load(config, weights)
    uttered = make_spikes(STEPS, 0)
    shot, trace = backend.learn_traced(uttered)

    population, network, generator = backend._features, backend._primed, Generator(backend._lsg, backend._generating)
    shared, own = population.rest(1), network.rest(1)
    inputs, of_features, of_network = Line(config.inputs), Line(sum(config.features)), Line(config.neurons)
    last = slice(-config.features[-1], None)
    heard_features, networks, signals = [], [], []
    for step in range(STEPS + 2):
        if step >= 1:  # a population starts from rest when its first input can arrive
            before = of_features.arriving(1)
            heard = np.concatenate([inputs.arriving(1), before[last]])
            shared = population.step([inputs.arriving(1)[None], before[None, None]], shared)
            own = network.step([heard[None], of_network.arriving(1)[None, None]], own)
            heard_features.append(heard[config.inputs :])
            networks.append(own.z[0, 0])
        if step >= 2:
            late = np.concatenate([inputs.arriving(2), of_features.arriving(2)[last]])
            signals.append(to_float(generator.step(late, of_network.arriving(1))[0], eprop.SCALED))
        of_features.send(shared.z[0, 0])
        of_network.send(own.z[0, 0])
        inputs.send(uttered[step] if step < STEPS else np.zeros(config.inputs))
    np.testing.assert_array_equal(np.stack(heard_features)[:STEPS], shot.features)
    np.testing.assert_array_equal(np.stack(networks)[:STEPS], trace.network)
    np.testing.assert_array_equal(np.stack(signals).astype(np.float32), trace.signals)
    assert shot.features.any()
    assert trace.network.any()
    assert np.ptp(trace.signals) > 0
