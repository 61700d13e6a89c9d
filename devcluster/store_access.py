"""The store's policies, taken from docs/reference/store-access.md, so that the page is true."""

import re
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/reference/store-access.md"
BLOCK = re.compile(r"^```json (\w+)$(.*?)^```$", re.MULTILINE | re.DOTALL)


def policies(bucket: str, prefix: str = "", namespaces: Iterable[str] = ()) -> dict[str, str]:
    """Return the policy of each identity, as JSON in the language of S3.

    Args:
        bucket: The store's bucket.
        prefix: The store's prefix in it, without slashes at its ends; empty where there is none.
        namespaces: Workload namespaces that have identities of their own.

    Returns:
        The page's policies by name (`workload`, `unlearn`, `verify`), and for each namespace one
        of the name `workload-NAMESPACE`.
    """
    below = f"{prefix}/" if prefix else ""
    page = {
        name: policy.replace("BUCKET", bucket).replace("PREFIX/", below)
        for name, policy in BLOCK.findall(PAGE.read_text())
    }
    own = page.pop("namespace")
    return page | {
        f"workload-{namespace}": own.replace("NAMESPACE", namespace) for namespace in namespaces
    }
