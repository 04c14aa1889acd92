"""What benchmarks/scaling.py counts and measures."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from scaling import Kernels, work

from priming.distributed import Ranks

ROOT = Path(__file__).resolve().parents[2]


def test_kernels_are_what_reaches_a_device() -> None:
    a, above = torch.ones(3, 4, requires_grad=True), torch.ones(4, 4)
    with Kernels() as kernels:
        product = a.t() @ a  # a transpose looks at memory in another way
    assert kernels.count == 1
    with Kernels() as kernels:
        product.backward(above)
    assert kernels.count == 3  # two products and their sum


def test_a_process_alone_measures_both_stages() -> None:
    found = work(1, 1, Ranks())
    assert set(found) == {"readout", "e-prop"}
    for each in found.values():
        assert each["step_s"] > each["sum_s"] >= 0
        assert each["bytes"] > 1e6
    assert found["e-prop"]["kernels"] > found["readout"]["kernels"] > 100
    for each in found.values():
        assert each["fused"] < 0.7 * each["kernels"]
    assert found["e-prop"]["bytes"] > found["readout"]["bytes"]


def test_more_ranks_than_tasks_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "scaling.py"), "--ranks", "3", "--tasks", "2", "--json", str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "3 ranks cannot share 2 tasks" in done.stderr.replace("\n", " ").replace("│", "").replace("  ", " ")
    assert json.dumps(sorted(tmp_path.iterdir()), default=str) == "[]"
