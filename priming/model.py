"""A primed model: one safetensors file that holds everything a device needs, with its whole configuration in the header.

Tensors: `weight.*` of the learner, `encoder.*` constants of the encoder, `background`, the encoder's spikes on the built-in background bank
(`priming.packing`), against which every enrolled word is calibrated, and `running_speech`, the evidence in it that somebody speaks on
(`audio.running_speech`), in steps of 1/255. The header's `sayonce` entry is the JSON of `ModelConfig`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audio.encoder import EncoderConfig, SpikeEncoder, build_encoder
from audio.errors import AudioError
from audio.speed import Speeds
from priming.atomic import write_atomically
from priming.errors import ModelError
from priming.packing import pack_spikes, unpack_spikes
from priming.tail import Tail
from snn.config import LearnerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from audio.running_speech import RunningSpeech

BUILT_IN = Path(__file__).parent / "models"
DEFAULT_MODEL = "embedding"
EVIDENCE_STEPS = 255  # in which the file holds evidence of running speech
ALIASES = {"embedding-alif": "embedding"}  # the model with the cell of the literature, which NEST has too: today the default itself


class Weights(Mapping[str, "Tensor"]):
    """The weights of a model file; each becomes a tensor when it is asked for, so that what runs without torch does not wait for it.

    Attributes:
        arrays: the same as arrays.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self.arrays = arrays
        self._tensors: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> "Tensor":
        if name not in self._tensors:
            import torch

            self._tensors[name] = torch.from_numpy(self.arrays[name])
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class ModelConfig(BaseModel):
    """Configuration of a primed model, as written into the file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    encoder: EncoderConfig
    learner: LearnerConfig
    speeds: Speeds = (1.0,)  # at which an utterance is learnt from, as it was said first (`audio.speed`)
    levels: tuple[float, float] | None = None  # raw scores that are 0 and 1 for words on average (`priming.calibration`)
    tail: Tail | None = None  # of the scores of background, for words on average that are learnt from one utterance (`priming.tail`)
    tail_several: Tail | None = None  # the same for words that are learnt from several, `priming.calibration.SEVERAL`; None where that was not found
    running_speech: float = Field(default=0.0, ge=0)  # raw score that is taken off where somebody surely speaks on (`audio.running_speech`)
    provenance: dict[str, Any]  # how it was primed: command, seed, corpora, steps, validation figures


@dataclass(frozen=True)
class PrimedModel:
    """A primed model in memory."""

    config: ModelConfig
    weights: Mapping[str, "Tensor"]  # of the learner, float32
    encoder_constants: Mapping[str, NDArray[np.float32]]
    background: NDArray[np.uint8]  # [T, I] spikes of the background bank
    sha256: str  # of the file
    running_speech: NDArray[np.float32] | None = None  # [T] evidence in the bank; None in a model that takes nothing off

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.name

    def encoder(self) -> SpikeEncoder:
        """Build the model's spike encoder."""
        return build_encoder(self.config.encoder, self.encoder_constants)

    def listens_for_running_speech(self) -> "RunningSpeech | None":
        """Start a stream of what is taken off raw scores; None where nothing is."""
        from audio.running_speech import RunningSpeech

        weight = self.config.running_speech
        return RunningSpeech(self.config.learner.step_ms, weight) if weight else None


def built_in_models() -> list[str]:
    """Return the names of the models that ship with the package."""
    return sorted(path.stem for path in BUILT_IN.glob("*.safetensors"))


def save_model(
    path: Path,
    config: ModelConfig,
    weights: Mapping[str, "Tensor"],
    encoder_constants: Mapping[str, NDArray[np.float32]],
    background: NDArray[np.uint8],
    running_speech: NDArray[np.float32] | None = None,
) -> None:
    """Write a primed model; an older file of that name stays whole until the new one is.

    Args:
        path: file to write.
        config: of the model.
        weights: of the learner.
        encoder_constants: of the encoder.
        background: [T, I] spikes of the background bank.
        running_speech: [T] evidence of running speech in it, which a model that takes something off for it needs.
    """
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {f"weight.{name}": tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in weights.items()}
    tensors |= {f"encoder.{name}": np.ascontiguousarray(array) for name, array in encoder_constants.items()}
    tensors["background"] = pack_spikes(background)
    if running_speech is not None:
        tensors["running_speech"] = np.round(running_speech * EVIDENCE_STEPS).astype(np.uint8)
    write_atomically(path, save(tensors, metadata={"sayonce": config.model_dump_json()}))


