"""The dashboard *Soup quality*: what it asks Prometheus.

Expressions may name `$namespace` and `$soup`, which a person chooses above the panels. Series of
the operator say their soup themselves; those of servers have it from whoever scrapes them.
"""

from typing import Any

from stockpot.metrics.grafana import Choice, Mark, Panel, Query, Row, dashboard_json


def dashboard() -> str:
    """The text of `charts/stockpot/dashboards/soup-quality.json`."""
    return dashboard_json(
        uid="stockpot-soup-quality",
        title="Soup quality",
        about="Soups, their shards and revisions, and what is being forgotten.",
        rows=ROWS,
        choices=CHOICES,
        marks=MARKS,
    )


def _of(name: str, **labels: str) -> str:
    more = [f'{label}="{value}"' for label, value in labels.items()]
    chosen = ", ".join(('namespace=~"$namespace"', 'soup=~"$soup"', *more))
    return f"{name}{{{chosen}}}"


def _rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def _quantile(share: float, buckets: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({_rate(buckets)}))"


_REQUESTS = _of("stockpot_serving_requests_total")
_ERRORS = _REQUESTS.replace("}", ', code=~"5.."}')
_REQUEST_S = _of("stockpot_serving_request_duration_seconds_bucket")
_ROUND_S = "stockpot_reconcile_duration_seconds_bucket"
_SOUP = "{{namespace}}/{{soup}}"


def _stat(title: str, about: str, expr: str, **more: Any) -> Panel:
    queries = [Query(expr, "", at_once=True)]
    return Panel(title, about, queries, kind="stat", width=3, height=4, **more)


