"""The fused kernels do what the loops of PyTorch's operations do, on a GPU or else under Triton's interpreter; and they compile for GPUs."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from snn import network
from snn.cells import alif, alif_run
from snn.cells.alif_sweeps import EAGER, Sweeps

INTERPRETED = os.environ["TRITON_INTERPRET"] == "1"  # tests/conftest.py says so where there is no GPU
DEVICE = "cpu" if INTERPRETED else "cuda"
SHAPES = {"alone": (), "a batch": (3,), "more rows than a program takes": (2, 9), "tasks": (3, 2), "tasks of many rows": (2, 11)}
TOLERANCE = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-10, "atol": 1e-10}}
MakeParams = Callable[..., Any]

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from snn.cells import alif_fused

kernel, extra = {
    "forward": (alif_fused.forward_kernel, {"KEEP": True}),
    "backward": (alif_fused.backward_kernel, {"BY_Z": True, "BY_PSI": True, "DETACH": False}),
}[sys.argv[1]]
for neurons in (64, 256):
    known = {"N": neurons, "V_TH": 1.0, "GAMMA": 0.5, "ROWS": alif_fused.ROWS, "NEURONS": neurons, "PART": alif_fused.PART, **extra}
    kinds = {name: "constexpr" if name in known else "*fp32" if name.endswith("_ptr") else "i32" for name in kernel.arg_names}
    for capability in (80, 90):
        options = {"num_warps": 8, "enable_fp_fusion": False}
        found = triton.compile(ASTSource(kernel, kinds, constexprs=known), target=GPUTarget("cuda", capability, 32), options=options)
        assert len(found.asm["cubin"]) > 0
        assert found.metadata.shared < 99 * 1024
        assert "tf32" not in found.asm["ptx"]
        assert "ld.global.nc" not in found.asm["ptx"]  # would not see what other threads of the program have written
        print(capability, neurons)
"""


@pytest.fixture(scope="module")
def fused() -> Sweeps:
    if find_spec("triton") is None:
        reason = "Triton is missing: pip install triton"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from snn.cells import alif_fused

    assert (type(alif_fused.forward_kernel).__name__ == "InterpretedFunction") == INTERPRETED
    return alif_fused.FUSED


def drawn(make_params: MakeParams, shape: str, steps: int, neurons: int, seed: int, dtype: torch.dtype) -> tuple[Any, list[Tensor]]:
    """Parameters, and current, w_rec, alpha, rho, beta and a state that is not at rest; weights whose sums do not depend on the order of addition."""
    rng = torch.Generator().manual_seed(seed)
    params = make_params("alif", neurons, rng)
    batch = (*SHAPES[shape], neurons)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, dtype=torch.float64)

    w_rec = (16 * normal(*batch[:1] if shape.startswith("tasks") else (), neurons, neurons)).round() / 64
    state = [normal(*batch), normal(*batch), (normal(*batch) > 0).double()]
    tensors = [0.5 + 2 * normal(steps, *batch), w_rec, *params[:3], *state]
    return params, [tensor.to(DEVICE, dtype) for tensor in tensors]


def run(params: Any, sweeps: Sweeps, detach: bool, tensors: list[Tensor]) -> list[Tensor]:
    """Spikes, pseudo-derivatives and last state."""
    own = alif.AlifParams(*tensors[2:5], params.v_th, params.gamma)
    z, psi, last = alif_run.run(tensors[0], tensors[1], alif.AlifState(*tensors[5:]), own, detach, sweeps)
    return [z, psi, *last]


def gradients(outputs: Sequence[Tensor], inputs: list[Tensor], used: Sequence[bool], **options: Any) -> tuple[Tensor, ...]:
    """Gradients of a random sum of the outputs that are used."""
    rng = torch.Generator().manual_seed(0)
    terms = [torch.randn(output.shape, generator=rng).to(output) * output for output in outputs]
    total = torch.stack([term.sum() for term, use in zip(terms, used, strict=True) if use]).sum()
    return torch.autograd.grad(total, inputs, materialize_grads=True, allow_unused=True, **options)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=4, deadline=None)
@given(
    steps=st.integers(1, 6),
    neurons=st.sampled_from([1, 6, 16, 19, 33]),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    used=st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
)
def test_kernels_do_what_the_loops_do(
    fused: Sweeps, make_params: MakeParams, shape: str, detach: bool, steps: int, neurons: int, seed: int, dtype: torch.dtype, used: list[bool]
) -> None:
    params, given = drawn(make_params, shape, steps, neurons, seed, dtype)
    outputs, found = [], []
    for sweeps in (fused, EAGER):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        outputs.append(run(params, sweeps, detach, leaves))
        found.append(gradients(outputs[-1], leaves, used))
    assert torch.equal(outputs[0][0], outputs[1][0])
    for mine, reference in zip((*outputs[0], *found[0]), (*outputs[1], *found[1]), strict=True):
        torch.testing.assert_close(mine, reference, **TOLERANCE[dtype])


