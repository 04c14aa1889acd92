"""Opening a backend by name."""

import pytest

from hardware import BackendError, open_backend


def test_the_torch_emulator_opens_by_name() -> None:
    backend = open_backend("torch")
    assert backend.name == "torch"
    assert set(backend.capabilities.cells) == {"lif", "alif", "adlif", "board"}
    assert "online e-prop" in backend.capabilities.plasticity
    assert backend.capabilities.live_input


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendError, match=r"'loihi'.*torch"):
        open_backend("loihi")


def test_its_errors_are_value_errors() -> None:
    assert issubclass(BackendError, ValueError)
