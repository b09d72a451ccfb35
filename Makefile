# Storyshelf: features (Feast) -> models (MLflow) -> bundle (BentoML) -> dashboards (Evidently). `make help` lists the commands.

PYTHON ?= python3.11
VENV   := .venv
RUN    := $(VENV)/bin/python -m
SHOP   ?=
DATA   ?=
FLAGS  := $(if $(SHOP),--shop $(SHOP)) $(if $(DATA),--data $(DATA))
ARGS   ?=
PACKAGES := feature_repo training serving monitoring

export FEAST_USAGE := False
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help train features serve demo bench-features bench-pit bench-serve mlflow monitor test check clean reset

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo
	@echo "  SHOP=<demo | online_retail | amazon_beauty | folder of tables>   DATA=<folder with the tables>"
	@echo "  ARGS=<more flags for the command; ARGS=--help lists them>"

train: $(VENV)/ready  ## read a shop, build features, train, register and pack (default: the demo shop)
	$(RUN) training.pipeline $(FLAGS) $(ARGS)
	env -u STORYSHELF_SHOP $(RUN) serving.bundle

features: $(VENV)/ready  ## read the tables and posted events again and refresh the features
	$(RUN) feature_repo.build $(FLAGS) $(ARGS)

serve: $(VENV)/ready  ## serve the champions on http://127.0.0.1:3000
	$(RUN) serving.bundle --serve $(if $(SHOP),--shop $(SHOP)) $(ARGS)

demo: $(VENV)/ready  ## let simulated shoppers use the running service for simulated weeks
	$(RUN) monitoring.demo $(if $(SHOP),--shop $(SHOP)) $(ARGS)

bench-features: $(VENV)/ready  ## our online store and read model against Feast's stores, on SQLite and Redis (needs redis-server)
	$(RUN) feature_repo.benchmark.features $(ARGS)

bench-pit: $(VENV)/ready  ## point-in-time joins: our offline store beside Feast's, seconds and memory
	$(RUN) feature_repo.benchmark.pit $(ARGS)

bench-serve: $(VENV)/ready  ## measure the service under load, beside plain Feast and BentoML
	$(RUN) serving.benchmark.serve $(ARGS)

mlflow: $(VENV)/ready  ## MLflow UI on http://127.0.0.1:5000: runs, models, promotion
	$(RUN) training.registry $(if $(SHOP),--shop $(SHOP)) $(ARGS)

monitor: $(VENV)/ready  ## drift dashboards on http://127.0.0.1:8000
	$(RUN) monitoring.dashboard $(if $(SHOP),--shop $(SHOP)) $(ARGS)

test: $(VENV)/ready  ## all tests
	$(RUN) pytest $(ARGS)

check: $(VENV)/ready  ## style and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy $(PACKAGES)

clean:  ## remove build products (never a shop's home)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

reset: $(VENV)/ready  ## delete a shop's home, after asking: make reset SHOP=demo
	$(RUN) feature_repo.reset $(SHOP) $(ARGS)

$(VENV)/ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11, or name it with PYTHON=<path>"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
