"""A run that its store denies access reports it with what to do, and exits with code 7."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.local.tiny_soup import environment
from tests.unlearning.receipt_fixtures import a_purge

from stockpot.api.results import ResultMessage
from stockpot.api.runspec import StoreRef


@pytest.mark.parametrize(
    ("bucket", "secret", "words", "help_text"),
    [
        ("no-such-bucket", None, "has no bucket no-such-bucket", "create it"),
        (None, "another", "refuses us 'ml/': SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (None, "", "there are no credentials for the store", "set AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_store_error_names_the_store_and_what_to_do(
    s3_endpoint: str,
    bucket_s3: str,
    tmp_path: Path,
    bucket: str | None,
    secret: str | None,
    words: str,
    help_text: str,
) -> None:
    ref = StoreRef(url=f"s3://{bucket or bucket_s3}/team", endpoint=s3_endpoint)
    spec, result = tmp_path / "spec.json", tmp_path / "result.json"
    spec.write_text(a_purge(tmp_path).model_copy(update={"store": ref}).model_dump_json())
    variables = environment() | ({} if secret is None else {"AWS_SECRET_ACCESS_KEY": secret})
    command = [sys.executable, "-m", "stockpot.workload", spec, "--work", tmp_path / "work"]

    done = subprocess.run(
        [*command, "--result", result], env=variables, capture_output=True, text=True, check=False
    )

    problem = ResultMessage.model_validate_json(result.read_bytes()).problem
    assert done.returncode == 7
    assert problem is not None
    assert words in problem.message
    assert help_text in problem.help
    assert "Traceback" not in done.stderr
    assert json.loads(result.read_bytes())["problem"]["exitCode"] == 7
