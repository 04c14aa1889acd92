r"""The sweeps of a run of adLIF neurons as one GPU kernel each, in Triton: all steps, the recurrent product among them, in a single launch.

As in `snn.cells.alif_fused`, which says what a program does and why its products are IEEE float32: membrane, adaptation current and, backwards, the
sums for :math:`\hat\alpha, \hat\rho, \hat a, \hat b` stay in registers; the recurrent product

.. math::
    \sum_i W_{ji} z_i^{t-1} \qquad\text{or}\qquad \sum_j W_{ji} \hat I_j^{t+1}

reads what was written out a step before. What differs from `snn.cells.adlif_sweeps` is the order in which a recurrent sum is added up.

This file needs Triton; `snn.cells.adlif_run` imports it where there is one and tensors are on a GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snn.cells.adlif import AdlifParams, AdlifState
from snn.cells.adlif_sweeps import Adjoint, Given, Ran, Sweeps
from snn.cells.fused import launch, product


@triton.jit  # type: ignore[untyped-decorator]
def forward_kernel(  # type: ignore[no-untyped-def]
    current_ptr, weights_ptr, alpha_ptr, rho_ptr, a_ptr, b_ptr, u0_ptr, w0_ptr, z0_ptr, z_ptr, psi_ptr, u_ptr, w_ptr, g_ptr,
    steps, rows, step_stride, task_stride,
    N: tl.constexpr, GAMMA: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, NEURONS: tl.constexpr, PART: tl.constexpr,
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
    coupling = (1.0 - rho) * tl.load(a_ptr + column, mask=column < N, other=0.0)[None, :]
    b = tl.load(b_ptr + column, mask=column < N, other=0.0)[None, :]
    u = tl.load(u0_ptr + place, mask=mask, other=0.0)
    w = tl.load(w0_ptr + place, mask=mask, other=0.0)
    z = tl.load(z0_ptr + place, mask=mask, other=0.0)
    before = z0_ptr + begin
    offset = tl.zeros((1, 1), dtype=tl.int64)  # of the step
    for _ in range(steps):
        here = offset + place
        entering = product(before, row < rows, weights_ptr + task * task_stride, column, N, ROWS, NEURONS, PART)
        entering += tl.load(current_ptr + here, mask=mask, other=0.0)
        w = w * rho + u * coupling + z * b
        entering -= w
        u = (u - z) * alpha + entering * (1.0 - alpha)
        distance = u - 1.0
        z = (distance >= 0.0).to(u.dtype)
        tl.store(z_ptr + here, z, mask=mask)
        tl.store(psi_ptr + here, (tl.abs(distance) <= 0.5).to(u.dtype) * GAMMA, mask=mask)
        if KEEP:
            tl.store(u_ptr + here, u, mask=mask)
            tl.store(w_ptr + here, w, mask=mask)
            tl.store(g_ptr + here, entering, mask=mask)
        before = z_ptr + offset + begin
        offset += step_stride
        tl.debug_barrier()  # the next step reads spikes that other threads have written
    if not KEEP:
        tl.store(u_ptr + place, u, mask=mask)
        tl.store(w_ptr + place, w, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def backward_kernel(  # type: ignore[no-untyped-def]
    given_z_ptr, given_u_ptr, given_w_ptr, z_ptr, psi_ptr, u_ptr, w_ptr, g_ptr, weights_ptr, alpha_ptr, rho_ptr, a_ptr, b_ptr, u0_ptr, w0_ptr, z0_ptr,
    current_hat_ptr, alpha_hat_ptr, rho_hat_ptr, a_hat_ptr, b_hat_ptr, u0_hat_ptr, w0_hat_ptr, z0_hat_ptr, steps, rows, step_stride, task_stride,
    N: tl.constexpr, BY_Z: tl.constexpr, DETACH: tl.constexpr, ROWS: tl.constexpr, NEURONS: tl.constexpr, PART: tl.constexpr,
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
    a = tl.load(a_ptr + column, mask=column < N, other=0.0)[None, :]
    b = tl.load(b_ptr + column, mask=column < N, other=0.0)[None, :]
    u_hat = tl.load(given_u_ptr + place, mask=mask, other=0.0)
    w_hat = tl.load(given_w_ptr + place, mask=mask, other=0.0)
    offset = tl.zeros((1, 1), dtype=tl.int64) + (steps - 1)
    offset *= step_stride
    by_alpha, by_u, by_w, by_z = tl.zeros_like(u_hat), tl.zeros_like(u_hat), tl.zeros_like(u_hat), tl.zeros_like(u_hat)
    for back in range(steps):
        here = offset + place
        inner = back > 0  # what comes after the run hears z through the state, whose gradient is in that of z
        z_hat = tl.zeros_like(u_hat)
        if BY_Z:
            z_hat += tl.load(given_z_ptr + here, mask=mask, other=0.0)
        if not DETACH:
            z_hat += product(current_hat_ptr + offset + step_stride + begin, (row < rows) & inner, weights, column, N, ROWS, NEURONS, PART)
        reset = tl.where(inner, alpha, 1.0) * u_hat
        z_hat = z_hat - tl.where(inner, reset, 0.0) + tl.where(inner, b, 0.0) * w_hat
        u_hat = reset + tl.where(inner, (1.0 - rho) * a, 0.0) * w_hat + z_hat * tl.load(psi_ptr + here, mask=mask, other=0.0)
        current_hat = u_hat * (1.0 - alpha)
        w_hat = tl.where(inner, rho, 1.0) * w_hat - current_hat
        tl.store(current_hat_ptr + here, current_hat, mask=mask)
        if back < steps - 1:
            u = tl.load(u_ptr + here - step_stride, mask=mask, other=0.0)
            w = tl.load(w_ptr + here - step_stride, mask=mask, other=0.0)
            z = tl.load(z_ptr + here - step_stride, mask=mask, other=0.0)
        else:
            u = tl.load(u0_ptr + place, mask=mask, other=0.0)
            w = tl.load(w0_ptr + place, mask=mask, other=0.0)
            z = tl.load(z0_ptr + place, mask=mask, other=0.0)
        by_alpha += u_hat * (u - z - tl.load(g_ptr + here, mask=mask, other=0.0))
        by_u += w_hat * u
        by_w += w_hat * w
        by_z += w_hat * z
        offset -= step_stride
        tl.debug_barrier()  # the next step reads gradients that other threads have written
    z0_hat = b * w_hat - alpha * u_hat
    if not DETACH:
        z0_hat += product(current_hat_ptr + begin, row < rows, weights, column, N, ROWS, NEURONS, PART)
    tl.store(alpha_hat_ptr + place, by_alpha, mask=mask)
    tl.store(rho_hat_ptr + place, by_w - a * by_u, mask=mask)
    tl.store(a_hat_ptr + place, (1.0 - rho) * by_u, mask=mask)
    tl.store(b_hat_ptr + place, by_z, mask=mask)
    tl.store(u0_hat_ptr + place, alpha * u_hat + (1.0 - rho) * a * w_hat, mask=mask)
    tl.store(w0_hat_ptr + place, rho * w_hat, mask=mask)
    tl.store(z0_hat_ptr + place, z0_hat, mask=mask)


def forward(currents: Tensor, w_rec: Tensor, first: AdlifState, params: AdlifParams, keep: bool) -> Ran:
    """Run from the first step to the last; arguments and result as of `snn.cells.adlif_sweeps.forward`."""
    z, psi = torch.empty_like(currents), torch.empty_like(currents)
    u, w, g = (currents.new_empty(currents.shape if keep else (1, *currents.shape[1:])) for _ in range(3))
    grid, sizes, constants = launch(currents, w_rec, GAMMA=params.gamma, KEEP=keep)
    inputs = currents, w_rec.transpose(-1, -2).contiguous(), *(tensor.contiguous() for tensor in (*params[:4], *first))
    with torch.cuda.device_of(currents):
        forward_kernel[grid](*inputs, z, psi, u, w, g, *sizes, **constants)
    return Ran(z, psi, u, w, g)


def backward(given: Given, ran: Ran, w_rec: Tensor, first: AdlifState, params: AdlifParams, detach: bool) -> Adjoint:
    """Run the adjoint from the last step to the first; arguments and result as of `snn.cells.adlif_sweeps.backward`."""
    current_hat = torch.empty_like(ran.z)
    by_alpha, by_rho, by_a, by_b, *by_state = (torch.empty_like(ran.z[0]) for _ in range(7))
    grid, sizes, constants = launch(ran.z, w_rec, BY_Z=given.z is not None, DETACH=detach)
    zero = torch.zeros_like(ran.z[0])
    inputs = (
        ran.z if given.z is None else given.z,  # not read where there is none
        *(zero if by is None else by for by in (given.u, given.w)),
        *ran,
        w_rec,
        *params[:4],
        *first,
    )
    outputs = current_hat, by_alpha, by_rho, by_a, by_b, *by_state
    with torch.cuda.device_of(ran.z):
        backward_kernel[grid](*(tensor.contiguous() for tensor in inputs), *outputs, *sizes, **constants)
    return Adjoint(current_hat, by_alpha, by_rho, by_a, by_b, AdlifState(*by_state))


FUSED = Sweeps(forward, backward)
