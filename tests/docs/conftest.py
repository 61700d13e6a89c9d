"""The S3 server of tests/contract, for pages that speak of a bucket."""

from tests.contract.conftest import s3_server

__all__ = ["s3_server"]
