.DEFAULT_GOAL := help
.PHONY: help install setup test test-fast lint format docs demo up env pin mlflow-server pictures mlflow-pictures bench lock sbom licenses audit clean

CODE := $(patsubst %/,%,$(sort $(dir $(wildcard mtl_tasks/*.py dags/*.py plugins/*.py))))
VENV_PYTHON := .venv/bin/python
RUNTIME := .venv/.installed-runtime
DEVELOPMENT := .venv/.installed-dev
BENCHMARK := .venv/.installed-bench
AUDIT := .audit/.installed
TRACKING := .mlflow/.installed
LOCKS := requirements.txt $(wildcard include/requirements/*.txt)
# Needed only by the tests of the model board's pages, which are skipped without npm.
PAGES := $(if $(shell command -v npm),.npm/.installed)
export PYTHONPATH := .
# By default idle OpenMP threads spin and take the CPUs from working ones: on two CPUs everything is 20 times slower.
export OMP_WAIT_POLICY := PASSIVE

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Each lock file has its stamp, so that only what changed is installed again.
$(RUNTIME): requirements.txt include/bin/install.sh
	@include/bin/install.sh requirements.txt
	@touch $@

$(DEVELOPMENT): include/requirements/dev.txt include/bin/install.sh
	@include/bin/install.sh include/requirements/dev.txt
	@touch $@ $(RUNTIME)

$(BENCHMARK): $(DEVELOPMENT) include/requirements/bench.txt
	@include/bin/install.sh include/requirements/bench.txt
	@touch $@

$(AUDIT): include/requirements/audit.txt include/bin/install.sh
	@include/bin/install.sh $< .audit
	@touch $@

$(TRACKING): include/requirements/mlflow-server.txt include/bin/install.sh
	@include/bin/install.sh $< .mlflow
	@touch $@

.npm/.installed: include/requirements/npm/package-lock.json
	@mkdir -p $(@D) && cp $(dir $<)*.json $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# A lock of its own for each optional part: those in EXTRAS are installed beside the runtime.
.venv/.installed-extra-%: include/requirements/%.txt $(RUNTIME)
	@include/bin/install.sh $<
	@touch $@

install: $(RUNTIME) $(EXTRAS:%=.venv/.installed-extra-%) ## Make .venv with what running needs (EXTRAS="deep tuning" adds optional parts)
	@echo "Ready: .venv ($$($(VENV_PYTHON) --version))"

setup: $(DEVELOPMENT) ## Make .venv with all that running and developing needs
	@echo "Ready: .venv ($$($(VENV_PYTHON) --version))"

test: $(DEVELOPMENT) $(PAGES) ## Run the tests (ARGS="-k gate" passes arguments to pytest)
	$(VENV_PYTHON) -m pytest $(ARGS)

test-fast: $(DEVELOPMENT) ## Run the tests without a pipeline run, a server, a browser or another process, two at a time
	$(VENV_PYTHON) -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

lint: $(DEVELOPMENT) ## Check style, types, layers and spelling
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy $(CODE)
	.venv/bin/lint-imports --no-logo
	.venv/bin/codespell

format: $(DEVELOPMENT) ## Format the code and fix what can be fixed
	$(VENV_PYTHON) -m ruff check --fix-only .
	$(VENV_PYTHON) -m ruff format .

docs: $(RUNTIME) ## Write include/docs/scenario.md, the reference of the scenario file
	$(VENV_PYTHON) -m mtl_tasks.onboarding.reference

demo: $(RUNTIME) ## Train, judge and publish one day of the films through Airflow, and show the result (AS_OF=2013-08-18 picks another day)
	@include/airflow/demo.sh

up: $(RUNTIME) ## Start Airflow at http://localhost:8080 (PORT=8081 moves it); Ctrl-C stops it
	@include/airflow/up.sh

env: ## Write .env with the secrets of docker-compose.yaml; one that is there stays as it is
	@include/docker/secrets.sh

pin: ## Write the digests of the images of docker-compose.yaml to .env
	@include/docker/pin-images.sh

mlflow-server: $(TRACKING) ## Make .mlflow, an environment with the MLflow server that tests of tracking need

pictures: $(DEVELOPMENT) ## Take pictures of the board's pages in light and dark (FOLDER=.bench/pictures)
	$(VENV_PYTHON) -m tests.pictures $(or $(FOLDER),.bench/pictures)

mlflow-pictures: $(DEVELOPMENT) $(TRACKING) .venv/.installed-extra-mlflow ## Take pictures of MLflow's pages with runs of the films (FOLDER=.bench/pictures)
	$(VENV_PYTHON) -m tests.mlflow_pictures $(or $(FOLDER),.bench/pictures)

bench: $(BENCHMARK) ## Measure speed, memory and quality (ARGS=boosting: the boosted members, on simulated and real logs)
	$(VENV_PYTHON) -m tests.benchmarks $(ARGS)

OPTIONAL := deep tuning fast cluster mlflow openlineage
COMPILE := uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock"

lock: ## Compile the locks from pyproject.toml with uv, keeping the pins that still fit (ARGS=--upgrade renews them)
	@command -v uv >/dev/null || { echo "error: make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	$(COMPILE) $(ARGS) --all-extras pyproject.toml --constraint include/requirements/constraints.in -o requirements.txt
	$(COMPILE) $(ARGS) --all-extras pyproject.toml --group dev --constraint requirements.txt -o include/requirements/dev.txt
	for extra in $(OPTIONAL); do \
		$(COMPILE) $(ARGS) --group $$extra --constraint include/requirements/dev.txt -o include/requirements/$$extra.txt || exit 1; \
	done
	$(COMPILE) $(ARGS) --group bench --constraint include/requirements/dev.txt -o include/requirements/bench.txt
	$(COMPILE) $(ARGS) --group installer -o include/requirements/installer.txt
	$(COMPILE) $(ARGS) --group audit -o include/requirements/audit.txt
	$(COMPILE) $(ARGS) --group mlflow-server -o include/requirements/mlflow-server.txt

# A lock does not say which package needs which: the tool warns that the graph of dependencies is incomplete.
sbom: $(AUDIT) ## Write a CycloneDX bill of materials of each lock to .sbom
	@mkdir -p .sbom
	@for lock in $(LOCKS); do \
		PYTHONWARNINGS=ignore::UserWarning .audit/bin/cyclonedx-py requirements $$lock --pyproject pyproject.toml \
			--short-PURLs --output-reproducible --output-file .sbom/$$(basename $$lock .txt).cdx.json || exit 1; \
	done
	@ls .sbom/*.cdx.json

licenses: $(AUDIT) $(RUNTIME) ## Write the licenses of all packages in .venv to .sbom/licenses.md
	@mkdir -p .sbom
	@.audit/bin/pip-licenses --python=$(VENV_PYTHON) --with-urls --format=markdown --output-file=.sbom/licenses.md
	@.audit/bin/pip-licenses --python=$(VENV_PYTHON) --summary --order=count --format=markdown

# --strict: a package that the database does not answer for is an error and not a package without advisories.
audit: $(AUDIT) ## Look for known vulnerabilities of the runtime's packages (needs PyPI; ARGS="-s osv" asks another database)
	.audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt $(ARGS)

clean: ## Remove what was made: .venv, caches, Airflow's state and the local store
	rm -rf .venv .npm .audit .mlflow .sbom .airflow .store .bench .simulated .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
