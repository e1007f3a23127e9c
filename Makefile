# Two commands need nothing but Python 3.11+, make and a package index: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The notebooks read the shop that FEEDS_SHOP names (a feeds.yaml), else the demo's, made when missing.
SHOP := $(abspath $(or $(FEEDS_SHOP),.feeds/demo/shop/feeds.yaml))
DEMO := $(if $(FEEDS_SHOP),,.feeds/demo/shop/.feeds/CURRENT)

.PHONY: demo bento snippet notebooks test test-long test-notebooks test-slow lint format bench-features bench-build bench-rankers \
	bench-cold bench-mail bench-off-policy bench-experiments bench-evidence bench-evaluation bench-quality \
	bench-serving bench-freshness bench-replay bench-hosts bench-proxy bench-swaps bench-faults bench-hostile bench-soak bench-mail-policies clean

demo: .venv/installed ## the whole job on a simulated shop; ONCE=1 ends it after the four feeds
	$(BIN)/feeds demo $(if $(ONCE),--once)

test: .venv/installed-for-tests ## all tests, real servers included; those whose program is missing skip (README.md), -rs says why
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: .venv/installed-for-tests ## what takes too long for every change: a home searched for a forgotten person, a bento, notebooks, mails in a browser
	$(BIN)/python -m pytest -m long -rs

test-notebooks: .venv/installed-for-tests $(DEMO) ## executes every notebook
	FEEDS_SHOP=$(SHOP) $(BIN)/python -m pytest -m 'not real_shop' tests/test_notebooks.py

test-slow: .venv/installed-for-tests ## executes every notebook on each real log under FEEDS_DATA
	$(BIN)/python -m pytest -m real_shop -rs

notebooks: .venv/installed-for-notebooks $(DEMO) ## opens them in JupyterLab
	FEEDS_SHOP=$(SHOP) $(BIN)/jupyter lab notebooks

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

format: .venv/installed-for-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-features: .venv/installed ## log to matrix at 1, 10 and 50 million events, beside pandas and the engine's limit
	$(BIN)/python benchmarks/log_to_matrix.py

bench-build: .venv/installed ## a whole feature set out of 10 million simulated events: seconds per step, memory
	$(BIN)/python benchmarks/full_build.py

bench-rankers: .venv/installed ## fit seconds and memory of every ranker at 1 and 10 million events; ALS and top-20 beside implicit
	$(BIN)/python benchmarks/ranker_speed.py

bench-cold: .venv/installed ## items without a single event: content beside category popularity and chance
	$(BIN)/python benchmarks/cold_items.py

bench-mail: .venv/installed ## a mailing of three blocks to up to 300,000, beside the matrix product alone
	$(BIN)/python -m benchmarks.mail_speed

bench-off-policy: .venv/installed ## off-policy estimates against a known truth, and on the open bandit sample
	$(BIN)/python -m benchmarks.off_policy

bench-experiments: .venv/installed ## false alarms and power of read-outs that are looked at every day
	$(BIN)/python -m benchmarks.experiments

bench-evidence: .venv/installed ## verdicts and intervals in shops where the truth is known
	$(BIN)/python -m benchmarks.evidence

bench-mail-policies: .venv/installed ## eight weekly mailings of simulated shops: repeats, what is withheld, true clicks and sales by policy
	$(BIN)/python -m benchmarks.mailings $(MAILINGS)

bench-evaluation: .venv/installed ## 100,000 people x 50,000 items judged with 500 bootstrap draws: seconds, memory
	$(BIN)/python -m benchmarks.evaluation_speed

bench-quality: .venv/installed .venv-peers/installed ## our rankers beside what a user would pick instead, on the real logs
	$(BIN)/python -m benchmarks.quality $(QUALITY)

bench-serving: .venv/installed ## CPU per request at 10 thousand to a million items, beside a feed from memory; memory of two workers
	$(BIN)/python -m benchmarks.serving $(SERVING)

bench-freshness: .venv/installed ## from an acknowledged event to the other worker's feed; the first minute of a new article
	$(BIN)/python -m benchmarks.serving.freshness $(FRESHNESS)

bench-swaps: .venv/installed ## 20 swaps under load: failures, mixed answers, p99; and three bundles that must be refused
	$(BIN)/python -m benchmarks.operations.swaps $(SWAPS)

bench-proxy: .venv/installed ## two services behind nginx, one of them killed or hanging: who notices
	$(BIN)/python -m benchmarks.operations.proxy $(PROXY)

bench-faults: .venv/installed-for-tests ## kill -9 of workers, in commits, of the master; a full disk (as root): what was lost
	$(BIN)/python -m benchmarks.operations.faults $(FAULTS)

bench-hostile: .venv/installed-for-tests ## 10,000 hostile requests, 100 MB in chunks, bodies that never end, Schemathesis: no 5xx, no trace
	$(BIN)/python -m benchmarks.operations.hostile $(HOSTILE)

bench-soak: .venv/installed ## half an hour at half load: is the memory flat
	$(BIN)/python -m benchmarks.operations.soak $(SOAK)

bench-hosts: .venv/installed-for-tests ## two hosts and one Redis: what crosses, one cut off, Redis killed, what it costs; needs redis-server
	$(BIN)/python -m benchmarks.operations.hosts $(HOSTS)

bench-replay: .venv/installed ## a month of the article log through the service and offline; FEEDS_DATA names the logs' directory
	$(BIN)/python -m benchmarks.serving.replay $(REPLAY)

bento: .venv/installed-for-tests ## the service as one thing that runs from its tag: bentoml serve feeds:latest
	BENTOML_DO_NOT_TRACK=1 $(BIN)/bentoml build

snippet: ## clients/javascript/feeds.min.js, what shop pages include, out of feeds.js; needs Node
	cd clients/javascript && npx --yes esbuild@0.28.2 feeds.js --minify --target=es2018 \
		--banner:js="/* feeds.js $$(sha256sum feeds.js | cut -c1-12) */" --outfile=feeds.min.js

clean: ## remove what the other targets made
	rm -rf .venv .venv-peers .feeds .pytest_cache .mypy_cache .ruff_cache .hypothesis

define new-venv
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or later is needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv .venv
	@echo "installing (a few minutes, once) …"
endef

.venv/installed: pyproject.toml constraints.txt
	$(new-venv)
	$(PIP) --editable .
	@touch $@

.venv/installed-for-tests: pyproject.toml constraints.txt # all at once: pip resolves it once
	$(new-venv)
	$(PIP) --editable '.[test]'
	@touch .venv/installed $@

.venv/installed-for-notebooks: .venv/installed
	@echo "installing JupyterLab …"
	$(PIP) --editable '.[notebooks]'
	@touch $@

.feeds/demo/shop/.feeds/CURRENT: | .venv/installed
	$(BIN)/feeds demo --once

.venv-peers/installed: benchmarks/quality/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
