# `make demo` needs nothing but Python 3.11; everything else is set up on the first run.

# The first of these that is Python 3.11; the set-up says so in a sentence when none is.
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo $$p; break; }; \
	done || true)
ifeq ($(strip $(PYTHON)),)
override PYTHON := python3
endif
BIN := .venv/bin

.PHONY: demo smoke cluster faults soak upgrade-trial hostile fuzz arriving datasets newer-servers other-python test \
	setup-test check lint types imports unit pytest rabbitmqctl web definitions schemas constraints clean-var

# exec: no shell stands between a signal and the demo. Ctrl-C stops the demo cleanly, and make waits
# for that; make's own status is then 130, as always when make is interrupted.
demo:
	@$(PYTHON) -m infra.demo.bootstrap demo && exec $(BIN)/python -m infra.demo.up

smoke:
	@$(PYTHON) -m infra.demo.bootstrap demo && exec $(BIN)/python -m infra.demo.smoke

# Three brokers that are one, to try what a loss does; RABBITMQ_URL of both sides is printed.
cluster:
	@$(PYTHON) -m infra.demo.bootstrap demo && exec $(BIN)/python -m infra.demo.cluster

# One fault after the other in real processes. A part: make faults ARGS='broker cluster/leader_killed'
faults: setup-test
	$(BIN)/python -m tests.faults $(ARGS)

# Many requests under faults at random: make soak REQUESTS=2000 MINUTES=60 SEED=7
soak: setup-test
	$(BIN)/python -m tests.faults.soak $(if $(REQUESTS),--requests $(REQUESTS)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

# The programs of the version before and those of today, on one broker, in the order of an upgrade.
# It needs the project's history.
upgrade-trial: setup-test
	$(BIN)/python -m tests.upgrade

# A lab whose account is in the wrong hands, while another pool works: make hostile MINUTES=10 SEED=7
hostile: setup-test
	$(BIN)/python -m tests.hostile $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Hostile files at random: make fuzz MINUTES=10 SEED=7
fuzz: setup-test
	$(BIN)/python -m tests.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

# A study that arrives over a minute while it is asked for, as slowly as from a scanner: in `make test`
# the same within seconds.
arriving: setup-test
	$(BIN)/python -m pytest -v tests/integration/test_arriving_whole.py --arriving-gap 30 $(ARGS)

# Public sets of scanner files, by lab, site and two other readers; the first run clones them, some GB.
# A part: make datasets ARGS='dcm_qa_mosaic dcm_qa_xa30'
datasets: setup-test
	$(BIN)/python -m tests.datasets $(ARGS)

# The integration tests that touch broker and archive, on the RabbitMQ and Orthanc of Debian 13 and of
# Debian testing; it says first what it needs. A part:
# make newer-servers ARGS='testing tests/integration/test_checks.py'
newer-servers: setup-test
	$(BIN)/python -m tests.newer_servers $(ARGS)

# The unit and contract parts on another Python: make other-python PYTHON=python3.13
# It says first what it needs. A part: make other-python PYTHON=python3.13 ARGS=tests/unit/test_job.py
other-python:
	$(PYTHON) -m tests.other_python $(ARGS)

# The checks run beside the tests, which wait for servers much of their time; those begin once the
# first check has passed, and `make` ends when all have ended.
test: setup-test
	@$(MAKE) --no-print-directory -j3 lint types imports pytest || \
		{ echo 'make test: something has failed; a line with *** above names each part that did'; exit 1; }

# While one works: no server is started, and no file is run that takes more than a minute.
check: setup-test
	@$(MAKE) --no-print-directory -j3 lint types imports unit || \
		{ echo 'make check: something has failed; a line with *** above names each part that did'; exit 1; }

setup-test:
	@$(PYTHON) -m infra.demo.bootstrap test

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.documents

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

# Three at a time: much of a test's time is waiting for servers to start, stop and fail. A file's tests
# stay together and share its servers, and the files begin in the order of tests/conftest.py. Of the
# fault matrix this runs a row of each family, of the soak two minutes. What each file and each test
# cost, and how long each worker had something to do, is in var/timings.txt afterwards.
pytest:
	$(BIN)/python -m pytest -v -n 3 --dist loadfile --no-loadscope-reorder --durations=10 \
		--timings var/timings.txt $(ARGS)

unit:
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --without-long \
		--timings var/timings-unit.txt tests/unit $(ARGS)

# make rabbitmqctl ARGS='-p mri list_queues name messages consumers'
rabbitmqctl:
	@$(BIN)/python -m infra.local.rabbitmqctl $(ARGS)

# mri-web with the demo's settings: make web ARGS=check; make web ARGS='dead_letters list'
web:
	@$(BIN)/python -m infra.demo.web $(ARGS)

definitions:
	$(BIN)/python -m messages.topology > infra/rabbitmq/definitions.json.part
	mv infra/rabbitmq/definitions.json.part infra/rabbitmq/definitions.json
	$(BIN)/python -m messages.topology_before > infra/rabbitmq/upgrade.json.part
	mv infra/rabbitmq/upgrade.json.part infra/rabbitmq/upgrade.json

schemas:
	$(BIN)/python -m messages.schemas
	$(BIN)/python -m web.api > docs/openapi.json.part
	mv docs/openapi.json.part docs/openapi.json
	$(BIN)/python -m web.asyncapi > docs/asyncapi.json.part
	mv docs/asyncapi.json.part docs/asyncapi.json

# The versions and the hashes of all that is installed, from the package index; versions that fit stay.
# make constraints ARGS='--upgrade-package pillow', or ARGS=--upgrade for everything
constraints:
	$(BIN)/python -m infra.pins.renew $(ARGS)

# The demo's data, passwords and logs. Stop the demo first.
clean-var:
	rm -rf var
