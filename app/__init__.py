"""The command line and the live session, on top of the library packages.

`Listener` and `enroll` are the two calls that most programs need; they are imported on first use, so that `app --help` stays fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.enrolment import enroll
    from app.live import Listener

__all__ = ["Listener", "enroll"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "Listener":
        from app.live import Listener

        return Listener
    if name == "enroll":
        from app.enrolment import enroll

        return enroll
    raise AttributeError(f"module 'app' has no attribute {name!r}")
