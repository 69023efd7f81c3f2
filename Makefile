# libunbind: `make` builds, `make run` shows it at work, `make test` proves it, `make install` installs.
#
# SwiftPM compiles; this file arranges the result as a C library: a stripped and versioned shared
# library, a static one, pkg-config file, the tool. CC and CFLAGS are for the C programs built here.

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR     ?= $(PREFIX)/bin
DESTDIR    ?=
CFLAGS     ?= -O2 -g
SWIFT      ?= swift
INSTALL    ?= install
STRIP      ?= strip
OBJCOPY    ?= objcopy
AR         ?= ar

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all setup setup-tests lib tools run test check install install-lib uninstall installcheck bench clean

# The version has one home: the macros in the header.
version_part = $(shell sed -n 's/^.define UNBIND_VERSION_$(1) \([0-9]*\)$$/\1/p' include/unbind/base.h)
MAJOR   := $(call version_part,MAJOR)
VERSION := $(MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

SHARED   := build/lib/libunbind.so.$(VERSION)
STATIC   := build/lib/libunbind.a
TOOL     := build/bin/unbindctl
HEADERS  := $(wildcard include/unbind/*.h)
CORE     := $(shell find Sources/UnbindCore Sources/C* include -type f) pkgconfig/libunbind.map Package.swift
TOOLS    := $(shell find Sources/Unbind Sources/unbindctl examples/swift -type f 2>/dev/null) Package.swift
LIBBUILD := .build-library/release

# Where the tool looks for the library, seen from itself: it also holds under DESTDIR and in build/.
RPATH := $$ORIGIN/$(shell realpath -m --relative-to="$(BINDIR)" "$(LIBDIR)")

all: lib tools

# Installs what is missing; does nothing, and asks nobody, when all is there.
setup:
	@pkgconfig/setup
setup-tests:
	@pkgconfig/setup --tests

lib: setup $(SHARED) $(STATIC)

$(LIBBUILD)/libunbind.so: $(CORE) | setup
	UNBIND_BUILD=library $(SWIFT) build -c release --disable-local-rpath --product unbind \
	    --scratch-path .build-library
	@touch $@

$(SHARED): $(LIBBUILD)/libunbind.so Makefile
	@mkdir -p build/lib build/debug
	$(OBJCOPY) --only-keep-debug $< build/debug/$(@F).debug
	$(STRIP) --strip-unneeded -R .comment -o $@ $<
	$(OBJCOPY) --add-gnu-debuglink=build/debug/$(@F).debug $@
	ln -sf $(@F) build/lib/libunbind.so.$(MAJOR)
	ln -sf libunbind.so.$(MAJOR) build/lib/libunbind.so

# One relocatable object whose only global symbols are ours.
$(STATIC): $(LIBBUILD)/libunbind.so
	@mkdir -p build/lib
	$(LD) -r -o build/libunbind.o @$(LIBBUILD)/unbind.product/Objects.LinkFileList
	$(OBJCOPY) --wildcard --keep-global-symbol='unbind_*' --strip-debug build/libunbind.o
	rm -f $@
	$(AR) rcs $@ build/libunbind.o
	rm -f build/libunbind.o

tools: lib $(TOOL)

# Rewritten only when it changes, so that another LIBDIR links the tool again.
build/rpath: FORCE
	@mkdir -p build
	@echo '$(RPATH)' | cmp -s - $@ || echo '$(RPATH)' > $@
FORCE:

$(TOOL): $(TOOLS) $(SHARED) build/rpath | setup
	@mkdir -p build/bin
	UNBIND_BUILD=tools $(SWIFT) build -c release --disable-local-rpath --static-swift-stdlib \
	    --scratch-path .build-tools -Xlinker '-L$(CURDIR)/build/lib' -Xlinker -lunbind \
	    -Xlinker -rpath -Xlinker '$(RPATH)'
	$(STRIP) -o build/bin/swift_async_unbind .build-tools/release/swift_async_unbind
	$(STRIP) -o $@ .build-tools/release/unbindctl

run: all
	LD_LIBRARY_PATH=build/lib $(TOOL) demo

# As many steps at a time as there are processors, or TEST_JOBS.
test check: setup-tests
	@Tests/run

# Everything that is tested on an installed library, and nothing else.
installcheck: setup-tests
	@Tests/run installed

# PEER=program measures another implementation in the same minutes; BENCHFLAGS are its own (Tests/bench/main.c).
BENCHCORE := $(shell find Tests/bench/core -type f)
BENCHLIB  := .build-bench/release/libunbindbench.so

$(BENCHLIB): $(CORE) $(BENCHCORE) Tests/bench/bench.map | setup
	@mkdir -p build/bench
	UNBIND_BUILD=bench $(SWIFT) build -c release --disable-local-rpath --product unbindbench \
	    --scratch-path .build-bench
	@touch $@

build/bench/bench: $(wildcard Tests/bench/*.[ch]) $(BENCHLIB) $(SHARED)
	@mkdir -p build/bench
	$(CC) $(CFLAGS) -std=c11 -D_GNU_SOURCE -Wall -Wextra -Iinclude Tests/bench/*.c -o $@ \
	    -Lbuild/lib -lunbind -L.build-bench/release -lunbindbench -lpthread

bench: lib build/bench/bench
	LD_LIBRARY_PATH=build/lib:.build-bench/release build/bench/bench $(if $(PEER),--peer '$(PEER)') $(BENCHFLAGS)

# The C part by itself: what a program needs to build and run.
install-lib: lib
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)/unbind'
	$(INSTALL) -m 755 $(SHARED) '$(DESTDIR)$(LIBDIR)/libunbind.so.$(VERSION)'
	ln -sf libunbind.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/libunbind.so.$(MAJOR)'
	ln -sf libunbind.so.$(MAJOR) '$(DESTDIR)$(LIBDIR)/libunbind.so'
	$(INSTALL) -m 644 $(STATIC) '$(DESTDIR)$(LIBDIR)/libunbind.a'
	$(INSTALL) -m 644 $(HEADERS) '$(DESTDIR)$(INCLUDEDIR)/unbind/'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' pkgconfig/unbind.pc.in > '$(DESTDIR)$(LIBDIR)/pkgconfig/unbind.pc'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/unbind.pc'

install: install-lib tools
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)'
	$(INSTALL) -m 755 $(TOOL) '$(DESTDIR)$(BINDIR)/unbindctl'
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig || true; fi

uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/unbindctl' '$(DESTDIR)$(LIBDIR)/pkgconfig/unbind.pc' \
	    '$(DESTDIR)$(LIBDIR)/libunbind.a' '$(DESTDIR)$(LIBDIR)/libunbind.so' \
	    '$(DESTDIR)$(LIBDIR)/libunbind.so.$(MAJOR)' '$(DESTDIR)$(LIBDIR)/libunbind.so.$(VERSION)' \
	    $(patsubst include/%,'$(DESTDIR)$(INCLUDEDIR)/%',$(HEADERS))
	@if [ -d '$(DESTDIR)$(INCLUDEDIR)/unbind' ]; then rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(INCLUDEDIR)/unbind'; fi

clean:
	rm -rf build .build .build-library .build-tools .build-bench .build-opt .build-tsan .build-asan
