"""Notices that a word store was changed by another program, by looking at names, sizes and times of its files."""

import time
from pathlib import Path

from app.names import SUFFIX

INTERVAL_S = 2.0  # between two looks


class StoreWatch:
    """Watches the folder of a word store.

    Args:
        folder: need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._look()
        self._next = time.monotonic() + INTERVAL_S

    def _look(self) -> frozenset[tuple[str, int, int]]:
        entries = set()
        try:
            for path in self._folder.glob(f"*{SUFFIX}"):
                about = path.stat()
                entries.add((path.name, about.st_mtime_ns, about.st_size))
        except OSError:
            return self._seen if hasattr(self, "_seen") else frozenset()  # being changed right now, or out of reach: look again later
        return frozenset(entries)

    def changed(self) -> bool:
        """Say whether words came, went or changed since the last time that this was said; looks every two seconds at most."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + INTERVAL_S
        seen, self._seen = self._seen, self._look()
        return self._seen != seen
