"""Resources of the tasks' pods, where Airflow runs tasks with the KubernetesExecutor; elsewhere they have no effect."""

from typing import Any

from airflow.sdk import DAG
from airflow.sdk.configuration import conf

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import Pod, Scenario

CONTAINER = "base"  # the container of a worker's pod that Airflow runs the task in


def set_pods(dag: DAG, scenario: Scenario) -> None:
    """Give every task of a DAG a pod override by the scenario's section `pods`.

    Raises
    ------
    ConfigError
        If the executor is configured and the client of Kubernetes is not installed.
    """
    pods = scenario.pods
    if pods is None or "KubernetesExecutor" not in conf.get("core", "executor", fallback=""):
        return
    tasks: list[Any] = dag.tasks
    for task in tasks:
        wanted = pod_resources(pods.of(task.task_id.rpartition(".")[2]), pods.gpu_resource)
        if not wanted:
            continue
        config = {"pod_override": _pod(wanted, scenario)}
        if task.is_mapped:
            task.partial_kwargs["executor_config"] = config
        else:
            task.executor_config = config


def pod_resources(pod: Pod, gpu_resource: str) -> dict[str, str]:
    """Return the resources in the notation of Kubernetes.

    >>> pod_resources(Pod(cpu=0.5, memory_mib=2048, gpu=1), "nvidia.com/gpu")
    {'cpu': '500m', 'memory': '2048Mi', 'nvidia.com/gpu': '1'}
    """
    cpu = {} if pod.cpu is None else {"cpu": f"{round(pod.cpu * 1000)}m"}
    memory = {} if pod.memory_mib is None else {"memory": f"{pod.memory_mib}Mi"}
    return {**cpu, **memory, **({gpu_resource: str(pod.gpu)} if pod.gpu else {})}


def _pod(wanted: dict[str, str], scenario: Scenario) -> Any:
    try:
        from kubernetes.client import models as k8s
    except ImportError:
        raise ConfigError(
            f"{scenario.file}: pods: the package kubernetes is not installed: run `.venv/bin/python -m pip install "
            "apache-airflow-providers-cncf-kubernetes` where Airflow runs"
        ) from None
    resources = k8s.V1ResourceRequirements(requests=wanted, limits=wanted)
    return k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name=CONTAINER, resources=resources)]))
