"""`python -m stockpot.controller` is `stockpot-operator`."""

from stockpot.controller.app import main

main()
