"""The fused kernels do what the loops of PyTorch's operations do, on a GPU or else under Triton's interpreter; and they compile for GPUs."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from snn import network
from snn.cells import adlif_run, alif_run, sweep
from snn.cells.adlif import AdlifState
from snn.cells.alif import AlifState

INTERPRETED = os.environ["TRITON_INTERPRET"] == "1"  # tests/conftest.py says so where there is no GPU
DEVICE = "cpu" if INTERPRETED else "cuda"
SHAPES = {"alone": (), "a batch": (3,), "more rows than a program takes": (2, 9), "tasks": (3, 2), "tasks of many rows": (2, 11)}
TOLERANCE = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-10, "atol": 1e-10}}
MakeParams = Callable[..., Any]

COMPILE = """
import sys
from importlib import import_module
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from snn.cells.fused import launch

cell, direction, *sizes = sys.argv[1:]
kernel = getattr(import_module(f"snn.cells.{cell}_fused"), f"{direction}_kernel")
used = {"V_TH": 1.0, "GAMMA": 0.5, "KEEP": True, "BY_Z": True, "BY_PSI": True, "DETACH": False}
for neurons in map(int, sizes):
    constants = launch(torch.empty(1, 1, neurons), torch.empty(neurons, neurons), **used)[2]
    options = {name: constants.pop(name) for name in ("num_warps", "enable_fp_fusion")}
    known = {name: constants[name] for name in kernel.arg_names if name in constants}
    kinds = {name: "constexpr" if name in known else "*fp32" if name.endswith("_ptr") else "i32" for name in kernel.arg_names}
    for capability in (80, 90):
        found = triton.compile(ASTSource(kernel, kinds, constexprs=known), target=GPUTarget("cuda", capability, 32), options=options)
        assert len(found.asm["cubin"]) > 0
        assert found.metadata.shared < 99 * 1024
        assert "tf32" not in found.asm["ptx"]
        assert "ld.global.nc" not in found.asm["ptx"]  # would not see what other threads of the program have written
        print(capability, neurons)
