#!/bin/sh
# Put commands into a virtual environment for a package that is not installed, only importable:
#
#     commands.sh VENV NAME=MODULE...        each MODULE has a function `main`
set -eu
venv=$1
shift
for command in "$@"; do
    name=${command%%=*} module=${command#*=}
    printf '#!%s/bin/python\nimport sys\n\nfrom %s import main\n\nsys.exit(main())\n' \
        "$venv" "$module" >"$venv/bin/$name"
    chmod 755 "$venv/bin/$name"
done
