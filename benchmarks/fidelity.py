"""What exact fidelity costs: the six scores against the libraries that define them, in one process and one run.

`python -m benchmarks.fidelity [--pairs 12] [--references 3] [--bulk 10000]` prints ratios, and as its last line JSON.
The texts are made of random words and formulas, about 4,000 ROUGE tokens each, as long as real traces. The values are
compared as well: they must be equal to the last bit. With `--bulk`, so many pairs go through all cores, as
`tracepipe fidelity` runs them, with the largest resident memory of any of its processes.
"""

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import accumulate

from nltk.tokenize import NLTKWordTokenizer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

from tracepipe.fidelity import score_pairs
from tracepipe.overlap import METRICS, overlap, rouge_l, rouge_tokens

Pair = tuple[str, str]
_FORMULAS = ("$x^2 + {n}$,", "(a+b)/{n}.", "\\frac{{{n}}}{{7}}", "so we get {n};", "can't be {n}?", "f({n}) = {n}")


def text(rng: random.Random, vocabulary: list[str], tokens: int) -> str:
    """Return about so many ROUGE tokens of prose and formulas, words as frequent as in a language (Zipf)."""
    words: list[str] = []
    while tokens > 0:
        if rng.random() < 0.15:
            words.append(rng.choice(_FORMULAS).format(n=rng.randrange(1000)))
            tokens -= 2
        else:
            words.append(draw(rng, vocabulary, 1)[0])
            tokens -= 1
        if rng.random() < 0.05:
            words[-1] += rng.choice([".", ",", ".\n\n"])
    return " ".join(words)


def draw(rng: random.Random, vocabulary: list[str], count: int) -> list[str]:
    """Return so many words, the first of the vocabulary most often, as in a language (Zipf)."""
    return rng.choices(vocabulary, cum_weights=_weights(len(vocabulary)), k=count)


@cache
def _weights(count: int) -> list[float]:
    return list(accumulate(1 / (rank + 3) for rank in range(count)))


def vocabulary(rng: random.Random) -> list[str]:
    """Return distinct made-up words with endings that the stemmer works on."""
    letters = "etaoinshrdlucmfwygpb"
    stems = {"".join(rng.choices(letters, k=rng.randint(2, 8))) for _ in range(6000)}
    return [
        stem + rng.choice(["", "s", "ing", "ed", "ation", "ly"]) for stem in sorted(stems, key=lambda _: rng.random())
    ]


def reference(pair: Pair) -> dict[str, float]:
    """Score a pair by the libraries, as the definitions have it."""
    words = [NLTKWordTokenizer().tokenize(one) for one in pair]
    left, right = set(words[0]), set(words[1])
    precision, recall = len(left & right) / max(len(right), 1), len(left & right) / max(len(left), 1)
    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(*pair)
    return {
        "bleu": 100 * sentence_bleu([words[0]], words[1], smoothing_function=SmoothingFunction().method3),
        "token_f1": 100 * (2 * precision * recall / (precision + recall)),
        **{name: 100 * value.fmeasure for name, value in rouge.items()},
    }


def reference_rouge_l(pair: Pair) -> float:
    """ROUGE-L alone by rouge_score."""
    return float(RougeScorer(["rougeL"], use_stemmer=True).score(*pair)["rougeL"].fmeasure)


def our_rouge_l(pair: Pair) -> float:
    """ROUGE-L alone by this project."""
    return rouge_l(*(rouge_tokens(one) for one in pair))


def seconds(function: Callable[[Pair], object], pairs: list[Pair]) -> float:
    """Return the seconds a pair takes, on average."""
    started = time.perf_counter()
    for pair in pairs:
        function(pair)
    return (time.perf_counter() - started) / len(pairs)


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--references", type=int, default=3, help="pairs the libraries score; seconds each")
    parser.add_argument("--bulk", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(0)
    words = vocabulary(rng)
    pairs = [(text(rng, words, 4000), text(rng, words, 4000)) for _ in range(options.pairs)]
    few = pairs[: options.references]
    equal = all({name: overlap(*pair)[name] for name in METRICS} == reference(pair) for pair in few)
    slow, fast = seconds(reference, few), seconds(lambda pair: overlap(*pair), pairs)
    slow_l, fast_l = seconds(reference_rouge_l, few), seconds(our_rouge_l, pairs)
    figures: dict[str, object] = {
        "rouge_tokens": sum(len(rouge_tokens(one)) for one in few[0]) // 2,
        "identical": equal,
        "reference_ms": round(1000 * slow, 1),
        "ours_ms": round(1000 * fast, 1),
        "ratio": round(slow / fast, 1),
        "rougeL_reference_ms": round(1000 * slow_l, 1),
        "rougeL_ours_ms": round(1000 * fast_l, 2),
        "rougeL_ratio": round(slow_l / fast_l, 1),
    }
    print(
        f"six scores: {slow:.2f} s a pair by the libraries, {1000 * fast:.1f} ms here: {slow / fast:.0f} times faster"
    )
    print(f"ROUGE-L alone: {slow_l:.2f} s against {1000 * fast_l:.2f} ms: {slow_l / fast_l:.0f} times faster")
    if options.bulk:
        started = time.perf_counter()
        many = ((text(rng, words, 4000), text(rng, words, 4000)) for _ in range(options.bulk))
        count = sum(1 for _ in score_pairs(many, options.bulk, "one_line", None, "bulk"))
        figures["bulk_pairs"], figures["bulk_seconds"] = count, round(time.perf_counter() - started, 1)
        peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        figures["peak_mb_of_a_process"] = round(max(peaks) / 1024)
        print(f"{count} pairs in {figures['bulk_seconds']} s on all cores, making the texts included")
    print(json.dumps(figures))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
