# The chart, and what watches it.

PROMETHEUS := $(CACHE)/prometheus/usr/bin/prometheus

# What tests/metrics asks: from the PATH, or else out of Debian's package, into the cache.
.PHONY: prometheus
prometheus:
	@{ command -v prometheus && command -v promtool; } >/dev/null || test -x $(PROMETHEUS) \
		|| tests/metrics/fetch-prometheus.sh $(CACHE)/prometheus

.PHONY: chart
chart: $(READY) control-plane prometheus  ## look at the chart and its dashboard alone
	$(PYTEST) -q tests/chart tests/metrics
