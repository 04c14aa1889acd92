"""What a method of the comparison is: something that scores the queries of an episode from the supports of its words.

Every method hears the same sound and makes its own features of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alternatives.features import Embedding, Spikes
from alternatives.network import Network
from priming.evaluation import Utterance
from priming.features import identity
from priming.model import PrimedModel


class Alternative(Protocol):
    """A method of the comparison."""

    def score(self, supports: Sequence[Sequence[Utterance]], queries: Sequence[Utterance]) -> NDArray[np.float64]:
        """Learn the words of an episode and score its queries.

        Args:
            supports: the utterances of each word.
            queries: utterances to recognise.

        Returns:
            [queries, words], the larger the surer that the query says the word.
        """
        ...


@dataclass(frozen=True)
class Settings:
    """What methods are made of; features and networks that several of them use are made once, when first asked for.

    Attributes:
        model: the primed model under test.
        readout_model: a model primed to learn with its readout alone, if there is one.
        protonet: file of a primed prototypical network, if there is one.
        seed: of methods that draw something themselves.
    """

    model: PrimedModel
    readout_model: PrimedModel | None = None
    protonet: Path | None = None
    seed: int = 0

    @cached_property
    def spikes(self) -> Spikes:
        """Spikes of the model's encoder."""
        return Spikes(self.model)

    def spikes_of(self, model: PrimedModel) -> Spikes:
        """Spikes of another model's encoder: the same ones where the encoders are the same."""
        return self.spikes if identity(model.encoder()) == identity(self.model.encoder()) else Spikes(model)

    @cached_property
    def embedding(self) -> Embedding:
        """The speech embedding behind the model's spikes.

        Raises:
            UnavailableError: the model hears with another encoder.
        """
        return Embedding(self.model)

    @cached_property
    def network(self) -> Network:
        """The model in the torch emulator, as it was primed."""
        return Network(self.model, self.spikes)