def load_model(name_or_path: str | Path | None = None, *, check_shapes: bool = True) -> PrimedModel:
    """Load a primed model.

    Args:
        name_or_path: name of a model that ships with the package, or a file; the default model when None.
        check_shapes: of every weight, which takes torch; a backend that does without checks those that it uses.

    Raises:
        ModelError: no such model, or the file is corrupted or foreign.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    wanted = str(DEFAULT_MODEL if name_or_path is None else name_or_path)
    wanted = ALIASES.get(wanted, wanted)
    path = BUILT_IN / f"{wanted}.safetensors" if wanted in built_in_models() else Path(wanted)
    if not path.is_file():
        raise ModelError(f"no model '{wanted}': give a file that `app prime` wrote, or one of: {', '.join(built_in_models())}")
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
        tensors = load(content) if "sayonce" in header else {}
    except (OSError, SafetensorError, ValueError, AttributeError, TypeError, KeyError) as error:  # KeyError: a type of number that numpy lacks
        raise ModelError(f"{path} is not a safetensors file, or it is damaged: copy it again or prime a new one") from error
    if not tensors:
        raise ModelError(f"{path} is a safetensors file but no primed model of this program: give a file that `app prime` wrote")
    try:
        config = ModelConfig.model_validate_json(header["sayonce"])
    except ValidationError as error:
        raise ModelError(f"{path} has a configuration that this version does not understand: {error.errors()[0]['msg']}") from error
    groups: dict[str, dict[str, NDArray[Any]]] = {"weight": {}, "encoder": {}}
    for key, array in tensors.items():
        group, _, name = key.partition(".")
        if group in groups:
            groups[group][name] = array
    if "background" not in tensors or any(not np.isfinite(a).all() for part in groups.values() for a in part.values()):
        raise ModelError(f"{path} lacks tensors or holds numbers that are not finite: copy it again or prime a new one")
    weights = Weights(groups["weight"])
    if check_shapes:
        _check_shapes(path, config.learner, weights)
    try:
        background = unpack_spikes(tensors["background"])
        if background.shape[1] != config.learner.inputs or not len(background):
            raise ValueError("the bank is empty or of another encoder")
        running_speech = _running_speech(config, tensors, len(background))
    except ValueError as error:
        raise ModelError(f"{path} does not hold the background bank that its configuration describes: copy it again or prime a new one") from error
    model = PrimedModel(config, weights, groups["encoder"], background, hashlib.sha256(content).hexdigest(), running_speech)
    try:
        encoder = model.encoder()
    except AudioError as error:
        raise ModelError(f"{path}: {error}") from error
    if (encoder.channels, encoder.step_ms) != (config.learner.inputs, config.learner.step_ms):
        raise ModelError(f"{path}: its encoder and its network do not fit each other; copy it again or prime a new one")
    return model


def _running_speech(config: ModelConfig, tensors: Mapping[str, NDArray[Any]], steps: int) -> NDArray[np.float32] | None:
    """Return the evidence in the bank, or None where the model takes nothing off.

    Raises:
        ValueError: it is missing or of another bank.
    """
    if not config.running_speech:
        return None
    held = tensors.get("running_speech")
    if held is None or held.dtype != np.uint8 or held.shape != (steps,):
        raise ValueError("evidence of running speech is missing or of another bank")
    return held.astype(np.float32) / np.float32(EVIDENCE_STEPS)


def _check_shapes(path: Path, learner: LearnerConfig, weights: Mapping[str, "Tensor"]) -> None:
    import torch

    from snn.initialise import initial_weights

    expected = initial_weights(learner, torch.zeros(learner.inputs), seed=0)
    for name, tensor in expected.items():
        if name not in weights or weights[name].shape != tensor.shape or weights[name].dtype != tensor.dtype:
            raise ModelError(f"{path} does not hold the weights that its configuration describes ({name}): copy it again or prime a new one")
