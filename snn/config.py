"""What defines a learner besides its weights."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from snn.cells.common import decay


class LearnerConfig(BaseModel):
    """Everything about a learner that is not a weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: int = Field(gt=0)
    step_ms: float = Field(gt=0)
    cell: Literal["lif", "alif", "adlif"] = "alif"  # of the feature population and of the learning network
    adaptive_fraction: float = Field(default=1.0, ge=0, le=1)  # share of neurons that adapt; the rest have beta = 0 (a = b = 0)
    features: tuple[int, ...] = (256,)  # neurons of each layer of the feature population, shared by all words; the last layer is heard
    neurons: int = Field(default=64, gt=0)  # of the learning network; every word has one of its own
    lsg_neurons: int = Field(default=64, gt=0)
    gamma: float = Field(default=0.5, gt=0)  # height of the pseudo-derivative
    projection: int = Field(default=128, gt=0)  # readout units
    readout_tau_ms: float = Field(default=200.0, gt=0)
    delays_ms: tuple[float, ...] = (0.0, 320.0, 640.0)
    plastic: bool = True  # False: W_in and W_rec keep their primed values and the learning network is left out; only the readout learns

    @property
    def heard(self) -> int:
        """Channels that the learning network, the generator and the readout hear: input spikes, then those of the last feature layer."""
        return self.inputs + self.features[-1]

    @property
    def delays(self) -> tuple[int, ...]:
        """Delays of the readout in steps."""
        return tuple(round(d / self.step_ms) for d in self.delays_ms)

    @property
    def readout_kappa(self) -> float:
        """Decay per step of the readout's low-pass."""
        return float(decay(torch.tensor(self.readout_tau_ms, dtype=torch.float64), self.step_ms))

    @model_validator(mode="after")
    def _check(self) -> "LearnerConfig":
        if not self.features or min(self.features) < 1:
            raise ValueError("features needs at least one layer of at least one neuron")
        if not self.delays_ms or min(self.delays_ms) < 0:
            raise ValueError("delays_ms needs at least one delay, none of them negative")
        return self