"""


class Kind(NamedTuple):
    """A cell that has kernels."""

    cell: str
    run: ModuleType  # snn.cells.*_run
    state: Callable[..., Any]
    mean: float  # of currents that make its neurons fire
    fused: Any  # sweeps by kernels


@pytest.fixture(scope="module", params=["alif", "adlif"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if find_spec("triton") is None:
        reason = "Triton is missing: pip install triton"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    kernels = import_module(f"snn.cells.{request.param}_fused")
    assert (type(kernels.forward_kernel).__name__ == "InterpretedFunction") == INTERPRETED
    if request.param == "alif":
        return Kind("alif", alif_run, AlifState, 0.5, kernels.FUSED)
    return Kind("adlif", adlif_run, AdlifState, 4.0, kernels.FUSED)


def drawn(make_params: MakeParams, kind: Kind, shape: str, steps: int, neurons: int, seed: int, dtype: torch.dtype) -> tuple[Any, list[Tensor]]:
    """Parameters, and current, w_rec, their tensors and a state that is not at rest; weights whose sums do not depend on the order of addition."""
    rng = torch.Generator().manual_seed(seed)
    params = make_params(kind.cell, neurons, rng)
    batch = (*SHAPES[shape], neurons)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, dtype=torch.float64)

    w_rec = (16 * normal(*batch[:1] if shape.startswith("tasks") else (), neurons, neurons)).round() / 64
    state = [normal(*batch), normal(*batch), (normal(*batch) > 0).double()]
    own = [field for field in params if isinstance(field, Tensor)]
    tensors = [tensor.to(DEVICE, dtype) for tensor in (kind.mean + 2 * normal(steps, *batch), w_rec, *own, *state)]
    return with_tensors(params, tensors), tensors


def with_tensors(params: Any, tensors: list[Tensor]) -> Any:
    """The same parameters, made of these tensors, which `drawn` lists."""
    return params._replace(**dict(zip(params._fields, tensors[2:-3], strict=False)))


def run(kind: Kind, params: Any, sweeps: Any, detach: bool, tensors: list[Tensor]) -> list[Tensor]:
    """Spikes, pseudo-derivatives and last state."""
    z, psi, last = kind.run.run(tensors[0], tensors[1], kind.state(*tensors[-3:]), with_tensors(params, tensors), detach, sweeps)
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
    used=st.lists(st.booleans(), min_size=5, max_size=5).filter(lambda used: sum(used) > used[1]),  # adLIF's pseudo-derivative has no gradient
)
def test_kernels_do_what_the_loops_do(
    kind: Kind, make_params: MakeParams, shape: str, detach: bool, steps: int, neurons: int, seed: int, dtype: torch.dtype, used: list[bool]
) -> None:
    params, given = drawn(make_params, kind, shape, steps, neurons, seed, dtype)
    outputs, found = [], []
    for sweeps in (kind.fused, kind.run.EAGER):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        outputs.append(run(kind, params, sweeps, detach, leaves))
        found.append(gradients(outputs[-1], leaves, used))
    assert torch.equal(outputs[0][0], outputs[1][0])
    for mine, reference in zip((*outputs[0], *found[0]), (*outputs[1], *found[1]), strict=True):
        torch.testing.assert_close(mine, reference, **TOLERANCE[dtype])


def test_the_comparison_has_something_to_compare(kind: Kind, make_params: MakeParams) -> None:
    params, given = drawn(make_params, kind, "tasks", 12, 19, 1, torch.float32)
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    outputs = run(kind, params, kind.fused, False, leaves)
    assert 0.05 < outputs[0].mean() < 0.9
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients(outputs, leaves, [True] * 5))


@pytest.mark.parametrize("shape", ["a batch", "tasks"])
def test_gradients_can_be_differentiated_again(kind: Kind, make_params: MakeParams, shape: str) -> None:
    params, given = drawn(make_params, kind, shape, 5, 6, 2, torch.float64)
    second = []
    for sweeps in (kind.fused, kind.run.EAGER):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        first = gradients(run(kind, params, sweeps, False, leaves), leaves, [True] * 5, create_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in first]).sum()
        second.append(torch.autograd.grad(squares, leaves, materialize_grads=True, allow_unused=True))
    for mine, reference in zip(*second, strict=True):
        torch.testing.assert_close(mine, reference, **TOLERANCE[torch.float64])


def test_nothing_is_kept_where_no_gradient_is_needed(kind: Kind, make_params: MakeParams) -> None:
    params, given = drawn(make_params, kind, "tasks of many rows", 4, 19, 3, torch.float32)
    plain = run(kind, params, kind.fused, False, given)
    kept = run(kind, params, kind.fused, False, [tensor.clone().requires_grad_() for tensor in given])
    assert not any(output.requires_grad for output in plain)
    for mine, reference in zip(plain, kept, strict=True):
        assert torch.equal(mine, reference)


def test_a_run_in_pieces_is_one_run(kind: Kind, make_params: MakeParams) -> None:
    params, given = drawn(make_params, kind, "a batch", 7, 19, 4, torch.float32)
    whole = run(kind, params, kind.fused, False, given)
    head = run(kind, params, kind.fused, False, [given[0][:3], *given[1:]])
    tail = run(kind, params, kind.fused, False, [given[0][3:], *given[1:-3], *head[2:]])
    assert torch.equal(torch.cat([head[0], tail[0]]), whole[0])
    for mine, reference in zip(tail[2:], whole[2:], strict=True):
        assert torch.equal(mine, reference)


def test_kernels_run_where_tensors_are_on_a_gpu(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, eager = kind.run.sweeps_for, kind.run.EAGER
    assert chosen(torch.zeros(2, 3, 6)) is eager
    capability = [(8, 6)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability[0])
    with FakeTensorMode():  # tensors of a GPU that need none
        there = torch.zeros(2, 3, 6, device="cuda")
        assert chosen(there) is kind.fused
        assert chosen(torch.zeros(2, 3, 512, device="cuda")) is kind.fused
        for shape, dtype in (((2, 3, 6), torch.float64), ((0, 3, 6), torch.float32), ((2, 3, 600), torch.float32)):
            assert chosen(torch.zeros(shape, dtype=dtype, device="cuda")) is eager
        capability[0] = (7, 5)
        assert chosen(there) is eager
        capability[0] = (9, 0)
        monkeypatch.setattr(sweep, "_triton", lambda: False)
        assert chosen(there) is eager


def test_the_network_runs_by_the_kernels(kind: Kind, make_params: MakeParams, monkeypatch: pytest.MonkeyPatch) -> None:
    params, given = drawn(make_params, kind, "a batch", 5, 6, 5, torch.float64)
    plain = network.run(given[0], given[1], params)
    called: list[int] = []

    def forward(*arguments: Any) -> Any:
        called.append(len(arguments[0]))
        return kind.fused.forward(*arguments)

    monkeypatch.setattr(kind.run, "sweeps_for", lambda current: kind.fused._replace(forward=forward))
    assert torch.equal(network.run(given[0], given[1], params).z, plain.z)
    assert called == [5]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_kernels_compile_for_a_gpu(kind: Kind, tmp_path: Path, direction: str) -> None:
    """All sizes of the shipped networks, for two generations of GPUs, neither of which need be here."""
    script = tmp_path / "compiles.py"
    script.write_text(COMPILE)
    sizes = ["64", "256", "512"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRITON_CACHE_DIR": str(tmp_path / "cache"), "TRITON_INTERPRET": "0"}
    command = [sys.executable, str(script), kind.cell, direction, *sizes]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines() == [f"{capability} {neurons}" for neurons in sizes for capability in (80, 90)]
