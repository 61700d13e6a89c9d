"""Values that cannot be meant: refused with one sentence that says which, and what to write."""

import pytest
from tests.chart.conftest import Render

STORE = '{"default":{"url":"s3://bucket","endpoint":"https://h","credentials":%s}}'


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({"workloadNamespaces": "[]"}, ["workloadNamespaces is empty", "help:"]),
        (
            {"workloadNamespaces": '["stockpot-system"]'},
            ["workloadNamespaces names stockpot-system, the release's own", "help:"],
        ),
        ({"stores": "null"}, ["stores is empty", "help: --set stores.default.url"]),
        (
            {"stores": STORE % '{"workload":{"accessKey":"a"},"unlearn":{}}'},
            ["stores.default.credentials.workload says too little", "help: give existingSecret"],
        ),
        (
            {"stores__default__credentials__unlearn__accessKey": '"a"'},
            ["stores.default.credentials.unlearn has an existingSecret and keys"],
        ),
        (
            {"stores__default__credentials__namespaces": '{"studio-2":{"existingSecret":"s"}}'},
            [
                "credentials.namespaces names studio-2, which is no workload namespace",
                "help: add it",
            ],
        ),
        (
            {"stores__default__credentials__namespaces": '{"studio":{"accessKey":"a"}}'},
            ["credentials.namespaces.studio says too little", "help: give existingSecret"],
        ),
        (
            {
                "stores": STORE
                % '{"namespaces":{"studio":{"existingSecret":"s"}},"unlearn":%s}'
                % '{"existingSecret":"u"}',
                "workloadNamespaces": '["studio","atelier"]',
            },
            ["credentials.workload says too little, and namespaces names none for atelier"],
        ),
        ({"allowedSources": '{"studio-2":{}}'}, ["allowedSources names studio-2", "help: add it"]),
        (
            {"allowedSources": '{"studio":{}}', "workloadNamespaces": '["studio","atelier"]'},
            ["allowedSources says nothing of atelier", "help: say what it may name"],
        ),
        (
            {"allowedSources": '{"studio":{"data":["studio"]}}'},
            ["/allowedSources/studio/data/0", "does not match pattern"],
        ),
        (
            {"serviceAccounts": '{"namespaces":{"studio-2":{}}}'},
            ["serviceAccounts.namespaces names studio-2", "help: add it"],
        ),
        (
            {
                "stores__default__credentials__workload": '{"existingSecret":""}',
                "serviceAccounts": '{"namespaces":{"studio":{"annotations":{"role":"a"}}}}',
                "workloadNamespaces": '["studio","atelier"]',
            },
            ["says too little, and namespaces names none for atelier", "annotate serviceAccounts"],
        ),
        (
            {"pods__resources__training": "{}"},
            ["pods.resources names training", "help: train, merge"],
        ),
        ({"workloadNamespace": '"studio"'}, ["additional properties 'workloadNamespace'"]),
        ({"operator__replica": "2"}, ["/operator", "additional properties 'replica'"]),
        ({"operator__replicas": '"two"'}, ["/operator/replicas", "got string, want integer"]),
        ({"pods__hostNetwork": "true"}, ["/pods", "additional properties 'hostNetwork'"]),
        ({"images__pullPolicy": '"Sometimes"'}, ["/images/pullPolicy", "'IfNotPresent'"]),
        ({"images__slim__digest": '"latest"'}, ["/images/slim/digest", "sha256"]),
        (
            {"stores__default__url": '"https://bucket"'},
            ["/stores/default/url", "does not match pattern", "s3://"],
        ),
        ({"stores__default__endpoint": '"minio:9000"'}, ["/stores/default/endpoint", "https?"]),
        ({"workloadNamespaces": '["Studio"]'}, ["/workloadNamespaces/0", "does not match pattern"]),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_values_that_cannot_be_meant_are_refused(
    render: Render, sets: dict[str, str], words: list[str]
) -> None:
    refused = render("least", **sets)

    assert refused.code != 0
    for word in words:
        assert word in refused.stderr


def test_helm_s_own_values_are_let_through(render: Render) -> None:
    assert render("least", **{"global": '{"imageRegistry":"x"}'}).code == 0
