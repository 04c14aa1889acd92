"""What a learner may be."""

from typing import Any

import pytest
from pydantic import ValidationError

from snn.config import LearnerConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": ()},
        {"features": (3, 0)},
        {"neurons": 0},
        {"lsg_neurons": 0},
        {"projection": 0},
        {"delays_ms": ()},
        {"delays_ms": (-20.0,)},
        {"adaptive_fraction": 1.5},
        {"cell": "izhikevich"},
        {"inputs": 0},
        {"step_ms": 0},
        {"readout_tau_ms": 0},
        {"gamma": 0},
        {"unknown": 1},
    ],
)
def test_configurations_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LearnerConfig(**({"inputs": 4, "step_ms": 20.0} | wrong))


def test_what_is_heard_are_the_inputs_and_the_last_layer() -> None:
    assert LearnerConfig(inputs=4, step_ms=20, features=(7, 3)).heard == 7
    assert LearnerConfig(inputs=4, step_ms=20, features=(5,)).heard == 9


def test_delays_and_the_low_pass_in_steps() -> None:
    config = LearnerConfig(inputs=4, step_ms=40, delays_ms=(0.0, 320.0, 650.0), readout_tau_ms=80)
    assert config.delays == (0, 8, 16)
    assert config.readout_kappa == pytest.approx(0.6065306597126334)


def test_a_configuration_is_fixed() -> None:
    config = LearnerConfig(inputs=4, step_ms=20)
    with pytest.raises(ValidationError):
        config.neurons = 3  # type: ignore[misc]
