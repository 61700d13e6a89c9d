"""The store's policies, taken from docs/reference/store-access.md, so that the page is true."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/reference/store-access.md"
BLOCK = re.compile(r"^```json (\w+)$(.*?)^```$", re.MULTILINE | re.DOTALL)


def policies(bucket: str, prefix: str = "") -> dict[str, str]:
    """Return the policy of each identity, as JSON in the language of S3.

    Args:
        bucket: The store's bucket.
        prefix: The store's prefix in it, without slashes at its ends; empty where there is none.
    """
    below = f"{prefix}/" if prefix else ""
    return {
        name: policy.replace("BUCKET", bucket).replace("PREFIX/", below)
        for name, policy in BLOCK.findall(PAGE.read_text())
    }
