"""Word overlap of a synthesized text with its reference: BLEU, token F1, ROUGE-1/2/L, exact and fast.

Definitions (grading protocol of the paper's released code): BLEU is NLTK's sentence BLEU with smoothing method 3;
token F1 is over the sets of NLTK word tokens; ROUGE is `rouge_score` with stemming, F-measure; all x100. The values
are those of the two libraries to the last bit. What is different is the work: stems are remembered, tokens are small
numbers, and the longest common subsequence of ROUGE-L is found with bit-parallel arithmetic instead of a table.
"""

import math
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any

from tracepipe.words import Words, nltk_words

METRICS = ("bleu", "token_f1", "rouge1", "rouge2", "rougeL")
WORDS_NOTE = "NLTK words of the text taken as one line (the paper's code splits sentences first, which needs punkt_tab)"

_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")
_STEMS = 200_000
_LONGEST_UNSTEMMED = 3
_ORDERS = 4


def overlap(reference: str, synthesized: str, words: Words = "one_line") -> dict[str, float]:
    """Score one pair.

    Returns:
        `bleu, token_f1, rouge1, rouge2, rougeL` (x100), and the lengths `reference_words, synthesized_words`.

    Raises:
        MissingTokenizerData: If `words` is `sentences` and `punkt_tab` is not installed.
    """
    real_words, forged_words = _numbered(nltk_words(reference, words), nltk_words(synthesized, words))
    real, forged = _numbered(rouge_tokens(reference), rouge_tokens(synthesized))
    unigrams, bigrams = shared_ngrams(real, forged, 2)
    return {
        "bleu": 100 * bleu(real_words, forged_words),
        "token_f1": 100 * token_f1(real_words, forged_words),
        "rouge1": 100 * _rouge_n(unigrams, real, forged, 1),
        "rouge2": 100 * _rouge_n(bigrams, real, forged, 2),
        "rougeL": 100 * _lcs_f_measure(real, forged),
        "reference_words": len(real_words),
        "synthesized_words": len(forged_words),
    }


def _numbered(*texts: Sequence[str]) -> list[list[int]]:
    """Replace tokens by small non-negative numbers, the same ones in all texts."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys(chain(*texts)))}
    return [list(map(numbers.__getitem__, text)) for text in texts]


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def rouge_tokens(text: str) -> list[str]:
    """Return the tokens `rouge_score` compares: lower-case alphanumerics, stemmed where longer than three."""
    return [
        _stem(token) if len(token) > _LONGEST_UNSTEMMED else token
        for token in _NOT_ALPHANUMERIC.sub(" ", text.lower()).split()
    ]


@lru_cache(_STEMS)
def _stem(token: str) -> str:
    return str(_stemmer().stem(token))


def bleu(reference: Sequence[int], synthesized: Sequence[int]) -> float:
    """Return NLTK's sentence BLEU of one reference with smoothing method 3 (NIST geometric), 0 to 1."""
    counts = shared_ngrams(reference, synthesized, _ORDERS)
    if not counts or counts[0] == 0:
        return 0.0
    halvings, precisions = 1, []
    for n in range(1, _ORDERS + 1):
        matched, total = counts[n - 1], max(1, len(synthesized) - n + 1)
        precisions.append(matched / total if matched else 1 / (2**halvings * total))
        halvings += not matched
    longer = len(synthesized) > len(reference)
    brevity = 1 if longer else math.exp(1 - len(reference) / len(synthesized))
    return brevity * math.exp(math.fsum(0.25 * math.log(precision) for precision in precisions))


def shared_ngrams(reference: Sequence[int], synthesized: Sequence[int], longest: int) -> list[int]:
    """Return for n = 1 to `longest` how many n-grams both texts have, each as often as both have it.

    Args:
        reference: Tokens as small non-negative numbers.
        synthesized: The same.
        longest: The largest n.
    """
    import numpy as np

    left, right = np.asarray(reference, dtype=np.int64), np.asarray(synthesized, dtype=np.int64)
    size = int(max(left.max(initial=0), right.max(initial=0))) + 1
    real, forged, shared = left, right, []
    for n in range(1, longest + 1):
        if n > 1:
            real, forged = real[:-1] * size + left[n - 1 :], forged[:-1] * size + right[n - 1 :]
            # Renumbered at each n, so that a number times the vocabulary never overflows.
            numbers = np.unique(np.concatenate([real, forged]), return_inverse=True)[1]
            real, forged = numbers[: len(real)], numbers[len(real) :]
        most = int(max(real.max(initial=0), forged.max(initial=0))) + 1
        counts = (np.bincount(ngrams, minlength=most) for ngrams in (real, forged))
        shared.append(int(np.minimum(*counts).sum()))
    return shared


def token_f1(reference: Sequence[int], synthesized: Sequence[int]) -> float:
    """Return the F1 of the two sets of tokens, 0 to 1."""
    left, right = set(reference), set(synthesized)
    shared = len(left & right)
    return _f_measure(shared / max(len(right), 1), shared / max(len(left), 1))


def _rouge_n(shared: int, reference: Sequence[int], synthesized: Sequence[int], n: int) -> float:
    return _f_measure(shared / max(len(synthesized) - n + 1, 1), shared / max(len(reference) - n + 1, 1))


def rouge_l(reference: Sequence[str], synthesized: Sequence[str]) -> float:
    """Return ROUGE-L of two lists of tokens, F-measure, 0 to 1."""
    return _lcs_f_measure(*_numbered(reference, synthesized))


def _lcs_f_measure(reference: Sequence[int], synthesized: Sequence[int]) -> float:
    from rapidfuzz.distance import LCSseq

    if not reference or not synthesized:
        return 0.0
    # rapidfuzz compares hashes: of small non-negative numbers these are the numbers themselves.
    common = LCSseq.similarity(reference, synthesized)
    return _f_measure(common / len(synthesized), common / len(reference))


def _f_measure(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
