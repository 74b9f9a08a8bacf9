"""YAML of any kind either loads or is refused in one line with its place: it cannot hang or crash what reads it."""

from __future__ import annotations

import os
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import load_scenario, parse_scenario, parse_setting, scenario_names
from mtl_tasks.scenario.document import LONGEST_VALUE, MOST_BYTES, MOST_LEVELS, MOST_VALUES, read_yaml
from tests.support.logs import DOCUMENT

LAUGHS = "\n".join(["a0: &a0 [x]", *(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(12))])
MERGES = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}" for n in range(12))]
)
UNREADABLE = [
    (f"a: {'[' * 5000}", "line 1: sections within each other on more than 20 levels"),
    ("\n".join(f"{' ' * n}a:" for n in range(60)), "line 21: sections within each other on more than 20 levels"),
    (LAUGHS, f"line 6: more than {MOST_VALUES:,} values, every alias written out"),
    (MERGES, f"line 5: more than {MOST_VALUES:,} values, every alias written out"),
    ("\n".join([*(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 30))]).replace("*a0", "1"), "line 20: sections within"),
    ("a: &a [*a]", "line 1: the alias 'a' refers to itself"),
    ("a: &a {<<: *a}", "line 1: the alias 'a' refers to itself"),
    ("a: *b", "not YAML: found undefined alias 'b'"),
    (f"[{'1,' * MOST_VALUES}]", f"line 1: more than {MOST_VALUES:,} values"),
    (f"a: {'x' * (LONGEST_VALUE + 1)}", r"line 1: a value of 20,001 characters, at most 20,000 are read"),
    ("a:\n  - !!python/object:os.system x", "line 2: the tag 'tag:yaml.org,2002:python/object:os.system' is not read"),
    ("a: !!binary aGk=", "line 1: the tag 'tag:yaml.org,2002:binary' is not read: write a plain value, text in quotes"),
    ("a: !mine {b: 1}", "line 1: the tag '!mine' is not read"),
    (f"a: 1{'0' * 5000}", r"line 1: '10+…' cannot be read: if it is text, quote it"),
    (f"\na: 0x{'f' * 30}", "line 2: '0xf{30}' has over 63 bits: if it is text, quote it"),
    (f"a: {'59:' * 400}59.5", "line 1: '59:.*' cannot be read"),
    ("a: 2013-02-30", "line 1: '2013-02-30' cannot be read"),
    ('a: "\\ud800"', "line 1: a character that is half of a pair"),
    ("a:\n\tb: 1", "not YAML: while scanning .*line 2"),
    ("a: \x00", "not YAML: unacceptable character #x0000"),
    ("a: {b: 1}\n--- \nb: 1", "not YAML: expected a single document"),
]


def load(folder: Path, text: str | bytes) -> Any:
    (folder / "tiny.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_scenario("tiny", folder=folder)


@pytest.mark.parametrize(("text", "message"), UNREADABLE, ids=[text[:20] for text, _ in UNREADABLE])
def test_a_document_out_of_bounds_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"tiny\.yaml: {message}") as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_byte_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML: byte 0xff on line 2 is not UTF-8: save the file as UTF-8"):
        load(tmp_path, b"title: x\nname: \xff\xfe")
    with pytest.raises(ConfigError, match="byte 0xff on line 1"):
        load(tmp_path, yaml.safe_dump(DOCUMENT).encode("utf-16"))


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + yaml.safe_dump(DOCUMENT).encode()) == parse_scenario(DOCUMENT, where="x")


def test_a_document_at_the_bounds_is_read() -> None:
    assert read_yaml("[" * MOST_LEVELS + "]" * MOST_LEVELS) is not None
    assert read_yaml(f"a: &a [{', '.join('1' * 99)}]\nb: [{', '.join(['*a'] * 99)}]")["b"][98] == [1] * 99
    assert read_yaml("a: 9223372036854775807") == {"a": 2**63 - 1}


def test_an_overlong_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.yaml: has 262,145 bytes, at most 262,144 are read"):
        load(tmp_path, "#" * (MOST_BYTES + 1))


def test_only_files_are_scenarios(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for editors in (".#tiny.yaml", ".tiny.yaml", "tiny.yaml~", "#tiny.yaml#", "tiny.yaml.swp"):
        (tmp_path / editors).write_text("title: half written")
    load(tmp_path, yaml.safe_dump(DOCUMENT))
    assert scenario_names(tmp_path) == ["tiny"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is not a file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.symlink_to(path), r"cannot be read \(Too many levels of symbolic links\)"),
        (lambda path: path.symlink_to("gone"), r"cannot be read \(No such file or directory\)"),
    ],
    ids=["pipe", "folder", "circular link", "dangling link"],
)
def test_what_cannot_be_read_as_a_file_is_refused_in_one_line(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "tiny.yaml")
    with pytest.raises(ConfigError, match=rf"tiny\.yaml: {message}"):
        load_scenario("tiny", folder=tmp_path)


@pytest.mark.parametrize("name", ["../tiny", "/etc/passwd", "a" * 5000, "Tiny", "", "a\x00b", "tiny\n"])
def test_a_name_that_no_scenario_can_have_is_looked_for_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    load(tmp_path, yaml.safe_dump(DOCUMENT))
    with pytest.raises(ConfigError, match="a name is a lowercase letter, then up to 39") as caught:
        load_scenario(name, folder=tmp_path / "inner")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (f"a.b={'[' * 5000}", "--set 'a.b': sections within each other on more than 20 levels"),
        (f"a.b=1{'0' * 5000}", "--set 'a.b': '10+…' cannot be read"),
        ("a.b=!!python/name:os.system", "--set 'a.b': the tag"),
        ("a.b={c: 1, c: 2}", "the value is not YAML"),
    ],
)
def test_a_setting_is_bounded_like_a_file(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_setting(setting)
    assert len(str(caught.value)) < 400


def test_a_setting_changes_one_of_two_sections_that_share_an_alias(tmp_path: Path) -> None:
    task = DOCUMENT["tasks"]["like"]
    shared = yaml.safe_dump({**DOCUMENT, "tasks": {"like": task, "love": task}})
    assert "&id001" in shared
    (tmp_path / "tiny.yaml").write_text(shared.replace("task: rating, metric: rmse, max: 5", ""))
    gate = {"gate.absolute": [], "tasks.love.label": "loved"}
    tasks = load_scenario("tiny", gate, tmp_path).tasks
    assert [tasks[name].label for name in ("like", "love")] == ["liked", "loved"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


def _places(document: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [place, *(found for key, value in items for found in _places(value, (*place, key)))]


def _replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copied = document.copy()
    copied[place[0]] = _replaced(document[place[0]], place[1:], value)
    return copied


def refusal(folder: Path, text: str) -> str | None:
    try:
        load(folder, text)
    except ConfigError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenarios")


@settings(max_examples=60)
@given(st.sampled_from(_places(DOCUMENT)[1:]), VALUES)
def test_a_scenario_with_any_value_in_any_place_loads_or_is_refused(folder: Path, place: Any, value: Any) -> None:
    assert "\n" not in (refusal(folder, yaml.safe_dump(_replaced(DOCUMENT, place, value))) or "")


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=9) | st.integers() | st.none(), VALUES, max_size=5))
def test_any_mapping_is_refused(folder: Path, document: Any) -> None:
    with pytest.raises(ConfigError):
        load(folder, yaml.safe_dump(document))


@settings(max_examples=60)
@given(
    st.text(alphabet=string.printable + "&*!<éß\ud800", max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_text_is_refused(folder: Path, text: bytes) -> None:
    with pytest.raises(ConfigError):
        load(folder, text)
