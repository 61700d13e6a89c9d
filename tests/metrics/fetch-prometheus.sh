#!/bin/sh
# Puts Debian's prometheus and promtool into a folder: nothing is installed, and no service starts.
#
#     tests/metrics/fetch-prometheus.sh FOLDER
set -eu
home=$1
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "error: the test of the dashboard needs prometheus and promtool, and there is no apt-get" >&2
    echo "  help: install both, so that they are on the PATH" >&2
    exit 1
fi
rm -rf "$home.part"
mkdir -p "$home.part"
cd "$home.part"
echo "fetching the Debian package prometheus (19 MB) into $home"
# As root apt would want a folder of another user to download into; our own will do.
download="apt-get download -qq -o APT::Sandbox::User=$(id -un) prometheus"
if ! $download; then
    # A fresh machine has no list of packages yet.
    if [ "$(id -u)" != 0 ]; then
        echo "  help: apt-get update (as root), and once more" >&2
        exit 1
    fi
    apt-get update -qq
    $download
fi
dpkg-deb --extract prometheus_*.deb .
rm prometheus_*.deb
rm -rf "$home"
mv "$home.part" "$home"
