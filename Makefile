# One command for a newcomer: `make demo` or `make test`. Both do all the set-up they need.
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$each -c '$(ENOUGH)' 2>/dev/null && command -v $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Where `make agents` puts the agents' command lines, outside the repository; tests look there too.
AGENTS := $(or $(REGREEN_AGENTS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/regreen/agents)

.PHONY: test check thorough demo bench format lock agents agents-ci clean

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "regreen needs Python 3.11 or newer on the PATH"; exit 1; }
	@$(PYTHON) -c '$(ENOUGH)' || { echo "regreen needs Python 3.11 or newer; $(PYTHON) is older or broken"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/regreen demo

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -n 4 --dist loadgroup

thorough: $(STAMP)
	$(BIN)/pytest -n 2 -m thorough

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Pins every dependency with its hashes, for every platform, without naming an index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml --output-file requirements.lock

# The versions that the adapters were measured with; aider comes from Python: `pipx install aider-chat`.
TESTED_AGENTS := @openai/codex@0.169.0 @anthropic-ai/claude-code@2.1.329 @qwen-code/qwen-code@0.24.4
OTHER_AGENTS := @google/gemini-cli@0.61.0 opencode-ai@1.18.33
INSTALL_AGENTS = npm install --global --prefix "$(AGENTS)" --prefer-offline --no-audit --no-fund

agents:
	$(INSTALL_AGENTS) $(TESTED_AGENTS) $(OTHER_AGENTS)

# Those that CI tests.
agents-ci:
	$(INSTALL_AGENTS) --loglevel=error $(TESTED_AGENTS)

clean:
	rm -rf $(VENV)
