# The environment, the demo, the tests. `make demo` and `make test` are all a newcomer needs.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: demo ablations methods test test-avx2 test-gpu test-slurm test-report docs lint install clean

demo: install  ## the embedded experiment: from data to figures, on a laptop, in minutes
	$(BIN)/snakemake --profile local $(SNAKEMAKE_FLAGS)
	$(BIN)/snakemake --profile local --report results/embedded/report.html --quiet
	@$(BIN)/ayt summary results/embedded/experiment.yaml
	@echo 'More      docs/quickstart.md; make ablations varies AYT, make methods the method'

ablations: install  ## groups of transformations and feature networks of AYT, on the demo's runs
	$(BIN)/snakemake --profile local --configfile config/embedded_ablations.yaml $(SNAKEMAKE_FLAGS)
	$(BIN)/snakemake --profile local --configfile config/embedded_ablations.yaml \
		--report results/embedded_ablations/report.html --quiet
	@$(BIN)/ayt summary results/embedded_ablations/experiment.yaml

methods: install  ## methods side by side: truncated, in continuous time; on the demo's runs
	$(BIN)/snakemake --profile local --configfile config/embedded_methods.yaml $(SNAKEMAKE_FLAGS)
	$(BIN)/snakemake --profile local --configfile config/embedded_methods.yaml \
		--report results/embedded_methods/report.html --quiet
	@$(BIN)/ayt summary results/embedded_methods/experiment.yaml

test: install  ## the tests, in a few processes; a file's tests share what they need, so that each file stays in one
	$(BIN)/python -m pytest -m "not slurm and not report" --numprocesses auto --dist loadfile --no-loadscope-reorder

test-avx2: install  ## golden numbers once more, as on a CPU without AVX-512
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -m golden `grep -rl --include='*.py' mark.golden tests`

test-gpu: install  ## those that need a CUDA device; without one they are skipped, and the summary says so
	$(BIN)/python -m pytest -m gpu

test-slurm: install  ## those on a real Slurm, which they install and start: for root on Debian, as in a container
	$(BIN)/python -m pytest -m slurm

test-report: install  ## the report in Chromium, the tables in LaTeX; installs both: for root on Debian, as in a container
	$(BIN)/python -m pytest -m report

docs: $(VENV)/docs  ## the documentation as a site, in build/site
	$(BIN)/ayt keys --into docs/configuration.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: install  ## formatting, types, the workflow's own linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --profile local --lint

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml snakemake_executor_plugin_submitit/pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV), 6 GB with PyTorch; this takes minutes'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable ./snakemake_executor_plugin_submitit --editable '.[dev]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:  ## removes the environment, and what the demo made that no other experiment asks for
	-test ! -x $(BIN)/ayt || $(BIN)/ayt clean --remove $(wildcard config/embedded*.yaml)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
