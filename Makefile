# make demo    train, compress, compile and time small networks; prints a table, writes a picture and a page into build/demo
# make test    C++ and Python tests; with the tools for it, the C++ tests for Arm, too
# make test-quick    for daily work: the C++ tests and the files of Python's that take seconds, three minutes in all
# make test-arm    cross-builds for 64-bit Arm and runs the C++ tests under QEMU for each instruction set; as root installs what that takes
# make wheels    wheels for Linux in build/wheels: x86-64, and 64-bit Arm with the tools for it; make build/arm-python    a Python that tests the latter under QEMU
# make docs    the documentation as a site, in build/site; a link or name that is not there ends it
# make lint    formatting, style and types        make bench    layers of ResNet-50        make clean    removes what was built
# make test-sanitizers    the C++ tests under the address, leak, undefined-behaviour and thread sanitizers
# make stress    eight sessions, 10,000 runs each, without a sanitizer and under the thread sanitizer
# make fuzz SECONDS=600    the file reader, and running whatever it accepts, under libFuzzer (needs clang); FUZZ=reading: the first alone
# make bench-kernels    each kernel alone, for every instruction set (needs Google Benchmark: libbenchmark-dev); options in KERNELS="..."
# make bench-peers    niwaki beside ONNX Runtime, OpenVINO, DeepSparse and torch; environments in a cache folder, table in build/peers
#
# Each does all of its own set-up in .venv and build/; it needs Python 3.10 or later, a C++20 compiler and make, no more.
# What was done is remembered by empty files in .venv/stamps: a second run installs and builds nothing that is up to date.
#
#   make test PYTHON=python3.12      with another Python (after make clean)
#   make test PYTEST="-k report"     options for pytest
#   make test JOBS=8     so many processes side by side; two otherwise
#   make bench-peers PEERS="--cases resnet50-block85 --settings 1x1"    options for bench/peers/run.py
# pip reads its own environment variables. With PIP_EXTRA_INDEX_URL at PyTorch's index of CPU builds, the download is smaller.

PYTHON ?= python3
PYTEST ?=
PEERS ?=
KERNELS ?=
SECONDS ?= 60
FUZZ ?= reading running
JOBS ?= 2

VENV := .venv
BUILD := build/make
STAMPS := $(VENV)/stamps
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq
NATIVE := CMakeLists.txt pyproject.toml python/niwaki/_version.py $(shell find csrc include cmake -type f 2>/dev/null)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: all build cpp-tests demo test test-quick arm-tools test-arm test-sanitizers stress fuzz lint docs wheels bench bench-kernels bench-peers clean
.DELETE_ON_ERROR:

all: build

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "niwaki needs Python 3.10 or later; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	@test -x $(RUN) || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/torch: requirements/torch.txt | $(STAMPS)/venv
	@echo "Installing torch (the largest download, once) ..."
	@$(INSTALL) -r requirements/torch.txt
	@touch $@

$(STAMPS)/packages: requirements/build.txt requirements/run.txt requirements/nodeps.txt $(STAMPS)/torch
	@echo "Installing the other packages ..."
	@$(INSTALL) -r requirements/build.txt -r requirements/run.txt
	@$(INSTALL) --no-deps -r requirements/nodeps.txt
	@touch $@

$(STAMPS)/lint: requirements/lint.txt | $(STAMPS)/packages
	@$(INSTALL) -r requirements/lint.txt
	@touch $@

# An editable install: Python files are used where they lie, and only a change of native code builds, what changed.
$(STAMPS)/niwaki: $(NATIVE) $(STAMPS)/packages
	@echo "Building niwaki ..."
	@$(INSTALL) --no-build-isolation --no-deps --config-settings=build-dir=$(BUILD) \
	  --config-settings=cmake.define.NIWAKI_TESTS=ON --editable .
	@touch $@

build: $(STAMPS)/niwaki

cpp-tests: build
	@cmake --build $(BUILD) --target niwaki_tests

demo: build
	@$(RUN) examples/demo/demo.py --output build/demo

test: cpp-tests
	$(BUILD)/niwaki_tests
	@if $(HAS_ARM_TOOLS); then $(MAKE) --no-print-directory test-arm; \
	  else echo "The C++ tests for Arm are left out: they need $(ARM_TOOLS) (make test-arm)."; fi
	$(RUN) -m pytest tests -n $(JOBS) --dist loadfile $(PYTEST)

