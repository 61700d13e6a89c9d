"""NetworkPolicies as rules of nftables. Pure: what the API server has gives the text of a table.

Pods are on wires of their own, so what one sends to another is forwarded by the node: there each
connection is judged, after Services were translated. What the node itself sends (the kubelet's
probes, forwarders of this machine) is not. Ingress alone: no policy of ours is about egress.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

TABLE = "stockpot-policies"
ENDED = ("Succeeded", "Failed")
"""Phases in which a pod's address may be another's already."""


def table(policies: Sequence[Object], pods: Sequence[Object], namespaces: Sequence[Object]) -> str:
    """Write the table that replaces the one before: a chain for each pod that a policy selects.

    A pod that no policy selects is reached by all. What is refused is answered at once
    (administratively prohibited): a client says "No route to host", and does not wait.
    """
    running = [pod for pod in pods if _address(pod)]
    labels = {space["metadata"]["name"]: _labels(space) for space in namespaces}
    chains, jumps = [], []
    for pod in running:
        own = [policy for policy in policies if _selects(policy, pod)]
        if not own:
            continue
        chain = "pod-" + _address(pod).replace(".", "-")
        jumps.append(f"{_address(pod)} : jump {chain}")
        rules = [
            rule
            for policy in own
            for ingress in policy["spec"].get("ingress") or ()
            for rule in _accepting(ingress, policy, pod, running, labels)
        ]
        lines = "".join(f"    {rule}\n" for rule in sorted(set(rules)))
        prohibited = "    reject with icmpx admin-prohibited\n"
        chains.append(f"  chain {chain} {{\n{lines}{prohibited}  }}\n")
    entry = f"    ip daddr vmap {{ {', '.join(sorted(jumps))} }}\n" if jumps else ""
    return (
        # Empty, then removed, then made: one transaction, whether there was one or not.
        f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
        f"{''.join(sorted(chains))}"
        "  chain forward {\n"
        "    type filter hook forward priority 10; policy accept;\n"
        "    ct state established,related accept\n"
        f"{entry}  }}\n}}\n"
    )


def _accepting(
    ingress: Object,
    policy: Object,
    pod: Object,
    pods: Sequence[Object],
    namespaces: Mapping[str, Mapping[str, str]],
) -> Iterable[str]:
    """Write what one rule of a policy accepts: each of its sources at each of its ports."""
    sources = [""]
    if peers := ingress.get("from"):
        place = policy["metadata"]["namespace"]
        sources = [match for peer in peers for match in _sources(peer, place, pods, namespaces)]
    ports = [""]
    if named := ingress.get("ports"):
        ports = [match for port in named for match in _ports(port, pod)]
    return [
        " ".join(word for word in (source, port, "accept") if word)
        for source in sources
        for port in ports
    ]


def _sources(
    peer: Object,
    namespace: str,
    pods: Sequence[Object],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[str]:
    if block := peer.get("ipBlock"):
        excepted = block.get("except") or ()
        but = f" ip saddr != {{ {', '.join(excepted)} }}" if excepted else ""
        return [f"ip saddr {block['cidr']}{but}"]
    spaces = [namespace]
    if "namespaceSelector" in peer:
        wanted = peer["namespaceSelector"]
        spaces = [name for name, labels in namespaces.items() if _matches(wanted, labels)]
    return [
        f"ip saddr {_address(pod)}"
        for pod in pods
        if pod["metadata"]["namespace"] in spaces
        if _matches(peer.get("podSelector") or {}, _labels(pod))
    ]


def _ports(port: Object, pod: Object) -> list[str]:
    protocol = str(port.get("protocol") or "TCP").lower()
    number = port.get("port")
    if number is None:
        return [f"meta l4proto {protocol}"]
    if isinstance(number, str):
        return [
            f"{protocol} dport {named['containerPort']}"
            for container in pod["spec"]["containers"]
            for named in container.get("ports") or ()
            if named.get("name") == number
        ]
    last = port.get("endPort")
    return [f"{protocol} dport {number}{f'-{last}' if last else ''}"]


def _selects(policy: Object, pod: Object) -> bool:
    spec = policy["spec"]
    return (
        policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and "Ingress" in (spec.get("policyTypes") or ["Ingress"])
        and _matches(spec.get("podSelector") or {}, _labels(pod))
    )


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether labels fit a selector; an empty one fits all."""
    exact = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in exact.items()):
        return False
    return all(_fits(wanted, labels) for wanted in selector.get("matchExpressions") or ())


def _fits(wanted: Object, labels: Mapping[str, str]) -> bool:
    label, values = labels.get(wanted["key"]), wanted.get("values") or ()
    match wanted["operator"]:
        case "In":
            return label in values
        case "NotIn":
            return label not in values
        case "Exists":
            return label is not None
        case "DoesNotExist":
            return label is None
        case operator:
            raise ValueError(f"{operator} is no operator of a selector")


def _labels(thing: Object) -> Mapping[str, str]:
    return thing["metadata"].get("labels") or {}


def _address(pod: Object) -> str:
    status = pod.get("status") or {}
    if pod["spec"].get("hostNetwork") or status.get("phase") in ENDED:
        return ""
    return str(status.get("podIP") or "")
