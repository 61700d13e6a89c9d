#!/bin/sh
# Run the verbs of this image by hand, over a folder as the store: train two shards for a few
# steps, merge them, look at the soup, serve it, take a picture of it. A minute on a laptop's CPU.
#
#     make setup && trainer_image/smoke.sh                            without the image
#     docker run --rm -v "$PWD":/repo:ro --entrypoint /repo/trainer_image/smoke.sh stockpot-trainer
#
# It needs a Python that can import stockpot: PYTHON, else .venv's, else the image's own. BASE is a
# pipeline folder; DATA has a folder of pictures for every name in SHARDS.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$root/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python
fi
export BASE="${BASE:-$root/examples/emoji/base}"
export DATA="${DATA:-$root/examples/emoji/data}"
export SHARDS="${SHARDS:-food travel}"
export RESOLUTION="${RESOLUTION:-32}"
WORK=$(mktemp -d)
export WORK
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    rm -rf "$WORK"
}
trap finish EXIT

# spec NAME: write the RunSpec of that name to $WORK/NAME.json.
spec() { "$PYTHON" "$root/trainer_image/smoke_specs.py" "$1" >"$WORK/$1.json"; }

# run NAME: carry it out, and say what it measured.
run() {
    spec "$1"
    "$PYTHON" -m stockpot.workload "$WORK/$1.json" --work "$WORK/$1" --result "$WORK/$1.result.json"
    printf '%-16s %s\n' "$1" "$(cat "$WORK/$1.result.json")"
}

for shard in $SHARDS; do run "train-$shard"; done
run merge
run evaluate

spec serve
"$PYTHON" -m stockpot.workload "$WORK/serve.json" --work "$WORK/serve" \
    --result "$WORK/serve.result.json" &
server=$!
"$PYTHON" "$root/trainer_image/smoke_specs.py" grant
kill -TERM "$server"
wait "$server"
server=
echo "smoke: all verbs work"
