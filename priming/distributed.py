r"""Data parallelism: the processes (ranks) of one priming run, started by torchrun.

The gradient of an outer step is the mean over its M tasks. Rank r of R works on the tasks m = r, r + R, ..., and one sum over all ranks (all-reduce)
completes it:

.. math::
    \nabla_\Theta E = \frac{1}{M} \sum_{r=0}^{R-1} \sum_{m \equiv r \,(R)} \nabla_\Theta E_m

Draws depend on the number of the task alone, so every R computes the same sum; only its order, and with it the rounding, differs. All ranks then take
the same step of the optimiser. Rank 0 leads: it alone validates, speaks, and writes. Sums travel by NCCL between GPUs and by gloo between CPUs.
A process that dies makes torchrun start all of them again (`--max-restarts`), which go on from the last checkpoint.
"""

import importlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from priming.errors import DataError, ModelError

PATIENCE = timedelta(hours=12)  # of a rank that waits: the first run on a machine encodes every recording before the others may go on

MEETING_S = 300.0  # until the leader must have answered


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; alone by default."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the processes of this machine
    restarted: bool = False  # torchrun has started them again; the leader knows

    @property
    def leads(self) -> bool:
        """Whether this process validates, speaks, and writes."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return which of so many jobs this process does."""
        return range(self.rank, count, self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the ranks, in one message.

        Args:
            tensors: of one type and device, of the same shapes on every rank; changed in place.

        Raises:
            ModelError: another process of the run is gone.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _peers():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def of_leader(self, value: float) -> float:
        """Return the leader's value of a number, bit for bit.

        Raises:
            ModelError: another process of the run is gone.
        """
        told = torch.tensor([value if self.leads else 0.0], dtype=torch.float64)
        self.add([told])
        return float(told)

    def bytes_of_leader(self, content: bytes) -> bytes:
        """Return the bytes that the leader passes; what the others pass is ignored.

        Raises:
            ModelError: another process of the run is gone.
        """
        if self.size == 1:
            return content
        message = torch.zeros(int(self.of_leader(len(content))), dtype=torch.uint8)
        if self.leads:
            message.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        with _peers():
            dist.broadcast(message, 0)
        return message.numpy().tobytes()

    @contextmanager
    def machine_leader_first(self) -> Iterator[None]:
        """Let one process of each machine run a block before the others do, which then find what it cached.

        Raises:
            ModelError: another process of the run is gone.
        """
        if self.local_rank:
            self.of_leader(0.0)
        yield
        if not self.local_rank:
            self.of_leader(0.0)


def leading() -> bool:
    """Return whether this process leads, before it has joined the others."""
    return not dist.is_torchelastic_launched() or os.environ["RANK"] == "0"


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; outside of torchrun there is one.

    Args:
        device: "cpu" or "cuda"; of several processes on a machine each takes the GPU of its number.

    Yields:
        This process among them.

    Raises:
        DataError: more processes than GPUs on this machine.
        ModelError: the others could not be reached.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks()
        return
    # Its functions take the group that there is when they are defined as the default of an argument. Loaded later, by the first optimiser, they would
    # keep the group and its threads after destroy_process_group; one that still holds a tensor when Python ends makes the process abort.
    importlib.import_module("torch.distributed.nn.functional")
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise DataError(f"this machine has {torch.cuda.device_count()} GPUs: start as many processes with --nproc-per-node")
        torch.cuda.set_device(local)
    with _peers():
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        store, restarted = _meeting_point(rank)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Ranks(rank, size, local, restarted)
    finally:
        dist.destroy_process_group()


def _meeting_point(rank: int) -> tuple[dist.TCPStore, bool]:
    """Open a store in which the processes find each other, and nothing that those before a restart have left; and tell whether there were any.

    The store that torchrun brings lives on over restarts (PyTorch issue 135712), so it only says where the leader's own is; an address from before
    a restart does not answer any more. (torchrun's count of restarts is no help: each machine counts its own.)

    Raises:
        OSError: the leader was not found.
    """
    host = os.environ["MASTER_ADDR"]
    given = dist.TCPStore(host, int(os.environ["MASTER_PORT"]), is_master=False)
    if rank == 0:
        own = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        restarted = given.check(["leader"])
        given.set("leader", str(own.port))
        return own, restarted
    deadline = time.monotonic() + MEETING_S
    while True:
        try:
            port = int(given.get("leader"))
            with socket.create_connection((host, port), MEETING_S):  # TCPStore itself would try a dead address for long, and complain
                return dist.TCPStore(host, port, is_master=False), False
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextmanager
def _peers() -> Iterator[None]:
    """Say in one line what went wrong between processes."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"another process of the run is gone, or cannot be reached ({reason}); the last checkpoint is kept") from error
