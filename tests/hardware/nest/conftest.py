"""NEST must be here, and spikes of real validation words."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from priming.model import PrimedModel, load_model

Words = dict[str, list[NDArray[np.uint8]]]


@pytest.fixture(scope="session", autouse=True)
def nest_is_installed() -> None:
    """Skip everything here without the simulators, or fail where everything must be present (CI=true)."""
    missing = [name for name in ("nest", "pyNN") if find_spec(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: pip install 'sayonce[nest]'"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def shipped() -> PrimedModel:
    return load_model("embedding-alif")


@pytest.fixture(scope="session")
def words(shared_data: Path, shipped: PrimedModel) -> Words:
    """Input spikes of three validation words, each by four speakers, as listening would hear them."""
    from audio.files import read_audio
    from priming.episodes import hearing
    from priming.manifest import read_manifest

    encoder = shipped.encoder()
    found: Words = {}
    for word in ("happy", "marvin", "house"):
        clips = {
            row.speaker: row.path
            for row in read_manifest(shared_data)
            if (row.word, row.word_role) == (word, "validation") and row.speaker_split != "test"
        }
        found[word] = [encoder.encode(hearing(read_audio(shared_data / clips[speaker]))) for speaker in sorted(clips)[:4]]
    return found


@pytest.fixture(scope="session")
def alternate() -> Callable[[], None]:
    """Use NEST for something else, as a program of the user's might."""

    def use() -> None:
        from hardware.nest.simulator import simulators

        nest = simulators().nest
        nest.ResetKernel()
        nest.Connect(nest.Create("poisson_generator", params={"rate": 1e4}), nest.Create("iaf_psc_delta", 3), syn_spec={"weight": 5.0})
        nest.Simulate(20.0)

    return use
