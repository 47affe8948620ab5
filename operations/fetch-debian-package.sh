#!/usr/bin/env bash
# Unpacks a Debian package with a program of its name into a directory, for the
# tests.
#
# The package is not installed: no service is registered or started, and no
# rights are needed unless the package lists are missing.
set -euo pipefail

name=${1:?usage: fetch-debian-package.sh PACKAGE DESTINATION}
destination=${2:?usage: fetch-debian-package.sh PACKAGE DESTINATION}

if ! command -v apt-get >/dev/null; then
  echo "the tests need $name on the PATH; without apt-get, please install it by hand" >&2
  exit 1
fi

package=$(mktemp -d)
trap 'rm -rf "$package"' EXIT
chmod 755 "$package"

download() {
  (cd "$package" && apt-get download --quiet "$name")
}

# Without package lists, or with old ones, apt has to ask for new ones first.
download 2>/dev/null || { apt-get update --quiet && download; }

mkdir -p "$destination"
dpkg-deb --extract "$package/$name"_*.deb "$destination"
"$destination/usr/bin/$name" --version 2>&1 | head -n 1
