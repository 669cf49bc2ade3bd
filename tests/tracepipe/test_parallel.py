"""Tasks on all cores: in order, in main threads, each killable without harm to the others."""

import os
import threading
import time

import pytest

from tracepipe.parallel import Lost, each


def work(task: str) -> str:
    if task == "hang":
        time.sleep(60)
    if task == "hog":
        bytearray(2**31)
    if task == "die":
        os._exit(3)
    if task == "fail":
        raise ValueError("this one is wrong")
    return f"{task} {threading.current_thread() is threading.main_thread()}"


def test_results_come_in_the_order_of_the_tasks_and_from_main_threads():
    tasks = [str(number) for number in range(50)]
    assert list(each(work, iter(tasks))) == [f"{task} True" for task in tasks]


def test_a_task_that_hangs_or_dies_is_lost_and_the_others_are_done():
    found = list(each(work, ["a", "hang", "b", "die", "c"], seconds=1))
    assert [found[0], found[2], found[4]] == ["a True", "b True", "c True"]
    assert found[1] == Lost("not done in time")
    assert isinstance(found[3], Lost)
    assert "exit code 3" in found[3].reason


def test_memory_is_bounded_and_an_error_is_raised_here():
    with pytest.raises(MemoryError):
        list(each(work, ["hog"], memory_bytes=2**30))
    with pytest.raises(ValueError, match="this one is wrong"):
        list(each(work, ["a", "fail"]))
