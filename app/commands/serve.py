"""`app serve`: enrolled words as wake words over the Wyoming protocol."""

import asyncio
import signal

from app.errors import AppError


def run(uri: str, words: str | None, model: str | None, backend: str) -> None:
    """Serve until interrupted or terminated."""
    try:
        import wyoming  # noqa: F401 - its absence is told before anything is loaded
    except ImportError:
        raise AppError("the package wyoming is missing, which the server needs: pip install wyoming") from None
    from app.server import parse, serve
    from app.wake_words import Words

    parse(uri)  # refused before the model is loaded
    if asyncio.run(serve(Words(words, model, backend), uri)):
        raise SystemExit(128 + signal.SIGTERM)
