# The same commands that CI runs. `make` alone lists them.
.PHONY: help run test lint bench bench-upstream loadtest starter clean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

run: ## set up, build and start the server; it prints its address
	@scripts/setup
	@scripts/build --workspace --bin antiphon
	@exec $${CARGO_TARGET_DIR:-target}/release/antiphon serve $(ARGS)

test: ## set up and run every test: Rust, the official clients, a real browser
	@scripts/setup --test
	@scripts/test

lint: ## check format, lints, docs and scripts
	@scripts/setup
	@scripts/lint

bench: ## measure response latency with 1 and 5 users talking (USERS="1 10 30" for others)
	@scripts/setup
	@scripts/build --workspace --bins
	@scripts/bench $(USERS)

bench-upstream: ## measure translations by a language model behind a URL, for 1 to 50 users (USERS="5 50" for others)
	@scripts/setup
	@scripts/build --example upstream
	@$${CARGO_TARGET_DIR:-target}/release/examples/upstream $(USERS)

loadtest: ## run the load generator, ARGS="..."; without ARGS show how to use it
	@scripts/setup
	@scripts/build --workspace --bins
	@$${CARGO_TARGET_DIR:-target}/release/antiphon-loadtest $(if $(ARGS),$(ARGS),--help)

starter: ## train the starter models again (CPU; hours)
	@python3 -m venv .cache/starter-venv
	@.cache/starter-venv/bin/pip install --quiet --requirement models/starter/requirements.txt
	@.cache/starter-venv/bin/python models/starter/make.py all
	@python3 models/starter/manifest.py

clean: ## remove what was built, keep what was downloaded
	cargo clean
