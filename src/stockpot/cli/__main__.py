"""Entry point of `python -m stockpot.cli`, by which child processes start `stockpot`."""

from stockpot.cli.main import main

main()
