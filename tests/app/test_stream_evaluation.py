"""Hearing a stream once for many words and thresholds is what `app listen` would have heard, and the verb reports it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from app.detector import Detection, Detector, Rule
from app.engine import Engine, open_engine
from app.enrolment import describe, judge
from app.live import Listener
from app.store import StoredWord, now
from app.stream_evaluation import decide, encode, enrol, listen_scores, steps_delivered
from app.stream_protocol import StreamConfig, evaluate_stream, operating_points
from audio.constants import SAMPLE_RATE
from audio.files import write_wav
from priming.corpus import role_clips
from priming.episodes import draw_episodes
from priming.streams import Occurrence, Scene

Cli = Callable[..., tuple[int, str, str]]
HEADER = "path,corpus,language,word,word_role,speaker,speaker_split,duration_s"
SPEAKERS, WORDS = 7, 3


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return open_engine(str(tiny_model), "torch")


@pytest.fixture(scope="module")
def words(engine: Engine, enrolled_sound: NDArray[np.float32], stream_sound: NDArray[np.float32]) -> list[StoredWord]:
    """Two words, with thresholds that the demo's voices pass several times."""
    sounds = {"connect": enrolled_sound, "other": stream_sound[: 3 * SAMPLE_RATE]}
    stored = []
    for word, sound in sounds.items():
        utterance = judge(sound, word)
        stored.append(describe(engine, word, [(engine.learn(utterance.speech), utterance.about)], created=now()))
    scores = listen_scores(engine, stored, encode(engine.model, [Scene(stream_sound, (), 0.0)]))
    levels = np.quantile(scores[25:].astype(np.float64), (0.9, 0.8), axis=0).diagonal()
    kept = []
    for word_, level in zip(stored, levels.tolist(), strict=True):
        calibration = word_.info.calibration.model_copy(update={"threshold": level})
        kept.append(word_.model_copy(update={"info": word_.info.model_copy(update={"calibration": calibration})}))
    return kept


def test_the_scores_and_decisions_are_those_of_a_live_session_bit_for_bit(
    engine: Engine, words: list[StoredWord], stream_sound: NDArray[np.float32]
) -> None:
    listener = Listener(words, engine=engine)
    block, latest, told = round(0.08 * SAMPLE_RATE), [], []
    whole = stream_sound[: len(stream_sound) // block * block]
    for first in range(0, len(whole), block):
        found = listener.push(whole[first : first + block])
        told += [(d.word, d.score, listener.time_s) for d in found]
        latest.append(listener.scores)
    ended = [(d.word, d.score, listener.time_s) for d in listener.flush()]
    cuts = np.sort(np.random.default_rng(0).integers(0, len(whole), 9))  # scenes of any length
    spikes = encode(engine.model, [Scene(piece, (), 0.0) for piece in np.split(whole, cuts)])
    scores = listen_scores(engine, words, spikes)
    assert steps_delivered(engine.encoder) == 2
    assert np.array_equal(scores[1::2], np.stack(latest))
    events = decide(words, [word.info.calibration.threshold for word in words], scores, engine.step_s, 2)
    assert len(told) >= 4
    assert [(e.word, e.score) for e in events] == [(word, score) for word, score, _ in told + ended]
    assert [e.told_s for e in events] == pytest.approx([time_s for _, _, time_s in told + ended], abs=1e-9)


def stepwise(rules: list[Rule], scores: NDArray[np.float32]) -> list[Detection]:
    """Run the detector step by step without its way round quiet steps, which it takes only while nothing is pending."""
    detector = Detector(rules, 0.04)
    found: list[Detection] = []
    for row in scores.tolist():
        detector._steps += 1
        found += detector._step(row, detector._steps * 0.04)
    return found + detector.flush()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a plain function
@given(arrays(np.float32, st.tuples(st.integers(1, 80), st.just(2)), elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])))
def test_quiet_steps_may_be_passed_over(new_word: Callable[..., StoredWord], scores: NDArray[np.float32]) -> None:
    words = [new_word("lamp"), new_word("radio")]
    thresholds = [1.0, 2.0]
    infos = [word.info for word in words]
    rules = [Rule(i.word, threshold, i.duration_s, i.lag_s) for i, threshold in zip(infos, thresholds, strict=True)]
    expected = stepwise(rules, scores)
    whole = Detector(rules, 0.04)
    assert [*whole.push(scores, []), *whole.flush()] == expected
    assert [(e.word, e.score) for e in decide(words, thresholds, scores, 0.04, 1)] == [(d.word, d.score) for d in expected]


