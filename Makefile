# blkref: one Makefile, objects under build/.  `make help` lists the targets.
#
# Every folder's *.c files go into one archive by wildcard, so a new driver is one file (and one line in
# ref/tools/drivers.c).  Every <folder>/tests/test_*.c is a cmocka program of its own.
# `make SAN=address,undefined ...` and `make COVERAGE=1 ...` build in folders of their own.

PYTHON ?= /usr/bin/python3
CC     ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
OPT    ?= -O2
SAN    ?=
CONFIG ?= $(if $(SAN),san,$(if $(COVERAGE),cov,debug))
ifneq ($(CONFIG),debug)
B := build/$(CONFIG)
else
B := build
endif

WARN    := -Wall -Wextra -Wno-unused-parameter -Wstrict-prototypes -Wmissing-prototypes -Werror
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -I$(B)/gen
CFLAGS  += -std=gnu17 $(OPT) -g -fno-omit-frame-pointer $(WARN)
LDFLAGS += -rdynamic -Wl,--as-needed

# Short lines while building; V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-4s %s\n' $(1) $(2))
LIBS    := -lz -ldeflate -lbz2 -lzstd -lnettle -luring -lfuse3 -lsqlite3 -ldl -lpthread -lm
ifneq ($(SAN),)
CFLAGS  += -fsanitize=$(SAN) -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=$(SAN)
endif
ifneq ($(COVERAGE),)
CFLAGS  += --coverage -DBLKREF_COVERAGE
LDFLAGS += --coverage
endif
# What explores makes and drops small things by the million; checkers of memory bring a malloc of their own.
MALLOC  := $(if $(SAN)$(COVERAGE),,-ltcmalloc_minimal)
ifneq ($(LTO),)
CFLAGS  += -flto=auto
LDFLAGS += -flto=auto
endif

# Folder order of the design: a folder includes only itself and what stands before it.
LIB_DIRS := ref/base specs/runtime fault ref/engine ref/block ref/protocol ref/protocol/vvfat ref/filter ref/format \
            ref/format/crypto ref/format/qcow2 ref/format/qcow ref/format/qed ref/format/parallels ref/format/vhdx ref/format/vmdk ref/format/vpc ref/job ref/export ref/device ref/monitor ref/tools ref/tools/img ref/tools/io trace fuzz reports \
            harness/sim harness/subject harness/oracle harness/programs harness/sandbox harness/explore harness/outside harness/campaign harness/cli
