"""Configuration of a priming run, validated before anything expensive starts."""

import math
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from snn.config import LearnerConfig

# What the encoders need differently. Mel bands carry no learnt features: the network has to find them first, in long cheap tasks.
RECIPES: dict[str, dict[str, Any]] = {"mel": {"readout_share": 0.8, "readout_ways": 16, "rate": 3e-3, "eprop_rate": 1e-3, "input_dropout": 0.1}}


Source = Literal["commands", "aligned", "context", "pairs", "splices", "synthetic"]


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
    sources: dict[Source, float] = {"commands": 1.0, "aligned": 1.0}  # and how often the clips of each are drawn, against each other
    hard_share: float = Field(default=0.0, ge=0, le=1)  # of tasks whose words sound alike
    aligned_shortest_s: float = Field(default=0.25, gt=0)  # least length of a word cut from continuous speech
    aligned_letters: int = Field(default=3, gt=0)  # its least number of letters
    context_follow_share: float = Field(default=0.5, ge=0, le=1)  # of words in their sentences after which the sentence goes on
    pair_words: int = Field(default=1500, gt=0)  # pairs of words, those that most people say
    splice_words: int = Field(default=1500, gt=0)
    splice_speakers: int = Field(default=8, gt=1)  # of each splice, at most
    synthetic_words: int = Field(default=400, gt=0)
    synthetic_voices: int = Field(default=32, gt=1)
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
    eprop_ways: int = Field(default=12, gt=1)  # words of a task once W_in and W_rec are plastic
    queries: int = Field(default=3, gt=0)  # of each word
    unknown_share: float = Field(default=0.4, ge=0)  # queries that say another word, as a share of the words
    rate: float = Field(default=6e-4, gt=0)  # Adam's, at its largest, for the feature population and the readout
    eprop_rate: float = Field(default=3e-4, gt=0)  # the same once W_in and W_rec are plastic
    learning_rate: float = Field(default=3e-3, gt=0)  # for the learning network and its generator
    input_dropout: float = Field(default=0.3, ge=0, lt=1)  # share of input channels silenced in a clip
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

    @field_validator("sources", mode="before")
    @classmethod
    def _named_sources(cls, given: Any) -> Any:
        """Read sources from a line such as "commands,aligned,splices=0.5"; one without a number counts 1."""
        if isinstance(given, str):
            named = [part.strip().partition("=") for part in given.split(",")]
            unknown = [name for name, _, _ in named if name not in get_args(Source)]
            if unknown:
                raise ValueError(f"there is no source {unknown[0]!r}: choose some of {', '.join(get_args(Source))}")
            return {name: weight or 1.0 for name, _, weight in named}
        return given

    @field_validator("sources")
    @classmethod
    def _some_sources(cls, sources: dict[Source, float]) -> dict[Source, float]:
        if not sources or not all(0 < weight < math.inf for weight in sources.values()):
            raise ValueError("name at least one source; its weight is a number above 0")
        return sources

    @model_validator(mode="after")
    def _one_budget(self) -> "PrimeConfig":
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either minutes or steps")
        return self


def default_learner(encoder: str, inputs: int, step_ms: float) -> LearnerConfig:
    """Return the learner that is primed for an encoder unless another is asked for."""
    if encoder == "embedding":
        return LearnerConfig(inputs=inputs, step_ms=step_ms)
    # Cells that adapt below threshold learn better on bare mel bands.
    slots = (0.0, 160.0, 320.0, 480.0, 640.0)
    return LearnerConfig(inputs=inputs, step_ms=step_ms, cell="adlif", features=(256, 256), readout_tau_ms=100.0, delays_ms=slots)
