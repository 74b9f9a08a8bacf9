"""The command line: help, parsing, and how bad input and faults come out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from mtl_tasks.cli import main as cli
from mtl_tasks.core.errors import MtlError
from mtl_tasks.core.program import PROGRAM
from tests.conftest import PROJECT


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must be refused, and return its one line."""
    assert cli.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_overview_names_the_commands_with_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "include/bin/mtl run movies --as-of 2013-08-25" in out
    assert "show" in out
    assert "Exit codes" in out


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", ["--as-of", "--store", "MTL_STORE", "--set", "--force", "--json", "--root", "--verbose"]),
        ("check", ["--as-of", "--sample", "--set", "--json", "--root", "--verbose"]),
        ("init", ["--events", "--items", "--user", "--item", "--time", "--root", "--verbose"]),
        ("show", ["--as-of", "--run", "--store", "--json", "--root", "--verbose"]),
        ("explain", ["--user", "--item", "--as-of", "--run", "--store", "--top", "--json", "--root", "--verbose"]),
        ("data-docs", ["--out", "--as-of", "--run", "--store", "--json", "--root", "--verbose"]),
        ("compress", ["--run", "--budget", "--dry-run", "--store", "--json", "--root", "--verbose"]),
        ("export", ["--run", "--out", "--store", "--json", "--root", "--verbose"]),
        (
            "simulate",
            ["--users", "--items", "--days", "--events", "--seed", "--correlation", "--noise", "--out", "--root"],
        ),
    ],
)
def test_help_of_a_command_names_every_option(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert [option for option in options if option not in out] == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from mtl_tasks.cli.main import main; code = main(['run', '--help']);"
        "heavy = {'numpy', 'pandas', 'scipy', 'sklearn', 'pyarrow', 'matplotlib', 'lightgbm', 'implicit', "
        "'great_expectations', 'airflow'} & set(sys.modules);"
        "sys.exit(code or ' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "Missing argument 'SCENARIO'"),
        (["runn", "movies"], "Did you mean 'run'"),
        (["run", "movies", "--asof", "2013-08-25"], "--as-of"),
        (["run", "movies", "extra"], "unexpected extra argument"),
        (["show", "movies", "--force"], "No such option"),
        (["explain", "movies", "--item", "1"], "Missing option '--user'"),
        (["explain", "movies", "--user", "1", "--item", "1", "--top", "0"], "--top"),
        (["run", "movies", "--root", "nowhere"], "--root nowhere: no such folder"),
        (["run", "movies", "--set", "windows.train"], "expected key=value"),
        (["show", "movies", "--set", "a=3"], "No such option"),
        (["run", "movies", "--set", "=3"], "expected key=value"),
        (["run", "movies", "--set", "a=[1"], "not YAML"),
        (["simulate", "--users", "9"], "Missing option"),
        (["compress", "movies"], "Missing option '--run'"),
        (["compress", "movies", "--run", "4f2a", "--budget", "half"], "Invalid value for '--budget'"),
        (["export", "movies", "--run", "4f2a"], "Missing option '--out'"),
        (["registry", "lst"], "Did you mean 'list'"),
        (["registry", "promote", "movies", "abc"], "Missing option '--reason'"),
        (["registry", "prune", "movies", "--keep-days", "0"], "--keep-days"),
        (["simulate", "--users", "many"], "Invalid value for '--users'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(capsys, *arguments)


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None:
        """A second command, so that the first keeps its name."""

    return app


def test_a_message_with_line_breaks_still_becomes_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", app_that_raises(MtlError("first\n  second")))
    assert refused(capsys, "fail") == "error: first second\n"


@pytest.mark.parametrize("date", [[], ["--as-of", "yesterday"]])
def test_a_wrong_name_is_reported_before_a_wrong_date(date: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(capsys, "run", "moveis", "--root", str(PROJECT), *date)
    assert "moveis" in found
    assert "did you mean 'movies'?" in found


def test_interruption_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", app_that_raises(KeyboardInterrupt()))
    assert cli.main(["fail"]) == 130


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", app_that_raises(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["fail"])


def test_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"{project['name']} {project['version']}, Python 3.")


def test_a_python_without_the_packages_says_what_to_type_in_one_line(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    command = [bare / "bin/python", "-m", "mtl_tasks", "run", "movies"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {bare}/bin/python lacks typer, pydantic, pandas")
    assert "type include/bin/mtl instead" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_that_messages_name_works_as_typed_from_the_projects_folder() -> None:
    done = subprocess.run(
        [PROGRAM, "--version"], cwd=PROJECT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mtl-tasks ")


def test_the_command_works_through_the_link_in_the_environment_and_from_any_folder(tmp_path: Path) -> None:
    link = tmp_path / "bin/mtl"
    link.parent.mkdir()
    link.symlink_to(PROJECT / PROGRAM)
    done = subprocess.run([link, "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: Missing argument 'SCENARIO'. (see {PROGRAM} run --help)\n"


def test_the_command_says_what_is_missing_where_nothing_is_installed(tmp_path: Path) -> None:
    script = tmp_path / PROGRAM
    script.parent.mkdir(parents=True)
    shutil.copy(PROJECT / PROGRAM, script)
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/.venv is missing: run make setup in {tmp_path}\n"


def test_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mtl_tasks", "run", "movies", "--set", "oops"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: --set 'oops': expected key=value, for example --set windows.train=28\n"