LIB_SRC  := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c))
MAIN_SRC := $(wildcard ref/tools/main/*.c) $(wildcard harness/main/*.c)
TEST_SRC := $(foreach d,$(LIB_DIRS) specs,$(wildcard $(d)/tests/test_*.c))
BENCH_SRC := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/tests/bench_*.c))
TEST_LIB_SRC := $(filter-out $(TEST_SRC) $(BENCH_SRC),$(foreach d,$(LIB_DIRS),$(wildcard $(d)/tests/*.c)))
SPECS    := $(wildcard specs/*.yaml)

LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
TEST_BIN := $(TEST_SRC:%.c=$(B)/tests/%)
GEN_H    := $(SPECS:specs/%.yaml=$(B)/gen/specs/%_layout.h)
PROGRAMS := $(patsubst ref/tools/main/%.c,$(B)/bin/%,$(wildcard ref/tools/main/*.c)) \
            $(patsubst harness/main/%.c,$(B)/bin/%,$(wildcard harness/main/*.c))

PRELOADS := $(patsubst harness/preload/%.c,$(B)/lib/blkref-%.so,$(wildcard harness/preload/*.c))

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:
MAKEFLAGS += -r
# All cores, unless the caller says otherwise.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

all: $(PROGRAMS) $(PRELOADS) drop-in ## build every program and the drop-in links

# Links under the names that scripts and upstream's test suite call.
DROP_IN := qemu-img:blkref-img qemu-io:blkref-io qemu-nbd:blkref-nbd \
           qemu-storage-daemon:blkref-storage-daemon qemu-system-x86_64:blkref-system
drop-in: $(PROGRAMS)
	@mkdir -p $(B)/drop-in
	@for l in $(DROP_IN); do ln -sf ../bin/$${l#*:} $(B)/drop-in/$${l%%:*}; done

help:
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

# ---- set-up ----

PACKAGES := $(shell sed -e 's/\#.*//' packages.txt)
deps: ## install the Debian packages of packages.txt
	@missing=$$(for p in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then \
	    echo "not root: run  apt-get install" $$missing >&2; exit 1; fi; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -q --no-install-recommends $$missing

# ---- tests ----

PYTEST := $(PYTHON) -m pytest -q -p no:cacheprovider
# Prints, behind all results, the closing line "N passed, N failed".
check: deps ## build everything and run all tests
	$(MAKE) all unit-tests
	$(PYTHON) harness/check.py --build $(B)

unit-tests: $(TEST_BIN) $(PRELOADS)

# Wrapped runs: every test program under another tool.
VALGRIND := valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite
# The long explorations would take hours there; check-sanitizers runs them.
check-valgrind: deps ## the unit tests under valgrind, but for long explorations
	$(MAKE) unit-tests
	$(PYTHON) harness/check.py --build $(B) --only unit --wrap '$(VALGRIND)' \
	    --leave-out fuzz/tests,explore/tests/test_schedules,campaign/tests

check-sanitizers: deps ## all tests under AddressSanitizer and UBSan (SAMPLE=N: every N-th of iotests/)
	$(MAKE) SAN=address,undefined all unit-tests
	$(PYTHON) harness/check.py --build build/san --sample $(or $(SAMPLE),1)

coverage: deps ## line coverage of `make check` as HTML in build/cov/html
	$(MAKE) COVERAGE=1 OPT=-O0 all unit-tests
	find build/cov -name '*.gcda' -delete
	$(PYTHON) harness/check.py --build build/cov
	lcov -q -c -d build/cov -b . --no-external -o build/cov/all.info
	lcov -q -r build/cov/all.info '*/tests/*' '*/build/*' -o build/cov/lib.info
	genhtml -q build/cov/lib.info -o build/cov/html
	$(PYTHON) reports/coverage.py build/cov/lib.info

# The whole library once more, compiled by AFL++'s compiler, into build/fuzz.
fuzz-target: ## the AFL++ fuzz target build/fuzz/fuzz_target
	@if command -v afl-clang-fast >/dev/null; then \
	    $(MAKE) CC=afl-clang-fast CONFIG=fuzz AFL_QUIET=1 build/fuzz/bin/fuzz_target && \
	    ln -f build/fuzz/bin/fuzz_target build/fuzz/fuzz_target; \
	else echo "afl-clang-fast is not installed (package afl++): no fuzz target"; fi

# ---- the main job ----

optimized: ## gcc and clang builds with -O3 and link-time optimization, for use as subjects
	$(MAKE) CC=gcc   CONFIG=gcc-O3   OPT='-O3 -DNDEBUG_SLOW' LTO=1 build/gcc-O3/bin/blkref
	$(MAKE) CC=clang CONFIG=clang-O3 OPT='-O3 -DNDEBUG_SLOW' LTO=1 LDFLAGS='-rdynamic -fuse-ld=lld' build/clang-O3/bin/blkref

CAMPAIGN ?= --seed 1
campaign: deps ## all stages on all subjects found; scoreboard, build/report/index.html
	$(MAKE) all
	$(MAKE) optimized
	$(PYTEST) harness/tests/test_same_results.py
	$(MAKE) fuzz-target
	$(B)/bin/blkref campaign --build build --report build/report $(CAMPAIGN)

bench: deps ## timings as ratios against Debian's QEMU
	$(MAKE) all
	$(PYTHON) harness/bench.py --build $(B)

# ---- upkeep ----

C_FILES := $(shell git ls-files '*.c' '*.h' 2>/dev/null)
format: ## clang-format over all C files
	clang-format -i $(C_FILES)

lint: $(GEN_H) ## format, clang-tidy, and the folder order of the design
	clang-format --dry-run -Werror $(C_FILES)
	$(PYTHON) harness/lint.py
	printf '%s\n' $(LIB_SRC) | xargs -P $$(nproc) -n 8 sh -c 'exec clang-tidy --quiet "$$@" -- $(CPPFLAGS) -std=gnu17' tidy

PREFIX ?= /usr/local
install: all ## programs and man pages under PREFIX
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin share/man/man1 share/blkref/iotests)
	install $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/lib
	install $(PRELOADS) $(DESTDIR)$(PREFIX)/lib
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 reports/html.py reports/timeline.py reports/report.html.j2 $(DESTDIR)$(PREFIX)/share/blkref
	install -m 644 iotests/runner.py $(DESTDIR)$(PREFIX)/share/blkref/iotests

clean: ## remove build/
	rm -rf build

.PHONY: all drop-in help deps check unit-tests check-valgrind check-sanitizers coverage optimized \
        campaign bench format lint install clean fuzz-target

$(B)/gen/specs/%_layout.h: specs/%.yaml specs/gen.py $(wildcard specs/speclang/*.py)
	@mkdir -p $(@D)
	$(PYTHON) specs/gen.py --header $< > $@

$(B)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# Preloaded into QEMU's programs where they are run by the thousand; never sanitized themselves.
$(B)/lib/blkref-%.so: harness/preload/%.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -O2 $(WARN) -shared -fPIC $< -ldl -o $@

$(B)/libblkref.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)$(if $(LTO),$(if $(findstring clang,$(CC)),llvm-ar,gcc-ar),ar) rcs $@ $^

$(B)/bin/%: $(B)/obj/ref/tools/main/%.o $(B)/libblkref.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(B)/bin/%: $(B)/obj/harness/main/%.o $(B)/libblkref.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(MALLOC) $(LIBS) -o $@
$(B)/bin/%: $(B)/obj/fuzz/main/%.o $(B)/libblkref.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(B)/tests/%: $(B)/obj/%.o $(TEST_LIB_SRC:%.c=$(B)/obj/%.o) $(B)/libblkref.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ -lcmocka $(LIBS) -o $@

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
