"""Words kept in their sentences: heard after what was really said before them, as a stream is heard.

A word that is cut out and surrounded by background sounds like a command said alone. In a stream other words come before it, and often after it, and
what a network remembers of them must not disturb it. Here the cut is widened by what stands around the word, but never into a held-back word.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from priming.corpus import GUARD_S, Clip, aligned_recordings
from priming.episodes import AFTER_S, BEFORE_S
from priming.manifest import held_back_words, read_alignments, read_manifest

SHORTEST_S = 0.2  # of what is said around a word: with less it is as good as cut out


def context_clips(data_dir: Path, words: Iterable[Clip], follow_share: float = 0.5, seed: int = 0) -> list[Clip]:
    """Widen words cut from continuous speech by what is said around them.

    Before a word, up to 0.855 s are kept: what a learner hears before a command. After it, either 0.5 s of what follows, or nothing, so that
    background follows as after a command. Held-back words stay 50 ms outside; where one is nearer than 0.5 s after the word, background follows.

    Args:
        data_dir: the data folder.
        words: cuts of its continuous recordings, from `priming.corpus.aligned_clips`.
        follow_share: share of the words after which the sentence goes on.
        seed: of the draw of these.

    Returns:
        The widened cuts, in the order of `words`; none for words with hardly anything around them.

    Raises:
        DataError: the folder is unusable.
    """
    held = held_back_words(read_manifest(data_dir), read_alignments(data_dir))
    recordings = {
        row.path: (row.duration_s, [(word.start_s, word.end_s) for word in spoken if word.word_role != "prime" or word.word in held])
        for row, spoken in aligned_recordings(data_dir)
    }
    chosen = list(words)
    goes_on = np.random.default_rng(seed).random(len(chosen)) < follow_share
    widened = []
    for clip, on in zip(chosen, goes_on.tolist(), strict=True):
        duration_s, barriers = recordings[clip.path]
        assert clip.end_s is not None
        before = max((end_s + GUARD_S for _, end_s in barriers if end_s <= clip.start_s), default=0.0)
        after = min((start_s - GUARD_S for start_s, _ in barriers if start_s >= clip.end_s), default=duration_s + AFTER_S)
        start_s = min(clip.start_s, max(before, clip.start_s - BEFORE_S))
        end_s = min(clip.end_s + AFTER_S, duration_s) if on and after >= clip.end_s + AFTER_S else clip.end_s
        lead_s, follow_s = clip.start_s - start_s, end_s - clip.end_s
        if lead_s + follow_s >= SHORTEST_S:
            widened.append(replace(clip, start_s=start_s, end_s=end_s, duration_s=end_s - start_s, lead_s=lead_s, follow_s=follow_s))
    return widened
