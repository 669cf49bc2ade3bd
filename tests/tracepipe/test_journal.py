"""The journal keeps every entry it finished and survives a torn one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.journal import Journal, Sink

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
    Sink(journal).append({"response_id": "r", "trace": "t"})
    assert list(journal.entries()) == [{"response_id": "r", "trace": "t"}]
    assert not hasattr(Sink(journal), "entries")
