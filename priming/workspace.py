"""Everything that a priming run reads: clips behind the gate, the fitted encoder, encoded clips, the sampler.

Validation clips are prepared here too, in a set of their own that never meets the sampler.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audio.constants import SAMPLE_RATE
from audio.encoder import EmbeddingEncoderConfig, MelEncoderConfig, SpikeEncoder, build_encoder, fit_embedding_encoder, fit_mel_encoder
from priming.atomic import write_atomically
from priming.config import PrimeConfig, default_learner
from priming.corpus import Clip, background_clips, load_many, noise_clips, role_clips
from priming.distillation import EmbeddingTeacher, Teacher
from priming.episodes import draw_episodes, hearing
from priming.errors import DataError
from priming.family import encoded_together, family_clips
from priming.features import FeatureConfig, Features, encode_features, joined_features
from priming.fingerprint import fingerprint
from priming.frame_teacher import FrameTeacher
from priming.gate import PrimingData
from priming.model import load_model
from priming.prototypical import PrimedProtonet, load_protonet
from priming.sampler import TaskSampler
from priming.stretches import Stretches, said_in, stretch_clips
from snn.config import LearnerConfig

VALIDATION_SETS = ("isolated", "connected")
LEFT_OUT = "left-out"  # a third one, of words of the family that no task has
VALIDATION_WAYS = 5  # fewer where there are fewer words
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workspace:
    """The inputs of a run."""

    data: PrimingData
    encoder: SpikeEncoder
    features: Features  # of the words that priming draws
    sampler: TaskSampler
    validation: dict[str, Features]  # clean clips of validation words, by set; empty where the folder has none
    default_learner: LearnerConfig
    teacher: Teacher | None = None  # of distillation
    background: Stretches | None = None  # stretches of continuous sound, where there are any and the run needs them

    def input_rate(self) -> Tensor:
        """Return the mean spikes per step of each channel on a sample of clips: [I]."""
        count = min(2000, len(self.features.clips))
        index = np.linspace(0, len(self.features.clips) - 1, count).astype(np.int64)
        spikes = self.features.take(index, np.zeros(count, np.int64))
        return torch.from_numpy(spikes.mean((0, 1), dtype=np.float64)).to(torch.float32)


def cache_folder(config: PrimeConfig) -> Path:
    """Return the parent of the caches."""
    from platformdirs import user_cache_path

    return config.cache or user_cache_path("sayonce")


def collect(config: PrimeConfig, say: Say = lambda line: None) -> PrimingData:
    """Collect what a run may hear, behind the gate.

    Args:
        config: of the run.
        say: called with a line at each stage that takes long.

    Raises:
        DataError: unusable data folder, or a missing program or dictionary that a source needs.
    """
    words = family_clips(config, cache_folder(config), say)
    return PrimingData((*words, *background_clips(config.data), *noise_clips(config.data)))


def encode_family(config: PrimeConfig, data: PrimingData, encoder: SpikeEncoder, say: Say) -> tuple[Features, TaskSampler]:
    """Encode the words that priming draws; what an earlier run encoded is read.

    Args:
        config: of the run.
        data: what it may hear.
        encoder: spike encoder, fitted.
        say: called with a line at each stage.

    Returns:
        The encoded words and what draws tasks from them.

    Raises:
        DataError: too few words, or hard tasks without a pronouncing dictionary.
    """
    kept = FeatureConfig(steps=round(config.clip_ms / encoder.step_ms), copies=config.copies, seed=config.encoding_seed)
    parts = [
        encode_features(group, encoder, kept, cache_folder(config), data, progress=_every_tenth(say, f"words ({group[0].source})"))
        for group in encoded_together(data.words)
    ]
    features = joined_features(parts)
    weights = {str(source): weight for source, weight in config.sources.items()}
    return features, TaskSampler(features, data, config.copies, config.seed, config.commands_share, weights, config.hard_share, config.left_out)


def open_workspace(config: PrimeConfig, say: Say) -> Workspace:
    """Collect, check, fit and encode; what an earlier run encoded is read.

    Args:
        config: of the run.
        say: called with a line at each stage.

    Returns:
        The workspace.

    Raises:
        DataError: unusable data folder, or a teacher that does not suit the student.
        ModelError: no such teacher.
    """
    network = None if config.teacher is None else _teaching_network(config)  # one that does not do is found out now
    data = collect(config, say)
    family = len({clip.word for clip in data.words})
    speakers = len({clip.speaker for clip in data.words})
    say(f"family: {len(data.words)} clips of {family} words by {speakers} speakers, {len(data.noise)} recordings of noise")
    for source, count in sorted(Counter(clip.source for clip in data.words).items()):
        say(f"  {source}: {count} clips of {len({clip.word for clip in data.words if clip.source == source})} words")
    encoder = _fit(config, data)
    steps = round(config.clip_ms / encoder.step_ms)
    folder = cache_folder(config)
    features, sampler = encode_family(config, data, encoder, say)
    validation = {}
    for subset in VALIDATION_SETS:
        try:
            clips = role_clips(config.data, "validation", subset)
            next(draw_episodes(clips, validation_ways(clips), seed=config.seed))  # found out now, not when the run is over
        except DataError as error:
            say(f"no validation on {subset} words: {error}")
            continue
        validation[subset] = encode_features(clips, encoder, FeatureConfig(steps=steps, copies=0), folder, None, progress=None)
    if config.left_out:
        validation[LEFT_OUT] = _left_out(config, features)
    learner = default_learner(config.encoder, encoder.channels, encoder.step_ms, config.cell)
    teacher = _teach(config, network, data, features, (config.learner or learner).projection, say) if config.distil_share else None
    whitens = config.whitening > 0 and config.asked(config.learner or learner).metric
    background = _encode_background(config, data, encoder, say) if config.background or whitens else None
    return Workspace(data, encoder, features, sampler, validation, learner, teacher, background)


def _left_out(config: PrimeConfig, features: Features) -> Features:
    """Take the clips of the words that tasks leave out.

    Raises:
        DataError: a word that the family does not have, or too few people who say them.
    """
    missing = sorted(set(config.left_out) - {clip.word for clip in features.clips})
    if missing:
        raise DataError(f"left_out names words that the family does not have: {', '.join(missing)}")
    kept = features.clean(np.array([index for index, clip in enumerate(features.clips) if clip.word in config.left_out]))
    next(draw_episodes(kept.clips, validation_ways(kept.clips), seed=config.seed))
    return kept


def _encode_background(config: PrimeConfig, data: PrimingData, encoder: SpikeEncoder, say: Say) -> Stretches | None:
    """Encode stretches of continuous sound; None where the folder has none."""
    clips = stretch_clips(data, config.background_clips, config.clip_ms / 1000, config.encoding_seed)
    if not clips:
        say("no continuous speech or noise long enough: tasks have words alone, and thresholds may have to be higher")
        return None
    kept = FeatureConfig(steps=round(config.clip_ms / encoder.step_ms), copies=config.copies, seed=config.encoding_seed)
    encoded = encode_features(clips, encoder, kept, cache_folder(config), data, progress=_every_tenth(say, "background"), words=False)
    return Stretches(encoded, said_in([*encoded.clips]))


def _teaching_network(config: PrimeConfig) -> PrimedProtonet:
    """Read the teacher.

    Raises:
        DataError: it was primed on words that this run leaves out.
        ModelError: no such teacher.
    """
    assert config.teacher is not None
    network = load_protonet(config.teacher)
    known = set(config.left_out) - set(network.config.provenance.get("configuration", {}).get("left_out", ()))
    if known:
        raise DataError(f"the teacher was primed on words that left_out names: {', '.join(sorted(known))}; prime one with --left-out")
    return network


def _teach(config: PrimeConfig, network: PrimedProtonet | None, data: PrimingData, student: Features, units: int, say: Say) -> Teacher:
    """Let the teacher hear the family: a network that was primed on it, or the speech embedding."""
    if network is not None:
        heard, _ = encode_family(config, data, network.encoder, say)
        return FrameTeacher(network, heard, student, units)
    hearing_as = config.model_copy(update={"encoder": "embedding"})
    encoder = _fit(hearing_as, data)
    features, _ = encode_family(hearing_as, data, encoder, say)
    return EmbeddingTeacher.of(features, encoder, student, units)


def validation_ways(clips: Sequence[Clip]) -> int:
    """Return how many words an episode of validation enrols; two at least, else there is nothing to tell apart."""
    return max(2, min(VALIDATION_WAYS, len({clip.word for clip in clips})))


def _fit(config: PrimeConfig, data: PrimingData) -> SpikeEncoder:
    """Fit the encoder on a sample of the recorded words, if there are any, or read what an earlier run fitted; a model to start from has its own."""
    from safetensors.numpy import load_file, save

    if config.start is not None:
        model = load_model(config.start)
        if model.config.encoder.kind != config.encoder:
            raise DataError(f"{config.start} hears with the encoder {model.config.encoder.kind}: add --encoder {model.config.encoder.kind}")
        return model.encoder()
    rng = np.random.default_rng(config.encoding_seed)
    words = encoded_together(data.words)[0]
    chosen = [words[int(i)] for i in np.sort(rng.permutation(len(words))[: config.fit_clips])]
    length = round(config.clip_ms / 1000 * SAMPLE_RATE)
    encoder_config = MelEncoderConfig() if config.encoder == "mel" else EmbeddingEncoderConfig()
    parts = [encoder_config.model_dump(), config.encoding_seed, length, [clip.key for clip in chosen]]
    fitted = cache_folder(config) / f"{config.encoder}-constants-{fingerprint(parts)}.safetensors"
    if not fitted.exists():
        clips = (hearing(samples, 0, clip.lead_s, clip.follow_s)[-length:] for clip, samples in load_many(chosen))
        fit = fit_mel_encoder if config.encoder == "mel" else fit_embedding_encoder
        write_atomically(fitted, save(fit(clips, config.encoding_seed)[1]))
    return build_encoder(encoder_config, load_file(fitted))


def _every_tenth(say: Say, what: str) -> Callable[[int, int], None]:
    """Report every tenth part of a long job."""
    parts = itertools.count(1)
    due = next(parts)

    def report(done: int, total: int) -> None:
        nonlocal due
        if done * 10 >= due * total:
            say(f"encoded {done * 100 // total} % of the {what}")
            due = next(parts)

    return report
