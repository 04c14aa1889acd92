"""A network that runs and learns by e-prop: ours, forward only, and NEST's ALIF neurons with its e-prop synapse, on one thread each.

Both have 576 inputs and 256 ALIF neurons, plastic input and recurrent weights (without autapses), external learning signals, and one change of the
weights every 64 steps; NEST receives the learning signals through one readout a neuron. Input spikes are those of the same random raster. NEST's
work grows with the spikes, ours does not: the rate of 0.15 a step is the encoder's. NEST computes in float64.
"""

from contextlib import suppress
from functools import partial

import torch

from snn import eprop, network
from snn.cells.alif import AlifParams
from speed.measure import Contestant, Row, compare

NEURONS, INPUTS, STEPS = 256, 576, 64
INPUT_RATE = 0.15
WINDOWS = 5  # of 64 steps in one measurement
TAU_MS, TAU_ADAPTATION_MS = 20.0, 200.0


def ours(x: torch.Tensor, w_in: torch.Tensor, w_rec: torch.Tensor, params: AlifParams, signal: torch.Tensor) -> None:
    """Run and learn WINDOWS times."""
    with torch.no_grad():
        for _ in range(WINDOWS):
            activity = network.run(network.project(x, w_in), w_rec, params)
            factor = eprop.factors(activity.psi, signal, params)
            w_in = w_in - 1e-6 * eprop.gradient(factor, x)
            w_rec = w_rec - 1e-6 * eprop.gradient(factor, network.delayed(activity.z))


def build_nest(x: torch.Tensor, w_in: torch.Tensor, w_rec: torch.Tensor, signal: torch.Tensor) -> Contestant:
    """Build NEST's network; what is returned simulates WINDOWS windows more.

    Raises:
        ImportError: NEST is not installed.
    """
    import nest
    import numpy as np

    nest.verbosity = nest.VerbosityLevel.FATAL
    nest.ResetKernel()
    nest.set(
        resolution=1.0,
        local_num_threads=1,
        eprop_update_interval=float(STEPS),
        eprop_learning_window=float(STEPS),
        eprop_reset_neurons_on_update=True,
    )
    nest.print_time = False
    neuron = {"V_th": 1.0, "tau_m": TAU_MS, "adapt_tau": TAU_ADAPTATION_MS, "adapt_beta": 0.3, "C_m": 1.0, "E_L": 0.0, "V_m": 0.0, "t_ref": 0.0}
    surrogate = {"surrogate_gradient_function": "piecewise_linear", "surrogate_gradient_height": 0.3, "surrogate_gradient_width": 1.0, "c_reg": 0.0}
    neurons = nest.Create("eprop_iaf_adapt_bsshslm_2020", NEURONS, neuron | surrogate | {"regular_spike_arrival": True})
    readouts = nest.Create("eprop_readout_bsshslm_2020", NEURONS, {"loss": "mean_squared_error", "tau_m": TAU_MS, "C_m": 1.0, "E_L": 0.0, "V_m": 0.0})
    generators, parrots = nest.Create("spike_generator", INPUTS), nest.Create("parrot_neuron", INPUTS)
    targets = nest.Create("step_rate_generator", NEURONS)
    nest.SetDefaults(
        "eprop_synapse_bsshslm_2020", {"optimizer": {"type": "gradient_descent", "batch_size": 1, "eta": 1e-6}, "average_gradient": False}
    )
    plastic = {"synapse_model": "eprop_synapse_bsshslm_2020", "delay": 1.0, "tau_m_readout": TAU_MS}
    fixed = {"synapse_model": "static_synapse", "delay": 1.0}
    nest.Connect(generators, parrots, "one_to_one", fixed)
    dense = {"rule": "all_to_all", "allow_autapses": False}
    nest.Connect(parrots, neurons, dense, plastic | {"weight": w_in.double().numpy()})
    nest.Connect(neurons, neurons, dense, plastic | {"weight": w_rec.double().numpy()})
    feedback = {"synapse_model": "eprop_learning_signal_connection_bsshslm_2020", "delay": 1.0, "weight": 1.0}
    nest.Connect(readouts, neurons, "one_to_one", feedback)
    nest.Connect(targets, readouts, "one_to_one", {"synapse_model": "rate_connection_delayed", "delay": 1.0, "receptor_type": 2})
    raster, signals = x.numpy().astype(bool), signal.double().numpy()
    raster[0] = False  # NEST allows no spike at the first step of a window
    simulated = 0

    def run() -> None:
        nonlocal simulated
        starts = simulated + STEPS * np.arange(WINDOWS)
        for generator, column in zip(generators, raster.T, strict=True):
            generator.spike_times = (starts[:, None] + np.flatnonzero(column) + 1.0).ravel()
        times = (simulated + np.arange(WINDOWS * STEPS) + 4.0).tolist()
        for target, column in zip(targets, signals.T, strict=True):
            target.set(amplitude_times=times, amplitude_values=(-np.tile(column, WINDOWS)).tolist())
        nest.Simulate(float(WINDOWS * STEPS))
        simulated += WINDOWS * STEPS

    return run


def contestants() -> dict[str, Contestant]:
    """Prepare ours, and NEST's where it is installed."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(STEPS, INPUTS, generator=rng) < INPUT_RATE).float()
    w_in = torch.randn(NEURONS, INPUTS, generator=rng) / 12
    w_rec = torch.randn(NEURONS, NEURONS, generator=rng) / 16 * (1 - torch.eye(NEURONS))
    signal = 0.1 * torch.randn(STEPS, NEURONS, generator=rng)
    alpha, rho = (torch.exp(torch.full((NEURONS,), -1.0 / tau)) for tau in (TAU_MS, TAU_ADAPTATION_MS))
    params = AlifParams(alpha, rho, torch.full((NEURONS,), 0.3))
    found: dict[str, Contestant] = {"ours": partial(ours, x, w_in, w_rec, params, signal)}
    with suppress(ImportError):
        found["NEST"] = build_nest(x, w_in, w_rec, signal)
    return found


def measure(repeats: int) -> list[Row]:
    """Compare them."""
    return compare(f"run and learn, N={NEURONS}, I={INPUTS}, {WINDOWS} x T={STEPS}", "ours", contestants(), repeats)
