# Everything a developer runs. Each target does its own set-up: a virtual environment in .venv, once.

VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.perfmap-ready
# The first interpreter that runs and is new enough (3.11 is the tested one).
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench evidence gallery

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "perfmap needs Python 3.11 or newer and none was found: install one, or name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "could not make $(VENV): on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[simulate,dicom,cluster,dev]'
	@touch $@

CASE := demo/study/plain-0000
demo: $(READY)  ## Simulate a patient, predict the CBV map, compare it with the truth
	$(BIN)/perfmap simulate demo/study --n 1 --seed 0 --overwrite
	$(BIN)/perfmap predict $(CASE)/dsc.nii.gz -o demo/nrcbv.nii.gz --figure demo/nrcbv.png --report demo/report.html --overwrite
	$(BIN)/perfmap score demo/nrcbv.nii.gz $(CASE)/truth_nrcbv.nii.gz
	@echo
	@echo "the patient  $(CURDIR)/$(CASE)/dsc.nii.gz"
	@echo "the picture  $(CURDIR)/demo/nrcbv.png"
	@echo "the report   $(CURDIR)/demo/report.html"
	@echo "the map      $(CURDIR)/demo/nrcbv.nii.gz"

test: $(READY)  ## Run all tests (WORKERS=2 in parallel)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(READY)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check types
	$(BIN)/mypy

bench: $(READY)  ## Score the default network against the plain integral on unseen simulated patients
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/network_against_integral.py

evidence: $(READY)  ## Measure every claim from the shipped weights into docs/evidence.md (QUICK=1, SHARE=0.5, IN_VIVO=PATH)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.evidence $(if $(QUICK),--quick) $(if $(SHARE),--share $(SHARE)) $(if $(IN_VIVO),--in-vivo "$(IN_VIVO)")

gallery: $(READY)  ## Draw every regime of the simulator into gallery/
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gallery.py
