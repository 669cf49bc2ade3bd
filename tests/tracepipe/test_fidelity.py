"""Fidelity as its references define it, to the last bit, and as a file's scores."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

from tests.conftest import MODELS
from tests.test_cli import tracepipe
from tracepipe.fidelity import fidelity, mean_fidelity, score_pairs
from tracepipe.overlap import METRICS, overlap
from tracepipe.records import INVERTED_TRACES, TARGET_TRACES, from_rows
from tracepipe.words import MissingTokenizerData, nltk_words

WORDS = NLTKWordTokenizer()
ROUGE = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
PIECES = st.sampled_from(
    [
        *"ab1.,:;'\"`()[]{}<>-*%$&!?»”’“‘«\u2014", " ", " ", "\n", "\t", "''", "``", "n't", "'ll", "'s", "cannot", "gonna", "'tis",
        "'twas", "wanna", "can't", "d'ye", "..", "...", "--", " '", "' ", "\u00a0", "\r", "\x0b", "\x1c", "é", "İ", "ſ", "word",
        "adding", "adds",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)


def reference(real: str, forged: str) -> dict[str, float]:
    """The six scores by the libraries that define them."""
    words = [WORDS.tokenize(real), WORDS.tokenize(forged)]
    left, right = set(words[0]), set(words[1])
    precision, recall = len(left & right) / max(len(right), 1), len(left & right) / max(len(left), 1)
    bleu = sentence_bleu([words[0]], words[1], smoothing_function=SmoothingFunction().method3)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    rouge = {name: 100 * value.fmeasure for name, value in ROUGE.score(real, forged).items()}
    return {"bleu": 100 * bleu, "token_f1": 100 * f1, **rouge}


@settings(max_examples=600)
@given(TEXTS)
@example("a ''1$ b")
@example("it's (\"2\") 'twas 3' b. ) ")
def test_words_are_those_of_nltk(text: str):
    assert nltk_words(text) == WORDS.tokenize(text)


@settings(max_examples=300)
@given(TEXTS, TEXTS)
def test_scores_are_those_of_the_references_to_the_last_bit(real: str, forged: str):
    found = overlap(real, forged)
    assert {name: found[name] for name in METRICS} == reference(real, forged)


def prose(rng: random.Random, words: int) -> str:
    vocabulary = [
        *[
            "the",
            "a",
            "of",
            "we",
            "so",
            "x",
            "y",
            "12",
            "3.5",
            "(a+b)",
            "$x^2$,",
            "equation.",
            "therefore,",
            "computing",
            "numbers",
            "wasn't",
        ],
        "-\n-",
    ]
    return " ".join(rng.choice(vocabulary) for _ in range(words))


def test_scores_of_long_texts_are_those_of_the_references():
    rng = random.Random(0)
    for length in (1, 3, 4, 30, 700):
        real, forged = prose(rng, length), prose(rng, length)
        for pair in ((real, forged), (real, real), (real, real[: len(real) // 2]), (real, "")):
            found = overlap(*pair)
            assert {name: found[name] for name in METRICS} == reference(*pair)


def test_many_pairs_are_scored_in_order_by_all_cores():
    rng = random.Random(1)
    pairs = [(prose(rng, 20), prose(rng, 20)) for _ in range(230)]
    found = list(score_pairs(pairs, len(pairs), "one_line", None, "test"))
    assert [{name: row[name] for name in METRICS} for row in found] == [reference(*pair) for pair in pairs]


def test_a_missing_sentence_model_is_an_error_by_name_and_never_a_zero(monkeypatch: pytest.MonkeyPatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(MissingTokenizerData, match=r"punkt_tab.*nltk.downloader"):
        overlap("One. Two.", "One. Two.", "sentences")


def test_traces_are_compared_by_prompt_and_not_by_place():
    traces = from_rows(
        [{"prompt_id": p, "request_key": p, "trace": t} for p, t in (("p1", "A +1 2"), ("p2", "B -1 4 C +1 5"))],
        TARGET_TRACES,
    )
    kept = {"checkpoint_id": "c", "outcome": "ok", "reason": None, "input_tokens": 1, "output_tokens": 1}
    rows = [
        {"prompt_id": p, "request_key": f"i{p}", "inverted_trace": t, **kept}
        for p, t in (("p2", "B -1 4 C +1 5"), ("p1", "A +1"))
    ]
    scores = fidelity(from_rows(rows, INVERTED_TRACES), traces, "trained", str(MODELS / "base"), "one_line")
    by_prompt = {row["prompt_id"]: row for row in scores.iter_rows(named=True)}
    assert by_prompt["p2"]["rougeL"] == pytest.approx(100)
    assert by_prompt["p2"]["bleu"] == pytest.approx(100)
    assert by_prompt["p1"]["length_recovery"] == pytest.approx(2 / 3)
    (means,) = mean_fidelity(scores).to_dicts()
    assert (means["length_recovery"], means["reference_tokens"], means["words"]) == (
        pytest.approx(8 / 9),
        4.5,
        "one_line",
    )


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_pairs_is_scored_line_by_line(tmp_path: Path):
    rows = [
        {"id": "one", "reference": "we add\u2028the numbers", "synthesized": "adding a number"},
        {"id": 2, "reference": "x = 1", "synthesized": "x = 1"},
    ]
    pairs, out = write(tmp_path / "pairs.jsonl", rows), tmp_path / "out.jsonl"
    ended = tracepipe(
        tmp_path, "fidelity", str(pairs), "--json", "--out", str(out), "--tokenizer", str(MODELS / "base")
    )
    assert ended.returncode == 0, ended.stderr
    scored = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in scored] == ["one", 2]
    assert {name: scored[0][name] for name in METRICS} == reference(rows[0]["reference"], rows[0]["synthesized"])
    means = json.loads(ended.stdout)
    assert means["rouge1"] == pytest.approx((scored[0]["rouge1"] + scored[1]["rouge1"]) / 2)
    assert means["length_recovery"] == pytest.approx(means["synthesized_tokens"] / means["reference_tokens"])
    assert "text taken as one line" in tracepipe(tmp_path, "fidelity", str(pairs)).stdout


def test_a_tokenizer_that_is_not_there_is_said_before_any_work(tmp_path: Path):
    pairs = write(tmp_path / "pairs.jsonl", [{"id": 1, "reference": "a", "synthesized": "b"}])
    ended = tracepipe(tmp_path, "fidelity", str(pairs), "--tokenizer", str(tmp_path / "nothing"), HF_HUB_OFFLINE="1")
    assert ended.returncode == 2
    assert "nothing: no folder with a tokenizer.json" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"id": 1, "reference": "a"}\n', "line 1: field 'synthesized' is missing"),
        (
            '{"id": 1, "reference": "a", "synthesized": "b"}\n{"id": 1, "reference": "", "synthesized": ""}',
            "line 2: id '1'",
        ),
        ('{"id": null, "reference": "", "synthesized": ""}', "line 1: field 'id' is missing"),
        ("{broken\n", "line 1: not JSON"),
        ('{"id": 1, "reference": 7, "synthesized": "b"}\n', "field 'reference' is not text"),
        ("\n", "holds no pair"),
    ],
)
def test_a_bad_pair_is_an_error_that_names_its_line(tmp_path: Path, content: str, words: str):
    path = tmp_path / "pairs.jsonl"
    path.write_text(content)
    ended = tracepipe(tmp_path, "fidelity", str(path))
    assert ended.returncode == 2
    assert words in ended.stderr
