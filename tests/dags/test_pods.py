"""Pods of the tasks with the KubernetesExecutor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.core.stages import STAGES
from mtl_tasks.scenario import Pod, load_scenario
from mtl_tasks.scenario.pods import TASKS
from tests.dags.conftest import ParseDags
from tests.support.projects import NAME, write_scenario

PODS = {
    "default": {"memory_mib": 1024},
    "tasks": {"features": {"cpu": 2, "memory_mib": 8192}, "member_gpu": {"cpu": 0.5, "gpu": 1}},
}
IMAGE = "registry.example.org/mtl-tasks:0.1.0"
SCHEMA = Draft202012Validator(json.loads(Path(__file__).with_name("kubernetes_pod.json").read_text(encoding="utf-8")))


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor,KubernetesExecutor")


def resources_of(task: Any) -> Any:
    pod = rendered(task)
    assert list(SCHEMA.iter_errors(pod)) == []
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "base"
    assert container["image"] == IMAGE  # that of the template
    assert container["resources"]["requests"] == container["resources"]["limits"]
    return container["resources"]["limits"]


def rendered(task: Any) -> Any:
    """Return the pod that the executor asks Kubernetes for: its template with the task's override."""
    from airflow.providers.cncf.kubernetes import kubernetes_executor_templates
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient

    (folder,) = kubernetes_executor_templates.__path__
    pod = PodGenerator.construct_pod(
        dag_id=task.dag_id,
        task_id=task.task_id,
        pod_id="pod",
        try_number=1,
        kube_image=IMAGE,
        date=None,
        args=["true"],
        pod_override_object=task.executor_config["pod_override"],
        base_worker_pod=PodGenerator.deserialize_model_file(f"{folder}/basic_template.yaml"),
        namespace="airflow",
        scheduler_job_id="1",
        run_id="run",
    )
    return ApiClient().sanitize_for_serialization(pod)


@pytest.mark.usefixtures("kubernetes")
def test_each_tasks_pod_has_its_resources_also_after_the_dag_is_stored(tmp_path: Path, parse_dags: ParseDags) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    write_scenario(tmp_path, pods=PODS)
    bag = parse_dags(tmp_path)
    assert bag.import_errors == {}
    stored = json.loads(json.dumps(DagSerialization.to_dict(bag.dags[f"train_{NAME}"])))
    for dag in (bag.dags[f"train_{NAME}"], DagSerialization.from_dict(stored)):
        assert resources_of(dag.get_task("learn.features")) == {"cpu": "2000m", "memory": "8192Mi"}
        assert resources_of(dag.get_task("learn.member_gpu")) == {"cpu": "500m", "nvidia.com/gpu": "1"}
        assert resources_of(dag.get_task("learn.member")) == {"memory": "1024Mi"}
        assert resources_of(dag.get_task("publish.approve")) == {"memory": "1024Mi"}


@pytest.mark.usefixtures("kubernetes")
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"resources": {"limit": {"cpu": "1"}}}, "'limit' was unexpected"),
        ({"resources": {"limits": {"cpu": ["1"]}}}, "is not valid under any of the given schemas"),
        ({"ressources": {}}, "'ressources' was unexpected"),
    ],
)
def test_the_schema_of_a_pod_refuses_what_kubernetes_would(
    change: dict[str, Any], fault: str, tmp_path: Path, parse_dags: ParseDags
) -> None:
    write_scenario(tmp_path, pods=PODS)
    pod = rendered(parse_dags(tmp_path).dags[f"train_{NAME}"].get_task("learn.features"))
    pod["spec"]["containers"][0].update(change)
    (error,) = SCHEMA.iter_errors(pod)
    assert fault in error.message


def test_another_executor_needs_no_client_and_has_no_pods(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path, pods=PODS)
    bag = parse_dags(tmp_path)
    assert bag.import_errors == {}
    assert not any(task.executor_config for dag in bag.dags.values() for task in dag.tasks)


@pytest.mark.usefixtures("kubernetes")
def test_a_missing_client_is_refused_with_the_command(
    tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    write_scenario(tmp_path, pods=PODS)
    write_scenario(tmp_path, "other")
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_other", "train_other"]
    (fault,) = bag.import_errors.values()
    assert "small.yaml: pods: the package kubernetes is not installed: run" in fault


@pytest.mark.parametrize(
    ("pods", "fault"),
    [
        ({"tasks": {"feature": {}}}, "pods.tasks: unknown task 'feature', did you mean 'features'?"),
        ({"tasks": {"member": {"cpu": 0}}}, "pods.tasks.member.cpu: Input should be greater than or equal to 0.1"),
        ({"default": {"memory": "2Gi"}}, "unknown key 'pods.default.memory', did you mean 'memory_mib'?"),
    ],
)
def test_what_is_no_resource_is_refused(pods: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = write_scenario(tmp_path, pods=pods)
    with pytest.raises(ConfigError) as refused:
        load_scenario(NAME, folder=path.parent)
    assert fault in str(refused.value)


def test_resources_are_in_the_notation_of_kubernetes() -> None:
    from dags.pods import pod_resources

    assert pod_resources(Pod(), "nvidia.com/gpu") == {}
    assert pod_resources(Pod(cpu=0.1, memory_mib=64, gpu=2), "amd.com/gpu") == {
        "cpu": "100m",
        "memory": "64Mi",
        "amd.com/gpu": "2",
    }


def test_every_stage_can_have_resources_of_its_own() -> None:
    assert set(STAGES) <= set(TASKS)
