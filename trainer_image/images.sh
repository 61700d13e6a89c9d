#!/bin/sh
# Build the two images with buildah, without an engine, and try them.
#
#     images.sh [slim] [trainer]        both, where none is named
#
# BASE      what they are built on. Without it, a small Debian is made on the spot by debootstrap.
# ARCHIVES  a folder: each image is also written there, as an OCI archive NAME.tar.
# KEEP      no: remove the images in the end; they were built to be tried.
# STORAGE   where buildah keeps all that it has; without it, a folder of the cache.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stockpot
STORAGE=${STORAGE:-$cache/buildah}
SUITE=bookworm
[ $# -gt 0 ] || set -- slim trainer

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n  help: %s\n' "$1" "$2" >&2
    exit 1
}
export TMPDIR="$STORAGE/tmp"
build() { buildah --root "$STORAGE/root" --runroot "$STORAGE/run" "$@"; }

# need PROGRAM PACKAGE: install what is missing, after naming it.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        fail "images are built with $1, which is not here" \
            "as root on Debian: apt-get install $2; or docker build, as trainer_image/README.md says"
    fi
    say "installing the Debian package $2"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$2" >/dev/null
}

# require_room GIGABYTES: the trainer's libraries are 6 GB, and lie about five times on the way.
require_room() {
    free=$(df -Pk "$STORAGE" | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free" -ge "$1" ] || fail "$STORAGE has $free GB of room, and $1 are needed" \
        "name a larger place: STORAGE=/somewhere"
}

# made_base: a small Debian with Python, as an image of this machine.
made_base() {
    need debootstrap debootstrap
    archive=$cache/images/base-$SUITE-build.tar
    if [ ! -f "$archive" ]; then
        say "making a small Debian $SUITE with Python (a minute)"
        folder=$(mktemp -d "$cache/images/base.XXXXXX")
        debootstrap --variant=minbase --include=python3,ca-certificates "$SUITE" "$folder" \
            >"$cache/images/base-$SUITE.log" 2>&1 \
            || fail "Debian's packages cannot be fetched" "see $cache/images/base-$SUITE.log"
        rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/* "$folder"/usr/share/doc/* \
            "$folder"/usr/share/man/* "$folder"/usr/share/locale/* "$folder"/dev/*
        tar -C "$folder" --one-file-system -cf "$archive.part" .
        mv "$archive.part" "$archive"
        rm -rf "$folder"
    fi
    container=$(build from scratch)
    build add --quiet "$container" "$archive" / >/dev/null
    build commit --quiet --rm "$container" "$BASE" >/dev/null
}

# built NAME DOCKERFILE: build an image; say how long it took, and how large it is.
built() {
    name=$1 file=$2
    shift 2
    began=$(date +%s) log=$cache/images/$name.log
    mkdir -p "$cache/packages"
    say "building $name; its log is $log"
    # A machine that trusts an authority of its own has said so in one of these.
    if [ -n "${SSL_CERT_FILE:-}${PIP_CERT:-}" ]; then
        set -- "$@" -v /etc/ssl/certs:/etc/ssl/certs:ro \
            --build-arg "PIP_CERT=${PIP_CERT:-$SSL_CERT_FILE}" \
            --build-arg "SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}"
    fi
    for setting in PIP_INDEX_URL UV_DEFAULT_INDEX; do
        eval "value=\${$setting:-}"
        [ -z "$value" ] || set -- "$@" --build-arg "$setting=$value"
    done
    build bud --quiet --isolation chroot --network host --layers=false --format oci \
        --build-arg "BASE=$BASE" --build-arg UV_CACHE_DIR=/uv-cache -v "$cache/packages:/uv-cache" \
        "$@" -t "localhost/$name:dev" -f "$root/$file" "$root" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "$name cannot be built" "the whole log is $log"
    }
    size=$(build images --format '{{.Size}}' "localhost/$name:dev")
    say "$name: built in $(($(date +%s) - began)) s, $size"
    [ -z "${ARCHIVES:-}" ] || archived "$name"
}

archived() {
    mkdir -p "$ARCHIVES"
    rm -f "$ARCHIVES/$1.tar"
    build push --quiet "localhost/$1:dev" "oci-archive:$ARCHIVES/$1.tar:localhost/$1:dev"
    say "$1: written to $ARCHIVES/$1.tar"
}

# inside NAME COMMAND...: run something in a container of an image, as the user of the image.
inside() {
    container=$(build from "localhost/$1:dev")
    shift
    status=0
    build run --isolation chroot -v "$root:/repo:ro" "$container" -- "$@" || status=$?
    build rm "$container" >/dev/null
    return "$status"
}

# What is true of both.
tried() {
    inside "$1" sh -c 'test "$(id -u):$(id -g)" = 65532:65532' \
        || fail "$1 runs as another user than 65532" "look at USER in its Dockerfile"
    inside "$1" sh -c 'for one in pip pip3 uv gcc cc make; do ! command -v $one || exit 1; done' \
        || fail "$1 holds what it was built with" "look at the last stage of its Dockerfile"
    inside "$1" sh -c '! touch /venv/x /stockpot/x /x 2>/dev/null' \
        || fail "$1 lets its user change its programs" "look at chmod in its Dockerfile"
    inside "$1" stockpot --version
}

for image in "$@"; do
    case $image in
        slim | trainer) ;;
        *) fail "there is no image called $image" "name slim, trainer or both" ;;
    esac
done
need buildah buildah
mkdir -p "$TMPDIR" "$cache/images"
if [ -z "${BASE:-}" ]; then
    BASE=localhost/stockpot-base:1
    build inspect --type image "$BASE" >/dev/null 2>&1 || made_base
fi
for image in "$@"; do
    case $image in
        slim)
            require_room 2
            built stockpot Dockerfile
            tried stockpot
            inside stockpot stockpot-operator --version
            inside stockpot python -c 'import kopf, kubernetes, stockpot.unlearning.purge'
            inside stockpot python -c 'import torch' 2>/dev/null \
                && fail "the slim image holds torch" "look at requirements/slim.txt"
            ;;
        trainer)
            require_room 33
            built stockpot-trainer trainer_image/Dockerfile
            tried stockpot-trainer
            inside stockpot-trainer env PYTHON=python /repo/trainer_image/smoke.sh
            ;;
    esac
done
if [ "${KEEP:-yes}" = no ]; then
    build rmi --all --force >/dev/null
    rm -rf "$STORAGE"
fi
say "images: built and tried"
