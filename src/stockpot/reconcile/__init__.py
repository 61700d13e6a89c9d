"""One round: observe, check, plan, apply, report. The same for a cluster and for a folder."""
