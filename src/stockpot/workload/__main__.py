"""`python -m stockpot.workload SPEC --work DIR`: what the container of every run starts.

In a container we are process 1, which the kernel spares a signal that nobody handles: so SIGTERM
is handled before anything slow is imported, or a pod that is deleted early would stay until it
is killed.
"""

import sys

from stockpot.process.interruption import stop_on_signals

if __name__ == "__main__":
    stop = stop_on_signals()

    from stockpot.workload.main import main

    sys.exit(main(sys.argv[1:], stop))
