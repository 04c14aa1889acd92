"""What is drawn ahead is what would be drawn now, in every stage and on every rank; errors and interruptions reach who waits for them."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from priming.config import PrimeConfig
from priming.distributed import Ranks
from priming.features import Features
from priming.loop import StepReport
from priming.outer_loop import OuterLoop
from priming.prefetch import Prefetcher
from priming.run import prime
from priming.stretches import Stretches
from priming.workspace import Workspace

MakeConfig = Callable[..., PrimeConfig]
Pair = tuple[NDArray[np.int64], NDArray[np.int64]]
STEPS = 6


def open_loop(make: MakeConfig, workspace: Workspace, tmp_path: Path, ranks: Ranks | None = None, **settings: Any) -> OuterLoop:
    config = make(tmp_path / "m.safetensors", **settings)
    assert config.learner is not None
    return OuterLoop(config, config.learner, workspace, ranks=ranks)


@pytest.fixture
def drawn_by(toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Names of the threads that have drawn tasks and unpacked spikes."""
    names: dict[str, set[str]] = {"draw": set(), "take": set()}
    draw, take = type(toy_workspace.sampler).draw, Features.take

    def noted(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            names[what].add(threading.current_thread().name)
            return function(*arguments)

        return call

    monkeypatch.setattr(type(toy_workspace.sampler), "draw", noted("draw", draw))
    monkeypatch.setattr(Features, "take", noted("take", take))
    return names


@pytest.mark.parametrize("tasks", [1, 3])
def test_steps_are_the_same_to_the_last_bit(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, drawn_by: dict[str, set[str]], tasks: int
) -> None:
    """Both stages, and the step between them, of which the prefetched task is of the wrong one."""
    settings = {"steps": STEPS, "tasks": tasks}
    ahead, now = (open_loop(toy_config, toy_workspace, tmp_path, prefetch=prefetch, **settings) for prefetch in (True, False))
    for _ in range(STEPS):
        first, second = ahead.advance(), now.advance()
        assert (first.loss, first.figures) == (second.loss, second.figures)
    assert all(torch.equal(tensor, now.weights[name]) for name, tensor in ahead.weights.items())
    assert all("prefetch_0" in names for names in drawn_by.values())


def test_after_the_first_task_all_come_from_the_thread(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, drawn_by: dict[str, set[str]]
) -> None:
    with_background = replace(toy_workspace, background=Stretches(toy_workspace.features, [" "] * len(toy_workspace.features.clips)))
    loop = open_loop(toy_config, with_background, tmp_path, readout_share=1.0, background=3, prefetch=True)
    loop.advance()
    for names in drawn_by.values():
        names.clear()
    loop.advance()
    loop.advance()
    assert drawn_by == {"draw": {"prefetch_0"}, "take": {"prefetch_0"}}


def test_nothing_is_drawn_ahead_unless_asked_for(
    toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path, drawn_by: dict[str, set[str]]
) -> None:
    open_loop(toy_config, toy_workspace, tmp_path).advance()
    assert drawn_by == {"draw": {"MainThread"}, "take": {"MainThread"}}


def test_an_interrupted_run_goes_on_bit_for_bit(toy_config: MakeConfig, tmp_path: Path) -> None:
    plain, config = (toy_config(tmp_path / f"{name}.safetensors", steps=STEPS, prefetch=name == "ahead") for name in ("plain", "ahead"))

    def interrupt(report: StepReport) -> None:
        if report.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prime(config, watch=interrupt)
    prime(config, resume=True)
    prime(plain)
    found, expected = load_file(config.out), load_file(plain.out)
    assert all(np.array_equal(found[name], tensor) for name, tensor in expected.items())


def test_a_run_may_go_on_without_it(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    open_loop(toy_config, toy_workspace, tmp_path, prefetch=True).save(tmp_path / "checkpoint")
    open_loop(toy_config, toy_workspace, tmp_path).resume(tmp_path / "checkpoint")


def test_every_rank_draws_its_own_tasks_ahead(toy_config: MakeConfig, toy_workspace: Workspace, tmp_path: Path) -> None:
    for size in (1, 2, 3):
        for rank in range(size):
            loop = open_loop(toy_config, toy_workspace, tmp_path, Ranks(rank, size), tasks=5)
            worked = [step * 5 + task for step in range(4) for task in loop.ranks.share(5)]
            assert [loop._following(number) for number in worked[:-1]] == worked[1:]


def pair(number: int, of: int = 5) -> Pair:
    """Clips by their number."""
    return np.arange(number, number + of), np.zeros(of, np.int64)


def test_another_task_than_was_foreseen_is_drawn_anew(toy_workspace: Workspace) -> None:
    features = toy_workspace.features
    prefetcher = Prefetcher(lambda number, drawn: [(features, *drawn)], lambda number: number + 1)
    for number, of in ((0, 5), (1, 5), (7, 5), (8, 4), (9, 4)):
        clips, copies = prefetcher.draw(pair, number, of)
        assert np.array_equal(clips, pair(number, of)[0])
        assert np.array_equal(prefetcher.take(features, clips, copies), features.take(clips, copies))
    assert np.array_equal(prefetcher.take(features, *pair(20)), features.take(*pair(20)))
    other = Features(features.clips, [np.zeros_like(chunk) for chunk in features.chunks], features.channels)
    assert not prefetcher.take(other, clips, copies).any()


def test_an_error_is_raised_where_the_task_is_asked_for(toy_workspace: Workspace) -> None:
    def broken(number: int) -> Pair:
        if number == 2:
            raise OSError("the cache is gone")
        return pair(number)

    prefetcher = Prefetcher(lambda number, drawn: [(toy_workspace.features, *drawn)], lambda number: number + 1)
    prefetcher.draw(broken, 0)
    prefetcher.draw(broken, 1)
    with pytest.raises(OSError, match="the cache is gone"):
        prefetcher.draw(broken, 2)
    assert np.array_equal(prefetcher.draw(broken, 3)[0], pair(3)[0])


def test_an_interruption_reaches_whoever_waits(toy_workspace: Workspace) -> None:
    go_on = threading.Event()

    def slow(number: int) -> Pair:
        if number:
            go_on.wait(60)
        return pair(number)

    prefetcher = Prefetcher(lambda number, drawn: [(toy_workspace.features, *drawn)], lambda number: number + 1)
    prefetcher.draw(slow, 0)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        prefetcher.draw(slow, 1)
    timer.join()
    go_on.set()
    assert np.array_equal(prefetcher.draw(slow, 1)[0], pair(1)[0])
