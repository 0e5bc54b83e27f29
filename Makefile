# SPDX-License-Identifier: GPL-3.0-or-later
# The one door to every check. `make help` lists the targets; CONTRIBUTING.md says what each level is for.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# What `make test` and CI run: two lanes side by side, since the first needs the processor and the second mostly waits.
LANES := lint,unit,build,docs,sanity,molecule conformance,integration

# Set these on the command line, for example `make sanity PYTHON=python3.13` or `make unit ARGS='-k quoting'`.
PYTHON ?= python3
ARGS :=
TESTS :=
LEVELS :=

TOOLS := tests/tools
REQUIREMENTS := tests/requirements
CACHE := $(CURDIR)/.cache

# PATH as the user has it, also inside a make that this make starts: interpreters are looked for there.
ifndef USERS_PATH
export USERS_PATH := $(PATH)
endif
FIND := PATH='$(USERS_PATH)' python3 $(TOOLS)/interpreters.py

# The real interpreter behind PYTHON, its version, and the newest ansible-core line that runs on it.
CHOSEN := $(shell $(FIND) choose $(PYTHON))
ifeq ($(CHOSEN),)
$(error PYTHON=$(PYTHON) cannot be used)
endif
INTERPRETER := $(word 1,$(CHOSEN))
PYTHON_LINE := $(word 2,$(CHOSEN))
CORE ?= $(word 3,$(CHOSEN))

VENV := $(CACHE)/venv-$(PYTHON_LINE)-$(CORE)
COPY := $(CACHE)/ansible_collections/gitlab_fleet/upgrade
COLLECTION := gitlab_fleet.upgrade

export PATH := $(VENV)/bin:$(shell $(FIND) path)
export ANSIBLE_COLLECTIONS_PATH := $(CACHE)
export LC_ALL := C.UTF-8
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1
unexport VIRTUAL_ENV

# pip that asks nothing, installs what the files pin and nothing else.
PIP_INSTALL := $(VENV)/bin/python -m pip install -qq --no-input --no-deps

PYTEST := python -m pytest -p no:cacheprovider

# Each file of integration tests has hosts of its own, and most of its time goes by in waiting.
SIDE_BY_SIDE := --numprocesses 4 --dist loadfile

# The test bed holds programs of a Debian package, with the shebangs and modes that they have there: it is not the collection's.
NOT_FOR_SANITY := --exclude tests/mini_gitlab/

# Fails when a level has nothing to run, since a level without tests proves nothing.
define need_files
	@test -n "$$(find $(1) -name '$(2)' -print -quit 2> /dev/null)" || \
	  { echo "make $@: there is no $(2) in $(1), so this level has nothing to run." >&2; exit 1; }
endef

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "make test runs these, the two lanes side by side: $(LANES)"
	@echo "Python $(PYTHON_LINE) ($(INTERPRETER)) with ansible-core $(CORE)"

.PHONY: test
test: core tools copy interpreters testbed ## Run everything that CI runs, and say at the end what failed
	@echo 'Python $(PYTHON_LINE), ansible-core $(CORE)'
	@python3 $(TOOLS)/lanes.py '$(MAKE)' $(LANES)

# --- Levels -----------------------------------------------------------------------------------------------------------

.PHONY: lint lint-format lint-python lint-types lint-rules lint-yaml lint-ansible lint-changelog
lint: ## Check style, types, and the rules of this collection (ruff, mypy, yamllint, ansible-lint)
	@$(MAKE) --keep-going lint-python lint-format lint-types lint-rules lint-yaml lint-ansible lint-changelog
lint-python: tools copy
	cd $(COPY) && ruff check --quiet --output-format concise --cache-dir $(CACHE)/ruff .
lint-format: tools copy
	@cd $(COPY) && ruff format --check --output-format concise --cache-dir $(CACHE)/ruff . || { echo 'make format writes them so.' >&2; exit 1; }
lint-types: tools copy
	cd $(CACHE) && mypy --cache-dir $(CACHE)/mypy --config-file $(COPY)/pyproject.toml $(COPY)/plugins $(COPY)/tests
lint-rules: tools copy
	cd $(COPY) && PYTHONPATH=$(CACHE) python -m ansible_collections.$(COLLECTION).tests.checks
lint-yaml: tools copy
	cd $(COPY) && yamllint --strict .
lint-ansible: tools copy
	cd $(COPY) && HOME=$(CACHE)/home ansible-lint --offline --nocolor --format pep8 -q
lint-changelog: tools copy
	cd $(COPY) && HOME=$(CACHE)/home antsibull-changelog lint

.PHONY: unit
unit: core copy ## Test the pure logic (pytest, hypothesis)
	$(call need_files,tests/unit,test_*.py)
	cd $(COPY) && $(PYTEST) $(or $(TESTS),tests/unit) $(ARGS)

.PHONY: sanity
sanity: core copy interpreters ## Run ansible-test sanity, with the Python versions found on this machine
	cd $(COPY) && HOME=$(CACHE)/ansible-test-home PATH="$(VENV)/bin:$(CACHE)/pythons:$$PATH" \
	  ansible-test sanity --color no $(NOT_FOR_SANITY) $(ARGS)