def test_the_comparison_has_something_to_compare(fused: Sweeps, make_params: MakeParams) -> None:
    params, given = drawn(make_params, "tasks", 12, 19, 1, torch.float32)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    outputs = run(params, fused, False, leaves)
    assert 0.05 < outputs[0].mean() < 0.9
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients(outputs, leaves, [True] * 5))


@pytest.mark.parametrize("shape", ["a batch", "tasks"])
def test_gradients_can_be_differentiated_again(fused: Sweeps, make_params: MakeParams, shape: str) -> None:
    params, given = drawn(make_params, shape, 5, 6, 2, torch.float64)
    second = []
    for sweeps in (fused, EAGER):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        first = gradients(run(params, sweeps, False, leaves), leaves, [True] * 5, create_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in first]).sum()
        second.append(torch.autograd.grad(squares, leaves, materialize_grads=True, allow_unused=True))
    for mine, reference in zip(*second, strict=True):
        torch.testing.assert_close(mine, reference, **TOLERANCE[torch.float64])


def test_nothing_is_kept_where_no_gradient_is_needed(fused: Sweeps, make_params: MakeParams) -> None:
    params, given = drawn(make_params, "tasks of many rows", 4, 19, 3, torch.float32)
    plain = run(params, fused, False, given)
    kept = run(params, fused, False, [tensor.clone().requires_grad_() for tensor in given])
    assert not any(output.requires_grad for output in plain)
    for mine, reference in zip(plain, kept, strict=True):
        assert torch.equal(mine, reference)


def test_a_run_in_pieces_is_one_run(fused: Sweeps, make_params: MakeParams) -> None:
    params, given = drawn(make_params, "a batch", 7, 19, 4, torch.float32)
    whole = run(params, fused, False, given)
    head = run(params, fused, False, [given[0][:3], *given[1:]])
    tail = run(params, fused, False, [given[0][3:], *given[1:5], *head[2:]])
    assert torch.equal(torch.cat([head[0], tail[0]]), whole[0])
    for mine, reference in zip(tail[2:], whole[2:], strict=True):
        assert torch.equal(mine, reference)


def test_kernels_run_where_tensors_are_on_a_gpu(fused: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    assert alif_run.sweeps_for(torch.zeros(2, 3, 6)) is EAGER
    capability = [(8, 6)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability[0])
    with FakeTensorMode():  # tensors of a GPU that need none
        there = torch.zeros(2, 3, 6, device="cuda")
        assert alif_run.sweeps_for(there) is fused
        for shape, dtype in (((2, 3, 6), torch.float64), ((0, 3, 6), torch.float32), ((2, 3, 600), torch.float32)):
            assert alif_run.sweeps_for(torch.zeros(shape, dtype=dtype, device="cuda")) is EAGER
        capability[0] = (7, 5)
        assert alif_run.sweeps_for(there) is EAGER
        capability[0] = (9, 0)
        monkeypatch.setattr(alif_run, "_triton", lambda: False)
        assert alif_run.sweeps_for(there) is EAGER


def test_the_network_runs_by_the_kernels(fused: Sweeps, make_params: MakeParams, monkeypatch: pytest.MonkeyPatch) -> None:
    params, given = drawn(make_params, "a batch", 5, 6, 5, torch.float64)
    plain = network.run(given[0], given[1], params)
    called: list[int] = []

    def forward(*arguments: Any) -> Any:
        called.append(len(arguments[0]))
        return fused.forward(*arguments)

    monkeypatch.setattr(alif_run, "sweeps_for", lambda current: fused._replace(forward=forward))
    assert torch.equal(network.run(given[0], given[1], params).z, plain.z)
    assert called == [5]


@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_kernels_compile_for_a_gpu(fused: Sweeps, tmp_path: Path, kernel: str) -> None:
    """Both sizes of the shipped networks, for two generations of GPUs, neither of which need be here."""
    script = tmp_path / "compiles.py"
    script.write_text(COMPILE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRITON_CACHE_DIR": str(tmp_path / "cache"), "TRITON_INTERPRET": "0"}
    printed = subprocess.run([sys.executable, str(script), kernel], env=environment, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines() == [f"{capability} {neurons}" for neurons in (64, 256) for capability in (80, 90)]
