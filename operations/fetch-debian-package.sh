#!/usr/bin/env bash
# Unpacks a Debian package into a directory, for the tests, and shows the version of its
# program: that of its name, or the one that is named. Further packages, of libraries,
# are unpacked beside it.
#
# The package is not installed: no service is registered or started, and no
# rights are needed unless the package lists are missing.
set -euo pipefail

usage='usage: fetch-debian-package.sh PACKAGE DESTINATION [PROGRAM [LIBRARY...]]'
name=${1:?$usage}
destination=${2:?$usage}
program=${3:-$name}
packages=("$name" "${@:4}")

if ! command -v apt-get >/dev/null; then
  echo "the tests need $name on the PATH; without apt-get, please install it by hand" >&2
  exit 1
fi

package=$(mktemp -d)
trap 'rm -rf "$package"' EXIT
chmod 755 "$package"

download() {
  (cd "$package" && apt-get download --quiet "${packages[@]}")
}

# Without package lists, or with old ones, apt has to ask for new ones first.
download 2>/dev/null || { apt-get update --quiet && download; }

mkdir -p "$destination"
for archive in "$package"/*.deb; do
  dpkg-deb --extract "$archive" "$destination"
done
libraries=$(find "$destination" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
version=--version
[ "$program" = slowhttptest ] && version=-h
directory=$destination/usr/bin
[ -x "$directory/$program" ] || directory=$destination/usr/sbin
LD_LIBRARY_PATH=$libraries "$directory/$program" "$version" 2>&1 | head -n 1 || true