def test_a_word_is_told_when_the_encoder_delivers(new_word: Callable[..., StoredWord]) -> None:
    scores = np.zeros((20, 1), np.float32)
    scores[6, 0] = 5.0  # falls below the threshold in step 7, which ends at 0.32 s
    assert [e.told_s for e in decide([new_word("lamp")], [2.0], scores, 0.04, 1)] == pytest.approx([0.32])
    assert [e.told_s for e in decide([new_word("lamp")], [2.0], scores, 0.04, 3)] == pytest.approx([0.36])


def test_the_truth_moves_with_its_scene(engine: Engine) -> None:
    quiet = np.full(SAMPLE_RATE // 2, 1e-4, np.float32)
    scenes = [Scene(quiet, (Occurrence("a", "x", 0.1, 0.2, True),), 0.5), Scene(quiet, (Occurrence("b", "y", 0.3, 0.4, False),), 0.25)]
    spikes = encode(engine.model, scenes)
    assert [(said.word, said.start_s, said.end_s) for said in spikes.truth] == [("a", 0.1, 0.2), ("b", 0.8, 0.9)]
    assert (spikes.seconds, spikes.background_s, spikes.steps) == (1.0, 0.75, 24)


def test_operating_points_lie_over_the_rates() -> None:
    scores = np.random.default_rng(0).standard_normal((25 * 3600, 3)).astype(np.float32)
    points = operating_points(scores, 0.04)
    passes = [(scores.reshape(3600, 25, 3).max(1) >= point).sum() / 3 for point in points]
    assert 45 < passes[0] < 75
    assert passes[-1] == 0
    assert np.all(np.diff(points) > 0)
    assert sum(0.5 < rate < 2 for rate in passes) >= 4


def tone(word: int, speaker: int, take: int) -> NDArray[np.float32]:
    """A buzz whose pitch glides: up, down or not at all."""
    rng = np.random.default_rng([word, speaker, take])
    time = np.arange(round(0.5 * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = (110 + 15 * speaker) * (1 + (word - 1) * 0.8 * time)
    buzz = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / SAMPLE_RATE) / k for k in range(1, 12))
    said = np.concatenate([np.zeros(4000), 0.1 * np.hanning(len(time)) * buzz, np.zeros(4000)])
    return (said + 1e-3 * rng.standard_normal(len(said))).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(stream_sound: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three test words by seven speakers, half a minute of other speech, a little noise."""
    folder, lines = tmp_path_factory.mktemp("corpus"), [HEADER]
    sounds = [(f"w{w}/s{s}_nohash_0.wav", "speech_commands", f"w{w}", "test", f"s{s}", tone(w, s, 0)) for w in range(WORDS) for s in range(SPEAKERS)]
    noise = (0.02 * np.random.default_rng(1).standard_normal(4 * SAMPLE_RATE)).astype(np.float32)
    sounds += [("speech.wav", "sentences", "", "speech", "many", stream_sound), ("noise.wav", "background_noise", "", "noise", "", noise)]
    for path, corpus, word, role, speaker, samples in sounds:
        (folder / path).parent.mkdir(exist_ok=True)
        write_wav(folder / path, samples)
        lines.append(f"{path},{corpus},en,{word},{role},{speaker},test,{len(samples) / SAMPLE_RATE}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_an_evaluation_counts_every_enrolment_and_repeats_itself(engine: Engine, corpus: Path) -> None:
    told: list[str] = []
    config = StreamConfig(corpus, hours=20 / 3600, enrolments=3, words=2, utterances=3)
    result, again = evaluate_stream(engine, config, lambda what, done, total: told.append(what)), evaluate_stream(engine, config)
    for curve, other in ((result.common, again.common), (result.own, again.own)):
        assert curve.hours == pytest.approx(20 / 3600, rel=0.9)
        assert curve.word_hours == pytest.approx(6 * curve.hours)
        assert [c.words for c in curve.counts] == [c.words for c in other.counts]
        assert np.array_equal(curve.settings, other.settings)
        assert np.array_equal(curve.misses(), other.misses())
        assert curve.false_accept_rates()[-1] == 0
    assert all(len(set(c.words)) == 2 for c in result.common.counts)
    assert result.own.settings[result.shipped] == 0
    assert 0 < result.common.misses().min() < 1
    assert result.real_time_factor > 0
    assert list(dict.fromkeys(told)) == ["encoding", "enrolling", "listening", "deciding"]


def test_nobody_who_was_learnt_from_is_counted(engine: Engine, corpus: Path) -> None:
    config = StreamConfig(corpus, hours=5 / 3600, enrolments=1, words=2, utterances=SPEAKERS)
    (episode,) = draw_episodes(role_clips(corpus, "test"), 2, 1, 1, 0)
    speakers = {clip.speaker for clips in episode.support for clip in clips}
    (counts,) = evaluate_stream(engine, config).common.counts
    assert counts.words == episode.words
    assert counts.spoken.tolist() == [SPEAKERS - len(speakers)] * 2


def test_utterances_that_enrolment_refuses_are_learnt_whole(engine: Engine, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import stream_evaluation
    from audio.errors import AudioError

    def refuse(samples: NDArray[np.float32], source: str) -> None:
        raise AudioError(f"{source}: too faint")

    (episode,) = draw_episodes(role_clips(corpus, "test"), 2, 2, 1, 0)
    monkeypatch.setattr(stream_evaluation, "judge", refuse)
    enrolment, unfit = enrol(engine, episode)
    assert unfit == 4
    assert [len(word.shots) for word in enrolment.words] == [2, 2]
    assert all("too faint" in shot.remarks[0] for word in enrolment.words for shot in word.info.shots)


def test_the_verb_tells_figures_and_draws_the_curve(cli: Cli, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    figure = tmp_path / "det.png"
    sizes = ["--enrolments", "2", "--words-per-enrolment", "2", "--hours", "0.005"]
    arguments = ["evaluate", "--stream", "--data", corpus, "--model", tiny_model, *sizes]
    status, out, err = cli(*arguments, "--json", "--figure", figure)
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert (told["enrolments"], told["words_per_enrolment"], told["role"], told["model"]) == (2, 2, "test", "tiny")
    assert told["word_hours"] == pytest.approx(4 * told["background_hours"])
    shipped, target = told["as_shipped"], told["misses_at_1_per_hour"]
    assert 0 <= shipped["misses"] <= 1
    assert shipped["false_accepts_per_hour_of_all_words"] == pytest.approx(2 * shipped["false_accepts_per_hour_and_word"])
    assert target["one_threshold"]["misses_if_late_counts"] <= target["one_threshold"]["misses"] + 1e-9
    curve = told["curves"]["one_threshold"]
    assert len(curve["setting"]) == len(curve["misses"]) == len(curve["false_accepts_per_hour_and_word"])
    status, out, err = cli(*arguments)
    assert (status, err) == (0, "")
    assert "missed at 1 an hour" in out
    assert f"{target['one_threshold']['misses']:.1%}" in out


def test_bad_options_are_refused_in_one_line(cli: Cli, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    stream = ["evaluate", "--stream", "--data", corpus, "--model", tiny_model]
    for arguments in (
        ["evaluate", "--data", corpus, "--hours", "1"],
        ["evaluate", "--data", corpus, "--figure", "a.png"],
        [*stream, "--enrolments", "0"],
        [*stream, "--words-per-enrolment", "0"],
        [*stream, "--words-per-enrolment", "4"],
        [*stream, "--hours", "0"],
        [*stream, "--shots", "0"],
        [*stream, "--role", "prime"],
        [*stream, "--figure", tmp_path / "none" / "a.png"],
        [*stream, "--figure", tmp_path / "a.pdf"],
        ["evaluate", "--stream", "--data", tmp_path / "none"],
    ):
        status, out, err = cli(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), arguments


def test_real_recordings_are_heard(shared_data: Path) -> None:
    """A minute of validation speech, two enrolments of two words."""
    engine = open_engine(None, "torch")
    result = evaluate_stream(engine, StreamConfig(shared_data, "validation", 60 / 3600, enrolments=2, words=2, utterances=3))
    assert result.common.hours * 3600 >= 60
    assert result.common.misses().min() < 0.7
    assert result.common.false_accept_rates()[0] > result.common.false_accept_rates()[-1] == 0
