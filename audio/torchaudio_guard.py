"""Imports torchaudio beside a PyTorch without CUDA.

The compiled extension of torchaudio 2.11 wants CUDA libraries and its import fails without them, though the Python parts used here (mel filters, the
Speech Commands corpus) need none of it. When the import fails for that reason, a stand-in for the extension's loader says that there is no
extension, and the import is tried again.
"""

import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any


def _without_extension(function: Callable[..., Any]) -> Callable[..., Any]:
    """Replace a function that needs the extension by one that says so."""

    @functools.wraps(function)
    def refuse(*_args: object, **_keywords: object) -> None:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension, which does not load here")

    return refuse


def import_torchaudio() -> Any:
    """Import torchaudio, without its compiled extension where that cannot be loaded.

    Returns:
        The module `torchaudio`.

    Raises:
        ImportError: torchaudio is not installed, or fails even without its extension.
    """
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        extension = types.ModuleType("torchaudio._extension")
        vars(extension).update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            fail_if_no_align=_without_extension,
            _check_cuda_version=lambda: None,
        )
        sys.modules["torchaudio._extension"] = extension
        return importlib.import_module("torchaudio")