ROWS = (
    Row(
        "Now",
        (
            _stat(
                "Revision",
                "Promotions up to the revision that serves; 0 is the base.",
                f"max({_of('stockpot_current_revision_number')})",
            ),
            _stat(
                "Shards served",
                "Shards that the revision that serves was made with.",
                f"sum({_of('stockpot_shards', state='Included')})",
            ),
            _stat(
                "Shards stalled",
                "They wait for a person: kubectl describe shard says for what.",
                f"sum({_of('stockpot_shards', state='Stalled')})",
                limits=(("green", None), ("red", 1)),
            ),
            _stat(
                "Servers ready",
                "Servers that answer.",
                f"sum({_of('stockpot_servers', ready='true')})",
                limits=(("red", None), ("green", 1)),
            ),
            _stat(
                "Being forgotten",
                "Shards whose deletion was asked for, and whose receipt is not stored yet.",
                f"sum({_of('stockpot_deletions_in_flight')})",
                limits=(("green", None), ("orange", 1)),
            ),
            _stat(
                "Oldest deletion",
                "How long the oldest of them has taken so far.",
                f"max({_of('stockpot_deletion_age_seconds')})",
                unit="s",
                limits=(("green", None), ("orange", 60), ("red", 3600)),
            ),
            _stat(
                "Receipts",
                "Unlearnings that were carried out and signed.",
                f"sum({_of('stockpot_receipts')})",
            ),
            _stat(
                "Leaders",
                "Operators that act: one. None for longer than 20 seconds: see their logs.",
                "sum(stockpot_leader)",
                limits=(("red", None), ("green", 1), ("red", 2)),
            ),
        ),
    ),
    Row(
        "Quality",
        (
            Panel(
                "$metric of each revision",
                "What was measured of each revision, beside the base's. A revision's line begins "
                "when its figures are there, and ends when it is cleared away.",
                (
                    Query(_of("stockpot_revision_quality", metric="$metric"), "{{revision}}"),
                    Query(_of("stockpot_baseline_quality", metric="$metric"), "base"),
                ),
                width=16,
                height=9,
                dashed="base",
                decimals=4,
            ),
            Panel(
                "All figures now",
                "The last that was measured of each revision that is kept.",
                (
                    Query(
                        _of("stockpot_revision_quality"), "{{metric}} · {{revision}}", at_once=True
                    ),
                    Query(_of("stockpot_baseline_quality"), "{{metric}} · base", at_once=True),
                ),
                kind="bargauge",
                height=9,
                decimals=4,
            ),
        ),
    ),
    Row(
        "Shards",
        (
            Panel(
                "Shards by state",
                "Where the soup's shards are.",
                (Query(f"sum by (state) ({_of('stockpot_shards')})", "{{state}}"),),
                stacked=True,
            ),
            Panel(
                "Training",
                "How far the training of each shard is.",
                (Query(_of("stockpot_training_progress_ratio"), "{{shard}}"),),
                unit="percentunit",
            ),
            Panel(
                "Unlearning",
                "The age of the oldest deletion that is under way, and how many there are.",
                (
                    Query(_of("stockpot_deletion_age_seconds"), f"{_SOUP} oldest"),
                    Query(_of("stockpot_deletions_in_flight"), f"{_SOUP} under way"),
                ),
            ),
        ),
    ),
    Row(
        "Serving",
        (
            Panel(
                "Requests",
                "Requests for pictures in a second, by the code of their answer.",
                (Query(f"sum by (code) ({_rate(_REQUESTS)})", "{{code}}"),),
                unit="reqps",
                width=6,
            ),
            Panel(
                "Errors",
                "The share of requests that a server could not answer. A changed soup adds none; "
                "a deletion ends requests that outlast drainSeconds.",
                (
                    Query(
                        f"(sum({_rate(_ERRORS)}) or on() vector(0)) / sum({_rate(_REQUESTS)})",
                        "failed",
                    ),
                ),
                unit="percentunit",
                width=6,
            ),
            Panel(
                "Latency",
                "From a request to the end of its answer.",
                (
                    Query(_quantile(0.5, _REQUEST_S), "half within"),
                    Query(_quantile(0.95, _REQUEST_S), "19 of 20 within"),
                ),
                unit="s",
                width=6,
            ),
            Panel(
                "Revision that answers",
                "Of each server. They differ only while a revision is rolled out.",
                (
                    Query(_of("stockpot_serving_revision_number"), "{{pod}}"),
                    Query(f"max({_of('stockpot_current_revision_number')})", "told"),
                ),
                width=6,
                dashed="told",
            ),
        ),
    ),
    Row(
        "Operator",
        (
            Panel(
                "Rounds",
                "How long a round of one soup takes.",
                (
                    Query(_quantile(0.5, _ROUND_S), "half within"),
                    Query(_quantile(0.99, _ROUND_S), "99 of 100 within"),
                ),
                unit="s",
                width=6,
            ),
            Panel(
                "Rounds that failed",
                "In a second, by the error. Each is tried again.",
                (
                    Query(
                        "sum by (error) (rate(stockpot_reconcile_errors_total[$__rate_interval]))"
                        " or on() vector(0)",
                        "{{error}}",
                    ),
                ),
                unit="ops",
                width=6,
            ),
            Panel(
                "Queue",
                "Soups that wait for a round. It should come back to 0.",
                (
                    # One that stands by is told of everything, and does none of it.
                    Query(
                        "stockpot_queue_depth and on (job, instance) (stockpot_leader == 1)",
                        "waiting",
                    ),
                ),
                width=6,
            ),
            Panel(
                "Memory",
                "Of each operator; one leads, the others stand by with a warm cache.",
                (
                    Query(
                        "process_resident_memory_bytes and on (job, instance) stockpot_leader",
                        "{{instance}}",
                    ),
                ),
                unit="bytes",
                width=6,
            ),
        ),
    ),
)

_OF_NAMESPACE = 'stockpot_shards{namespace=~"$namespace"}'
CHOICES = (
    Choice("namespace", "label_values(stockpot_shards, namespace)"),
    Choice("soup", f"label_values({_OF_NAMESPACE}, soup)"),
    Choice(
        "metric", f"label_values({_of('stockpot_revision_quality')}, metric)", first="heldout_loss"
    ),
)
MARKS = (
    Mark(
        "Promotions",
        f"changes({_of('stockpot_current_revision_number')}[$__interval]) > 0",
        "A revision was promoted",
        _SOUP,
    ),
)
