"""What defines a learner besides its weights."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

METRIC = "readout.metric"  # M among the weights of a learner that has one
CellName = Literal["lif", "alif", "adlif", "board"]


class LearnerConfig(BaseModel):
    """Everything about a learner that is not a weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: int = Field(gt=0)
    step_ms: float = Field(gt=0)
    cell: CellName = "alif"  # of the feature population and of the learning network
    adaptive_fraction: float = Field(default=1.0, ge=0, le=1)  # share of neurons that adapt; the rest have beta = 0 (a = b = 0)
    features: tuple[int, ...] = (256,)  # neurons of each layer of the feature population, shared by all words; the last layer is heard
    neurons: int = Field(default=64, gt=0)  # of the learning network; every word has one of its own
    lsg_neurons: int = Field(default=64, gt=0)
    gamma: float = Field(default=0.5, gt=0)  # height of the pseudo-derivative
    projection: int = Field(default=128, gt=0)  # readout units
    readout_tau_ms: float = Field(default=200.0, gt=0)
    delays_ms: tuple[float, ...] = (0.0, 320.0, 640.0)
    metric: bool = False  # whether what a word's readout learnt is compared through a primed matrix M (`snn.readout`)
    theta: Literal["rates", "weights", "init", "init+lsg"] = "init+lsg"  # what is primed, and so how a word is learnt: `snn.schemes`
    broadcast: Literal["symmetric", "random", "learned"] = "symmetric"  # weights of the readout error where it is the learning signal
    inner: Literal["eprop", "bptt"] = "eprop"  # how the readout error becomes a weight change; no device runs bptt
    rates: Literal["projection", "synapse"] = "projection"  # what has an inner learning rate of its own
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
        return math.exp(-self.step_ms / self.readout_tau_ms)

    @model_validator(mode="after")
    def _check(self) -> "LearnerConfig":
        if not self.features or min(self.features) < 1:
            raise ValueError("features needs at least one layer of at least one neuron")
        if not self.delays_ms or min(self.delays_ms) < 0:
            raise ValueError("delays_ms needs at least one delay, none of them negative")
        if self.theta != "init" and (self.broadcast == "learned" or self.inner == "bptt"):
            raise ValueError("learned broadcast weights and bptt in the inner loop belong to theta 'init'")
        if self.theta == "weights" and (self.cell == "lif" or self.adaptive_fraction < 1 or not self.plastic):
            raise ValueError("theta 'weights' remembers in adaptive thresholds: it needs cells that all adapt, and plastic left at its default")
        return self
