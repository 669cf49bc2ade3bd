"""NLTK's word tokens, exactly, at a fraction of the cost: most rules of its tokenizer never look past white space.

NLTK runs about thirty patterns over the whole text. Here the text is cut at white space, each piece is tokenized by
NLTK once between neutral neighbours, and the result is remembered. What does look further is left to NLTK as a whole:
the beginning of the text (an opening quotation mark) and its end (the final full stop, with the brackets and quotation
marks that may follow it). A property test holds the two against each other.
"""

import re
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any, Literal

Words = Literal["one_line", "sentences"]
"""How words are found: in the text taken as one line, or sentence by sentence, which needs NLTK's data `punkt_tab`."""

_PIECE = re.compile(r"\S+")
_CLOSING = frozenset("])}>\"'»”’")
_SEPARATORS = re.compile("[\x1c-\x1f\x85]")  # white space to some engines and not to others
_CONTRACTIONS = frozenset({"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"})
_ZEROS = str.maketrans("123456789", "000000000")
_REMEMBERED, _LONGEST_REMEMBERED = 200_000, 64


class MissingTokenizerData(Exception):
    """Data that the tokenizer needs is not on this machine; the message names it and says what to do."""


def nltk_words(text: str, words: Words = "one_line") -> list[str]:
    """Return the tokens of NLTK's word tokenizer.

    Raises:
        MissingTokenizerData: If `words` is `sentences` and `punkt_tab` is not installed.
    """
    if words == "sentences":
        return [token for sentence in _sentences(text) for token in nltk_words(sentence)]
    if _SEPARATORS.search(text):
        return _whole(text)
    pieces = list(_PIECE.finditer(text))
    last = _begin_of_end(pieces)
    if last <= 1:
        return _whole(text)
    tokens = _whole(text[: pieces[1].start()] + "x")[:-1]
    for found in pieces[1:last]:
        piece = found[0]
        if piece.isalnum() and piece.isascii() and piece.lower() not in _CONTRACTIONS:
            tokens.append(piece)
        else:
            tokens += _piece(piece, text[found.start() - 1] == " ", text[found.end()] == " ")
    return tokens + _whole("x" + text[pieces[last].start() - 1 :])[1:]


def _begin_of_end(pieces: list[re.Match[str]]) -> int:
    """Index of the first piece that the rules for the end of a text can reach."""
    index = len(pieces) - 1
    while index > 0 and _CLOSING.issuperset(pieces[index].group()):
        index -= 1
    return index - 1


def _piece(piece: str, after_space: bool, before_space: bool) -> list[str]:
    """Tokenize a piece by its pattern, in which all digits are 0: no rule tells one digit from another."""
    pattern = piece.translate(_ZEROS)
    tokenize = _remembered if len(piece) <= _LONGEST_REMEMBERED else _remembered.__wrapped__
    tokens = tokenize(pattern, after_space, before_space)
    if pattern == piece:
        return tokens
    if "".join(tokens) != pattern:  # quotation marks were replaced
        return _remembered.__wrapped__(piece, after_space, before_space)
    ends = list(accumulate(map(len, tokens)))
    return [piece[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@lru_cache(_REMEMBERED)
def _remembered(piece: str, after_space: bool, before_space: bool) -> list[str]:
    """Tokenize a piece in the middle of a text; some rules tell a space from other white space."""
    before, after = (" " if space else "\n" for space in (after_space, before_space))
    return _whole(f"x{before}{piece}{after}x")[1:-1]


def _whole(text: str) -> list[str]:
    tokens: list[str] = _tokenizer().tokenize(text)
    return tokens


@cache
def _tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def _sentences(text: str) -> list[str]:
    from nltk.tokenize import sent_tokenize

    try:
        return list(sent_tokenize(text))
    except LookupError:
        raise MissingTokenizerData(
            "NLTK's sentence model 'punkt_tab' is not on this machine: install it (python -m nltk.downloader "
            "punkt_tab), or count words in the text taken as one line, which needs no data"
        ) from None
