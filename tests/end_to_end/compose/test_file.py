"""Properties of the compose file, its image and its secrets."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.end_to_end.compose.conftest import Services, configure, make_secrets, read_secrets, read_services, writable

WORKERS = {"worker", "gpu-worker"}
ONCE = {"init", "clean"}  # end by themselves
CLUSTER = {"dask-scheduler", "dask-worker"}
BOUNDED_LIKE_WORKERS = {*WORKERS, "dask-worker"}
AIRFLOW_SERVICES = {"api-server", "scheduler", "dag-processor", "triggerer", *WORKERS, *ONCE}
_NANNY = "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON"
# Held by those who log people in, sign for tasks and keep connections.
SERVER_SECRETS = {"POSTGRES_PASSWORD", "FERNET_KEY", "JWT_SECRET", "ADMIN_PASSWORD"}


def test_debians_client_accepts_it(secrets_folder: Path) -> None:
    assert configure(secrets_folder, "--quiet").stderr == ""


def test_it_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, PROJECT / "docker-compose.yaml"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_it_has_the_services_of_a_server(services: Services) -> None:
    assert set(services) == AIRFLOW_SERVICES | CLUSTER | {"postgres", "redis"}
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert profiles == {"gpu-worker": ["gpu"], "clean": ["maintenance"], **{name: ["cluster"] for name in CLUSTER}}


@pytest.mark.faults(34)
@pytest.mark.parametrize(
    "name",
    [*sorted(SERVER_SECRETS), "REDIS_PASSWORD", "API_SECRET_KEY", "MTL_STORE_KEY"],
)
def test_nothing_starts_without_a_secret(name: str, secrets: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{key}={value}\n" for key, value in secrets.items() if key != name))
    refused = configure(tmp_path, "--quiet")
    assert refused.returncode != 0
    assert name in refused.stderr
    assert "make env" in refused.stderr
    (tmp_path / ".env").write_text("".join(f"{key}={'' if key == name else value}\n" for key, value in secrets.items()))
    assert configure(tmp_path, "--quiet").returncode != 0


@pytest.mark.faults(34)
def test_every_name_of_a_secret_is_one_that_make_env_writes(written: dict[str, Any], secrets: dict[str, str]) -> None:
    required = set(re.findall(r"\$\{(\w+):\?", str(written)))
    optional = set(re.findall(r"\$\{(\w+):-", str(written)))
    assert required == set(secrets)
    assert not [name for name in optional if re.search("SECRET|PASSWORD|KEY", name)]


def test_the_secrets_are_long_random_and_for_their_owner_only(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    first = read_secrets(tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert len(urlsafe_b64decode(first["FERNET_KEY"])) == 32
    assert len(first["JWT_SECRET"]) >= 64  # what SHA-512 asks for
    assert min(len(value) for value in first.values()) >= 24
    (tmp_path / ".env").unlink()
    make_secrets(tmp_path)
    assert not set(first.values()) & set(read_secrets(tmp_path).values())


def test_secrets_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")
    assert "stays as it is" in make_secrets(tmp_path)
    assert (tmp_path / ".env").read_text() == "MINE=1\n"
    assert [path.name for path in tmp_path.glob(".env*")] == [".env"]


def test_workers_hold_neither_the_database_nor_the_keys(services: Services, secrets: dict[str, str]) -> None:
    for name in WORKERS:
        held = {secret for secret, value in secrets.items() if value in str(services[name])}
        assert held == {"REDIS_PASSWORD", "API_SECRET_KEY", "MTL_STORE_KEY"}
        assert "database" not in services[name].get("networks", {})
    assert all(secrets[name] in str(services["init"]) for name in SERVER_SECRETS)
    assert list(services["postgres"]["networks"]) == ["database"]


def test_who_reads_or_writes_the_store_holds_its_key_and_nobody_else(
    services: Services, secrets: dict[str, str]
) -> None:
    holders = {name for name, service in services.items() if secrets["MTL_STORE_KEY"] in str(service)}
    assert holders == {*WORKERS, "api-server", "dask-worker"}


def test_no_secret_is_an_argument_that_everybody_on_the_machine_can_read(
    services: Services, secrets: dict[str, str]
) -> None:
    arguments = [[service.get("command"), service.get("healthcheck")] for service in services.values()]
    assert not [value for value in secrets.values() if value in str(arguments)]


def test_only_the_ui_has_a_port_and_only_on_this_machine(services: Services) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(ports) == ["api-server"]
    assert [str(port).startswith("127.0.0.1:") for port in ports["api-server"]] == [True]


def test_nobody_is_root_or_can_become_it(services: Services) -> None:
    for name, service in services.items():
        assert service["user"].split(":")[0] not in ("", "0", "root"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("privileged", False), name


def test_every_container_is_bounded_and_its_image_cannot_be_changed(services: Services) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert re.fullmatch(r"\d+g", service["mem_limit"]), name
        assert int(service["pids_limit"]) > 0, name
        assert service["cpus"] == (0 if name in BOUNDED_LIKE_WORKERS else 1), name  # 0: a worker may take all there are
        options = service["logging"]["options"]
        assert service["logging"]["driver"] == "json-file", name
        assert (options["max-size"], int(options["max-file"])) == ("10m", 5), name


def test_the_bounds_are_those_of_the_environment(secrets: dict[str, str], tmp_path: Path) -> None:
    settings = {"SERVICE_MEMORY": "1g", "SERVICE_CPUS": "0.5", "SERVICE_PIDS": "256"}
    settings |= {"WORKER_MEMORY": "32g", "WORKER_CPUS": "6", "WORKER_PIDS": "9999"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in {**secrets, **settings}.items()))
    found = read_services(configure(tmp_path))
    bounds = {name: (s["mem_limit"], s["cpus"], int(s["pids_limit"])) for name, s in found.items()}
    assert bounds == {name: ("32g", 6, 9999) if name in BOUNDED_LIKE_WORKERS else ("1g", 0.5, 256) for name in found}


def test_what_must_be_written_is_in_memory_or_in_a_volume(services: Services) -> None:
    for name in AIRFLOW_SERVICES | CLUSTER:
        assert {"/tmp", "/opt/airflow", "/opt/airflow/logs"} <= set(writable(services[name])), name  # noqa: S108
        assert services[name]["environment"]["HOME"] == "/tmp"  # noqa: S108 - of a container
    assert set(writable(services["postgres"])) == {"/tmp", "/var/run/postgresql", "/var/lib/postgresql/data"}  # noqa: S108
    assert set(writable(services["redis"])) == {"/tmp", "/data"}  # noqa: S108


def test_only_workers_write_to_the_store_and_only_who_shows_it_reads_it(services: Services) -> None:
    modes = {
        name: mode
        for name, service in services.items()
        for source, _, mode in (mount.split(":") for mount in service["volumes"])
        if source == "store"
    }
    writers = dict.fromkeys((*WORKERS, "dask-worker", "init"), "rw")  # init sets the owner
    assert modes == {**writers, "api-server": "ro"}


def test_code_is_mounted_read_only_and_all_of_it(services: Services) -> None:
    code = {path.name for path in PROJECT.iterdir() if path.is_dir() and any(path.glob("*.py"))} - {"tests"}
    for name in AIRFLOW_SERVICES | CLUSTER:
        mounts = [mount.split(":") for mount in services[name]["volumes"]]
        from_project = {Path(source).name: mode for source, _, mode in mounts if source.startswith("/")}
        assert set(from_project) == code | {"include", "plugins"}, name
        assert set(from_project.values()) == {"ro"}, name


def test_state_lies_in_named_volumes(services: Services, written: dict[str, Any]) -> None:
    mounts = [mount.split(":") for service in services.values() for mount in service["volumes"]]
    assert {source for source, *_ in mounts if not source.startswith("/")} == set(written["volumes"])
    assert set(written["volumes"]) == {"logs", "postgres", "redis", "store"}
    targets = {target for source, target, *_ in mounts if source == "store"}
    assert targets == {services["worker"]["environment"]["MTL_STORE"]}


def test_every_process_has_a_health_check_and_starts_after_what_it_needs(services: Services) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == ONCE
    assert services["init"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }
    for name in AIRFLOW_SERVICES - ONCE:
        assert services[name]["depends_on"]["init"] == {"condition": "service_completed_successfully"}, name


def test_no_example_is_loaded_and_every_image_has_a_version(services: Services) -> None:
    for name in AIRFLOW_SERVICES:
        assert services[name]["environment"]["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    images = [service["image"] for service in services.values() if "build" not in service]
    assert [bool(re.search(r":\d+\.\d+", image)) for image in images] == [True, True]


def test_the_cluster_is_of_the_workers_image_and_code_and_only_workers_reach_it(
    services: Services, written: dict[str, Any], secrets: dict[str, str]
) -> None:
    assert written["networks"]["cluster"] == {"internal": True}
    inside = {name for name, service in services.items() if "cluster" in service.get("networks", {})}
    assert inside == CLUSTER | WORKERS
    for name in CLUSTER:
        assert list(services[name]["networks"]) == ["cluster"]
        assert "ports" not in services[name]
        assert services[name]["build"] == services["worker"]["build"]
        held = {secret for secret, value in secrets.items() if value in str(services[name])}
        assert held == ({"MTL_STORE_KEY"} if name == "dask-worker" else set())
        assert "MALLOC_TRIM_THRESHOLD_': None" in services[name]["environment"][_NANNY]
    assert services["dask-worker"]["environment"]["MTL_STORE"] == services["worker"]["environment"]["MTL_STORE"]
    assert services["dask-worker"]["depends_on"]["dask-scheduler"] == {"condition": "service_healthy"}


def test_without_settings_stages_use_no_cluster(services: Services) -> None:
    environment = services["worker"]["environment"]
    assert (environment["MTL_CLUSTER"], environment["MTL_CLUSTER_SIZE"]) == ("", "1")


def test_the_setting_of_the_nanny_unsets_the_variable(services: Services) -> None:
    pytest.importorskip("distributed", reason='no distributed here: make install EXTRAS="cluster"')
    program = (
        "from distributed.nanny import _get_env_variables\n"
        "print('MALLOC_TRIM_THRESHOLD_' in _get_env_variables('distributed.nanny.pre-spawn-environ'))"
    )
    environment = {_NANNY: services["dask-worker"]["environment"][_NANNY]}
    made = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout == "False\n"


def test_the_gpu_worker_reserves_one_and_takes_nothing_else(services: Services) -> None:
    (device,) = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    queues = {name: services[name]["command"][3] for name in WORKERS}
    assert queues == {"worker": "default", "gpu-worker": "gpu"}


def test_the_documented_override_gives_the_buckets_keys_to_the_workers_alone(
    secrets: dict[str, str], tmp_path: Path
) -> None:
    page = (PROJECT / "include/docs/deploy.md").read_text(encoding="utf-8")
    section = page.partition("\n## A store in a bucket\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```yml\n(.*?)```", section, flags=re.DOTALL)
    override = tmp_path / "docker-compose.override.yaml"
    override.write_text(block)
    settings = {**secrets, "MTL_STORE": "s3://our-bucket", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    services = read_services(configure(tmp_path, override=override))
    assert {name for name, found in services.items() if "AWS_SECRET_ACCESS_KEY" in found["environment"]} == WORKERS
    assert {services[name]["environment"]["MTL_STORE"] for name in AIRFLOW_SERVICES} == {"s3://our-bucket"}


def test_the_page_names_every_setting_that_may_be_left_out(written: dict[str, Any]) -> None:
    page = (PROJECT / "include/docs/deploy.md").read_text(encoding="utf-8")
    optional = set(re.findall(r"\$\{(\w+):-", str(written)))
    assert optional
    assert [name for name in optional if f"`{name}`" not in page] == []


@pytest.fixture(scope="module")
def dockerfile() -> list[list[str]]:
    """Return the image's instructions, each as its words."""
    text = (PROJECT / "include/docker/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_is_the_official_one_of_the_locked_airflow(dockerfile: list[list[str]], services: Services) -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (PROJECT / "requirements.txt").read_text(), flags=re.MULTILINE))
    official = f"apache/airflow:slim-{locked['apache-airflow']}-python3.11"
    assert [words[1] for words in dockerfile if words[0] == "ARG"] == [f"AIRFLOW_IMAGE={official}", 'EXTRAS=""']
    assert [words[1:] for words in dockerfile if words[0] == "FROM"] == [
        ["${AIRFLOW_IMAGE}", "AS", "runtime"],
        ["runtime", "AS", "project"],
    ]
    for name in AIRFLOW_SERVICES:
        assert services[name]["build"]["target"] == "runtime"
        assert services[name]["build"]["args"] == {"AIRFLOW_IMAGE": official, "EXTRAS": ""}
    assert [words[1] for words in dockerfile if words[0] == "USER"][-1] == "airflow"


def test_the_image_for_registries_holds_all_code_and_the_settings_of_the_compose_file(
    dockerfile: list[list[str]], services: Services
) -> None:
    start = dockerfile.index(["FROM", "runtime", "AS", "project"])
    code = {path.name for path in PROJECT.iterdir() if path.is_dir() and any(path.glob("*.py"))} - {"tests"}
    assert {words[1] for words in dockerfile[start:] if words[0] == "COPY"} == code | {"include", "plugins"}
    given = dict(word.split("=", 1) for words in dockerfile[start:] if words[0] == "ENV" for word in words[1:])
    assert {"AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__CORE__PLUGINS_FOLDER", "MTL_STORE"} <= set(given)
    assert {name: services["worker"]["environment"][name] for name in given} == given


def test_the_build_sees_what_the_image_copies_and_nothing_else(dockerfile: list[list[str]]) -> None:
    copied = {word for words in dockerfile if words[0] == "COPY" for word in words[1:-1]}
    ignore = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert fnmatch.fnmatch(".env", rules[0])
    shown = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert {path for path in copied if not any(path == rule or path.startswith(f"{rule}/") for rule in shown)} == set()
    assert shown <= copied
    assert all((PROJECT / path).exists() for path in copied)


DOCKER = """#!/bin/sh
case "$1" in
pull) echo "$3" ;;
image) echo "${5%%:*}@sha256:$(printf %s "$5" | sha256sum | cut -d' ' -f1)" ;;
esac
"""


def test_images_are_pinned_by_what_the_engine_says_of_their_tags(
    secrets: dict[str, str], written: dict[str, Any], tmp_path: Path
) -> None:
    make_secrets(tmp_path)
    for name in ("docker-compose.yaml", "include/docker/pin-images.sh"):
        shutil.copy(PROJECT / name, tmp_path / name)
    engine = tmp_path / "bin/docker"
    engine.parent.mkdir()
    engine.write_text(DOCKER)
    engine.chmod(0o755)
    environment = {"PATH": f"{engine.parent}:/usr/bin:/bin"}
    for _ in range(2):  # again: as the first time, and nothing twice
        subprocess.run([tmp_path / "include/docker/pin-images.sh"], env=environment, check=True, capture_output=True)
    lines = (tmp_path / ".env").read_text().splitlines()
    assert len({line.partition("=")[0] for line in lines}) == len(lines)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert set(read_secrets(tmp_path)) == {*secrets, "AIRFLOW_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE"}
    services = read_services(configure(tmp_path))
    used = [services["postgres"]["image"], services["redis"]["image"]]
    used.append(services["worker"]["build"]["args"]["AIRFLOW_IMAGE"])
    assert [bool(re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", image)) for image in used] == [True] * 3
