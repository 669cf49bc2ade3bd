"""Tables as people read them: nothing a model wrote comes alive, nothing that qualifies an accuracy is missing."""

import re

from tests.tracepipe.test_comparison import score
from tracepipe.comparison import compare, differences
from tracepipe.records import BENCHMARK_SCORES, from_rows
from tracepipe.report.tables import Grid, comparison_grid, difference_grid


def test_model_written_text_stays_text_in_a_markdown_table():
    hostile = "a | b\n![x](http://evil/p.png) [y](javascript:alert(1)) <script> `c` **d**"
    (line,) = Grid(("text",), ((hostile,),)).markdown().splitlines()[2:]
    assert re.findall(r"(?<!\\)[|`*\[\]!<]", line.removeprefix("|").removesuffix("|")) == []


def test_an_accuracy_stands_beside_all_that_qualifies_it():
    rows = [score("i1", 0, 1.0), score("i2", 0, 0.25, outcome="partial"), score("i3", 0, 0.0, outcome="no_answer")]
    grid = comparison_grid(compare(from_rows(rows, BENCHMARK_SCORES), ["oracle"], {}))
    columns = ("95 % interval", "seeds min-max", "truncated %", "no answer %", "loops %", "fair scorer %", "exact %")
    assert set(columns) <= set(grid.header)
    assert dict(zip(grid.header, grid.rows[0], strict=True))["exact %"] == "33.3"


def test_a_difference_that_is_not_resolved_is_called_so():
    rows = [
        score(f"i{number}", None, float(number % 2 == 0), condition=condition)
        for condition in ("base", "oracle")
        for number in range(8)
    ]
    (row,) = difference_grid(differences(from_rows(rows, BENCHMARK_SCORES), ["base", "oracle"])).rows
    assert row[3:7] == ("+0.0", "+0.0 to +0.0", "1.000", "not resolved")
