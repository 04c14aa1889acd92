r"""The sweeps of a run of ALIF neurons as one GPU kernel each, in Triton: all steps, the recurrent product among them, in a single launch.

Sequences do not meet within a run, so every program of the grid takes `ROWS` of them (of one task, where every task has weights of its own) through
all T steps. State, adaptation and, backwards, the sums for :math:`\hat\alpha, \hat\rho, \hat\beta` stay in registers. The recurrent product

.. math::
    \sum_i W_{ji} z_i^{t-1} \qquad\text{or}\qquad \sum_j W_{ji} \hat v_j^{t+1}

needs what other threads of the program hold: it is written out at every step, as the run has to return it anyway, and is read back in parts of `PART`
neurons after a barrier; the weights come from the GPU's cache. Spikes are decided by a threshold, so products are IEEE float32 (no TF32) and
multiplications are not fused with additions: what differs from `snn.cells.alif_sweeps` is the order in which a recurrent sum is added up.

This file needs Triton; `snn.cells.alif_run` imports it where there is one and tensors are on a GPU. Without a GPU the kernels run under Triton's
interpreter (TRITON_INTERPRET=1 before Triton is imported), which is how the tests run them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snn.cells.alif import AlifParams, AlifState
from snn.cells.alif_sweeps import Adjoint, Given, Ran, Sweeps
from snn.cells.fused import launch, product


@triton.jit  # type: ignore[untyped-decorator]
def forward_kernel(  # type: ignore[no-untyped-def]
    current_ptr, weights_ptr, alpha_ptr, rho_ptr, beta_ptr, v0_ptr, a0_ptr, z0_ptr, z_ptr, psi_ptr, v_ptr, a_ptr,
    steps, rows, step_stride, task_stride,
    N: tl.constexpr, V_TH: tl.constexpr, GAMMA: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, NEURONS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Run `ROWS` sequences of one task forward; weights are transposed, the grid is (parts of a task's rows, tasks)."""
    task = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, NEURONS)
    mask = (row < rows) & (column < N)[None, :]
    begin = (task * rows + row) * N  # where each row of a step begins
    place = begin + column[None, :]
    alpha = tl.load(alpha_ptr + column, mask=column < N, other=0.0)[None, :]
    rho = tl.load(rho_ptr + column, mask=column < N, other=0.0)[None, :]
    beta = tl.load(beta_ptr + column, mask=column < N, other=0.0)[None, :]
    v = tl.load(v0_ptr + place, mask=mask, other=0.0)
    a = tl.load(a0_ptr + place, mask=mask, other=0.0)
    z = tl.load(z0_ptr + place, mask=mask, other=0.0)
    before = z0_ptr + begin
    offset = tl.zeros((1, 1), dtype=tl.int64)  # of the step
    for _ in range(steps):
        here = offset + place
        arriving = product(before, row < rows, weights_ptr + task * task_stride, column, N, ROWS, NEURONS, PART)
        arriving += tl.load(current_ptr + here, mask=mask, other=0.0)
        v = v * alpha + arriving - z * V_TH
        a = a * rho + z
        distance = v - (a * beta + V_TH)
        z = (distance >= 0.0).to(v.dtype)
        tl.store(z_ptr + here, z, mask=mask)
        tl.store(psi_ptr + here, tl.maximum(1.0 - tl.abs(distance) / V_TH, 0.0) * (GAMMA / V_TH), mask=mask)
        if KEEP:
            tl.store(v_ptr + here, v, mask=mask)
            tl.store(a_ptr + here, a, mask=mask)
        before = z_ptr + offset + begin
        offset += step_stride
        tl.debug_barrier()  # the next step reads spikes that other threads have written
    if not KEEP:
        tl.store(v_ptr + place, v, mask=mask)
        tl.store(a_ptr + place, a, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def backward_kernel(  # type: ignore[no-untyped-def]
    given_z_ptr, given_psi_ptr, given_v_ptr, given_a_ptr, psi_ptr, v_ptr, a_ptr, weights_ptr, alpha_ptr, rho_ptr, beta_ptr, v0_ptr, a0_ptr,
    current_hat_ptr, alpha_hat_ptr, rho_hat_ptr, beta_hat_ptr, v0_hat_ptr, a0_hat_ptr, z0_hat_ptr, steps, rows, step_stride, task_stride,
    N: tl.constexpr, V_TH: tl.constexpr, GAMMA: tl.constexpr, BY_Z: tl.constexpr, BY_PSI: tl.constexpr, DETACH: tl.constexpr,
    ROWS: tl.constexpr, NEURONS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Run the adjoint of `ROWS` sequences of one task, from the last step to the first."""
    task = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, NEURONS)
    mask = (row < rows) & (column < N)[None, :]
    begin = (task * rows + row) * N
    place = begin + column[None, :]
    weights = weights_ptr + task * task_stride
    alpha = tl.load(alpha_ptr + column, mask=column < N, other=0.0)[None, :]
    rho = tl.load(rho_ptr + column, mask=column < N, other=0.0)[None, :]
    beta = tl.load(beta_ptr + column, mask=column < N, other=0.0)[None, :]
    v_hat = tl.load(given_v_ptr + place, mask=mask, other=0.0)
    a_hat = tl.load(given_a_ptr + place, mask=mask, other=0.0)
    offset = tl.zeros((1, 1), dtype=tl.int64) + (steps - 1)
    offset *= step_stride
    v = tl.load(v_ptr + offset + place, mask=mask, other=0.0)
    a = tl.load(a_ptr + offset + place, mask=mask, other=0.0)
    by_alpha, by_rho, by_beta = tl.zeros_like(v), tl.zeros_like(v), tl.zeros_like(v)
    for back in range(steps):
        here = offset + place
        inner = back > 0  # what comes after the run hears z through the state, whose gradient is in that of z
        z_hat = tl.where(inner, a_hat, 0.0)
        if BY_Z:
            z_hat += tl.load(given_z_ptr + here, mask=mask, other=0.0)
        if not DETACH:
            z_hat += product(current_hat_ptr + offset + step_stride + begin, (row < rows) & inner, weights, column, N, ROWS, NEURONS, PART)
        d_hat = z_hat * tl.load(psi_ptr + here, mask=mask, other=0.0)
        if BY_PSI:
            distance = v - (a * beta + V_TH)
            slope = tl.where(distance > 0.0, -GAMMA / (V_TH * V_TH), tl.where(distance < 0.0, GAMMA / (V_TH * V_TH), 0.0))
            d_hat += tl.where(tl.abs(distance) / V_TH <= 1.0, slope, 0.0) * tl.load(given_psi_ptr + here, mask=mask, other=0.0)
        by_beta -= d_hat * a
        v_hat = d_hat + tl.where(inner, alpha, 1.0) * v_hat
        a_hat = tl.where(inner, rho, 1.0) * a_hat - beta * d_hat
        tl.store(current_hat_ptr + here, v_hat, mask=mask)
        if back < steps - 1:
            v = tl.load(v_ptr + here - step_stride, mask=mask, other=0.0)
            a = tl.load(a_ptr + here - step_stride, mask=mask, other=0.0)
        else:
            v = tl.load(v0_ptr + place, mask=mask, other=0.0)
            a = tl.load(a0_ptr + place, mask=mask, other=0.0)
        by_alpha += v_hat * v
        by_rho += a_hat * a
        offset -= step_stride
        tl.debug_barrier()  # the next step reads gradients that other threads have written
    z0_hat = a_hat
    if not DETACH:
        z0_hat += product(current_hat_ptr + begin, row < rows, weights, column, N, ROWS, NEURONS, PART)
    tl.store(alpha_hat_ptr + place, by_alpha, mask=mask)
    tl.store(rho_hat_ptr + place, by_rho, mask=mask)
    tl.store(beta_hat_ptr + place, by_beta, mask=mask)
    tl.store(v0_hat_ptr + place, alpha * v_hat, mask=mask)
    tl.store(a0_hat_ptr + place, rho * a_hat, mask=mask)
    tl.store(z0_hat_ptr + place, z0_hat, mask=mask)


def forward(currents: Tensor, w_rec: Tensor, first: AlifState, params: AlifParams, keep: bool) -> Ran:
    """Run from the first step to the last; arguments and result as of `snn.cells.alif_sweeps.forward`."""
    z, psi = torch.empty_like(currents), torch.empty_like(currents)
    v, a = (currents.new_empty(currents.shape if keep else (1, *currents.shape[1:])) for _ in range(2))
    grid, sizes, constants = launch(currents, w_rec, V_TH=params.v_th, GAMMA=params.gamma, KEEP=keep)
    inputs = currents, w_rec.transpose(-1, -2).contiguous(), *(tensor.contiguous() for tensor in (*params[:3], *first))
    with torch.cuda.device_of(currents):
        forward_kernel[grid](*inputs, z, psi, v, a, *sizes, **constants)
    return Ran(z, psi, v, a)


def backward(given: Given, ran: Ran, w_rec: Tensor, first: AlifState, params: AlifParams, detach: bool) -> Adjoint:
    """Run the adjoint from the last step to the first; arguments and result as of `snn.cells.alif_sweeps.backward`."""
    current_hat = torch.empty_like(ran.z)
    by_alpha, by_rho, by_beta, *by_state = (torch.empty_like(ran.z[0]) for _ in range(6))
    used = {"BY_Z": given.z is not None, "BY_PSI": given.psi is not None, "DETACH": detach}
    grid, sizes, constants = launch(ran.z, w_rec, V_TH=params.v_th, GAMMA=params.gamma, **used)
    zero = torch.zeros_like(ran.z[0])
    inputs = (
        *(ran.z if by is None else by for by in (given.z, given.psi)),  # not read where there is none
        *(zero if by is None else by for by in (given.v, given.a)),
        *ran[1:],
        w_rec,
        *params[:3],
        *first[:2],
    )
    outputs = current_hat, by_alpha, by_rho, by_beta, *by_state
    with torch.cuda.device_of(ran.z):
        backward_kernel[grid](*(tensor.contiguous() for tensor in inputs), *outputs, *sizes, **constants)
    return Adjoint(current_hat, by_alpha, by_rho, by_beta, AlifState(*by_state))


FUSED = Sweeps(forward, backward)
