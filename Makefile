# PGXS build of the knn extension.
#
#   make                     build knn.so and, where json-c is, knn-builder, which
#                            has remote builds where libcurl is, and the build
#                            service where libmicrohttpd is too
#   make install             install the library, program, control file and SQL
#   make installcheck        pg_regress and TAP against an installed server
#   make unit                unit tests of src/core, no server needed
#   make builder-check       the program knn-builder on generated data, no server needed
#   make fuzz                parsers against random input, no server needed
#
# PG_CONFIG chooses the server the extension is built for.

MODULE_big = knn
EXTENSION = knn
DATA = knn--1.0.sql
PGFILEDESC = "knn - k-nearest-neighbour search"

# Each layer may call only the ones before it (docs/internals.md).
LAYERS = core type store cache job am model worker api
OBJS = $(patsubst %.c,%.o,$(sort $(foreach l,$(LAYERS),$(wildcard src/$(l)/*.c))) src/knn.c)

# PostgreSQL 15 leaves PGDLLEXPORT empty, which under -fvisibility=hidden would
# hide even the magic block; later versions define it as it is defined here.
PG_CPPFLAGS = -I$(srcdir)/src -D'PGDLLEXPORT=__attribute__((visibility("default")))'
# A distance is a sum whose order no one promised: contraction into FMA is
# welcome, but nothing here may assume the CPU it was built on (run-time
# dispatch only).
PG_CFLAGS = -O2 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare -fvisibility=hidden

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --load-extension=knn
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

EXTRA_CLEAN = test/unit/build test/fuzz/build test/fuzz/server/fuzz_message $(wildcard test/fuzz/server/*.o test/fuzz/server/*.so) test/builder/build test/remote/build

# The program has all of core and its own files; threads are there alone, never in
# the library.
BUILDER_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/builder/*.c)))
HAVE_JSON := $(shell pkg-config --exists json-c 2>/dev/null && echo yes)
HAVE_CURL := $(shell pkg-config --exists 'libcurl >= 7.85' 2>/dev/null && echo yes)
HAVE_MHD := $(if $(HAVE_CURL),$(shell pkg-config --exists libmicrohttpd 2>/dev/null && echo yes))
BUILDER_LIBS = json-c $(if $(HAVE_CURL),libcurl) $(if $(HAVE_MHD),libmicrohttpd)
CURL_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(patsubst %,src/builder/%*.c,http repository remote s3 credentials instance))))
MHD_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(patsubst %,src/builder/%*.c,serve sha256))))
EXTRA_CLEAN += $(BUILDER_OBJS) $(BUILDER_OBJS:.o=.d) knn-builder knn-builder.service

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
# Bitcode would only help the JIT inline into expressions; the kernels are
# called through pointers chosen at run time, so it would never be used.
override with_llvm = no
include $(PGXS)

# Header changes rebuild what includes them.
DEPFLAGS = -MMD -MP
override CPPFLAGS += $(DEPFLAGS)
-include $(OBJS:.o=.d) $(BUILDER_OBJS:.o=.d)
EXTRA_CLEAN += $(OBJS:.o=.d)

ifeq ($(HAVE_JSON),yes)
all: knn-builder

$(BUILDER_OBJS): override CPPFLAGS += $(shell pkg-config --cflags $(BUILDER_LIBS)) \
	$(if $(HAVE_CURL),-DKNN_HAVE_CURL) $(if $(HAVE_MHD),-DKNN_HAVE_MHD) \
	-DKNN_BUILDER_VERSION='"$(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(srcdir)/knn.control)"'

# Where it finds knn-train, from its own place: an installation may be moved.
src/builder/train_exec.o: override CPPFLAGS += \
	-DKNN_LIBRARIES='"$(shell realpath -m --relative-to='$(bindir)' '$(pkglibdir)')"'

knn-builder: $(filter-out $(if $(HAVE_CURL),,$(CURL_OBJS)) $(if $(HAVE_MHD),,$(MHD_OBJS)),$(BUILDER_OBJS)) \
		$(filter src/core/%,$(OBJS))
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDFLAGS_EX) $(shell pkg-config --libs $(BUILDER_LIBS)) -lm -lpthread -o $@
ifneq ($(HAVE_CURL),yes)
	@echo "knn-builder was built without remote builds: libcurl is not there (Debian: libcurl4-openssl-dev)"
endif
ifneq ($(HAVE_MHD),yes)
	@echo "knn-builder was built without the build service: libmicrohttpd or libcurl is not there (Debian: libmicrohttpd-dev)"
endif

install: install-builder
install-builder: knn-builder
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) knn-builder '$(DESTDIR)$(bindir)/knn-builder'
	$(if $(HAVE_MHD),$(MKDIR_P) '$(DESTDIR)$(docdir)/extension' && \
		sed 's|@bindir@|$(bindir)|' $(srcdir)/etc/knn-builder.service.in > knn-builder.service && \
		$(INSTALL_DATA) knn-builder.service $(srcdir)/etc/knn-builder.env '$(DESTDIR)$(docdir)/extension')

uninstall: uninstall-builder
uninstall-builder:
	rm -f '$(DESTDIR)$(bindir)/knn-builder' '$(DESTDIR)$(docdir)/extension/knn-builder.service' \
		'$(DESTDIR)$(docdir)/extension/knn-builder.env'

.PHONY: install-builder uninstall-builder
else
all: no-builder
no-builder:
	@echo "knn-builder is not built: json-c is not there (Debian: libjson-c-dev, pkg-config)"

.PHONY: no-builder
endif

# The program that trains models, where faiss and json-c are installed; faiss needs a
# BLAS and OpenMP.  knn-builder becomes it for a training, and is not linked with them.
TRAIN_LIBS ?= -lfaiss -llapack -lblas -ljson-c -fopenmp
HAVE_TRAIN_LIBS := $(shell printf '\043include <faiss/Index.h>\n\043include <json-c/json.h>\nint main() {}' | \
	$(CXX) -x c++ - -x none -o /dev/null $(TRAIN_LIBS) 2>/dev/null && echo yes)
EXTRA_CLEAN += knn-train

knn-train: src/builder/train.cpp src/builder/output.o src/builder/output.h
	$(CXX) -std=c++17 -O2 -Wall -Wextra $(if $(findstring -Werror,$(COPT)),-Werror) -I$(srcdir)/src \
		-o $@ $< src/builder/output.o $(TRAIN_LIBS)

ifeq ($(HAVE_TRAIN_LIBS),yes)
all: knn-train
install: install-train
endif

install-train: knn-train installdirs
	$(INSTALL_PROGRAM) knn-train '$(DESTDIR)$(pkglibdir)/knn-train'

uninstall: uninstall-train
uninstall-train:
	rm -f '$(DESTDIR)$(pkglibdir)/knn-train'

unit:
	$(MAKE) -C test/unit check

builder-check:
	$(MAKE) -C test/builder check

# The parsers of outside bytes, on a fixed random sequence with sanitizers.
fuzz:
	$(MAKE) -C test/fuzz check

.PHONY: unit builder-check fuzz install-train uninstall-train
