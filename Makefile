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
LDFLAGS += -rdynamic
LIBS    := -lz -lzstd -luring -lsqlite3 -ldl -lpthread -lm
ifneq ($(SAN),)
CFLAGS  += -fsanitize=$(SAN) -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=$(SAN)
endif
ifneq ($(COVERAGE),)
CFLAGS  += --coverage -DBLKREF_COVERAGE
LDFLAGS += --coverage
endif
ifneq ($(LTO),)
CFLAGS  += -flto=auto
LDFLAGS += -flto=auto
endif

# Folder order of the design: a folder includes only itself and what stands before it.
LIB_DIRS := ref/base specs/runtime fault ref/engine ref/block ref/protocol ref/filter ref/format \
            ref/format/qcow2 ref/job ref/tools trace harness reports
LIB_SRC  := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c))
MAIN_SRC := $(wildcard ref/tools/main/*.c) $(wildcard harness/main/*.c)
TEST_SRC := $(foreach d,$(LIB_DIRS) specs,$(wildcard $(d)/tests/test_*.c))
TEST_LIB_SRC := $(filter-out $(TEST_SRC),$(foreach d,$(LIB_DIRS),$(wildcard $(d)/tests/*.c)))
SPECS    := $(wildcard specs/*.yaml)

LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
TEST_BIN := $(TEST_SRC:%.c=$(B)/tests/%)
GEN_H    := $(SPECS:specs/%.yaml=$(B)/gen/specs/%_layout.h)
PROGRAMS := $(patsubst ref/tools/main/%.c,$(B)/bin/%,$(wildcard ref/tools/main/*.c)) \
            $(patsubst harness/main/%.c,$(B)/bin/%,$(wildcard harness/main/*.c))

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:
MAKEFLAGS += -r

all: $(PROGRAMS) drop-in

$(B)/gen/specs/%_layout.h: specs/%.yaml specs/gen.py
	@mkdir -p $(@D)
	$(PYTHON) specs/gen.py --header $< > $@

$(B)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/libblkref.a: $(LIB_OBJ)
	@rm -f $@
	$(if $(LTO),$(if $(findstring clang,$(CC)),llvm-ar,gcc-ar),ar) rcs $@ $^

$(B)/bin/%: $(B)/obj/ref/tools/main/%.o $(B)/libblkref.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(B)/bin/%: $(B)/obj/harness/main/%.o $(B)/libblkref.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(B)/tests/%: $(B)/obj/%.o $(TEST_LIB_SRC:%.c=$(B)/obj/%.o) $(B)/libblkref.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ -lcmocka $(LIBS) -o $@

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
