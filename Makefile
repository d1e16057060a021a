# `make run`: the main job on the built-in sample corpus. `make test`: the tests. Both make the environment first.
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
export PATH := $(abspath $(BIN)):$(PATH)

run: $(VENV)/.installed
	snakemake --cores $(CORES)
	@palimpsest table
	@echo "results/eval_all.json  every figure; docs/formats.md says what each means"
	@echo "results/report.html    the same to look at, in a browser"

# A file's tests stay together: some go on from each other's state.
test: $(VENV)/.installed
	pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25

lint: $(VENV)/.installed
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

# After a plain `snakemake`: let DVC know what it made, so that `dvc repro` has nothing left to do.
record: $(VENV)/.installed
	dvc commit -f

$(VENV)/.installed: requirements.txt pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# The study of docs/study, in FOLDER: about two hours of two cores, which go on where they were stopped.
study: $(VENV)/.installed
	bash docs/study/run.sh $(FOLDER)

.PHONY: run test lint record study
