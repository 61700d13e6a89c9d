"""The entry point of the operator: where Stockpot meets a cluster. No decisions."""
