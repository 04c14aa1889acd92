"""What is cached of a clip depends on the clip and the configuration alone, and only admitted clips are cached."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audio.utterance import MARGIN_S, cut_utterance
from audio.voice import speech_segments
from priming import features
from priming.augmentation import AugmentationConfig, NoiseBank, augment, draw_speed
from priming.clip import Clip
from priming.corpus import isolated_clips, load, noise_clips
from priming.episodes import AFTER_S, SUPPORT_AFTER_S, hearing, hearing_support
from priming.errors import DataError, LeakError
from priming.features import FeatureConfig, Features, delayed, encode_features, joined_features, last_steps
from priming.gate import PrimingData
from priming.workspace import Workspace

CONFIG = FeatureConfig(steps=52, copies=1, seed=5)


@pytest.fixture(scope="module")
def data(toy_corpus: Path) -> PrimingData:
    return PrimingData((*isolated_clips(toy_corpus)[::9], *noise_clips(toy_corpus)))


@pytest.fixture(scope="module")
def expected(data: PrimingData, toy_workspace: Workspace) -> NDArray[np.uint8]:
    """[clips, copies, steps, channels], each clip encoded by itself in this process."""
    bank, encoder = NoiseBank(data), toy_workspace.encoder
    rows = []
    for index, clip in enumerate(sorted(data.words, key=lambda clip: clip.key)):
        changed = augment(load(clip), np.random.default_rng([CONFIG.seed, index, 1]), bank)
        rows.append([last_steps(encoder.encode(heard), CONFIG.steps) for heard in (hearing(load(clip)), changed)])
    return np.array(rows)


def everything(found: Features) -> NDArray[np.uint8]:
    count = np.arange(len(found.clips))
    return np.stack([found.take(count, np.full(len(count), copy)) for copy in range(CONFIG.copies + 1)], 1)


def test_several_workers_encode_what_one_process_does(
    data: PrimingData, toy_workspace: Workspace, expected: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "CHUNK", 3)
    found = encode_features(data.words[::-1], toy_workspace.encoder, CONFIG, tmp_path, data, workers=2)
    assert len(data.words) % 3  # the last chunk is not full
    assert np.array_equal(everything(found), expected)
    assert expected.any(axis=(1, 2, 3)).all()
    assert (expected[:, 0] != expected[:, 1]).any(axis=(1, 2)).all()


def test_an_interrupted_run_goes_on_where_it_was(
    data: PrimingData, toy_workspace: Workspace, expected: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "CHUNK", 4)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_features(data.words, toy_workspace.encoder, CONFIG, tmp_path, data, workers=1, progress=stop)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    last = max(before)
    if len(before) > 2:  # encoded before the interruption reached the worker
        last.unlink()
    told: list[tuple[int, int]] = []
    found = encode_features(data.words, toy_workspace.encoder, CONFIG, tmp_path, data, workers=1, progress=lambda *both: told.append(both))
    assert np.array_equal(everything(found), expected)
    assert told[-1] == (len(found.chunks), len(found.chunks))
    assert len(told) < len(found.chunks)
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items() if path != last)
    again: list[int] = []
    encode_features(data.words, toy_workspace.encoder, CONFIG, tmp_path, data, progress=lambda done, _: again.append(done))
    assert again == []


@pytest.mark.parametrize("role", ["validation", "test"])
def test_a_held_back_clip_is_never_encoded_for_priming(
    role: str, data: PrimingData, toy_corpus: Path, toy_workspace: Workspace, tmp_path: Path
) -> None:
    held_back = isolated_clips(toy_corpus, role, role)[:1]
    with pytest.raises(LeakError):
        encode_features([*data.words, *held_back], toy_workspace.encoder, CONFIG, tmp_path, data)
    assert not list(tmp_path.iterdir())


def test_a_clip_is_kept_to_its_end_and_a_short_one_begins_with_its_background() -> None:
    spikes = np.eye(5, dtype=np.uint8)
    assert np.array_equal(last_steps(spikes, 3), spikes[2:])
    assert np.array_equal(last_steps(spikes, 7), spikes[[0, 0, 0, 1, 2, 3, 4]])
    assert np.array_equal(last_steps(spikes, 5), spikes)


def test_clips_that_words_are_learnt_from_end_as_an_enrolment_does(data: PrimingData, toy_workspace: Workspace, tmp_path: Path) -> None:
    encoder, step_s = toy_workspace.encoder, toy_workspace.encoder.step_ms / 1000
    found = encode_features(data.words, encoder, CONFIG, tmp_path, data, workers=1)
    every, steps = np.arange(len(found.clips)), np.arange(CONFIG.steps)
    for copy in range(CONFIG.copies + 1):
        copies = np.full(len(every), copy)
        plain, support, late = found.take(every, copies), found.take_support(every, copies), found.lateness(every, copies)
        for index, clip in enumerate(found.clips):
            speed = draw_speed(np.random.default_rng([CONFIG.seed, index, copy]), AugmentationConfig()) if copy else 1.0
            rest_s = (clip.duration_s - speech_segments(load(clip))[-1][1]) / speed + AFTER_S
            assert late[index] == pytest.approx((rest_s - MARGIN_S - SUPPORT_AFTER_S) / step_s, abs=0.5001)
            assert np.array_equal(support[index], plain[index][np.clip(steps - late[index], 0, CONFIG.steps - 1)])
    assert np.array_equal(found.clean(every).take_support(every, 0 * every), found.take_support(every, 0 * every))
    encoded_again = encode_features(data.words, encoder, CONFIG, tmp_path, data, words=False)
    assert not encoded_again.lateness(every, 0 * every).any()


def test_what_enrolment_hears_is_what_a_word_is_learnt_from_in_priming(data: PrimingData, toy_workspace: Workspace, tmp_path: Path) -> None:
    """But for the room, which the one goes on with as it was recorded and the other as it is synthesised."""
    encoder = toy_workspace.encoder
    found = encode_features(data.words, encoder, CONFIG, tmp_path, data, workers=1)
    for index, clip in enumerate(found.clips[:8]):
        heard = last_steps(encoder.encode(hearing_support(cut_utterance(load(clip)))), CONFIG.steps)
        primed = found.take_support(np.array([index]), np.array([0]))[0]
        agree = [np.mean(heard == delayed(primed[None], np.array([late]))[0]) for late in (-4, 0, 4)]
        assert int(np.argmax(agree)) == 1


def test_clips_are_shifted_along_their_steps() -> None:
    spikes = np.eye(5, dtype=np.uint8)[None].repeat(3, 0)
    rows = [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [1, 2, 3, 4, 4]]
    assert np.array_equal(delayed(spikes, np.array([2, 0, -1])), np.eye(5, dtype=np.uint8)[rows])


def test_joined_features_are_read_like_their_parts() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (rows, 2, 5, 3), dtype=np.uint8) for rows in (4, 2, 3, 1)]
    clips = [Clip(Path(), f"{n}.wav", "c", "en", "w", "prime", "s", "train", 0.0, None, 1.0) for n in range(10)]
    parts = [Features(clips[:6], arrays[:2], 24), Features(clips[6:9], arrays[2:3], 24), Features(clips[9:], arrays[3:], 24)]
    whole = joined_features(parts)
    assert list(whole.clips) == clips
    order, copies = rng.permutation(10), rng.integers(0, 2, 10)
    expected = np.unpackbits(np.concatenate(arrays)[order, copies], axis=-1)
    assert np.array_equal(whole.take(order, copies), expected)
    with pytest.raises(DataError, match="cannot be joined"):
        joined_features([parts[0], Features([], [], 16)])
    with pytest.raises(DataError, match="no features"):
        joined_features([])


def test_words_in_their_sentences_are_augmented_around_the_word(toy_corpus: Path) -> None:
    bank = NoiseBank(PrimingData(tuple(noise_clips(toy_corpus))))
    samples = load(isolated_clips(toy_corpus)[0])
    still = AugmentationConfig(speed_share=0, noise_share=0, gain_db=(0, 0), shift_s=0)
    plain, within = (augment(samples, np.random.default_rng(0), bank, still, lead, follow) for lead, follow in ((0, 0), (0.3, 0.1)))
    assert len(plain) - len(within) == round(0.4 * 16000)
    lead = round(0.3 * 16000)
    before = round(0.855 * 16000)
    assert np.array_equal(plain[before : before + len(samples)], within[before - lead : before - lead + len(samples)])
