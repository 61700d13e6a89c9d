"""`python -m stockpot.workload SPEC --work DIR --result FILE`."""

import sys

from stockpot.workload.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
