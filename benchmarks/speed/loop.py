"""The outer loop on a made-up cache of the shipped size: seconds a step, words a second, and how far from the floor of its matrix products.

The real `OuterLoop` draws from a real `TaskSampler` over memory-mapped features; only the spikes are random. `plain` is the same step with the
populations run and the e-prop factors folded by loops under autograd; `bf16` and `prefetch` are the step with `--set precision=bf16` and with
`--set prefetch=true`.
"""

import csv
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from audio.encoder import SpikeEncoder
from priming.clip import Clip
from priming.config import PrimeConfig
from priming.distributed import Ranks
from priming.features import Features
from priming.gate import PrimingData
from priming.outer_loop import OuterLoop
from priming.sampler import TaskSampler
from priming.workspace import Workspace
from snn import network
from snn.cells import alif, alif_factors, stepwise
from snn.config import LearnerConfig
from speed.measure import Contestant, Row, compare, product_rate

CHANNELS, STEPS, STEP_MS = 576, 44, 40.0
WORDS, SPEAKERS, SAID_BY = 60, 40, 8
INPUT_RATE = 0.15
VALUES = 96  # of a vector that the encoder codes


class RandomEncoder:
    """The one thing that the outer loop asks of an encoder when its clips are encoded already."""

    def decoder(self) -> NDArray[np.float32]:
        """Return a linear decoder [values, channels]."""
        return (0.1 * np.random.default_rng(2).standard_normal((VALUES, CHANNELS))).astype(np.float32)


def made_up_clips(root: Path) -> list[Clip]:
    """Write the manifest of a folder without recordings, and list its clips."""
    rng = np.random.default_rng(0)
    said = [(f"word{word}", f"speaker{speaker}") for word in range(WORDS) for speaker in rng.permutation(SPEAKERS)[:SAID_BY]]
    clips = [Clip(root, f"{word}/{who}.wav", "made up", "en", word, "prime", who, "train", 0.0, None, 1.0) for word, who in said]
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "corpus", "language", "word", "word_role", "speaker", "speaker_split", "duration_s"))
        table.writerows((clip.path, clip.corpus, "en", clip.word, "prime", clip.speaker, "train", 1.0) for clip in clips)
    return clips


def open_loop(root: Path, eprop_stage: bool, steps: int = STEPS, tasks: int = 1, ranks: Ranks | None = None, **settings: Any) -> OuterLoop:
    """Open an outer loop whose every step is of one stage.

    Args:
        root: an empty folder for manifest and cache.
        eprop_stage: whether W_in and W_rec are plastic, or the readout alone.
        steps: of a clip.
        tasks: of an outer step.
        ranks: this process among those of a run; alone when None.
        settings: further ones of the run.
    """
    clips = made_up_clips(root)
    spikes = np.random.default_rng(1).random((len(clips), 2, steps, CHANNELS)) < INPUT_RATE
    np.save(root / "spikes.npy", np.packbits(spikes, axis=-1))
    features = Features(clips, [np.load(root / "spikes.npy", mmap_mode="r")], CHANNELS)
    data = PrimingData(tuple(clips))
    share = 0.0 if eprop_stage else 1.0
    config = PrimeConfig(data=root, out=root / "model.safetensors", steps=1_000_000, readout_share=share, tasks=tasks, **settings)
    learner = LearnerConfig(inputs=CHANNELS, step_ms=STEP_MS)
    sampler = TaskSampler(features, data, 1, 0, config.commands_share)
    return OuterLoop(config, learner, Workspace(data, cast(SpikeEncoder, RandomEncoder()), features, sampler, {}, learner), ranks=ranks)


@contextmanager
def plain_loops() -> Iterator[None]:
    """Run populations and fold factors by loops that autograd differentiates."""

    def run(current: Tensor, w_rec: Tensor, params: Any, state: Any = None, *, detach_recurrent: bool = False) -> network.Activity:
        cell = network.cell_of(params)
        if state is None:
            state = cell.initial_state(tuple(current.shape[1:]), current.dtype, current.device)
        return network.Activity(*stepwise.run(cell.step, current, w_rec, state, params, detach_recurrent))

    def factors(psi: Tensor, signal: Tensor, params: Any, z: Tensor | None = None) -> Tensor:
        return alif_factors.plain(psi, signal, params.alpha, params.rho, params.beta)[0]

    with patch.object(network, "run", run), patch.object(alif, "factors", factors):
        yield


def measure(repeats: int) -> list[Row]:
    """Measure a step of both stages."""
    rows = []
    for stage in ("readout", "e-prop"):
        with tempfile.TemporaryDirectory() as folder:
            loop, rounded, ahead = (open_loop(Path(folder), stage == "e-prop", **own) for own in ({}, {"precision": "bf16"}, {"prefetch": True}))

            def plain(loop: OuterLoop = loop) -> None:
                with plain_loops():
                    loop.advance()

            words = loop.advance().words
            counter = FlopCounterMode(display=False)
            with counter:
                loop.advance()
            floor = counter.get_total_flops() / product_rate()
            steps: dict[str, Contestant] = {"ours": loop.advance, "plain": plain, "bf16": rounded.advance}
            own, *others = compare(f"priming step, {stage} stage", "ours", steps, repeats)
            products = f"{counter.get_total_flops() / 1e9:.1f} GFLOP of products, {floor / own.seconds:.0%} of the time at their rate"
            note = f"{words / own.seconds:.0f} words/s; {products}"
            rows += [Row(own.group, own.name, own.seconds, own.times_ours, note=note), *others]
            drawn: dict[str, Contestant] = {"ours": loop.advance, "prefetch": ahead.advance}
            rows += compare(f"priming step, {stage} stage, wall clock", "ours", drawn, repeats, clock=time.perf_counter)
    return rows
