"""The family of words that priming draws from, source by source.

Each source can be left out. They are encoded apart, so that adding one leaves what is cached of the others as it is.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from priming.clip import Clip
from priming.config import PrimeConfig
from priming.context import context_clips
from priming.corpus import aligned_clips, isolated_clips
from priming.errors import DataError
from priming.pairs import pair_clips
from priming.splices import splice_clips
from priming.synthetic import synthetic_clips

Say = Callable[[str], None]
RECORDED = frozenset({"commands", "aligned"})  # sources that are encoded together


def family_clips(config: PrimeConfig, cache: Path, say: Say) -> list[Clip]:
    """Collect the words of the sources that a run asks for.

    Args:
        config: of the run.
        cache: where what is synthesised is kept.
        say: called with a line at each stage that takes long.

    Returns:
        Clips of words, source by source.

    Raises:
        DataError: an unusable data folder, a missing program or dictionary, or sources that give nothing.
        audio.errors.AudioError: a recording cannot be read.
    """
    asked, data = set(config.sources), config.data
    shortest_s, letters, each = config.aligned_shortest_s, config.aligned_letters, (config.aligned_per_word, config.aligned_per_speaker)
    isolated = isolated_clips(data) if asked & {"commands", "splices"} else []
    cuts: list[Clip] = []
    if asked & {"aligned", "context"}:
        cuts = aligned_clips(data, shortest_s=shortest_s, letters=letters, most_per_word=each[0], most_per_speaker=each[1])
    found = [*(isolated if "commands" in asked else []), *(cuts if "aligned" in asked else [])]
    if "context" in asked:
        found += context_clips(data, cuts, config.context_follow_share, config.encoding_seed)
    if "pairs" in asked:
        found += pair_clips(data, most_words=config.pair_words, most_per_word=each[0], most_per_speaker=each[1])
    if "splices" in asked:
        say("choosing splices")
        found += splice_clips(
            data, [*isolated, *aligned_clips(data)], config.splice_words, most_speakers=config.splice_speakers, seed=config.encoding_seed
        )
    if "synthetic" in asked:
        say("synthesising words")
        found += synthetic_clips(data, cache, config.synthetic_words, config.synthetic_voices, config.encoding_seed)
    if not found:
        raise DataError(f"{data} holds no words for priming from {', '.join(sorted(asked))}: name other sources, or another folder")
    return found


def encoded_together(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Divide clips into those that share a cache folder.

    Args:
        clips: of any sources.

    Returns:
        Isolated and aligned words first, if there are any, then each other source by itself.
    """
    groups: dict[str, list[Clip]] = {"": []}
    for clip in clips:
        groups.setdefault("" if clip.source in RECORDED else clip.source, []).append(clip)
    return [group for _, group in sorted(groups.items()) if group]
