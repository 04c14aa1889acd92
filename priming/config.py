"""Configuration of a priming run, validated before anything expensive starts."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from snn.learner import LearnerConfig

# What the encoders need differently. Mel bands carry no learnt features: the network has to find them first, in long cheap tasks.
RECIPES: dict[str, dict[str, Any]] = {"mel": {"readout_share": 0.9, "readout_ways": 16}}


class PrimeConfig(BaseModel):
    """What to prime, on what, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    out: Path
    encoder: Literal["embedding", "mel"] = "embedding"
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Literal["cpu", "cuda"] = "cpu"
    cache: Path | None = None  # parent of the cached spikes; the user's cache folder when None
    learner: LearnerConfig | None = None  # the encoder's default when None

    # the family of words
    aligned_per_word: int = Field(default=16, gt=0)  # cuts of one word from continuous speech
    aligned_per_speaker: int = Field(default=2, gt=0)
    copies: int = Field(default=1, ge=0)  # augmented copies of each clip
    fit_clips: int = Field(default=3000, gt=0)  # that the encoder's constants are fitted on
    commands_share: float = Field(default=0.3, ge=0, le=1)  # of tasks whose words were all said in isolation
    clip_ms: float = Field(default=1760.0, gt=0)  # heard of a clip, up to half a second after it

    # the outer loop
    readout_share: float = Field(
        default=0.6, ge=0, le=1
    )  # first share of the budget, in which only the readout is plastic: cheap tasks of many words
    readout_ways: int = Field(default=24, gt=1)
    eprop_ways: int = Field(default=8, gt=1)  # words of a task once W_in and W_rec are plastic
    queries: int = Field(default=3, gt=0)  # of each word
    unknown_share: float = Field(default=0.4, ge=0)  # queries that say another word, as a share of the words
    rate: float = Field(default=4e-3, gt=0)  # Adam's, at its largest
    eprop_rate: float = Field(default=2e-3, gt=0)  # the same once W_in and W_rec are plastic
    input_dropout: float = Field(default=0.1, ge=0, lt=1)  # share of input channels silenced in a clip
    target_rate: float = Field(default=0.12, gt=0, lt=1)  # spikes a step of the learning network
    clip_gradient: float = Field(default=1.0, gt=0)
    checkpoint_s: float = Field(default=60.0, gt=0)
    validations: int = Field(default=8, ge=0)  # during the run
    validation_episodes: int = Field(default=100, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        """Take what is not given from the encoder's recipe."""
        return RECIPES.get(given.get("encoder", "embedding"), {}) | given if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _one_budget(self) -> "PrimeConfig":
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either minutes or steps")
        return self


def default_learner(encoder: str, inputs: int, step_ms: float) -> LearnerConfig:
    """Return the learner that is primed for an encoder unless another is asked for."""
    if encoder == "embedding":
        return LearnerConfig(inputs=inputs, step_ms=step_ms, groups=(256,), readout_tau_ms=200.0, delays_ms=(0.0, 320.0, 640.0))
    return LearnerConfig(inputs=inputs, step_ms=step_ms, groups=(256, 256), readout_tau_ms=100.0, delays_ms=(0.0, 160.0, 320.0, 480.0, 640.0))
