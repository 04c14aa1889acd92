"""Changes of several files of a folder that happen together: after a crash at any moment all of them are done, or none.

One file is replaced or removed in one step by the file system itself. For several, the new contents are first written into a folder of their own;
its renaming to `.pending` is the moment at which the change counts. Then file after file is moved to its place, and whoever finds `.pending` later
goes on with that: moving what is still there is the same work whether it was begun before or not. An empty file stands for a removal.

The caller holds the folder's lock.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from priming.atomic import PARTIAL, write_atomically

PENDING = ".pending"


def change(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Write and remove files, all of them or none.

    Args:
        folder: where they are; must exist, and no change may be pending in it.
        files: new contents by name, not empty; None to remove the file, if it is there.

    Raises:
        OSError: the change cannot be made (disk full, no permission). Either nothing has changed, or the change counts and `finish` completes it.
    """
    if len(files) <= 1:
        for name, contents in files.items():
            if contents is None:
                (folder / name).unlink(missing_ok=True)
                _sync(folder)
            else:
                write_atomically(folder / name, contents, private=True)
        return
    stage = Path(tempfile.mkdtemp(prefix=".", suffix=PARTIAL, dir=folder))
    try:
        for name, contents in files.items():
            with open(stage / name, "wb") as file:
                file.write(contents or b"")
                file.flush()
                os.fsync(file.fileno())
        _sync(stage)
        os.rename(stage, folder / PENDING)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    _sync(folder)  # it counts before the first file moves
    finish(folder)


def finish(folder: Path) -> None:
    """Complete a change that counts, if there is one.

    Raises:
        OSError: it cannot be completed now; it still counts.
    """
    pending = folder / PENDING
    try:
        names = sorted(os.listdir(pending))
    except FileNotFoundError:
        return
    removals = [name for name in names if os.stat(pending / name).st_size == 0]
    for name in names:
        if name in removals:
            (folder / name).unlink(missing_ok=True)
        else:
            os.replace(pending / name, folder / name)
    _sync(folder)
    for name in removals:
        (pending / name).unlink()
    os.rmdir(pending)


def sweep(folder: Path) -> None:
    """Remove what a program that was killed left half written; none of it counts."""
    for left in folder.glob(f".*{PARTIAL}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
