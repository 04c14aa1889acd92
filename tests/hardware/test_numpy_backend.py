"""Listening in numpy decides as the torch emulator does, for every cell, and hears a stream as it hears a clip."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hardware import BackendError
from hardware.numpy_backend import WIDE, NumpyBackend, arrays_of
from hardware.numpy_cells import parameters
from hardware.torch_backend import TorchBackend
from priming.model import load_model
from snn.config import LearnerConfig
from snn.populations import cell_params

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]
MakeSpikes = Callable[..., NDArray[np.uint8]]
MakeLess = Callable[..., list[NDArray[np.float32]]]
ROUNDING = 2e-6


def both(primed: Primed) -> tuple[TorchBackend, NumpyBackend]:
    backends = TorchBackend(), NumpyBackend()
    for backend in backends:
        backend.load(*primed)
    return backends


def test_every_cell_scores_as_in_torch(make_primed: MakePrimed, make_spikes: MakeSpikes, make_less: MakeLess, settings: dict[str, Any]) -> None:
    reference, backend = both(make_primed(2, **settings))
    shots = [reference.learn(make_spikes(24, seed)) for seed in range(3)]
    for each in (reference, backend):
        each.deploy([shots[:1], shots[1:]])
    stream = make_spikes(150, 7)
    expected = reference.process(stream)
    assert expected.std(0).min() > 1e-3  # the words do answer
    np.testing.assert_allclose(backend.process(stream), expected, rtol=0, atol=ROUNDING)
    clips = [make_spikes(30, 8), make_spikes(0, 9), make_spikes(12, 10)]
    np.testing.assert_allclose(backend.score(clips), reference.score(clips), rtol=0, atol=ROUNDING)
    less = make_less(clips)
    np.testing.assert_allclose(backend.score(clips, less), reference.score(clips, less), rtol=0, atol=ROUNDING)


def test_a_rate_of_its_own_for_every_synapse(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    config, weights = make_primed(0, rates="synapse")
    rng = torch.Generator().manual_seed(0)
    for name in ("in", "rec"):
        weights[f"log_rate_{name}"] = -3 + 0.5 * torch.randn(weights[f"w_{name}"].shape, generator=rng)
    reference, backend = both((config, weights))
    shot, stream = reference.learn(make_spikes(24, 0)), make_spikes(60, 1)
    for each in (reference, backend):
        each.deploy([[shot]])
    np.testing.assert_allclose(backend.process(stream), reference.process(stream), rtol=0, atol=ROUNDING)


@pytest.fixture(scope="module")
def heard(make_primed: MakePrimed, make_spikes: MakeSpikes, loaded: TorchBackend) -> tuple[NumpyBackend, NDArray[np.uint8], NDArray[np.float32]]:
    """Three words, a stream, and their scores of it."""
    backend = NumpyBackend()
    backend.load(*make_primed())
    backend.deploy([[loaded.learn(make_spikes(20, k))] for k in range(3)])
    stream = make_spikes(60, 5)
    return backend, stream, backend.process(stream)


@given(cuts=st.lists(st.integers(0, 60), max_size=12))
def test_how_a_stream_is_cut_changes_no_bit(cuts: list[int], heard: tuple[NumpyBackend, NDArray[np.uint8], NDArray[np.float32]]) -> None:
    backend, stream, whole = heard
    backend.reset()
    np.testing.assert_array_equal(np.concatenate([backend.process(part) for part in np.split(stream, sorted(cuts))]), whole)


def test_many_words_are_summed_in_the_same_order(make_primed: MakePrimed, make_spikes: MakeSpikes) -> None:
    primed = make_primed()
    reference, backend = both(primed)
    shots, stream = [reference.learn(make_spikes(20, k)) for k in range(2)], make_spikes(40, 5)
    backend.deploy([[shots[0]], [shots[1]]])
    few = backend.process(stream)
    backend.deploy([[shots[k % 2]] for k in range(WIDE // primed[0].neurons + 2)])
    many = backend.process(stream)
    np.testing.assert_allclose(many[:, :2], few, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(many[:, ::2], np.repeat(many[:, :1], many[:, ::2].shape[1], 1), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ["embedding", "mel"])
def test_a_shipped_model_scores_alike(name: str) -> None:
    """A neuron at its threshold may fire a step earlier in one of them, and then the two part for a while."""
    model = load_model(name)
    reference, backend = both((model.config.learner, dict(model.weights)))
    shot = reference.learn(model.background[1000:1050])
    for each in (reference, backend):
        each.deploy([[shot]])
    stream = model.background[:500]
    expected = reference.process(stream)
    differences = np.abs(backend.process(stream) - expected)
    assert differences[:100].max() < 1e-5  # exact arithmetic would agree for ever
    assert differences.mean() < 0.1 * expected.std()


def test_parameters_are_those_of_torch(make_primed: MakePrimed, settings: dict[str, Any]) -> None:
    config, weights = make_primed(0, **settings)
    for prefix in ("", "feature."):
        expected = [value for value in cell_params(config, weights, prefix) if isinstance(value, Tensor)]
        for found, wanted in zip(parameters(config, arrays_of(weights), prefix), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=3e-7)


def test_what_it_cannot_do_is_said(make_primed: MakePrimed, make_spikes: MakeSpikes, loaded: TorchBackend) -> None:
    backend = NumpyBackend()
    with pytest.raises(BackendError, match="no network is loaded"):
        backend.process(make_spikes(3, 0))
    config, weights = make_primed()
    with pytest.raises(BackendError, match=r"readout\.gain"):
        backend.load(config, weights | {"readout.gain": weights["readout.gain"][:-1]})
    backend.load(config, weights)
    with pytest.raises(BackendError, match="only listens"):
        backend.learn(make_spikes(20, 0))
    with pytest.raises(BackendError, match="use the encoder of its model"):
        backend.process(make_spikes(3, 0, inputs=5))
    shot = loaded.learn(make_spikes(20, 0))
    with pytest.raises(BackendError, match="without an utterance"):
        backend.deploy([[]])
    with pytest.raises(BackendError, match="another size"):
        backend.deploy([[shot._replace(readout=shot.readout[:-1])]])


def test_listening_does_not_import_torch() -> None:
    code = """
import sys
from app.commands import listen
from app.engine import open_engine
engine = open_engine(None, "torch", learning=False)
engine.deploy([])
engine.backend.process(engine.encoder.encode([0.0] * 20_000))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
