# The two commands a newcomer needs are `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Triton's environment, shared by the demo and the tests.
export LUTHIER_SERVING_VENV ?= $(CURDIR)/.venv-serving
export PATH := $(CURDIR)/$(BIN):$(PATH)

PROTOS := $(wildcard proto/luthier/v1/*.proto)
SERVICES := $(wildcard proto/luthier/v1/*_service.proto)

# `make chaos SECONDS=600 SEED=7`: how long to break things, and which.
SECONDS ?= 1800
ifndef SEED
SEED := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
endif
GAP ?= 3
OPEN ?= 6
TEST_PROCESSES ?= 3

.PHONY: demo test browser screenshots soak chaos check proto bench bench-data bench-train docs format clean

demo: $(STAMP)
	$(BIN)/luthier demo

# Many tests wait for processes more than they compute, so one more at a time than the smallest machine has cores; those
# of one file stay together.
test: $(STAMP) browser
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --durations 20

# The page of the data report is looked at in a real one. Where it cannot be installed, those tests say so and are skipped.
browser:
	@command -v chromium >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends chromium >/dev/null || echo "chromium could not be installed"; fi

# The picture in docs/data.md.
screenshots: $(STAMP) browser
	$(BIN)/python -m pytest tests/e2e/test_report_page.py
	cp build/data-report.png docs/images/data-report.png

# With the crash points and faults that `make test` leaves out for time.
soak: $(STAMP)
	$(BIN)/python -m pytest -m "chaos or soak"

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) --seed $(SEED) --gap $(GAP) --open $(OPEN) \
	  --report build/chaos-$(SEED).json --logs build/chaos-$(SEED)-logs

check: $(STAMP)
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	buf format --diff --exit-code
	buf lint
	against="$$(git describe --tags --abbrev=0 2>/dev/null || echo main)"; \
	  if git rev-parse --verify --quiet "$$against:proto" >/dev/null; then \
	    buf breaking --against ".git#ref=$$against"; fi
	$(MAKE) proto docs
	git diff --exit-code -- luthier/v1 docs

proto: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. $(PROTOS)
	$(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=. --mypy_grpc_out=quiet:. $(SERVICES)

docs: $(STAMP)
	$(BIN)/python docs/generate.py

# Beside TRL, in turns; takes about a quarter of an hour and wants an idle machine.
bench-train: $(STAMP)
	$(BIN)/python benchmarks/train_throughput.py

# Rates beside other tools, then memory by size; wants an idle machine and 35 GB of disk for the latter.
bench-data: $(STAMP)
	$(BIN)/python benchmarks/data_throughput.py
	$(BIN)/python benchmarks/data_memory.py

bench: $(STAMP)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

format: $(STAMP)
	ruff format .
	ruff check --fix .
	buf format -w

clean:
	rm -rf $(VENV) .venv-serving

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip==26.3
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	touch $(STAMP)
