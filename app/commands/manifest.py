"""`app manifest`: label a folder of recordings so that a model can be primed on it."""

import logging
from pathlib import Path

from rich.table import Table

from app import terminal
from app.errors import AppError

log = logging.getLogger("sayonce")

TOLD = 3  # of the recordings that are left out, the first so many are named


def run(folder: str, layout: str | None, language: str, seed: int, replace: bool) -> None:
    """Write the manifest and show what is in it; an existing one is replaced only when asked."""
    from priming.atomic import write_atomically
    from priming.labelling import LAYOUT, counts, label_folder, manifest_bytes
    from priming.manifest import MANIFEST

    root = Path(folder)
    file = root / MANIFEST
    if file.exists() and not replace:
        raise AppError(f"{file} exists: edit it, or add --replace to write it anew")
    found = label_folder(root, layout or LAYOUT, language, seed)
    for path, reason in found.skipped[:TOLD]:
        log.warning("left out %s: %s", path, reason)
    if len(found.skipped) > TOLD:
        log.warning("left out %d more recordings", len(found.skipped) - TOLD)
    write_atomically(file, manifest_bytes(found.rows))
    table = Table(box=None, padding=(0, 2))
    for column in ("role", "words", "speakers", "recordings"):
        table.add_column(column, justify="left" if column == "role" else "right")
    for role, numbers in counts(found.rows).items():
        table.add_row(role, *(str(number) for number in numbers))
    terminal.out.print(table)
    if not any(row.word_role == "noise" for row in found.rows):
        log.info("no recordings of noise in _background_noise_: priming will generate some")
    print(file)
