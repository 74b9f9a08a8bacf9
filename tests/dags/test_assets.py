"""The assets of a scenario: one group, and the source log before everything that is made of it."""

from __future__ import annotations

from pathlib import Path

from tests.dags.conftest import ParseDags
from tests.support.projects import NAME, SCENARIO, write_scenario


def test_the_assets_are_grouped_by_scenario_and_begin_with_the_source_log(
    tmp_path: Path, parse_dags: ParseDags
) -> None:
    write_scenario(tmp_path)
    train = parse_dags(tmp_path).dags[f"train_{NAME}"]
    (source,) = train.get_task("resolve").inlets
    assert source.name == f"{NAME}_source_log"
    assert source.extra == {"source": SCENARIO["source"]["events"]}
    made = [asset for task in train.tasks for asset in task.outlets]
    assert {asset.group for asset in (source, *made)} == {NAME}
    assert source.name not in {asset.name for asset in made}  # the DAGs only read it


def test_scenarios_that_read_one_log_have_assets_of_their_own(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "other")
    dags = parse_dags(tmp_path).dags
    sources = [dags[f"train_{name}"].get_task("resolve").inlets[0] for name in (NAME, "other")]
    assert len({source.name for source in sources}) == 2
    assert len({source.uri for source in sources}) == 2  # Airflow makes the second asset of a URI inactive


def test_the_owner_leads_to_the_page_that_the_scenario_names(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path, owner="films", owner_link="https://wiki.example.com/films")
    write_scenario(tmp_path, "plain")
    links = {name: dag.owner_links for name, dag in parse_dags(tmp_path).dags.items()}
    linked = {"films": "https://wiki.example.com/films"}
    assert links == {"train_small": linked, "recommend_small": linked, "train_plain": {}, "recommend_plain": {}}


def test_the_dags_have_the_scenarios_title_and_link_to_its_runs(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path, title="Films")
    dags = parse_dags(tmp_path).dags
    assert {dag.dag_display_name for dag in dags.values()} == {"Films: train", "Films: recommend"}
    for dag in dags.values():
        assert f"/plugin/models/model-board/scenarios/{NAME})" in (dag.doc_md or "")
