"""Tables of benchmarks are kept in JSON with what their figures depend on, and printed from it in Markdown."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import pytest
from rich.table import Table

from mtl_tasks.core.errors import ConfigError
from tests.benchmarks.__main__ import main
from tests.benchmarks.output import BenchmarkResult, Output, make_result


def shown() -> Table:
    table = Table(title="Members", caption="of one day")
    table.add_column("member | task")
    table.add_column("AUC", justify="right")
    table.add_row("als", "0.5 [0.4, 0.6]")
    table.add_row("", "–")
    return table


MARKDOWN = """Members

| member \\| task | AUC |
| --- | ---: |
| als | 0.5 [0.4, 0.6] |
| | – |

of one day"""


def stored(folder: Path) -> Path:
    output = Output()
    output.print("als …")
    output.print(shown())
    return make_result("films", ["films", "--dates", "2013-08-25"], output.tables).write(folder)


def test_a_printed_table_is_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    Output().print(shown())
    assert capsys.readouterr().out.strip() == MARKDOWN


def test_a_stored_result_is_printed_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path)
    capsys.readouterr()
    main(["--markdown", str(path)])
    assert capsys.readouterr().out == f"{MARKDOWN}\n"


def test_a_result_names_its_arguments_machine_and_versions(tmp_path: Path) -> None:
    result = BenchmarkResult.read(stored(tmp_path))
    assert result.arguments == ("films", "--dates", "2013-08-25")
    assert result.libraries["lightgbm"] == lightgbm.__version__
    assert result.machine.cores >= 1
    assert result.machine.memory_mib > 256
    assert result.machine.processor
    assert (result.commit is None) == (result.changed is None)


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), ("{}", "is not a result of make bench")])
def test_what_is_no_result_is_refused_by_its_name(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "films.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=rf"films\.json.*{message}"):
        BenchmarkResult.read(path)
