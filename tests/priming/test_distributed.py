"""Priming on several processes: the same result for the same tasks, one voice, and nothing lost when a process dies."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from priming.config import PrimeConfig
from priming.distributed import Ranks, joined_ranks, leading
from priming.model import load_model
from priming.run import prime

MakeConfig = Callable[..., PrimeConfig]
Tensors = dict[str, NDArray[Any]]
STEPS, TASKS = 6, 4
ROOT = Path(__file__).resolve().parents[2]

RUN = """
import os, sys
from pathlib import Path
from priming.config import PrimeConfig
from priming.run import prime

def say(line):  # one write a line: ranks share the pipe, and print() may write a line in pieces that others come between
    os.write(1, (line + "\\n").encode())

if __name__ == "__main__":
    config = PrimeConfig.model_validate_json(sys.argv[1])
    say(f"rank {os.environ['RANK']} pid {os.getpid()}")
    def watch(report):
        say(f"step {report.step} pid {os.getpid()} words {report.words}")
    path = prime(config, watch=watch, announce=lambda line: say("said " + line))
    say(f"returned {path}")
    say("threads " + " ".join(sorted({task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").glob("*")})))
"""


def start(config: PrimeConfig, folder: Path, ranks: int, *options: str) -> subprocess.Popen[str]:
    """Start ranks of a run."""
    script = folder / "run.py"
    script.write_text(RUN)
    command = [sys.executable, "-m", "torch.distributed.run", *(options or ["--standalone"]), f"--nproc-per-node={ranks}", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, config.model_dump_json()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for all ranks and return what they printed."""
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0, printed
    return printed


@pytest.fixture(scope="module")
def alone(toy_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    """The tensors that one process primes, of steps of four tasks in both stages."""
    config = toy_config(tmp_path_factory.mktemp("alone") / "m.safetensors", steps=STEPS, tasks=TASKS)
    assert prime(config) == config.out
    return load_file(config.out)


def assert_close(path: Path, expected: Tensors) -> None:
    found = load_file(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_prime_what_one_process_primes(toy_config: MakeConfig, alone: Tensors, tmp_path: Path, ranks: int) -> None:
    config = toy_config(tmp_path / "m.safetensors", steps=STEPS, tasks=TASKS, validations=1)
    printed = finish(start(config, tmp_path, ranks))
    assert_close(config.out, alone)
    assert re.findall(r"step (\d+) .* words (\d+)", printed) == [(str(1 + k), str(TASKS * (6 if k < 3 else 4))) for k in range(STEPS)]
    assert printed.count("said family:") == printed.count(f"said step {STEPS}, isolated validation words:") == 1
    assert printed.count("returned None") == ranks - 1
    threads = re.findall(r"^threads .*$", printed, re.MULTILINE)
    assert len(threads) == ranks
    assert "gloo" not in "".join(threads)  # one that outlives its run may abort the process
    assert len(load_model(config.out).config.provenance["history"]) == 1


def test_a_step_of_several_tasks_follows_their_mean_gradient(toy_config: MakeConfig, alone: Tensors, tmp_path: Path) -> None:
    """Four tasks a step are neither the first of them alone nor one task four times."""
    config = toy_config(tmp_path / "m.safetensors", steps=STEPS)
    prime(config)
    single = load_file(config.out)
    (name,) = (name for name in alone if name.endswith("readout.project"))
    assert not np.allclose(single[name], alone[name], atol=1e-4)


def test_a_rank_that_is_killed_costs_the_steps_since_the_checkpoint_alone(toy_config: MakeConfig, alone: Tensors, tmp_path: Path) -> None:
    """Two launchers stand for two machines; the process of the second is killed, so the first knows of no failure of its own."""
    config = toy_config(tmp_path / "m.safetensors", steps=STEPS, tasks=TASKS, checkpoint_s=1e-9)
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free.getsockname()[1]}", "--rdzv-id=test"]
    machines = [start(config, tmp_path, 1, "--nnodes=2", *meeting, "--max-restarts=1", "--monitor-interval=0.1") for _ in range(2)]
    printed: queue.Queue[str] = queue.Queue()
    readers = [threading.Thread(target=lambda machine=machine: [printed.put(line) for line in machine.stdout], daemon=True) for machine in machines]
    for reader in readers:
        reader.start()
    lines, killed, deadline = [], False, time.monotonic() + 200
    while any(reader.is_alive() for reader in readers) or not printed.empty():
        assert time.monotonic() < deadline, "".join(lines)
        try:
            lines.append(printed.get(timeout=0.1))
        except queue.Empty:
            continue
        if lines[-1].startswith("step 4 ") and not killed:
            (other,) = re.findall(r"rank 1 pid (\d+)", "".join(lines))
            os.kill(int(other), signal.SIGKILL)
            killed = True
    for machine in machines:
        with machine:  # closes its pipe
            assert machine.wait(60) == 0
    told = "".join(lines)
    resumed = int(re.findall(r"said resumed at step (\d+)", told)[0])
    assert resumed >= 4
    steps = [int(step) for step in re.findall(r"step (\d+) pid", told)]
    assert steps[-(STEPS - resumed) :] == list(range(resumed + 1, STEPS + 1)) or resumed == STEPS
    assert_close(config.out, alone)


def test_candidates_of_evolution_are_shared_out(toy_config: MakeConfig, tmp_path: Path) -> None:
    settings = {"optimizer": "es", "population": 4, "population_tasks": 1, "theta": "rates", "eprop_ways": 3}
    first, here, there = (toy_config(tmp_path / f"{name}.safetensors", steps=steps, **settings) for name, steps in (("a", 1), ("b", 2), ("c", 2)))
    prime(first)
    prime(here)
    finish(start(there, tmp_path, 2))
    earlier, expected, found = (load_file(config.out) for config in (first, here, there))
    assert all(np.array_equal(found[name], tensor) for name, tensor in expected.items())  # losses are summed with zeros: nothing is rounded
    (name,) = (name for name in expected if name.endswith("log_rate_in"))
    assert not np.array_equal(expected[name], earlier[name])


def test_ranks_without_a_task_are_refused(toy_config: MakeConfig, tmp_path: Path) -> None:
    process = start(toy_config(tmp_path / "m.safetensors", tasks=1), tmp_path, 2)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "2 processes cannot share 1 tasks a step: add --set tasks=4" in printed
    assert not (tmp_path / "m.run").exists()


def test_a_process_alone_needs_no_others() -> None:
    with joined_ranks("cpu") as ranks:
        assert ranks == Ranks()
    assert leading()
    tensor = torch.arange(3.0)
    ranks.add([tensor])
    assert tensor.tolist() == [0.0, 1.0, 2.0]
    assert (ranks.of_leader(0.1), ranks.bytes_of_leader(b"x"), list(ranks.share(3))) == (0.1, b"x", [0, 1, 2])
    assert [list(Ranks(rank, 3).share(7)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