test-quick: cpp-tests
	$(BUILD)/niwaki_tests
	$(RUN) -m pytest tests --quick -n $(JOBS) --dist loadfile $(PYTEST)

# Compiler and emulator, Debian's and Ubuntu's.
ARM_TOOLS := g++-aarch64-linux-gnu qemu-user-static
HAS_ARM_TOOLS := command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null

arm-tools:
	@$(HAS_ARM_TOOLS) || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing $(ARM_TOOLS) ..."; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(ARM_TOOLS) >/dev/null; \
	else echo "The tests for Arm need $(ARM_TOOLS): install them (apt-get install $(ARM_TOOLS)), or run make as root."; exit 1; fi

test-arm: arm-tools $(STAMPS)/packages
	@cmake --preset aarch64 >/dev/null
	@cmake --build --preset aarch64
	ctest --preset aarch64

# Each stops at the first thing that a sanitizer finds, which it says on stderr. Sanitizers end a program at once, with the status 1, where LD_PRELOAD
# names a library, and some fail where the kernel draws addresses from too wide a range.
SANITIZED := env -u LD_PRELOAD UBSAN_OPTIONS=print_stacktrace=1 $(shell setarch -R true 2>/dev/null && echo setarch -R)

test-sanitizers: build/asan-ubsan.built build/tsan.built
	$(SANITIZED) build/asan-ubsan/niwaki_tests
	$(SANITIZED) build/tsan/niwaki_tests

stress: cpp-tests build/tsan.built
	NIWAKI_TEST_RUNS=10000 $(BUILD)/niwaki_tests capi_sessions
	NIWAKI_TEST_RUNS=10000 $(SANITIZED) build/tsan/niwaki_tests capi_sessions

# JOBS processes side by side, which learn from each other. What is found lies in build/fuzz/found; the files that it starts from, and
# what it learns, in build/fuzz/files; the last words of each process in build/fuzz/fuzz-N.log.
fuzz: build
	@command -v clang++ >/dev/null || { echo "make fuzz needs clang++, which has libFuzzer; it is not installed."; exit 1; }
	cmake --preset fuzz
	cmake --build --preset fuzz
	$(RUN) csrc/fuzz/seeds.py build/fuzz/files
	@mkdir -p build/fuzz/found
	cd build/fuzz && for check in $(FUZZ); do \
	  ./fuzz_$$check -jobs=$(JOBS) -workers=$(JOBS) -max_len=16384 -timeout=60 -max_total_time=$(SECONDS) \
	    -artifact_prefix=found/ -print_final_stats=1 files || exit 1; \
	done

build/%.built: $(STAMPS)/packages FORCE
	@cmake --preset $* -DNIWAKI_LIBRARY=OFF
	@cmake --build --preset $*

FORCE:

lint: build $(STAMPS)/lint
	ruff check .
	ruff format --check .
	git ls-files '*.cc' '*.h' '*.hpp' | xargs clang-format --dry-run --Werror
	mypy

$(STAMPS)/docs: requirements/docs.txt | $(STAMPS)/venv
	@$(INSTALL) -r requirements/docs.txt
	@touch $@

docs: $(STAMPS)/docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build
	@echo "build/site/index.html"

$(STAMPS)/wheels: requirements/wheels.txt | $(STAMPS)/packages
	@$(INSTALL) -r requirements/wheels.txt
	@touch $@

wheels: $(STAMPS)/wheels
	$(RUN) tests/wheel/build.py build/wheels $(sort $(shell uname -m) $(shell $(HAS_ARM_TOOLS) && echo aarch64))

# Debian's, for tests/python/test_wheels.py; nothing is installed.
build/arm-python: | $(STAMPS)/packages
	$(RUN) tests/wheel/arm_python.py $@

bench: build
	$(RUN) -m pytest bench --benchmark-columns=min,median,rounds --benchmark-sort=fullname $(PYTEST)

bench-kernels:
	cmake --preset release -DNIWAKI_BENCH=ON
	cmake --build --preset release --target niwaki_bench
	build/release/niwaki_bench $(KERNELS)

bench-peers: build
	$(RUN) bench/peers/run.py $(PEERS)

clean:
	rm -rf $(VENV) build
