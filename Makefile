VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
LOCK := .lock
EXTRAS := pipeline,tasks,benchmarks,dev
export PATH := $(abspath $(BIN)):$(PATH)

help: ## this list; the targets that need the environment make it first
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.installed ## the main job on the built-in sample corpus, or on what params.yaml names
	snakemake --cores $(CORES)
	@palimpsest table
	@echo "results/eval_all.json  every figure; docs/formats.md says what each means"
	@echo "results/report.html    the same to look at, in a browser"

record: $(VENV)/.installed ## let DVC know what a plain snakemake made, so that dvc repro has nothing left to do
	dvc commit -f

quick: $(VENV)/.installed ## the tests that take no more than a few seconds each, in 90 seconds on two cores
	pytest -n 2 --dist worksteal -m "not slow"

# Workers take tests off each other's lists, so that both end at about the same time.
test: $(VENV)/.installed ## all tests, in 12 minutes on two cores
	pytest -n 2 --dist worksteal --durations 25

lint: $(VENV)/.installed ## style, types and the workflow's rules
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

# Names and versions only, so that one lock serves CPUs (torch …+cpu) and GPUs (which add CUDA's packages).
lock: ## requirements.txt again, from pyproject.toml; UPGRADE=1 for the newest versions of everything (some minutes)
	rm -rf $(LOCK) && python3 -m venv $(LOCK)
	$(LOCK)/bin/pip install --quiet --disable-pip-version-check $(if $(UPGRADE),,-c requirements.txt) -e '.[$(EXTRAS)]'
	$(LOCK)/bin/pip freeze --exclude-editable --disable-pip-version-check > $(LOCK)/frozen.txt
	sed -E -i 's/\+[^ ]+$$//; /^(palimpsest|triton)=|^(nvidia|cuda)-/d' $(LOCK)/frozen.txt
	sed -i '/^[^#]/d' requirements.txt && cat $(LOCK)/frozen.txt >> requirements.txt
	rm -rf $(LOCK)

study: $(VENV)/.installed ## the study of docs/study in FOLDER: two hours on two cores; resumes where it was stopped
	bash docs/study/run.sh $(FOLDER)

$(VENV)/.installed: requirements.txt pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

.DEFAULT_GOAL := help
.PHONY: help run record quick test lint lock study
