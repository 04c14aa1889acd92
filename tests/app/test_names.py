"""Any Unicode word gets one form and one safe file name; what could steer a terminal or leave a folder is refused."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StoreError
from app.names import MAX_CHARACTERS, clean, file_name


@given(st.text(max_size=80))
def test_a_name_is_refused_or_has_one_safe_form(text: str) -> None:
    try:
        name = clean(text)
    except StoreError:
        return
    assert clean(name) == name
    assert clean(f"  {name} ") == name
    assert 0 < len(name) <= MAX_CHARACTERS
    file = file_name(name)
    assert PurePosixPath(file).name == file == PureWindowsPath(file).name
    assert len(file.encode()) < 200
    assert not file.startswith(".")
    assert all(c.isprintable() for c in file)


@given(st.text(st.characters(categories=["L", "N", "Zs"]), max_size=30), st.text(st.characters(categories=["L", "N", "Zs"]), max_size=30))
def test_different_words_have_different_files_even_where_case_is_folded(one: str, other: str) -> None:
    try:
        one, other = clean(one), clean(other)
    except StoreError:
        return
    assert (one == other) == (file_name(one).casefold() == file_name(other).casefold())


@pytest.mark.parametrize("word", ["lights on", "привет", "開燈", "مرحبا", "می‌خواهم", "café", "R2-D2", "don't", "[red]", "9"])
def test_words_as_people_write_them_are_kept(word: str) -> None:
    assert clean(word) == unicodedata.normalize("NFC", word)


def test_composed_and_decomposed_letters_are_one_word() -> None:
    assert clean("cafe\u0301") == clean("café")


@pytest.mark.parametrize(
    "word", ["", "   ", "..", "../lamp", "/etc/passwd", "a\\b", "a\x00b", "a\nb", "a\x1b[2Jb", "a\u202eb", "\ud800a", "a\u2028b", "...", "x" * 65]
)
def test_hostile_names_are_refused(word: str) -> None:
    with pytest.raises(StoreError):
        clean(word)