.PHONY: integration
integration: core copy testbed ## Test the modules against a real PostgreSQL and the mini GitLab (root)
	$(call need_files,tests/integration,test_*.py)
	PYTHONPATH=$(CACHE) $(PYTEST) $(SIDE_BY_SIDE) $(or $(TESTS),tests/integration) $(ARGS)

.PHONY: conformance
conformance: core copy testbed ## Hold the mini GitLab against recordings of GitLab's own engine (root)
	$(call need_files,tests/conformance,test_*.py)
	PYTHONPATH=$(CACHE) $(PYTEST) $(or $(TESTS),tests/conformance) $(ARGS)

.PHONY: molecule
molecule: tools copy testbed ## Test the roles and playbooks on test hosts (root)
	$(call need_files,molecule,molecule.yml)
	cd $(COPY) && MOLECULE_GLOB='molecule/*/molecule.yml' molecule test $(or $(ARGS),--all)

.PHONY: docs
docs: tools copy ## Check the reference pages of modules, plugins and roles
	cd $(COPY) && HOME=$(CACHE)/home antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .

.PHONY: build
build: tools copy ## Build the tarball, install it elsewhere and read its documentation from there
	rm -rf $(CACHE)/build && mkdir -p $(CACHE)/build/installed
	cd $(COPY) && ansible-galaxy collection build --output-path $(CACHE)/build
	cd $(COPY) && PYTHONPATH=$(CACHE) python -m ansible_collections.$(COLLECTION).tests.checks.tarball $(CACHE)/build/*.tar.gz
	cd $(CACHE)/build && ANSIBLE_COLLECTIONS_PATH=$(CACHE)/build/installed \
	  ansible-galaxy collection install --offline --collections-path installed ./*.tar.gz
	ANSIBLE_COLLECTIONS_PATH=$(CACHE)/build/installed python tests/checks/installed.py $(CACHE)/build/installed

# --- Beside the levels ------------------------------------------------------------------------------------------------

.PHONY: demo
demo: core copy testbed ## See the collection upgrade a small fleet, from an empty machine (root)
	$(call need_files,tests/demo,demo.py)
	PYTHONPATH=$(CACHE) python tests/demo/demo.py $(ARGS)

.PHONY: bench
bench: core copy testbed ## Measure the collection against other ways of doing the same (root)
	$(call need_files,tests/bench,bench.py)
	PYTHONPATH=$(CACHE) python tests/bench/bench.py $(ARGS)

.PHONY: matrix
matrix: ## Run unit, sanity and a short integration on each ansible-core line this machine can run
	@python3 $(TOOLS)/matrix.py $(LEVELS)

.PHONY: format
format: tools ## Write the Python files as lint wants them
	ruff format --cache-dir $(CACHE)/ruff .
	ruff check --fix --cache-dir $(CACHE)/ruff .

.PHONY: pins
pins: ## Choose the newest versions anew: writes tests/requirements/*.txt
	@python3 $(TOOLS)/pins.py

.PHONY: clean
clean: ## Remove what these targets made in the checkout
	rm -rf .cache .build .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- What the targets stand on ----------------------------------------------------------------------------------------

.PHONY: core tools copy interpreters testbed
core: $(VENV)/.core
tools: $(VENV)/.tools

$(CACHE)/.packages: $(REQUIREMENTS)/apt.txt
	@mkdir -p $(CACHE)/home
	python3 $(TOOLS)/packages.py $<
	@touch $@

$(CACHE)/.testbed-packages: $(REQUIREMENTS)/apt-testbed.txt $(wildcard tests/mini_gitlab/apt.txt)
	@mkdir -p $(CACHE)
	python3 $(TOOLS)/packages.py $^
	@touch $@

# Made from nothing when the pins change, so that no package of an earlier set stays.
$(VENV)/.core: $(REQUIREMENTS)/core-$(CORE).txt | $(CACHE)/.packages
	$(INTERPRETER) -m venv --clear $(VENV)
	$(PIP_INSTALL) -r $<
	$(VENV)/bin/python -m pip check
	@touch $@

$(VENV)/.tools: $(REQUIREMENTS)/tools.txt $(VENV)/.core
	$(PIP_INSTALL) -r $<
	$(VENV)/bin/python -m pip check
	@touch $@

# The working tree at a path that ansible-test, ansible-lint and Python's import all take for a collection.
copy: $(CACHE)/.packages
	@python3 $(TOOLS)/working_copy.py $(COPY)

# ansible-test looks for python3.N on PATH, where a shim would fool it.
interpreters:
	@$(FIND) link $(CACHE)/pythons
	@python3 $(TOOLS)/ansible_test_home.py $(CACHE)/ansible-test-home

testbed: $(CACHE)/.testbed-packages
	@test "$$(id -u)" = 0 || { echo "make: the test hosts need root: run this target with sudo." >&2; exit 1; }
