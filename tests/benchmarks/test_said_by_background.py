"""Words that others say: by sound, not by spelling, and counted by the hour."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import said_by_background as bench
import typer


def test_words_are_found_inside_others_and_as_others_that_sound_the_same() -> None:
    spoken = Counter({"upon": 3, "know": 2, "no": 5, "noble": 1, "supper": 1, "down": 4, "xqzzt": 2})
    assert bench.saying("up", spoken) == {"upon": 3, "supper": 1}
    assert bench.saying("no", spoken) == {"know": 2, "noble": 1}  # the word itself is no other
    assert bench.saying("down", spoken) == {}
    assert bench.saying("xqzzt", spoken) == {}  # nobody knows what it sounds like


def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped:
        bench.main(data=tmp_path / "missing")
    assert stopped.value.exit_code == 2
    assert "missing is not a folder" in capsys.readouterr().err


def test_background_without_transcripts_is_told(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        bench.main(data=corpus, role="validation")
    assert "no transcripts of the validation part" in capsys.readouterr().err


def test_every_word_of_a_role_is_counted_by_the_hour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = [SimpleNamespace(word=word) for word in ("upon", "up", "upon", "know", "they")]
    speech = ((SimpleNamespace(duration_s=1800.0), said), (SimpleNamespace(duration_s=900.0), ()))  # nobody knows what the second says
    monkeypatch.setattr(bench, "role_background", lambda data, role: SimpleNamespace(speech=speech))
    monkeypatch.setattr(bench, "role_clips", lambda data, role: [SimpleNamespace(word=word) for word in ("up", "no", "no")])
    bench.main(data=Path(), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "role": "test",
        "hours": 0.5,
        "words": [
            {"word": "no", "per_hour": 2.0, "itself_per_hour": 0.0, "said_by": ["know"]},
            {"word": "up", "per_hour": 4.0, "itself_per_hour": 2.0, "said_by": ["upon"]},
        ],
    }
    bench.main(data=Path())
    assert "role test, 0.50 hours of background with transcripts" in " ".join(capsys.readouterr().out.split())
