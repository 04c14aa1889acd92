"""Names of caches: a hash of everything that their content depends on."""

import hashlib
import json
from typing import Any


def fingerprint(parts: Any) -> str:
    """Return a short hash of everything JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
