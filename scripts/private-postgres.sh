# shellcheck shell=bash disable=SC2154 # repo and log_file are the caller's
#
# private-postgres.sh
#	What scripts/quickstart and scripts/test share: the packages they need, an
#	unprivileged user to run as, and a private copy of PostgreSQL.
#
# Sourced, not run.  The caller sets repo (the source tree) and log_file, and has
# "set -euo pipefail".
#
# PostgreSQL finds its libraries and its share directory relative to its own
# binaries.  A copy of the tree (50 MB) is therefore an installation of its
# own: the extension is installed there, and the system's PostgreSQL and its
# clusters never change.

# The version to use when PG_CONFIG does not name one.
default_version=15

# The scripts change their working directory.
if [[ -n ${PG_CONFIG:-} ]]; then
	PG_CONFIG=$(command -v "$PG_CONFIG") || {
		echo "PG_CONFIG is not a program" >&2
		exit 1
	}
	[[ $PG_CONFIG == /* ]] || PG_CONFIG=$PWD/$PG_CONFIG
fi

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
	complain "$@"
	exit 1
}

# --------------------------------------------------------------------------
# Packages
# --------------------------------------------------------------------------

# Package names whose files are missing.  Files are asked, not dpkg: a compiler or
# a server that came another way will do.
missing_packages() {
	local missing=() pg_config=${PG_CONFIG:-/usr/lib/postgresql/$default_version/bin/pg_config}

	command -v gcc >/dev/null || missing+=(gcc)
	command -v make >/dev/null || missing+=(make)
	# A C compiler without the C library's headers compiles nothing.
	[[ -e /usr/include/stdlib.h ]] || missing+=(libc6-dev)
	# For knn-builder.
	command -v pkg-config >/dev/null || missing+=(pkg-config)
	pkg-config --exists json-c 2>/dev/null || missing+=(libjson-c-dev)
	pkg-config --exists libcurl 2>/dev/null || missing+=(libcurl4-openssl-dev)
	if [[ -z ${PG_CONFIG:-} ]]; then
		[[ -x /usr/lib/postgresql/$default_version/bin/postgres ]] ||
			missing+=("postgresql-$default_version")
		[[ -x $pg_config && -e $("$pg_config" --pgxs) ]] ||
			missing+=("postgresql-server-dev-$default_version")
	else
		[[ -x $("$pg_config" --bindir)/postgres ]] ||
			die "no server beside PG_CONFIG=$pg_config"
		[[ -e $("$pg_config" --pgxs) ]] ||
			die "no server development files (PGXS) for PG_CONFIG=$pg_config"
	fi
	(($# == 0)) || "$@" # the caller's own additions to missing
	((${#missing[@]} == 0)) || printf '%s\n' "${missing[@]}"
}

# Installs what missing_packages says, given the same arguments.
install_packages() {
	local list missing switch=/etc/postgresql-common/createcluster.d/knn-temporary.conf rc=0

	list=$(missing_packages "$@")
	[[ -n $list ]] || return 0
	mapfile -t missing <<<"$list"
	command -v apt-get >/dev/null ||
		die "missing: ${missing[*]} (Debian's names; there is no apt-get here to install them)"
	as_root=(env)
	if ((EUID != 0)); then
		command -v sudo >/dev/null ||
			die "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}"
		as_root=(sudo env)
		# Without a terminal a password prompt would wait for ever.
		[[ -t 0 ]] || as_root=(sudo -n env)
	fi
	say "Installing ${missing[*]} ..."
	# Stale lists name packages that are gone; without a network the lists
	# that are there may still do.
	logged "${as_root[@]}" apt-get update || true
	if [[ " ${missing[*]} " == *" postgresql-$default_version "* &&
		! -e /etc/postgresql-common/createcluster.conf ]]; then
		# Debian's package makes a cluster and starts it, which nobody asked
		# for here.  For this one installation it is told not to.  Where
		# postgresql-common is already there, that choice is the
		# administrator's and stays as it is.
		apt_install postgresql-common
		"${as_root[@]}" mkdir -p "${switch%/*}"
		echo 'create_main_cluster = false' | "${as_root[@]}" tee "$switch" >/dev/null
		# In a subshell, so that a failure cannot leave the switch behind.
		(apt_install "${missing[@]}") || rc=$?
		"${as_root[@]}" rm -f "$switch"
		((rc == 0)) || exit "$rc"
	else
		apt_install "${missing[@]}"
	fi
	list=$(missing_packages "$@")
	[[ -z $list ]] || die "still missing after the installation: ${list//$'\n'/ }"
}

apt_install() {
	logged "${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends "$@" ||
		fail_with_log "installing packages failed"
}

# --------------------------------------------------------------------------
# Logs
# --------------------------------------------------------------------------

# Runs a command with its output in log_file.
logged() {
	printf '+ %s\n' "$*" >>"$log_file"
	"$@" </dev/null >>"$log_file" 2>&1
}

fail_with_log() {
	complain "$1; the end of its log:"
	tail -n "${2:-25}" "$log_file" | sed 's/^/    /' >&2
	exit 1
}

# --------------------------------------------------------------------------
# The user
# --------------------------------------------------------------------------

# PostgreSQL refuses to run as root: root runs it as postgres, whom the package
# brings, or as nobody.  Sets runner, to be put before a command.
choose_user() {
	runner=()
	server_user=$(id -un)
	if ((EUID == 0)); then
		server_user=postgres
		id postgres >/dev/null 2>&1 || server_user=nobody
		# Nothing of root's environment helps that user, and a HOME or
		# XDG directory it cannot read hurts.
		runner=(runuser -u "$server_user" -- env -u XDG_RUNTIME_DIR -u PGDATA HOME=/nonexistent)
	fi
}

# as_user COMMAND...: runs it as that user.
as_user() { "${runner[@]}" "$@"; }

# own PATH...: gives files to that user.
own() { ((EUID != 0)) || chown -R "$server_user:" "$@"; }

# --------------------------------------------------------------------------
# Copies
# --------------------------------------------------------------------------

# copy_source DIRECTORY: this source tree without what was built in it.
# The user that builds may be unable to read the original.
copy_source() {
	mkdir -p "$1"
	tar -C "$repo" -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude='*.a' --exclude=./results --exclude=./tmp_check --exclude=./build \
		--exclude=./test/unit/build --exclude=./test/remote/build --exclude=./test/fuzz/build --exclude=./test/fuzz/server/fuzz_message --exclude=./test/builder/build \
		--exclude=./knn-builder --exclude=./knn-train --exclude=./shared . |
		tar -C "$1" --no-same-owner -xf -
	own "$1"
}

# copy_postgres ROOT: copies the server to ROOT; sets pg_config and bindir.
copy_postgres() {
	local root=$1 from dir
	from=${PG_CONFIG:-/usr/lib/postgresql/$default_version/bin/pg_config}

	bindir=$("$from" --bindir)
	# The headers too, since an installation may write there.
	for dir in "$bindir" "$("$from" --pkglibdir)" "$("$from" --sharedir)" "$("$from" --includedir-server)"; do
		[[ ! -d $root$dir ]] || continue
		mkdir -p "$root${dir%/*}"
		cp -a "$dir" "$root${dir%/*}/"
	done
	# An older version of this extension may be among what was copied.
	rm -rf "$root$("$from" --pkglibdir)/knn.so" "$root$("$from" --sharedir)"/extension/knn[.-]*
	own "$root"
	bindir=$root$bindir
	pg_config=$bindir/pg_config
	# Where binaries and libraries have no common prefix, the copy would
	# still look at the original.
	for dir in pkglibdir sharedir includedir-server pgxs; do
		[[ $("$pg_config" --$dir) == "$root"/* ]] ||
			die "this PostgreSQL cannot be copied ($("$from" --$dir) is not found relative to its programs)"
	done
}

# build_extension SOURCE [MAKE ARGUMENT...]: builds and installs into that copy.
build_extension() {
	local source=$1
	shift
	logged as_user make -C "$source" -j"$(nproc)" PG_CONFIG="$pg_config" "$@" ||
		fail_with_log "building the extension failed" 40
	logged as_user make -C "$source" install PG_CONFIG="$pg_config" "$@" ||
		fail_with_log "installing the extension failed"
}

# --------------------------------------------------------------------------
# Clusters
# --------------------------------------------------------------------------

# start_cluster DIRECTORY [SETTING...]: a cluster in DIRECTORY/data with its
# socket in DIRECTORY/run; made when it is not there.  It listens to that
# socket alone, in a directory of its own, so that no port can be taken and nobody
# else can connect.  Sets PGHOST, PGPORT, PGUSER for the clients.
start_cluster() {
	local dir=$1 setting
	shift
	[[ -d $dir ]] || mkdir -m 700 "$dir"
	mkdir -p "$dir/run"
	chmod 700 "$dir" "$dir/run"
	own "$dir"
	# The kernel allows 107 bytes for a socket's path.
	((${#dir} <= 80)) || die "the directory's name is too long for a socket: $dir"
	if [[ ! -e $dir/data/PG_VERSION ]]; then
		logged as_user "$bindir/initdb" -D "$dir/data" -U postgres -A trust --no-locale -E UTF8 \
			--no-instructions -N || fail_with_log "initdb failed"
		{
			echo "listen_addresses = ''"
			# Relative to the data directory: the place can be moved.
			echo "unix_socket_directories = '../run'"
			echo "unix_socket_permissions = 0700"
			for setting; do echo "$setting"; done
		} | as_user tee -a "$dir/data/postgresql.conf" >/dev/null
	fi
	export PGHOST=$dir/run PGPORT=5432 PGUSER=postgres
	# Of the caller's own settings none may lead elsewhere.
	unset PGDATABASE PGSERVICE PGSERVICEFILE PGPASSFILE PGOPTIONS PGHOSTADDR
	logged as_user "$bindir/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -s start || {
		cat "$dir/server.log" >>"$log_file" 2>/dev/null || true
		fail_with_log "the server did not start"
	}
}

# stop_cluster DIRECTORY: stops its server; no error when none runs.
stop_cluster() {
	[[ -e $1/data/postmaster.pid ]] || return 0
	as_user "$bindir/pg_ctl" -D "$1/data" -m fast -w -s stop </dev/null >/dev/null 2>&1 ||
		as_user "$bindir/pg_ctl" -D "$1/data" -m immediate -w -s stop </dev/null >/dev/null 2>&1 || true
}
