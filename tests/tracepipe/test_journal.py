"""The journal keeps every entry it finished and survives a torn one."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.journal import GroupCommit, Journal, Sink

entries = st.lists(st.dictionaries(st.text(), st.text() | st.integers(), max_size=3), max_size=6)


@given(before=entries, after=entries, cut=st.integers(1, 40))
def test_entries_before_and_after_a_torn_line_are_kept(
    tmp_path_factory: pytest.TempPathFactory, before: list, after: list, cut: int
):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path)
    for entry in before:
        journal.append(entry)
    with path.open("ab") as stream:
        stream.write(b'{"request_key": "this line is never finished because of a kill'[:cut])
    assert list(journal.entries()) == before
    for entry in after:
        journal.append(entry)
    assert list(journal.entries()) == before + after


def test_a_sink_writes_and_cannot_read(tmp_path: Path):
    journal = Journal(tmp_path / "traces.jsonl")
    seen = {"attempt": "a", "request_key": "r", "seconds": 1.0, "visible": "v"}
    Sink(journal).append_all([{"response_id": "r", "trace": "t"}, {"trace": "u"} | seen])
    assert list(journal.entries()) == [{"response_id": "r", "trace": "t"}, {"trace": "u"} | seen]
    assert not {"entries", "placed", "at"} & set(dir(Sink(journal)))
    assert list(Sink(journal).visible_parts()) == [seen]


def test_entries_are_found_again_at_the_offsets_returned(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    written = [{"number": number, "text": "\u2028é" * number} for number in range(5)]
    offsets = [journal.append(written[0]), *journal.append_all(written[1:])]
    assert list(journal.at(offsets[::-1])) == written[::-1]
    assert [offset for offset, _ in journal.placed()] == offsets


def test_many_tasks_append_with_few_flushes_and_each_learns_its_place(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    flushes = []

    class Counting:
        def append_all(self, entries: list[dict]) -> list[int]:
            flushes.append(len(entries))
            return journal.append_all(entries)

    async def append_many() -> list[int]:
        commit = GroupCommit(Counting())
        return await asyncio.gather(*(commit.append({"number": number}) for number in range(200)))

    offsets = asyncio.run(append_many())
    assert [entry["number"] for entry in journal.at(offsets)] == list(range(200))
    assert sum(flushes) == 200
    assert len(flushes) < 20


def test_a_full_disk_is_an_error_for_every_task_that_waits(tmp_path: Path):
    class Full:
        def append_all(self, entries: list[dict]) -> list[int]:
            raise OSError(28, "No space left on device")

    async def append_two() -> list[int | BaseException]:
        commit = GroupCommit(Full())
        return await asyncio.gather(commit.append({"a": 1}), commit.append({"b": 2}), return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(append_two())] == [OSError, OSError]


def test_a_changed_journal_is_an_error_that_names_file_and_place(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"a": 1})
    journal.path.write_text("spoilt\n" + journal.path.read_text())
    with pytest.raises(ValueError, match=r"journal\.jsonl: the line at byte 0 is no JSON"):
        list(journal.entries())
