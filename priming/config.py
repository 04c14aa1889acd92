"""Configuration of a priming run, validated before anything expensive starts."""

import math
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from audio.speed import Speeds
from snn.config import CellName, LearnerConfig
from snn.precision import Precision

# What the encoders need differently. Mel bands carry no learnt features: the network has to find them first, in long cheap tasks.
RECIPES: dict[str, dict[str, Any]] = {"mel": {"readout_share": 0.8, "readout_ways": 16, "rate": 3e-3, "eprop_rate": 1e-3, "input_dropout": 0.1}}

# After distillation the network has its features; large steps would lose on unseen words what they gain on the primed ones.
DISTILLED: dict[str, Any] = {"readout_share": 0.95, "rate": 3e-4, "eprop_rate": 1e-4, "commands_share": 0.6}

# A memory in adaptive thresholds holds one utterance, and what a backend judges candidates by are words.
WORDS_ALONE: dict[str, Any] = {"shots": 1, "background": 0}

Source = Literal["commands", "aligned", "context", "pairs", "splices", "synthetic"]


class PrimeConfig(BaseModel):
    """What to prime, on what, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    out: Path
    encoder: Literal["embedding", "mel"] = "embedding"
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=0)  # 0 with a model to start from: it is only finished anew (`priming.finish`)
    seed: int = Field(default=0, ge=0, lt=2**32)  # of the weights, the tasks and the dropout
    encoding_seed: int = Field(default=0, ge=0, lt=2**32)  # of what is encoded: clips of the family, augmentation, the encoder's constants, the bank
    device: Literal["cpu", "cuda"] = "cpu"
    cache: Path | None = None  # parent of the cached spikes; the user's cache folder when None
    learner: LearnerConfig | None = None  # the encoder's default when None
    cell: CellName | None = None  # of that default, instead of its own
    theta: Literal["rates", "weights", "init", "init+lsg"] | None = None  # what is primed (`snn.schemes`); as the learner says when None
    broadcast: Literal["symmetric", "random", "learned"] | None = None
    inner: Literal["eprop", "bptt"] | None = None
    rates: Literal["projection", "synapse"] | None = None
    metric: bool | None = None  # of the learner; a model to start from that has none is given one
    start: str | None = None  # a primed model to go on from, with its encoder: its name or file

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
    left_out: tuple[str, ...] = ()  # words of the family that no task has, to validate on them as well: unseen words, but by speakers that are not
    commands_share: float = Field(default=0.3, ge=0, le=1)  # of tasks whose words were all said in isolation
    speeds: Speeds = (1.0, 0.86, 1.16)  # at which the finished model learns from an utterance, as it was said first
    clip_ms: float = Field(default=1760.0, gt=0)  # heard of a clip, up to half a second after it
    running_speech: float = Field(default=0.8, ge=0)  # of an average scale, taken off a score where somebody surely speaks on; 0 for nothing
    lead_ms: float = Field(default=0.0, ge=0)  # most that is heard before that: each task draws how much, the clip's beginning mirrored

    # the outer loop
    optimizer: Literal["bptt", "es"] = "bptt"
    tasks: int = Field(default=1, gt=0)  # of a step, whose gradients are averaged; ranks share them out (`priming.distributed`)
    patience: int | None = Field(default=None, gt=0)  # validations without a better one after which the run ends; the best one is kept
    distil_share: float = Field(default=0.0, ge=0, lt=1)  # first share of the budget, in which a `mel` network learns to say what a teacher says
    teacher: Path | None = None  # of distillation, primed by `benchmarks/protonet.py`; the speech embedding when None
    distil_rate: float = Field(default=3e-3, gt=0)  # Adam's meanwhile, at its largest
    distil_clips: int = Field(default=96, gt=0)  # of a step
    distil_weight: float = Field(default=3.0, ge=0)  # of the teacher afterwards, beside the objective
    readout_share: float = Field(
        default=0.6, ge=0, le=1
    )  # share of the budget at whose end W_in and W_rec become plastic; until then tasks are cheap and have many words
    readout_ways: int = Field(default=24, gt=1)
    eprop_ways: int = Field(default=12, gt=1)  # words of a task once W_in and W_rec are plastic
    shots: int = Field(default=1, gt=0)  # most utterances that a word is learnt from; each task draws how many
    queries: int = Field(default=3, gt=0)  # of each word
    unknown_share: float = Field(default=0.4, ge=0)  # queries that say another word, as a share of the words
    background: int = Field(default=32, ge=0)  # stretches of continuous speech and noise in a task, in which no word is to be heard
    background_clips: int = Field(default=4000, gt=0)  # from which they are drawn
    background_weight: float = Field(default=0.5, gt=0)  # of how the words stand out from them, beside the rest of the objective
    rate: float = Field(default=6e-4, gt=0)  # Adam's, at its largest, for the feature population and the readout
    eprop_rate: float = Field(default=3e-4, gt=0)  # the same once W_in and W_rec are plastic
    learning_rate: float = Field(default=3e-3, gt=0)  # for the learning network and its generator
    initial_share: float = Field(default=0.0, ge=0, lt=1)  # of the weights that the run started from, in the finished ones (`priming.finish`)
    whitening: float = Field(default=0.1, ge=0)  # of a new metric by continuous sound, at the end (`priming.whitening`)
    input_dropout: float = Field(default=0.3, ge=0, lt=1)  # share of input channels silenced in a clip
    band_warp: float = Field(default=0.0, ge=0, lt=1)  # of frequencies whenever a clip is drawn, for the encoder `mel` (`priming.band_augmentation`)
    band_tempo: float = Field(default=0.0, ge=0, lt=1)  # change of tempo then; none where a teacher says what each step holds
    band_masks: int = Field(default=0, ge=0)  # stretches of bands, and of steps, that are silenced then
    target_rate: float = Field(default=0.12, gt=0, lt=1)  # spikes a step of the learning network
    clip_gradient: float = Field(default=1.0, gt=0)

    # how a step is computed
    precision: Precision = "float32"  # of the large matrix products (`snn.precision`)
    segment_steps: int | None = Field(default=None, gt=0)  # after which the state of a run is kept, instead of all steps (`snn.checkpointed`)
    prefetch: bool = False  # whether a thread draws the next task meanwhile (`priming.prefetch`)

    # evolution strategies (`priming.evolution`)
    backend: str = "torch"  # on which candidates learn words
    evolve: tuple[str, ...] = ()  # how the names of the searched tensors begin; all that the scheme primes when empty
    population: int = Field(default=16, gt=1, multiple_of=2)  # candidates of a step, in pairs around the centre
    population_tasks: int = Field(default=2, gt=0)  # that each of them solves, the same for all
    spread: float = Field(default=0.2, gt=0)  # standard deviation of the candidates at the start, in units of each tensor's size
    evolution_rate: float = Field(default=0.05, gt=0)  # Adam's, in the same units

    checkpoint_s: float = Field(default=60.0, gt=0)
    validations: int = Field(default=8, ge=0)  # during the run
    validation_episodes: int = Field(default=100, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        """Take what is not given from the encoder's recipe."""
        if not isinstance(given, dict):
            return given
        recipe = RECIPES.get(given.get("encoder", "embedding"), {})
        if given.get("theta") == "weights" or given.get("optimizer") == "es":
            recipe = recipe | WORDS_ALONE
        if given.get("theta") == "weights":
            recipe = recipe | {"metric": False}  # its words have no readout of their own
        return recipe | (DISTILLED if given.get("distil_share") else {}) | given

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

    @field_validator("left_out", mode="before")
    @classmethod
    def _named_words(cls, given: Any) -> Any:
        """Read words from a line such as "bird,dog,two"."""
        return tuple(word.strip() for word in given.split(",") if word.strip()) if isinstance(given, str) else given

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
        if self.steps == 0 and self.start is None:
            raise ValueError("there is nothing to finish without a model to start from: give one step or more")
        if self.distil_share and self.encoder != "mel":
            raise ValueError("distillation is for the encoder mel; the embedding would be its own teacher")
        if self.teacher is not None and not self.distil_share:
            raise ValueError("a teacher is for distillation: add --distil SHARE, or leave it out")
        if self.distil_share > self.readout_share:
            raise ValueError(f"distillation must end before W_in and W_rec become plastic, at {self.readout_share:g} of the budget")
        if self.learner is not None and self.cell is not None:
            raise ValueError("a learner has its cell already: give either learner or cell")
        changed = self.learner is not None or self.cell is not None or self.metric is False or bool(self.changes().keys() - {"metric"})
        if self.start is not None and changed:
            raise ValueError("a model to start from has its learner already: leave cell, theta, broadcast, inner and rates out")
        if self.distil_share and self.start is not None:
            raise ValueError("a model to start from has its features already: leave distillation out")
        if self.distil_share and self.theta in ("rates", "weights"):
            raise ValueError(f"distillation primes what the readout of a word reads; with theta {self.theta} there is nothing to distil into")
        if self.optimizer == "bptt" and (self.backend != "torch" or self.evolve):
            raise ValueError("backend and evolve belong to the optimizer es, which alone can go through a backend")
        if self.optimizer == "es" and (self.device != "cpu" or self.distil_share or self.inner == "bptt" or self.theta == "weights"):
            raise ValueError(
                "the optimizer es lets a backend learn words: leave device and distillation out, and take a scheme that a device can run"
            )
        if self.shots > 1 and self.theta == "weights":
            raise ValueError("theta weights remembers one utterance of a word: leave shots at 1")
        if self.optimizer == "es" and self.background:
            raise ValueError("the optimizer es judges candidates by words alone: leave background at 0")
        if self.optimizer == "es" and (self.precision != "float32" or self.segment_steps is not None or self.prefetch):
            raise ValueError("precision, segment_steps and prefetch are settings of the optimizer bptt: leave them out with es")
        if self.optimizer == "es" and self.tasks != 1:
            raise ValueError("the optimizer es has population_tasks instead of tasks")
        if self.lead_ms > self.clip_ms:
            raise ValueError("lead_ms mirrors the beginning of a clip: it cannot be longer than clip_ms")
        if self.encoder != "mel" and (self.band_warp or self.band_tempo or self.band_masks):
            raise ValueError("band_warp, band_tempo and band_masks change mel bands: leave them out, or add --encoder mel")
        if self.patience is not None and not self.validations:
            raise ValueError("patience counts validations: ask for some")
        try:
            self.asked(self.learner or default_learner(self.encoder, 1, 1.0, self.cell))
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    def changes(self) -> dict[str, Any]:
        """Return what is asked of the learner besides its default: theta, broadcast, inner, rates and metric where they are given."""
        given = {name: getattr(self, name) for name in ("theta", "broadcast", "inner", "rates", "metric")}
        return {name: value for name, value in given.items() if value is not None}

    def asked(self, learner: LearnerConfig) -> LearnerConfig:
        """Return a learner with the changes that are asked for.

        Raises:
            pydantic.ValidationError: they exclude each other.
        """
        return LearnerConfig.model_validate(learner.model_dump() | self.changes())


def default_learner(encoder: str, inputs: int, step_ms: float, cell: CellName | None = None) -> LearnerConfig:
    """Return the learner that is primed for an encoder unless another is asked for; with another cell if one is named."""
    if encoder == "embedding":
        return LearnerConfig(inputs=inputs, step_ms=step_ms, cell=cell or "alif", metric=True)
    # Cells that adapt below threshold learn better on bare mel bands.
    slots = (0.0, 160.0, 320.0, 480.0, 640.0)
    return LearnerConfig(inputs=inputs, step_ms=step_ms, cell=cell or "adlif", features=(384, 384), readout_tau_ms=100.0, delays_ms=slots)
