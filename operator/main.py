"""Start the operator, as the console script `stockpot-operator` does.

For `kopf run` habits and debuggers. Everything importable is in src/stockpot: see README.md.
"""

from stockpot.controller.app import main

if __name__ == "__main__":
    main()
