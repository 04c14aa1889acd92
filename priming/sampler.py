"""Tasks for the outer loop: some words, utterances of each to learn from, utterances of other speakers to recognise, and continuous sound.

Every draw depends on the seed and the number of the step alone, so a resumed run draws what the uninterrupted one would have drawn. No query is said
by a speaker who taught a word of the same task, as in the tests (`priming.episodes`): else the network could tell voices apart instead of words.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from priming.confusable import APART, Confusable
from priming.errors import DataError
from priming.features import Features
from priming.gate import PrimingData

UNKNOWN = -1  # label of a query that says none of the words
DICTIONARY_SOURCES = frozenset({"pairs", "splices", "synthetic"})  # whose words may sound alike, or hold one another
ONE_VOICE = 0.5  # share of the tasks of several utterances in which one speaker says all of a word's
JITTER = 0.25  # added at random to how far apart words sound, so that a word's hard tasks differ


@dataclass(frozen=True)
class Task:
    """One draw of the family of tasks."""

    support: NDArray[np.int64]  # [B, S] clips that each word is learnt from
    queries: NDArray[np.int64]  # [Q] clips to recognise
    labels: NDArray[np.int64]  # [Q] index of the word, or -1
    support_copies: NDArray[np.int64]  # [B, S]
    query_copies: NDArray[np.int64]  # [Q]


class TaskSampler:
    """Draws tasks from encoded clips that have passed the gate.

    Args:
        features: encoded clips.
        data: the gate's admission of these clips.
        copies: augmented copies of each clip besides the clean one.
        seed: of all draws.
        commands_share: share of tasks whose words were all said as isolated words; the rest mixes all words.
        weights: how often clips of a source are drawn, against 1 for a source that is not named. A word, and a speaker of it, is drawn as often as
            the source of most weight that has it.
        hard_share: share of tasks whose words sound alike, those asked but not learnt among them.
        left_out: words that no task has.

    Raises:
        DataError: clips that the gate has not admitted, too few words said by two speakers, or hard tasks without a pronouncing dictionary.
    """

    def __init__(
        self,
        features: Features,
        data: PrimingData,
        copies: int,
        seed: int,
        commands_share: float,
        weights: Mapping[str, float] | None = None,
        hard_share: float = 0.0,
        left_out: Collection[str] = (),
    ) -> None:
        clips = features.clips
        admitted = {clip.key for clip in data.clips}
        if any(clip.key not in admitted for clip in clips):
            raise DataError("the features hold clips that the gate has not admitted")
        self._copies, self._seed, self._commands_share, self._hard_share = copies, seed, commands_share, hard_share
        said: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, clip in enumerate(clips):
            said[clip.word][clip.speaker].append(index)
        words = sorted(word for word, speakers in said.items() if len(speakers) >= 2 and word not in left_out)
        if len(words) < 3:
            raise DataError(f"only {len(words)} words are said by two people or more: priming needs many more recordings")
        number = {speaker: k for k, speaker in enumerate(sorted({clip.speaker for clip in clips}))}
        self._said = [{number[speaker]: np.array(said[word][speaker]) for speaker in sorted(said[word])} for word in words]
        self._weights = np.array([(weights or {}).get(clip.source, 1.0) for clip in clips])
        self._alone = np.array([not (clip.lead_s or clip.follow_s) for clip in clips])
        self._speaker_weights = np.zeros((len(words), len(number)), np.float32)  # 0 for who does not say the word
        self._alone_speakers = np.zeros((len(words), len(number)), bool)  # who says it by itself
        for word, speakers in enumerate(self._said):
            for speaker, of_speaker in speakers.items():
                self._speaker_weights[word, speaker] = self._weights[of_speaker].max()
                self._alone_speakers[word, speaker] = self._alone[of_speaker].any()
        self._word_weights = self._speaker_weights.max(axis=1)
        commands = {clip.word for clip in clips if clip.source == "commands"}
        self._pools = [np.arange(len(words)), np.array([i for i, word in enumerate(words) if word in commands], dtype=np.int64)]
        self._confusable: Confusable | None = None
        if hard_share > 0 or any(clip.source in DICTIONARY_SOURCES for clip in clips):
            lengths = [float(np.mean([clips[i].duration_s for of_speaker in speakers.values() for i in of_speaker])) for speakers in self._said]
            self._confusable = Confusable(words, lengths)

    @property
    def words(self) -> int:
        """Words of the family."""
        return len(self._said)

    def draw(self, step: int, ways: int, queries: int, unknown: int, most_shots: int = 1) -> Task:
        """Draw the task of a step.

        Args:
            step: number of the outer step.
            ways: words to learn; fewer where the family is smaller, or where too few people would be left to ask.
            queries: queries of each word, each by another speaker who taught none of the words; fewer where a word has fewer of these.
            unknown: queries that say another word, by speakers who taught none.
            most_shots: most utterances that a word is learnt from; the task draws how many, the same for all words.

        Returns:
            The task.
        """
        rng = np.random.default_rng([self._seed, step])
        pool = self._pools[int(rng.random() < self._commands_share)]
        hard = rng.random() < self._hard_share
        if len(pool) < ways + unknown:
            pool = self._pools[0]
        ways = min(ways, len(pool) - 1)
        drawn = self._words(pool, ways + unknown, hard, rng)
        teachers = self._teachers(drawn[:ways], queries, rng)
        shots = 1 if most_shots == 1 else int(rng.integers(1, most_shots + 1))
        people = self._people(teachers, queries, shots, rng)
        taught = self._mask(speaker for own in people.values() for speaker in own)
        support, query, labels = [], [], []
        for label, (word, own) in enumerate(people.items()):
            support += [self._clip(word, own[shot % len(own)], alone=True, rng=rng) for shot in range(shots)]
            askers = self._speakers(word, ~taught, queries, rng)
            query += [self._clip(word, speaker, alone=False, rng=rng) for speaker in askers]
            labels += [label] * len(askers)
        for word in drawn[ways:]:
            for speaker in self._speakers(word, ~taught, 1, rng):
                query.append(self._clip(word, speaker, alone=False, rng=rng))
                labels.append(UNKNOWN)
        copies = rng.integers(self._copies + 1, size=len(support) + len(query))
        supports, support_copies = (array.reshape(-1, shots) for array in (np.array(support), copies[: len(support)]))
        return Task(supports, np.array(query), np.array(labels), support_copies, copies[len(support) :])

    def _words(self, pool: NDArray[np.int64], count: int, hard: bool, rng: np.random.Generator) -> list[int]:
        """Draw words that can be told apart; hard ones are near the first."""
        waiting = rng.exponential(size=len(pool)) / self._word_weights[pool]
        order = pool[np.argsort(waiting)].tolist()
        confusable = self._confusable
        if confusable is None:
            return list(order[:count])
        if hard:
            near = confusable.distances(order[0])
            near[order[0]] = -APART
            order = pool[np.argsort(near[pool] + JITTER * rng.random(len(pool)), kind="stable")].tolist()
        drawn: list[int] = []
        for word in order:
            if len(drawn) == count:
                break
            if not any(confusable.clash(word, other) for other in drawn):
                drawn.append(word)
        return drawn

    def _teachers(self, words: list[int], queries: int, rng: np.random.Generator) -> dict[int, int]:
        """Draw who teaches each word, so that every word keeps speakers who teach none: as many as there are queries where possible, one at least.

        A word that would leave another without anybody to ask is left out, which happens where words share their only speakers.
        """
        says = self._speaker_weights[words] > 0
        most = says.sum(axis=1) - 1
        free = says.sum(axis=1)
        taught = np.zeros(says.shape[1], bool)
        teachers: dict[int, int] = {}
        for row, word in enumerate(words):
            for wanted, keep in ((self._alone_speakers[word], queries), (self._alone_speakers[word], 1), (says[row], 1)):
                needed = says[free <= np.minimum(keep, most)].any(axis=0) & ~taught
                found = self._speakers(word, wanted & ~needed, 1, rng)
                if found:
                    break
            else:
                continue
            teachers[word] = found[0]
            free -= says[:, found[0]] & ~taught[found[0]]
            taught[found[0]] = True
        return teachers

    def _people(self, teachers: dict[int, int], queries: int, shots: int, rng: np.random.Generator) -> dict[int, list[int]]:
        """Draw who says the utterances that each word is learnt from: its teacher alone in half of the tasks, else others too, at most one for each.

        Nobody joins who is needed to ask: every word keeps as many speakers who teach none as there are queries.
        """
        people = {word: [teacher] for word, teacher in teachers.items()}
        if shots == 1 or rng.random() < ONE_VOICE:
            return people
        says, taught = self._speaker_weights[list(people)] > 0, self._mask(teachers.values())
        free = (says & ~taught).sum(axis=1)
        for word, own in people.items():
            for speaker in self._speakers(word, ~taught, len(taught), rng):
                if len(own) == shots:
                    break
                asked = says[:, speaker]
                if (free[asked] > queries).all():
                    own.append(speaker)
                    taught[speaker] = True
                    free -= asked
        return people

    def _mask(self, speakers: Iterable[int]) -> NDArray[np.bool_]:
        """Return which of all speakers are among these."""
        among = np.zeros(self._speaker_weights.shape[1], bool)
        among[list(speakers)] = True
        return among

    def _speakers(self, word: int, allowed: NDArray[np.bool_], count: int, rng: np.random.Generator) -> list[int]:
        """Draw speakers of a word, each at most once."""
        options = np.flatnonzero((self._speaker_weights[word] > 0) & allowed)
        waiting = rng.exponential(size=len(options)) / self._speaker_weights[word, options]
        drawn: list[int] = options[np.argsort(waiting)[:count]].tolist()
        return drawn

    def _clip(self, word: int, speaker: int, alone: bool, rng: np.random.Generator) -> int:
        """Draw a clip; one without other words around it if it is wanted alone, as words are enrolled, and there is one."""
        options = self._said[word][speaker]
        if alone and self._alone[options].any():
            options = options[self._alone[options]]
        weights = self._weights[options]
        return int(rng.choice(options, p=weights / weights.sum()))
