"""So that `python -m stockpot.cli` is the same as `stockpot`: how a child process is started."""

from stockpot.cli.main import main

main()
