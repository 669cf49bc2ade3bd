"""The law of the journal: whatever happened in whatever order, the same responses give the same table."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.provider.replies import bill, body_of
from tests.tracepipe.collection.conftest import Collecting
from tracepipe.books import Books
from tracepipe.engines.base import request_of
from tracepipe.engines.failures import Failure
from tracepipe.journal import Journal, Sink
from tracepipe.ledger import Ledger
from tracepipe.outputs import read_outputs
from tracepipe.spec import SpecError
from tracepipe.target import Target

TARGET = Target(
    name="fake",
    model="m",
    api="responses",
    base_url="http://127.0.0.1/v1",
    exposes="summary",
    open=False,
    price={"input": 1, "output": 10},
    max_output_tokens=200,
    budget_usd=1,
)
PROMPTS = ["plain", "cut", "refuse", "no summary", "odd", "garbage"]
EXPECTED = ["ok", "truncated", "refused", "empty_summary", "parse_error", "parse_error"]


class Collector(RuleBasedStateMachine):
    """Begins, answers, fails, repeats, dies and starts again in any order; the provider always answers the same."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.journal = Journal(Path(self.folder.name, "journal.jsonl"))
        self.answered: set[str] = set()
        self.spent = 0.0
        self.open_ledger()

    def open_ledger(self) -> None:
        self.ledger = Ledger(TARGET, self.journal, Sink(Journal(Path(self.folder.name, "traces.jsonl"))))
        self.mine: dict[str, str] = {}

    def append(self, entry: dict) -> None:
        self.ledger.books.enter(entry, self.journal.append(entry))

    @rule(prompt=st.sampled_from(PROMPTS))
    def begin(self, prompt: str) -> None:
        entry = self.ledger._attempt(request_of(TARGET, prompt), "live")
        self.append(entry)
        self.mine[entry["attempt"]] = prompt

    @precondition(lambda self: self.mine)
    @rule(data=st.data(), twice=st.booleans())
    def answer(self, data: st.DataObject, twice: bool) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.mine)))
        prompt = self.mine.pop(attempt)
        entry = {"kind": "response", "attempt": attempt, "request_key": request_of(TARGET, prompt).key, "at": "",
                 "seconds": 1.0, "body": body_of("responses", prompt, prompt)}  # fmt: skip
        for _ in range(1 + twice):
            self.append(entry)
        self.answered.add(prompt)
        self.spent += 0.0 if prompt == "garbage" else bill(prompt)

    @precondition(lambda self: self.mine)
    @rule(data=st.data(), billed=st.booleans(), final=st.booleans())
    def fail(self, data: st.DataObject, billed: bool, final: bool) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.mine)))
        prompt = self.mine.pop(attempt)
        failure = Failure("passing", "down", billed=billed)
        self.append(
            {"kind": "failure", "attempt": attempt, "request_key": request_of(TARGET, prompt).key, "at": "",
             "reason": failure.reason, "outcome": "api_error", "possible_usd": 0.002 if billed else 0.0, "final": final}
        )  # fmt: skip

    @rule(prompt=st.sampled_from(PROMPTS))
    def reopen(self, prompt: str) -> None:
        self.ledger.reopen([request_of(TARGET, prompt).key])

    @rule(torn=st.integers(0, 60))
    def die_and_start_again(self, torn: int) -> None:
        with self.journal.path.open("ab") as stream:
            stream.write(b'{"kind": "response", "attempt": "never finished because of a kill"'[:torn])
        self.open_ledger()

    @invariant()
    def the_table_says_what_was_answered_and_nothing_else(self) -> None:
        rows = read_outputs(Collecting.prompts(*PROMPTS), TARGET, self.journal)
        outcomes = dict(zip(PROMPTS, rows["outcome"], strict=True))
        expected = dict(zip(PROMPTS, EXPECTED, strict=True))
        assert outcomes == {name: expected[name] if name in self.answered else "api_error" for name in PROMPTS}
        assert self.ledger.books.paid_usd == pytest.approx(self.spent)
        anew = Books.of(self.journal)
        assert anew.committed_usd == pytest.approx(self.ledger.books.committed_usd)
        assert anew.accounts.keys() == self.ledger.books.accounts.keys()

    def teardown(self) -> None:
        self.folder.cleanup()


TestCollector = Collector.TestCase
TestCollector.settings = settings(max_examples=40)


def test_what_a_purge_left_counts_once_however_often_it_stands(tmp_path: Path):
    left = {"kind": "purged", "at": "2026-11-24", "paid_usd": 1.5, "possible_usd": 0.25}
    journal = Journal(tmp_path / "fake.jsonl")
    journal.append_all([left | {"id": "a"}, left | {"id": "b"}, left | {"id": "a"}])
    assert Books.of(journal).paid_usd == 3.0
    assert Books.of(journal).committed_usd == 3.5


def test_a_journal_of_another_format_is_an_error_that_says_what_to_do(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"request_key": "r", "response": {}})
    with pytest.raises(SpecError, match=r"journal\.jsonl: the line at byte 0 .* move the file elsewhere"):
        Books.of(journal)


def history(prompt: str, fates: list[str]) -> list[dict]:
    """The entries of one request: each fate is an attempt that failed, was answered, or never came to an end."""
    key, entries = request_of(TARGET, prompt).key, []
    for number, fate in enumerate(fates, start=1):
        attempt = {"attempt": f"{key}.{number}", "request_key": key, "at": ""}
        entries.append(
            {"kind": "attempt", "number": number, "round": 0, "delivery": "live", "worst_usd": 0.002, "price": [1, 10]}
            | attempt
        )
        if fate == "failed":
            entries.append(
                {"kind": "failure", "reason": "down", "outcome": "api_error", "possible_usd": 0.0, "final": False}
                | attempt
            )
        elif fate == "answered":
            entries.append({"kind": "response", "seconds": 1.0, "body": body_of("responses", prompt, prompt)} | attempt)
    return entries


def interleaved(histories: list[list[dict]], pick: Callable[[int], int]) -> list[dict]:
    """The entries of several requests in one order of many, each request's own in order, some of them twice."""
    waiting, merged = [list(one) for one in histories if one], []
    while waiting:
        chosen = waiting[pick(len(waiting))]
        merged += [chosen.pop(0)] * (1 + pick(2))
        waiting = [one for one in waiting if one]
    return merged


@given(
    fates=st.lists(st.lists(st.sampled_from(["failed", "answered", "lost"]), max_size=3), min_size=6, max_size=6),
    seeds=st.tuples(st.integers(), st.integers()),
)
def test_any_interleaving_and_repetition_of_entries_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, fates: list[list[str]], seeds: tuple[int, int]
):
    histories = [history(prompt, fate) for prompt, fate in zip(PROMPTS, fates, strict=True)]
    tables, spent = [], []
    for seed in seeds:
        journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
        journal.append_all(interleaved(histories, random.Random(seed).randrange))
        tables.append(read_outputs(Collecting.prompts(*PROMPTS), TARGET, journal))
        spent.append(Books.of(journal).committed_usd)
    # Where a response lies in the journal is all that may differ.
    assert tables[0].drop("offset").equals(tables[1].drop("offset"))
    assert spent[0] == pytest.approx(spent[1])
