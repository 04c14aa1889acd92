"""Prime the prototypical network that does not spike, on the data that the spiking one is primed on: same gate, same clips, same augmentation.

    python benchmarks/protonet.py prime --data DIR --minutes M --out FILE [--input mel|embedding] [--seed S] [--resume]

What the network hears is computed once, beside the other caches. Checkpoints lie beside FILE, under its name with `.run`. The finished FILE goes to
`benchmarks/oneshot.py --protonet FILE`.
"""

import json
import math
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from pydantic import ValidationError

from alternatives.plain_errors import plain_errors
from priming import checkpoint
from priming.analog import AnalogEncoder, log_mel_constants, values
from priming.config import PrimeConfig
from priming.corpus import role_clips
from priming.episodes import draw_episodes
from priming.errors import DataError, ModelError
from priming.features import FeatureConfig, Features, encode_features
from priming.metrics import Summary, summarise
from priming.model import load_model
from priming.prototypical import Protonet, ProtonetConfig, default_config, parameters, save_protonet
from priming.sampler import TaskSampler
from priming.workspace import cache_folder, collect, encode_family, validation_ways

KINDS: dict[str, Literal["log-mel", "whitened"]] = {"mel": "log-mel", "embedding": "whitened"}
WAYS = (5, 20)  # least and most words of an episode
QUERIES = 3  # of each word
RATE = 2e-3  # Adam's, at its largest
WARM_UP_STEPS = 50
FINAL_RATE = 0.03  # of the largest, at the end
VALIDATIONS = 4


class Run:
    """State and step of priming.

    Args:
        config: of the run.
        shape: of the network.
        features: of the clips that it may hear.
        sampler: draws tasks from these.
    """

    def __init__(self, config: PrimeConfig, shape: ProtonetConfig, features: Features, sampler: TaskSampler) -> None:
        self.config, self.shape, self._features, self._sampler = config, shape, features, sampler
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network = Protonet(shape)
        self._learned = dict(self.network.named_parameters())
        self._optimizer = torch.optim.Adam(self._learned.values())
        self.step, self.elapsed_s = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        spent = self.step / self.config.steps if self.config.steps else self.elapsed_s / (60 * (self.config.minutes or 1.0))
        return min(1.0, spent)

    def advance(self) -> tuple[float, float]:
        """Take one step of Adam on one episode; return its loss and the share of its queries that were told right."""
        started = time.monotonic()
        ways = int(np.random.default_rng([self.config.seed, self.step, WAYS[1]]).integers(WAYS[0], WAYS[1] + 1))
        task = self._sampler.draw(self.step, ways, QUERIES, 0)
        support = self._features.take_support(task.support[:, 0], task.support_copies[:, 0])
        heard = np.concatenate([support, self._features.take(task.queries, task.query_copies)])
        x = torch.from_numpy(values(heard, self.shape.features.kind))
        rate = RATE * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * self.progress))) * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        loss, right = self.network.loss(x[: len(task.support)], x[len(task.support) :], torch.from_numpy(task.labels))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.step += 1
        self.elapsed_s += time.monotonic() - started
        return float(loss.detach()), float(right)

    def _configuration(self) -> str:
        chosen = self.config.model_dump(mode="json", exclude={"data", "out", "cache", "checkpoint_s", "validation_episodes"})
        return json.dumps(chosen | {"shape": self.shape.model_dump(mode="json")}, sort_keys=True)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        moments = checkpoint.optimizer_tensors(self._optimizer, dict(self._learned))
        weights = dict(self.network.state_dict())
        checkpoint.save_checkpoint(path, checkpoint.Checkpoint(self.step, self.elapsed_s, weights, moments, self._configuration()))

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            ModelError: no checkpoint, a damaged one, or one of another run.
        """
        state = checkpoint.load_checkpoint(path)
        if state.configuration != self._configuration():
            raise ModelError(f"{path} belongs to a run with another configuration: repeat its options, or start again without --resume")
        self.network.load_state_dict(state.weights)
        checkpoint.restore_optimizer(self._optimizer, dict(self._learned), state.optimizer)
        self.step, self.elapsed_s = state.step, state.elapsed_s

    @torch.no_grad()
    def validate(self, features: Features) -> Summary:
        """Evaluate on validation words, in 5-way episodes of one shot."""
        index = {clip.key: number for number, clip in enumerate(features.clips)}
        every = np.arange(len(features.clips))
        taught, asked = (self._vectors(take(every, np.zeros_like(every))) for take in (features.take_support, features.take))
        scores, labels = [], []
        for episode in draw_episodes(
            features.clips, validation_ways(features.clips), episodes=self.config.validation_episodes, seed=self.config.seed
        ):
            words = taught[[index[shots[0].key] for shots in episode.support]]
            scores.append(asked[[index[clip.key] for clip, _ in episode.queries]] @ words.T)
            labels.append([label for _, label in episode.queries])
        return summarise(scores, labels)

    def _vectors(self, heard: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Let the network hear features of clips."""
        found: NDArray[np.float32] = self.network.eval()(torch.from_numpy(values(heard, self.shape.features.kind))).numpy()
        return found


