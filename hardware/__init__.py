"""Where a primed network runs: one protocol, one file per backend."""

from hardware.backend import Backend, BackendError, Capabilities, Shot, open_backend

__all__ = ["Backend", "BackendError", "Capabilities", "Shot", "open_backend"]
