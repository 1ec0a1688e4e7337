# The two commands of this project are `make book` and `make test`.
# Some containers ask Python to write no bytecode; every chapter and test process would then
# compile its imports anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help book pdf test browser format lowest colab mutations upgrade links release clean \
	environment

help:
	@echo "make book    execute the chapters that have changed and build the pages"
	@echo "             with CHAPTER=cycling: execute only notebooks/cycling.md"
	@echo "make pdf     print the pages that are built as one PDF, by Chromium or Chrome"
	@echo "make test    lint the code and run the tests"
	@echo "make browser  open every page that make book has built, in Chromium, and test it"
	@echo "make format  format the code, that of the chapters too"
	@echo "make lowest  run the tests on the lowest supported versions"
	@echo "make colab   run the notebooks beside the pages, with Colab's versions and the newest"
	@echo "             with NOTEBOOKS=\"chaos cycling\": these two"
	@echo "make mutations  break the package in one place at a time: does a test notice?"
	@echo "make upgrade  put the newest versions into constraints.txt"
	@echo "make links   ask for every address on other sites that the book links to"
	@echo "make release VERSION=0.1.0   build the wheel and the sdist, and try both"
	@echo "make clean   remove the pages, all that chapters have kept, and the environment"

environment:
	@tools/environment.sh

book: environment
	@.venv/bin/python tools/build_book.py $(if $(CHAPTER),--chapter "$(CHAPTER)")

pdf: environment
	@.venv/bin/python tools/print_book.py

test: environment
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/python tools/format_chapters.py --check
	.venv/bin/python -m pytest --numprocesses auto

# Two browsers at most: more wait for one another. The other tests' conftest.py would load JAX.
browser: environment
	.venv/bin/python -m pytest --numprocesses 2 --confcutdir tests/browser tests/browser

format: environment
	.venv/bin/ruff format
	.venv/bin/python tools/format_chapters.py

# Lowers what the package needs, so the tests of the book's own tools stay out.
lowest: environment
	.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv-lowest
	.venv/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct \
		--only-binary :all: --requirement pyproject.toml --extra dev
	.venv/bin/uv pip install --quiet --python .venv-lowest --no-deps --editable .
	.venv-lowest/bin/python -m pytest --numprocesses auto --ignore-glob 'tests/test_build*.py'

# Needs the pages that `make book` has built.
colab: environment
	.venv/bin/uv venv --quiet --clear --seed --python .venv/bin/python .venv-colab
	.venv/bin/uv pip install --quiet --python .venv-colab --requirement tools/colab-pins.txt
	@status=0; \
	.venv/bin/python tools/try_notebooks.py --python .venv-colab/bin/python --install \
		$(NOTEBOOKS) || status=1; \
	.venv/bin/python tools/try_notebooks.py $(NOTEBOOKS) || status=1; \
	exit $$status

mutations: environment
	@.venv/bin/python tools/mutations.py $(PATTERN)

# The first lines of the file are the command that makes it.
upgrade: environment
	.venv/bin/$$(sed -n 's/^#  *uv pip compile/uv pip compile/p' constraints.txt) --upgrade --quiet

links: environment
	@.venv/bin/python tools/check_links.py

# Each package is tried as a user has it: the newest requirements, and nothing of this folder.
release: environment
	rm -rf _build/release
	mkdir -p _build/release
	.venv/bin/python tools/release_notes.py "$(VERSION)" >_build/release/notes.md
	.venv/bin/python -m build --outdir _build/release
	for package in _build/release/assimilation-*; do \
		.venv/bin/uv run --isolated --no-project --python .venv/bin/python --with "$$package" \
			python -P examples/own_problem.py || exit 1; \
	done

clean:
	rm -rf .venv .venv-lowest .venv-colab _build
