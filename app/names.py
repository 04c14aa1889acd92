"""What a word may be called, and the file name that follows from it.

A name is Unicode text as people write it, in normal form C, so that the same word typed on two keyboards is one word. The file name carries a
readable part and a digest of the whole name: no name can leave the store's folder, collide on a file system that folds case, or grow too long.
"""

import hashlib
import re
import unicodedata

from app.errors import StoreError

MAX_CHARACTERS = 64
READABLE_BYTES = 80  # of the file name; with digest and suffix it stays far below the 255 bytes of common file systems
SUFFIX = ".safetensors"
JOINERS = "\u200c\u200d"  # format characters that spelling needs in Persian, Hindi and others


def clean(word: str) -> str:
    """Bring a word's name into its one form.

    Args:
        word: as typed.

    Returns:
        Normal form C, without outer blanks, inner blanks single.

    Raises:
        StoreError: empty, longer than 64 characters, without a letter or digit, or with a path separator, a control or an invisible character.
    """
    blanks = "".join(" " if unicodedata.category(c) == "Zs" else c for c in unicodedata.normalize("NFC", word))
    name = re.sub(" +", " ", blanks).strip(" ")
    for character in name:
        category = unicodedata.category(character)
        if (category[0] == "C" and character not in JOINERS) or category in ("Zl", "Zp"):
            raise StoreError(f"a word cannot hold the character U+{ord(character):04X}; use letters, digits and spaces")
        if character in "/\\":
            raise StoreError(f"a word cannot hold '{character}'; use letters, digits and spaces")
    if not any(unicodedata.category(c)[0] in "LN" for c in name):
        raise StoreError(f"'{name}' is no word: it has no letter or digit" if name else "the word is empty; give it a name")
    if len(name) > MAX_CHARACTERS:
        raise StoreError(f"a word has at most {MAX_CHARACTERS} characters; this one has {len(name)}")
    return name


def file_name(name: str) -> str:
    """Derive the file name of a clean word.

    Args:
        name: as `clean` returns it.

    Returns:
        For instance `lights_on-0a1b2c3d4e5f6071.safetensors`.
    """
    readable = re.sub(r"[^\w]+", "_", name.casefold()).encode()[:READABLE_BYTES].decode(errors="ignore").strip("_")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:16]}{SUFFIX}"
