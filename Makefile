# The verbs of this repository. demo and test set everything up by themselves.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
BUILD := build
ifndef SEED
SEED := $(shell echo $$((RANDOM * 200)))
endif

.DEFAULT_GOAL := help
.PHONY: demo test lint campaign synth bench docs clean help

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wingbeat needs Python >= 3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

demo: .venv/installed  ## whole networks on simulated Verilog, attention maps, synthesis; build/demo.html
	$(BIN)/wingbeat demo --page $(BUILD)/demo.html

test: .venv/installed  ## all tests, of long rows of cases a part
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: .venv/installed  ## ruff and mypy
	$(BIN)/ruff check .
	mkdir -p $(BUILD)/types/wingbeat && ln -sfn $(CURDIR)/{hw,sim,gen,boards} $(BUILD)/types/wingbeat
	touch $(BUILD)/types/wingbeat/__init__.py
	$(BIN)/mypy

campaign: .venv/installed  ## every case, and generated Verilog at length: 200 random arrays, 200 programs on 40 processors, every preset
	@echo 'SEED=$(SEED) make campaign repeats this one'
	PYTHONPATH=tests $(BIN)/python -m support.campaign_run --seed $(SEED) --journal $(BUILD)/campaign/$(SEED).jsonl $(if $(SCHEDULER),--scheduler $(SCHEDULER),--workers 2) -- $(ARGS)

synth: .venv/installed  ## ECP5 area and clock of the 16-multiplier array, three seeds
	$(BIN)/wingbeat synth --preset ulx3s-16 --target ecp5 --pnr --json $(BUILD)/synth.json

bench: .venv/installed  ## kernels and a whole FABNet block at 128 multipliers
	$(BIN)/wingbeat bench kernels --preset array128-s1 --json $(BUILD)/bench-s1.json
	$(BIN)/wingbeat bench kernels --preset array128-s2 --json $(BUILD)/bench-s2.json
	$(BIN)/wingbeat bench fabnet-block --preset array128-s2 --layers 12 --json $(BUILD)/fabnet.json

docs: .venv/docs  ## the documents as a site, build/docs/html; 3 minutes, most of them simulation for the pictures
	PYTHONPATH=docs $(BIN)/python -m generate $(BUILD)/docs/source
	$(BIN)/sphinx-build -W -n -q $(BUILD)/docs/source $(BUILD)/docs/html

clean:  ## everything that can be made again
	rm -rf .venv $(BUILD) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
