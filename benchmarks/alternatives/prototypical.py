"""The prototypical network that does not spike (`priming.prototypical`), as `benchmarks/protonet.py` primes it, among the methods compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alternatives.features import PerSound
from alternatives.prototype import Prototypes
from priming.errors import ModelError
from priming.evaluation import Utterance
from priming.prototypical import MOST_PARAMETERS, load_protonet, parameters


class PrimedPrototypes:
    """Cosines between a query's vector and the mean of those of a word's supports.

    Args:
        path: file of a primed network.

    Raises:
        ModelError: no such file, or a network that is larger than the comparison allows.
    """

    def __init__(self, path: Path) -> None:
        primed = load_protonet(path)
        if parameters(primed.network) > MOST_PARAMETERS:
            raise ModelError(f"{path} has {parameters(primed.network)} parameters; the comparison allows {MOST_PARAMETERS}")
        self._prototypes = Prototypes(PerSound(lambda utterance: primed.vector(utterance.samples())))

    def score(self, supports: Sequence[Sequence[Utterance]], queries: Sequence[Utterance]) -> NDArray[np.float64]:
        """Average and compare; see `alternatives.protocol.Alternative`."""
        return self._prototypes.score(supports, queries)
