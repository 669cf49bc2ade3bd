"""What decontamination costs: `python -m benchmarks.decontamination [--prompts 114000] [--items 1586]`.

Made-up prompts against made-up items, about as long as real ones, a part of the items short; some prompts are copies,
rewordings and cuttings of items. The baseline, measured in the same run on a part of the prompts, is the plain way:
every prompt against every item with rapidfuzz's ratio alone. Prints seconds, what was planted and found, and as its
last line one JSON object.
"""

import argparse
import json
import random
import time

from rapidfuzz import fuzz
from rapidfuzz.process import cdist

from benchmarks.fidelity import draw, vocabulary
from tracepipe.problems import Decontamination
from tracepipe.prompts.decontamination import find_matches

_BASELINE_PROMPTS = 2000


def planted(rng: random.Random, item: str, words: list[str]) -> str:
    """Return a prompt that is an item in disguise: copied, cut out of, or wrapped into other text."""
    own = item.split()
    if len(own) < 20:
        return item.upper()
    start = rng.randrange(len(own) - 15)
    cut = " ".join(own[start : start + 15])
    wrapped = " ".join([*draw(rng, words, 20), cut, *draw(rng, words, 20)])
    return rng.choice([item.upper(), wrapped, f"Please solve: {item}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=114_000)
    parser.add_argument("--items", type=int, default=1586)
    options = parser.parse_args()
    rng = random.Random(0)
    words = vocabulary(rng)
    items = [" ".join(draw(rng, words, rng.choice([8, 30, 60, 120]))) for _ in range(options.items)]
    places = set(rng.sample(range(options.prompts), options.prompts // 200))
    prompts = [
        planted(rng, rng.choice(items), words) if place in places else " ".join(draw(rng, words, rng.randint(10, 180)))
        for place in range(options.prompts)
    ]
    started = time.perf_counter()
    matches = find_matches(prompts, items, Decontamination())
    taken = time.perf_counter() - started
    part = prompts[:_BASELINE_PROMPTS]
    started = time.perf_counter()
    cdist(part, items, scorer=fuzz.ratio, workers=-1)
    baseline = (time.perf_counter() - started) / len(part) * len(prompts)
    found = {place for place, match in enumerate(matches) if match}
    figures = {
        "prompts": len(prompts),
        "items": len(items),
        "seconds": round(taken, 1),
        "ratio_to_fuzzy_alone": round(baseline / taken, 2),
        "planted": len(places),
        "planted_found": len(places & found),
        "others_found": len(found - places),
    }
    print(f"{taken:.1f} s; comparing everything with fuzz.ratio alone would take {baseline:.1f} s")
    print(f"{len(places & found)} of {len(places)} planted prompts found, {len(found - places)} others")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
