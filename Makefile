# Two commands matter: `make run` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := bash

PYTHON ?= python3
WORK ?= build/loop
ENV ?= dev
ENVIRONMENT := .venv
SCAN := .venv-scan
CDKTF := .venv-cdktf
SERVICES ?= preprocess train serve monitor
PACKAGES := shared services/preprocess services/train services/serve services/monitor terraform terraform/offline
EDITABLE := -e 'shared[opensearch]' -e 'services/preprocess[spark]' -e 'services/train[metrics,similarity,benchmarks,qlora,deepspeed,sagemaker,webdataset]' -e 'services/serve[replay,adapters]' -e services/monitor -e 'terraform[offline]' -e terraform/offline
# the environment's commands come first; the loop's scripts then need no prefix
export PATH := $(CURDIR)/$(ENVIRONMENT)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

TEST_PROCESSES ?= 2
SIDE_BY_SIDE = -n $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder

# uv reads none of pip's settings, so those that name an index or a folder of wheels are handed on
UV_SETTINGS := UV_FIND_LINKS="$${UV_FIND_LINKS-$${PIP_FIND_LINKS-}}" UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX-$${PIP_INDEX_URL-}}" \
    UV_INDEX="$${UV_INDEX-$${PIP_EXTRA_INDEX_URL-}}" UV_HTTP_TIMEOUT=180 UV_LINK_MODE="$${UV_LINK_MODE-copy}"

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

setup: $(ENVIRONMENT)/installed ## make .venv with pinned packages

# compiled at once, for the imports of every command would pay for it later
$(ENVIRONMENT)/installed: constraints.txt pyproject.toml $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: name a newer one, for example make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up $(ENVIRONMENT): a few minutes the first time" >&2
	@$(PYTHON) -m venv $(ENVIRONMENT)
	@$(ENVIRONMENT)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' constraints.txt)"
	@$(UV_SETTINGS) \
	    $(ENVIRONMENT)/bin/uv pip install --quiet --python $(ENVIRONMENT)/bin/python --compile-bytecode \
	    --constraint constraints.txt --group dev $(EDITABLE)
	@touch $@

run: setup ## the whole loop: raw text to a promoted model, about five minutes
	@WORK="$(WORK)" ./loop.sh
	@echo; echo "MLflow, with every run side by side: make ui"

ui: setup ## MLflow on http://127.0.0.1:5000, with the saved comparison
	@echo "every model side by side: http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=llmops-comparison&compareRunsMode=CHART"
	@mlflow ui --backend-store-uri "sqlite:///$(WORK)/mlflow.db" --host 127.0.0.1 --port 5000

test: setup ## the tests and the whole loop: make test [TEST_PROCESSES=2]
	@python -m pytest $(SIDE_BY_SIDE) -m "not slow or loop"

test-slow: setup ## the tests that take long: clusters of processes, faults, Spark, Terraform, benchmarks' rows
	@python -m pytest $(SIDE_BY_SIDE) -m "slow and not loop"

test-fast: setup ## the tests without loop and slow ones
	@python -m pytest $(SIDE_BY_SIDE) -m "not slow and not loop"

check: setup ## ruff, mypy --strict, import-linter
	ruff check .
	ruff format --check .
	mypy
	lint-imports

format: setup ## let ruff rewrite what it can
	ruff check --fix .
	ruff format .

golden: setup ## write the committed schemas and settings anew, after a deliberate change of a contract
	@PYTHONPATH=tests python -m support.golden

bench-loop: setup ## time and memory of every command of the loop, first run and second
	@python tests/benchmarks/bench_loop.py

bench-gpu: setup ## packed LoRA on a random 1 B Llama, beside the card's measured matmul rate; needs a GPU
	@python tests/benchmarks/bench_gpu.py

screenshots: setup ## the README's pictures, from a finished loop, with Chromium
	@WORK="$(WORK)" PYTHONPATH=tests python -m support.screenshots

lock: setup ## pin what is installed now into constraints.txt
	@uv pip freeze --python $(ENVIRONMENT)/bin/python --exclude-editable | sed -E 's/\+cpu$$//' > constraints.txt

plan: setup ## what Terraform would change: make plan ENV=dev [OFFLINE=1]
	@llmops-infra plan $(ENV) $(if $(OFFLINE),--offline)

apply: setup ## make it so, after asking: make apply ENV=dev [OFFLINE=1] [YES=1]
	@llmops-infra apply $(ENV) $(if $(OFFLINE),--offline) $(if $(YES),--yes)

destroy: setup ## take everything away, after asking: make destroy ENV=dev [OFFLINE=1] [YES=1]
	@llmops-infra destroy $(ENV) $(if $(OFFLINE),--offline) $(if $(YES),--yes)

scan: setup $(SCAN)/installed ## checkov and our own rules on every environment and image
	@PYTHONPATH=tests python -m support.scan

# checkov pins an older boto3 than ours: an environment of its own
$(SCAN)/installed: Makefile $(ENVIRONMENT)/installed
	@$(PYTHON) -m venv $(SCAN)
	@$(UV_SETTINGS) $(ENVIRONMENT)/bin/uv pip install --quiet --python $(SCAN)/bin/python checkov==3.3.30
	@touch $@

cdktf: setup $(CDKTF)/installed ## an environment with the archived cdktf bindings, for the test that compares both

$(CDKTF)/installed: Makefile $(ENVIRONMENT)/installed
	@$(PYTHON) -m venv $(CDKTF)
	@$(UV_SETTINGS) $(ENVIRONMENT)/bin/uv pip install --quiet --python $(CDKTF)/bin/python --compile-bytecode \
	    --constraint constraints.txt cdktf==0.21.0 cdktf-cdktf-provider-aws==21.22.1 -e shared
	@$(ENVIRONMENT)/bin/uv pip install --quiet --python $(CDKTF)/bin/python --no-deps -e terraform
	@touch $@

pipeline: setup ## start the pipeline: make pipeline ENV=dev MODEL=s3://... [TAG=commit] [RUN=name] [FOLLOW=1] [OFFLINE=1 SOURCE=dir]
	@llmops-infra pipeline $(ENV) $(if $(RUN),--run "$(RUN)") $(if $(MODEL),--parameter "Model=$(MODEL)") --parameter "ImageTag=$(or $(TAG),$(shell git rev-parse HEAD))" $(if $(FOLLOW),--follow) $(if $(OFFLINE),--offline) $(if $(SOURCE),--source "$(SOURCE)")

bootstrap: setup ## make the bucket that keeps Terraform's state: make bootstrap ENV=dev
	@llmops-infra bootstrap $(ENV)

wheels: setup ## the wheels of every package, in dist/
	@for package in $(PACKAGES); do uv build --quiet --wheel --no-sources --out-dir dist "$$package"; done

images: wheels ## build the services' images with docker: make images [SERVICES="serve monitor"]
	@for service in $(SERVICES); do docker build --file "services/$$service/Dockerfile" --tag "llmops/$$service" . ; done

clean: ## remove what was built, the environment stays
	@rm -rf build dist

.PHONY: bench-gpu images pipeline scan cdktf plan apply destroy bootstrap help setup run ui test test-slow test-fast check format golden bench-loop screenshots lock wheels clean
