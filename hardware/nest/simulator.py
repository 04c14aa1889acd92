"""PyNN and NEST in this process: imported when first needed, silent, and one network at a time.

NEST has one kernel per process, and PyNN one state on top of it. Who wants to run a network empties the kernel, builds, and keeps a token; who finds
another token there builds again. Networks therefore keep nothing in the kernel that they cannot do without (`hardware.nest.network`), and several
backends, or other code that uses NEST, take turns. One network step is one step of 1 ms in NEST, whatever a step means in sound.
"""

import atexit
import importlib
import itertools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from hardware.backend import BackendError

KERNEL = threading.RLock()  # held while the kernel is used
STEP_MS = 1.0  # of NEST, for one network step
_TOKENS = itertools.count(1)


class Simulators(NamedTuple):
    """The two modules."""

    pynn: Any  # pyNN.nest
    nest: Any


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what PyNN 0.13 provokes: it calls functions that NEST 3.10 keeps for backward compatibility and says so at every call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*\w+\(\) is deprecated and will be removed in a future version of NEST", UserWarning)
        warnings.filterwarnings("ignore", r"\s*Provided for backward compatibility only", UserWarning)
        yield


@cache
def simulators() -> Simulators:
    """Import PyNN and NEST without a word on stdout.

    Raises:
        BackendError: one of them is not installed.
    """
    kept, flags = {name: os.environ.get(name) for name in ("PATH", "PYNEST_QUIET")}, sys.getdlopenflags()
    arguments, sys.argv = sys.argv, sys.argv[:1]  # NEST reads the command line of whoever imports it
    # Where PyNN sees nest-config, its import compiles an extension of cells that are not used here.
    os.environ.update({"PATH": "", "PYNEST_QUIET": "1"})
    try:
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Cannot find nest-config", UserWarning)
            nest: Any = importlib.import_module("nest")
            nest.verbosity = nest.VerbosityLevel.ERROR
            pynn = importlib.import_module("pyNN.nest")
    except ImportError as error:
        raise BackendError(f"the backend nest needs PyNN and NEST, and {error.name} is missing: pip install 'sayonce[nest]'") from error
    finally:
        sys.argv = arguments
        sys.setdlopenflags(flags)  # NEST would have every later import share its symbols
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    atexit.register(pynn.end)  # removes its temporary folders
    return Simulators(pynn, nest)


def empty_kernel(**settings: float | bool) -> str:
    """Forget whatever the kernel holds and set it up for steps of `STEP_MS`.

    Args:
        settings: kernel attributes of NEST.

    Returns:
        A token that `holds` knows until somebody else empties the kernel.
    """
    pynn, nest = simulators()
    token = f"sayonce-{next(_TOKENS)}-"
    with quiet():
        pynn.end()
        pynn.setup(timestep=STEP_MS, min_delay=STEP_MS, max_delay=STEP_MS, spike_precision="on_grid", verbosity="error")
    nest.set(data_prefix=token, **settings)  # the prefix of files, of which none is written: resetting the kernel clears it
    return token


def holds(token: str) -> bool:
    """Tell whether the kernel still holds what was built under a token."""
    return bool(simulators().nest.data_prefix == token)
