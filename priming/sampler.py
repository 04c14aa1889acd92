"""Tasks for the outer loop: some words, one utterance of each to learn from, utterances of other speakers to recognise.

Every draw depends on the seed and the number of the step alone, so a resumed run draws what the uninterrupted one would have drawn.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from priming.errors import DataError
from priming.features import Features
from priming.gate import PrimingData

UNKNOWN = -1  # label of a query that says none of the words
COMMAND_CORPORA = frozenset({"speech_commands", "dspspeech20", "arabic_digits", "arabic_commands", "speechocean762"})


@dataclass(frozen=True)
class Task:
    """One draw of the family of tasks."""

    support: NDArray[np.int64]  # [B] clip that each word is learnt from
    queries: NDArray[np.int64]  # [Q] clips to recognise
    labels: NDArray[np.int64]  # [Q] index of the word, or -1
    support_copies: NDArray[np.int64]  # [B]
    query_copies: NDArray[np.int64]  # [Q]


class TaskSampler:
    """Draws tasks from encoded clips that have passed the gate.

    Args:
        features: encoded clips.
        data: the gate's admission of these clips.
        copies: augmented copies of each clip besides the clean one.
        seed: of all draws.
        commands_share: share of tasks whose words were all said as isolated words; the rest mixes them with words cut from sentences.

    Raises:
        DataError: clips that the gate has not admitted, or too few words said by two speakers.
    """

    def __init__(self, features: Features, data: PrimingData, copies: int, seed: int, commands_share: float) -> None:
        admitted = {clip.key for clip in data.clips}
        if any(clip.key not in admitted for clip in features.clips):
            raise DataError("the features hold clips that the gate has not admitted")
        self._copies, self._seed, self._commands_share = copies, seed, commands_share
        said: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        commands: set[str] = set()
        for index, clip in enumerate(features.clips):
            said[clip.word][clip.speaker].append(index)
            if clip.corpus in COMMAND_CORPORA:
                commands.add(clip.word)
        words = sorted(word for word, speakers in said.items() if len(speakers) >= 2)
        self._said = [[clips for _, clips in sorted(said[word].items())] for word in words]
        self._pools = [np.arange(len(words)), np.array([i for i, word in enumerate(words) if word in commands], dtype=np.int64)]
        if len(words) < 3:
            raise DataError(f"only {len(words)} words are said by two people or more: priming needs many more recordings")

    @property
    def words(self) -> int:
        """Words of the family."""
        return len(self._said)

    def draw(self, step: int, ways: int, queries: int, unknown: int) -> Task:
        """Draw the task of a step.

        Args:
            step: number of the outer step.
            ways: words to learn; fewer where the family is smaller.
            queries: queries of each word, each by another speaker; fewer where a word has fewer.
            unknown: queries that say another word.

        Returns:
            The task.
        """
        rng = np.random.default_rng([self._seed, step])
        pool = self._pools[int(rng.random() < self._commands_share)]
        if len(pool) < ways + unknown:
            pool = self._pools[0]
        ways = min(ways, len(pool) - 1)
        words = rng.permutation(pool)[: ways + unknown]
        support, query, labels = [], [], []
        for label, word in enumerate(words[:ways]):
            first, *others = rng.permutation(len(self._said[word]))[: queries + 1]
            support.append(int(rng.choice(self._said[word][first])))
            query += [int(rng.choice(self._said[word][speaker])) for speaker in others]
            labels += [label] * len(others)
        for word in words[ways:]:
            speaker = rng.integers(len(self._said[word]))
            query.append(int(rng.choice(self._said[word][speaker])))
            labels.append(UNKNOWN)
        copies = rng.integers(self._copies + 1, size=len(support) + len(query))
        return Task(np.array(support), np.array(query), np.array(labels), copies[: len(support)], copies[len(support) :])
