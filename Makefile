# make lab      JupyterLab with your workbook        make test     all but how-tos, site and hub
# make fresh LESSON=03  a fresh copy of a lesson     make data     the data set, drawn again
# make lessons  notebooks from lessons/source        make picture  the README's explorer
# make howtos   notebooks from howto/source           make howto-test  run under strict nbval
# make front    the explorer's front end, bundled from its modules
# make site     the site, in build/site            make site-test  the same, checked in Chromium
# make teaching the instructor guide, the schedules and the slides, in build/teaching
# make hub-test a workshop's hub on 127.0.0.1 with learners and accidents: LEARNERS=4 LESSONS="01 02"
# make check-room  every lesson in a learner's 2 GB, on one CPU, without a network: LESSONS="03 05"
# make bundle   the course in one folder that installs without a network: TRY=1 proves it
# make bench    speed of maps and explorer beside other packages; on a quiet machine
# make links    badges for Binder, Colab and a hub: REPO=https://github.com/OWNER/REPO HUB=… WRITE=1
#
# CPU=1  PyTorch's CPU wheels, hundreds of megabytes; CPU=0  the default ones, on Linux gigabytes.
#        Unsaid: CPU wheels on Linux without an NVIDIA GPU, if their index can be reached. It
#        counts when .venv is made.
# PYTHON=python3.12  another interpreter to make .venv with.

PYTHON ?= python3
BIN := .venv/bin
NODE := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CPU_INDEX := https://download.pytorch.org/whl/cpu
CPU_SUITS := [ `uname` = Linux ] && ! command -v nvidia-smi && [ ! -e /proc/driver/nvidia ] && \
    timeout 5 $(PYTHON) -c 'import urllib.request as u; u.urlopen("$(CPU_INDEX)/torch/")'
CPU ?= $(shell { $(CPU_SUITS); } >/dev/null 2>&1 && echo 1)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: lab test install fresh lessons howtos howto-test data picture front check-room bundle \
    hub-test links site site-test teaching bench
.NOTPARALLEL:

lab: install
	$(BIN)/python -m camwidgets.course.workbook lab

# One thread each, as more are slower on small tensors; the long files come first.
test: .venv/tested-with node_modules/made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/node --test tests/js/*.test.mjs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest lessons tests/notebooks tests \
	    --ignore tests/hub --ignore tests/site --nbval --nbval-current-env \
	    --nbval-cell-timeout 600 --nbval-sanitize-with tests/nbval_sanitize.cfg \
	    --numprocesses 2 --dist loadfile --no-loadscope-reorder

install: .venv/installed

fresh: install
	@$(BIN)/python -m camwidgets.course.workbook fresh $(LESSON)

lessons: .venv/tested-with
	$(BIN)/python lessons/source/build.py

howtos: .venv/howto
	$(BIN)/python howto/source/build.py

howto-test: .venv/howto
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval --nbval-current-env \
	    --nbval-cell-timeout 600 --nbval-sanitize-with tests/nbval_sanitize.cfg howto

data: install
	$(BIN)/python -m camwidgets.course.smear

picture: .venv/tested-with
	$(BIN)/python docs/explorer.py
	$(BIN)/python docs/film.py

bench: .venv/benched-with
	@mkdir -p build
	$(BIN)/python benchmarks/maps.py --json benchmarks/maps.json --figure build/maps.png
	$(BIN)/python benchmarks/explorer.py --json benchmarks/explorer.json

check-room: .venv/tested-with
	$(BIN)/python binder/room.py $(LESSONS)

bundle: .venv/tested-with
	$(BIN)/python binder/bundle.py $(if $(TRY),--try)

front: node_modules/made
	$(NODE)/npm run --silent bundle

hub-test: .venv/hub
	$(BIN)/python binder/jupyterhub/rehearse.py --learners $(or $(LEARNERS),4) \
	    --lessons $(or $(LESSONS),01 02 03)
	$(BIN)/python -m pytest tests/hub

site: .venv/site
	$(BIN)/python docs/build.py $(if $(ONLY),--only $(ONLY))

teaching: .venv/tested-with
	$(BIN)/python lessons/teaching/kit.py

site-test: site
	$(BIN)/python -m pytest tests/site

links:
	@$(PYTHON) binder/links.py "$(REPO)" $(if $(HUB),--hub "$(HUB)") $(if $(WRITE),--write)

.venv/installed: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	    { echo "Python is missing: install Python 3.10 or newer, or say make PYTHON=/its/path."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed, this is `$(PYTHON) -V`: try make PYTHON=python3.12."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	    { echo "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv."; exit 1; }
	@echo "Making .venv with the pinned packages: a few minutes, once."
	$(PYTHON) -m venv .venv
	$(PIP) $(if $(filter-out 0,$(CPU)),--extra-index-url $(CPU_INDEX)) -r requirements.txt -e .
	@touch $@

.venv/benched-with: benchmarks/requirements.txt .venv/tested-with
	$(PIP) -r benchmarks/requirements.txt
	@touch $@

.venv/tested-with: tests/requirements.txt .venv/installed
	$(PIP) -r tests/requirements.txt
	@touch $@

node_modules/made: package.json .venv/tested-with
	$(NODE)/npm install --no-audit --no-fund --no-package-lock --loglevel error
	@touch $@

.venv/howto: howto/requirements.txt .venv/tested-with
	$(PIP) -r howto/requirements.txt
	@touch $@

.venv/hub: binder/jupyterhub/requirements.txt binder/jupyterhub/package.json .venv/tested-with
	$(PIP) -r binder/jupyterhub/requirements.txt
	$(NODE)/npm install --prefix binder/jupyterhub --no-audit --no-fund --no-package-lock \
	    --loglevel error
	@touch $@

.venv/site: docs/requirements.txt docs/package.json .venv/tested-with
	$(PIP) -r docs/requirements.txt
	$(NODE)/npm install --prefix docs --no-audit --no-fund --no-package-lock --ignore-scripts \
	    --loglevel error
	@touch $@