def prime_protonet(config: PrimeConfig, model: str, resume: bool) -> None:
    """Prime a network and write it.

    Args:
        config: of the run; `encoder` says which features, `out` where the network goes.
        model: primed model whose constants whiten the embedding.
        resume: continue from the run's checkpoint.

    Raises:
        DataError: unusable data folder.
        ModelError: no such model, or a checkpoint that cannot be resumed.
    """
    kind = KINDS[config.encoder]
    constants = dict(load_model(model).encoder_constants) if kind == "whitened" else log_mel_constants()
    shape = default_config(kind, config.clip_ms)
    try:
        encoder = AnalogEncoder(shape.features, constants)
    except KeyError as error:
        raise ModelError(f"the model '{model}' does not hear through the speech embedding: name another with --model") from error
    saved = config.out.with_suffix(".run") / "checkpoint.safetensors"
    data = collect(config, _tell)
    words = len({clip.word for clip in data.words})
    _tell(f"{len(data.words)} clips of {words} words; encoding what is not encoded yet")
    features, sampler = encode_family(config, data, encoder, _tell)
    validation = encode_features(
        role_clips(config.data, "validation"), encoder, FeatureConfig(steps=shape.steps, copies=0), cache_folder(config), None
    )
    run = Run(config, shape, features, sampler)
    _tell(f"{parameters(run.network)} parameters")
    if resume:
        run.resume(saved)
    told, last_saved, right = math.floor(run.progress * VALIDATIONS), time.monotonic(), 0.0
    while run.progress < 1.0:
        right += 0.02 * (run.advance()[1] - right)
        if time.monotonic() - last_saved > config.checkpoint_s:
            run.save(saved)
            last_saved = time.monotonic()
        if math.floor(run.progress * VALIDATIONS) > told:
            told = math.floor(run.progress * VALIDATIONS)
            found = run.validate(validation)
            _tell(f"step {run.step}: {right:.3f} right in priming; validation {found.accuracy:.3f}, AUROC {found.auroc_pairs:.4f}")
    run.save(saved)
    provenance = {
        "configuration": config.model_dump(mode="json", exclude={"data", "out", "cache", "learner"}),
        "steps": run.step,
        "minutes": round(run.elapsed_s / 60, 1),
        "clips": len(data.words),
        "words": words,
        "validation": run.validate(validation).figures(),
    }
    save_protonet(config.out, shape.model_copy(update={"provenance": provenance}), run.network.state_dict(), encoder.constants)
    _tell(f"wrote {config.out}")


def _tell(line: str) -> None:
    print(line, flush=True)


cli = typer.Typer(add_completion=False)


@cli.callback()
def _commands() -> None:
    """Prime the prototypical network of the comparison."""


@cli.command()
def prime(
    data: Annotated[Path, typer.Option(help="folder with manifest.csv")],
    out: Annotated[Path, typer.Option(help="file to write the network to")],
    minutes: Annotated[float | None, typer.Option(help="stop after this time")] = None,
    steps: Annotated[int | None, typer.Option(help="stop after this many steps")] = None,
    features: Annotated[str, typer.Option("--input", help="mel or embedding")] = "mel",
    model: Annotated[str, typer.Option(help="primed model whose constants whiten the embedding")] = "embedding",
    seed: Annotated[int, typer.Option(help="of every draw")] = 0,
    sources: Annotated[str, typer.Option(help="of words, as `app prime` takes them")] = "commands,aligned",
    left_out: Annotated[str, typer.Option(help="words of the family that no task has, with commas between them")] = "",
    cache: Annotated[Path | None, typer.Option(help="folder for what is computed once [default: the user's cache]")] = None,
    resume: Annotated[bool, typer.Option(help="go on from the checkpoint")] = False,
) -> None:
    """Prime a network."""
    with plain_errors():
        if features not in KINDS:
            raise DataError(f"--input takes {' or '.join(KINDS)}, not {features!r}")
        try:
            config = PrimeConfig.model_validate(
                {
                    "data": data,
                    "out": out,
                    "encoder": features,
                    "minutes": minutes,
                    "steps": steps,
                    "seed": seed,
                    "cache": cache,
                    "sources": sources,
                    "left_out": left_out,
                }
            )
        except ValidationError as error:
            raise DataError(error.errors()[0]["msg"]) from error
        prime_protonet(config, model, resume)


if __name__ == "__main__":
    cli()
