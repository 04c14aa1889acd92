"""Nothing that is held back reaches priming, whatever a clip says of itself."""

import dataclasses
import math
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from priming import corpus
from priming.errors import LeakError
from priming.gate import PrimingData, admit
from priming.manifest import Row, held_back_words, read_alignments, read_manifest

ROLES = ["prime", "validation", "test", "noise", "speech"]
SPLITS = ["train", "validation", "test"]
WORDS = ["cat", "happy", "yes", "connection", ""]

names = st.sampled_from(["ada", "bob", "cleo"])
isolated = st.tuples(st.sampled_from(WORDS[:4]), st.sampled_from(ROLES[:3]), names, st.sampled_from(SPLITS))
spoken = st.lists(st.tuples(st.sampled_from(["cat", "house", "that"]), st.sampled_from(ROLES[:3])), min_size=1, max_size=6)


@st.composite
def folders(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a manifest and of alignments, with any mixture of roles and splits; a word lasts 0.5 s."""
    rows, words = [], []
    for number, (word, role, speaker, split) in enumerate(draw(st.lists(isolated, min_size=1, max_size=5))):
        rows.append(f"i{number}.wav,speech_commands,en,{word},{role},{speaker},{split},1.0")
    for number, (sentence, split) in enumerate(draw(st.lists(st.tuples(spoken, st.sampled_from(SPLITS)), max_size=3))):
        rows.append(f"c{number}.wav,librispeech,en,,prime,reader{number},{split},{len(sentence) / 2}")
        words += [f"c{number}.wav,{word},{role},{i / 2},{(i + 1) / 2},-1" for i, (word, role) in enumerate(sentence)]
    rows += [f"n{i}.wav,household_noise,,,noise,,{split},1.0" for i, split in enumerate(draw(st.lists(st.sampled_from(SPLITS), max_size=2)))]
    header = "path,corpus,language,word,word_role,speaker,speaker_split,duration_s"
    return "\n".join([header, *rows]) + "\n", "\n".join(["path,word,word_role,start_s,end_s,score", *words]) + "\n"


def allowed(root: Path, rows: list[Row], row: Row, start_s: float, end_s: float) -> bool:
    """The rule in its plainest form, from the files alone."""
    alignments = dict(read_alignments(root))
    held_speakers = {other.speaker for other in rows if other.speaker_split != "train"} - {""}
    held_words = {other.word for other in rows if other.word and other.word_role != "prime"}
    held_words |= {word.word for words in alignments.values() for word in words if word.word_role != "prime"}
    heard = {word.word for word in alignments.get(row.path, []) if word.end_s > start_s and word.start_s < end_s} | ({row.word} - {""})
    if row.speaker_split != "train" or row.speaker in held_speakers:
        return False
    return row.word_role == "noise" or (row.word_role == "prime" and not heard & held_words)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=folders(), data=st.data())
def test_only_what_the_folder_allows_passes_whatever_the_clip_claims(
    tmp_path_factory: pytest.TempPathFactory, text: tuple[str, str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("data")
    (root / "manifest.csv").write_text(text[0])
    (root / "alignments.csv").write_text(text[1])
    rows = read_manifest(root)
    row = data.draw(st.sampled_from(rows))
    truth = corpus.whole(root, row)
    edges = st.tuples(st.floats(0, row.duration_s), st.floats(0, row.duration_s)).filter(lambda edge: edge[0] < edge[1])
    start_s, end_s = data.draw(st.one_of(st.just((0.0, None)), edges))
    claim = dataclasses.replace(
        truth,
        start_s=start_s,
        end_s=end_s,
        word=data.draw(st.sampled_from([row.word, *WORDS])),
        word_role=data.draw(st.sampled_from([row.word_role, *ROLES])),
        speaker_split=data.draw(st.sampled_from([row.speaker_split, *SPLITS])),
    )
    permitted = allowed(root, rows, row, start_s, row.duration_s if end_s is None else end_s)
    try:
        admit([claim])
    except LeakError:
        # A clip that says the truth about itself is refused only for a reason.
        assert not permitted or (claim.word, claim.word_role, claim.speaker_split) != (row.word, row.word_role, row.speaker_split)
    else:
        assert permitted
        assert claim.word_role == row.word_role
        assert claim.speaker_split == "train"
        assert claim.word == row.word or row.corpus == "librispeech"
        assert claim.word not in held_back_words(rows, read_alignments(root))
    everything = [
        *corpus.isolated_clips(root),
        *corpus.noise_clips(root),
        *corpus.background_clips(root, 0.1),
        *corpus.aligned_clips(root, speakers=1),
    ]
    by_path = {row.path: row for row in rows}
    for clip in everything:
        end = clip.duration_s if clip.end_s is None else clip.end_s
        expected = allowed(root, rows, by_path[clip.path], clip.start_s, end)
        try:
            admit([clip])
        except LeakError:
            assert not expected
        else:
            assert expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.csv").write_text(
        "path,corpus,language,word,word_role,speaker,speaker_split,duration_s\n"
        "cat.wav,speech_commands,en,cat,prime,ada,train,1\n"
        "hum.wav,household_noise,,,noise,,train,2\n"
        "talk.wav,librispeech,en,,prime,bob,train,3\n"
        "unknown.wav,librispeech,en,,prime,bob,train,3\n"
        "orders.wav,sentences,en,,speech,,train,3\n"
        "fox.wav,speech_commands,en,fox,prime,cleo,train,1\n"
        "owl.wav,speech_commands,en,owl,prime,cleo,validation,1\n"
    )
    (tmp_path / "alignments.csv").write_text(
        "path,word,word_role,start_s,end_s,score\ntalk.wav,cat,prime,0,1,-1\ntalk.wav,that,validation,1,2,-1\ntalk.wav,dog,prime,2,3,-1\n"
    )
    return tmp_path


def clip_of(folder: Path, listed: str, **changes: object) -> corpus.Clip:
    row = next(row for row in read_manifest(folder) if row.path == listed)
    return dataclasses.replace(corpus.whole(folder, row), **changes)  # type: ignore[arg-type]


def test_words_noise_and_stretches_pass(folder: Path) -> None:
    clips = (clip_of(folder, "cat.wav"), clip_of(folder, "hum.wav"), clip_of(folder, "talk.wav", start_s=2.0, end_s=3.0))
    data = PrimingData(clips)
    assert data.clips == clips
    assert ([*data.words], [*data.noise], [*data.speech]) == ([clips[0]], [clips[1]], [clips[2]])


@pytest.mark.parametrize(
    ("path", "changes", "reason"),
    [
        ("talk.wav", {}, "overlaps a held-back word"),
        ("talk.wav", {"start_s": 1.9, "end_s": 2.5, "word": "dog"}, "overlaps a held-back word"),
        ("talk.wav", {"start_s": math.nan, "end_s": 1.0}, "not in order"),
        ("talk.wav", {"start_s": 0.0, "end_s": math.nan}, "not in order"),
        ("talk.wav", {"start_s": -1.0, "end_s": 0.5}, "not in order"),
        ("talk.wav", {"start_s": 0.0, "end_s": 0.5, "word": "that"}, "held back"),
        ("unknown.wav", {}, "which words"),
        ("orders.wav", {}, "role is speech"),
        ("orders.wav", {"word_role": "prime"}, "role is speech"),
        ("fox.wav", {}, "speaker"),
        ("cat.wav", {"path": "elsewhere.wav"}, "does not list it"),
        ("cat.wav", {"word": "dog"}, "its word is 'cat'"),
        ("cat.wav", {"word_role": "test"}, "role is test"),
        ("hum.wav", {"word_role": "prime", "word": "cat"}, "labelled as a word"),
    ],
)
def test_each_way_to_leak_is_refused_with_its_reason(folder: Path, path: str, changes: dict[str, object], reason: str) -> None:
    good, bad = clip_of(folder, "cat.wav"), clip_of(folder, path, **changes)
    with pytest.raises(LeakError, match=reason):
        admit([good, bad])
    with pytest.raises(LeakError, match=reason):
        PrimingData((good, bad))


def test_priming_data_cannot_be_changed_after_the_gate(folder: Path) -> None:
    data = PrimingData((clip_of(folder, "cat.wav"),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.clips = ()  # type: ignore[misc]
    with pytest.raises(LeakError):
        dataclasses.replace(data, clips=(clip_of(folder, "talk.wav"),))


@cache
def shared_clips(data_dir: Path) -> list[corpus.Clip]:
    """Every recording, and every aligned word as a cut."""
    rows = {row.path: row for row in read_manifest(data_dir)}
    clips = [corpus.whole(data_dir, row) for row in rows.values()]
    for path, words in read_alignments(data_dir):
        clips += [corpus.cut(data_dir, rows[path], word.word, word.word_role, word.start_s, word.end_s) for word in words]
    return clips


def test_no_held_back_recording_or_word_of_the_projects_recordings_passes(shared_data: Path) -> None:
    held = {clip.word for clip in shared_clips(shared_data) if clip.word_role in {"validation", "test"}}
    passed = 0
    for clip in shared_clips(shared_data):
        try:
            admit([clip])
        except LeakError:
            continue
        passed += 1
        assert clip.speaker_split == "train"
        assert clip.word_role in {"prime", "noise"}
        assert clip.word not in held
        assert not clip.word.startswith("connect")
    assert passed > 90_000


def test_everything_that_is_chosen_for_priming_passes(shared_data: Path) -> None:
    chosen = [*corpus.isolated_clips(shared_data), *corpus.aligned_clips(shared_data), *corpus.background_clips(shared_data)]
    data = PrimingData((*chosen, *corpus.noise_clips(shared_data)))
    assert len({clip.word for clip in data.words}) > 2400
    assert sum(clip.duration_s for clip in data.speech) > 8 * 3600
