"""Files that are replaced as a whole: whoever reads sees the old one or the new one, also after a crash or with a full disk."""

import os
import tempfile
from pathlib import Path

PARTIAL = ".part"  # suffix of a file that is being written; it begins with a dot


def write_atomically(path: Path, contents: bytes, *, private: bool = False) -> None:
    """Replace a file in one step, flushed to the disk.

    Args:
        path: the file; its folder is made when missing.
        contents: all of it.
        private: readable by its owner alone.

    Raises:
        OSError: it cannot be written (disk full, no permission); the old file is untouched and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        if not private:
            os.chmod(temporary, 0o644)  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must reach the disk
        finally:
            os.close(folder)
