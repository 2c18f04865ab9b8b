# The two commands a newcomer needs are `make lab` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv engine lab lab-hosts lab-down check lint sanity units docs docs-lint test test-lab test-galaxy test-matrix test-options matrix options chaos simulate test-all bench bench-clone bench-hosts bench-scale clean

# Everything below works without an activated environment, and two checkouts do not share state.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_HOME := $(CURDIR)/.ansible
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.ansible/collections

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

venv: .venv/.ready  ## Python environment with Ansible, Molecule and the linters in .venv
.venv/.ready: requirements/dev.txt
	tests/tools/venv.sh .venv requirements/dev.txt
	touch $@

engine:  ## A Docker engine that answers (started, or installed on Debian and Ubuntu as root)
	molecule/shared/engine.sh

lab-hosts: venv engine  ## Four empty hosts at 192.168.56.101-104, reachable over verified SSH
	molecule/shared/lab.sh up

lab: lab-hosts  ## Four hosts, the main job on them, and the cluster's status
	ansible-playbook site.yml -i inventories/lab
	ansible-playbook playbooks/status.yml -i inventories/lab

lab-down:  ## Remove the lab's hosts and network
	molecule/shared/lab.sh down

check: venv  ## Lint, sanity, units and docs lint: needs no host
	tests/tools/test.sh check

lint: venv  ## yamllint, ansible-lint (production profile), shellcheck
	tests/tools/lint.sh

sanity: venv  ## ansible-test sanity on every Python that is here
	tests/tools/sanity.sh

units: venv  ## Unit tests on every Python that is here
	tests/tools/units.sh

docs: venv  ## The documentation site in build/docs
	docs/build.sh

docs-lint: venv  ## The documentation, its site included, and the changelog fragments
	tests/tools/docs-lint.sh

test: venv  ## Every check there is
	tests/tools/test.sh

test-lab: venv engine  ## The acceptance tests on a lab made from nothing
	tests/tools/test-lab.sh

test-galaxy: venv engine  ## Build, install from the tarball, deploy with pgfleet.repmgr.site
	tests/tools/test-galaxy.sh

test-options: venv engine  ## Two sets of options of a covering set, chosen by date, deployed from nothing
	tests/tools/test-options.sh

options: venv engine  ## All sets of a covering set of the documented options; SET=7 for one, SEED=3, KEEP=1 leaves its hosts
	TEST_ALL=1 KEEP=$(KEEP) tests/tools/test-options.sh $(if $(SEED),--seed $(SEED)) $(SET)

test-matrix: venv engine  ## Molecule scenarios of CentOS 7 and, by turns, of EL 9 or Debian 13, at once
	tests/tools/test-matrix.sh

matrix: venv engine  ## Deploy, switch over and fail over on the other platforms; SCENARIO=el9 for one
	tests/tools/matrix.sh $(SCENARIO)

chaos: venv  ## Rows of failures on the lab that is up, three times each; ROW=5 for one, PROFILE=fast, LAYOUT=2w
	mkdir -p .cache; [ -n "$(ROW)" ] || rm -f .cache/chaos-$(or $(PROFILE),safe)$(patsubst %,-%,$(filter-out 3w,$(LAYOUT))).jsonl
	CHAOS_REPEAT=$${REPEAT:-3} CHAOS_ROW=$(ROW) CHAOS_PROFILE=$(or $(PROFILE),safe) LAB_LAYOUT=$(or $(LAYOUT),3w) TEST_ALL=1 \
		python -m pytest tests/acceptance/test_13_failures.py -v -rs -p no:cacheprovider || failed=$$?; \
		[ ! -e .cache/chaos-$(or $(PROFILE),safe)$(patsubst %,-%,$(filter-out 3w,$(LAYOUT))).jsonl ] || python tests/tools/chaos_table.py .cache/chaos-$(or $(PROFILE),safe)$(patsubst %,-%,$(filter-out 3w,$(LAYOUT))).jsonl; exit $${failed:-0}

simulate: venv  ## The guard in a simulator, with random faults; SCHEDULES=5000 SEED=1 MINUTES=5, SEED alone for one, SCENARIO=file, MUTANTS=1
	mkdir -p .cache; PYTHONPATH=tests python -m simulation --folder .cache $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(MUTANTS),--mutants)

test-all: export TEST_ALL := 1
test-all: test bench  ## make test and what takes too long for every run

bench: venv engine  ## What runs cost, by hand and by the playbooks, beside their goals; makes the lab anew
	tests/bench/bench.sh

bench-clone: venv engine  ## What a copy of 2 GB costs, beside bare pg_basebackup; on the lab that is up
	tests/bench/clone.sh

bench-hosts: venv engine  ## What clusters of 4, 8 and 16 nodes cost, and 4 of 4; beside the lab that is up
	tests/bench/hosts.sh

bench-scale: venv  ## What 10, 30 and 100 clusters cost the controller, by the answers of the lab that is up
	tests/bench/scale.sh

clean: lab-down  ## The lab, the environment and caches
	rm -rf --one-file-system .venv .cache .lab build
