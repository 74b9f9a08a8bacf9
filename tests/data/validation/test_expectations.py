"""Great Expectations decides, silently, and only once it is asked."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from mtl_tasks.data.validation.expectations import Expectation, judge
from tests.conftest import PROJECT
from tests.data.validation.sample import good_log, validate


def test_a_check_that_cannot_run_is_not_a_success() -> None:
    expectation = Expectation("ExpectColumnValuesToNotBeNull", {"column": "nowhere"}, "warning")
    [outcome] = judge(good_log(), [expectation])
    assert not outcome.success
    assert outcome.error is not None
    assert "nowhere" in outcome.error


def test_great_expectations_says_nothing_in_our_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        validate(good_log())
    assert {record.name.split(".")[0] for record in caplog.records} == {"mtl_tasks"}


OFFLINE = """
import atexit, socket, sys
reached = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        reached.append((event, *map(str, arguments[:2])))
sys.addaudithook(watch)
atexit.register(lambda: print(reached))  # the first to be registered is the last to be called
from tests.data.validation.sample import good_log, validate
validate(good_log())
socket.getaddrinfo("localhost", 7)  # what shows that it would be noticed
"""


@pytest.mark.faults(36)
def test_great_expectations_asks_nothing_of_the_network() -> None:
    command = [sys.executable, "-c", OFFLINE]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[('socket.getaddrinfo', 'localhost', '7')]"


@pytest.mark.faults(36)
def test_great_expectations_is_not_imported_before_it_runs() -> None:
    code = "import sys, mtl_tasks.data.validation; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
