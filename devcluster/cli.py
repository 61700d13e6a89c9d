"""The built-in cluster: up, down, and what helps to look at it."""

import argparse
import sys
from pathlib import Path

from devcluster import (
    build,
    cgroup_namespaces,
    code,
    containers,
    debian,
    forwarding,
    node,
    preflight,
    teardown,
    volumes,
)
from devcluster.locks import only_one
from devcluster.places import DEFAULT_NAME, Places, places
from devcluster.problem import Problem
from devcluster.progress_log import say


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    top.add_argument(
        "--name", default=DEFAULT_NAME, help="which cluster, where there are several (%(default)s)"
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("up", help="bring it up, or do what is missing")
    verbs.add_parser("down", help="take it away, with all that is in it")
    verbs.add_parser("status", help="say what runs")
    verbs.add_parser("check", help="say whether one could run here, and do nothing")
    verb = verbs.add_parser("build", help="compile its programs into the cache")
    verb.add_argument(
        "--control-plane", action="store_true", help="only what tests without root need"
    )
    verbs.add_parser("code", help="show pods this repository as it is now")
    verb = verbs.add_parser("kill", help="kill one of its programs; `up` starts it again")
    verb.add_argument("program", choices=node.PROGRAMS)
    verb = verbs.add_parser("forward", help="listen on 127.0.0.1 for a Service")
    verb.add_argument("target", metavar="NAMESPACE/SERVICE:PORT")
    verb.add_argument("port", metavar="LOCALPORT", type=int, help="0 for any")
    verb = verbs.add_parser("image", help="let pods run the image of an archive")
    verb.add_argument("archive", metavar="ARCHIVE", type=Path, help="OCI's, or docker save's")
    verb = verbs.add_parser("volume", help="let pods claim a folder of this machine, read-only")
    verb.add_argument("namespace", metavar="NAMESPACE")
    verb.add_argument("claim", metavar="CLAIM")
    verb.add_argument("folder", metavar="FOLDER", type=Path)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; say in one sentence why not."""
    options = parser().parse_args(arguments)
    try:
        return do(options, places(options.name))
    except Problem as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1


def do(options: argparse.Namespace, of: Places) -> int:
    """Do one verb, and give the exit code."""
    match str(options.verb):
        case "up":
            node.up(of)
            tell(of)
        case "down":
            teardown.down(of)
        case "status":
            return status(of)
        case "check":
            preflight.may_run(of)
        case "build":
            if not options.control_plane:
                debian.provide(*debian.TO_BUILD, *debian.TO_RUN, *debian.TO_MAKE_IMAGES)
            build.build(
                build.control_plane(), *([] if options.control_plane else [build.runtime()])
            )
        case _:
            cgroup_namespaces.both(of)
            with only_one(of.lock, f"command for the cluster {of.name}"):
                change(options, of)
    return 0


def change(options: argparse.Namespace, of: Places) -> None:
    """Change something about a cluster that runs."""
    match str(options.verb):
        case "code":
            code.refresh(of)
        case "forward":
            forwarding.require_service(node.api(of), options.target)
            port = forwarding.forward(of, options.target, options.port)
            say(f"127.0.0.1:{port} is {options.target}")
        case "image":
            say(containers.load(of, options.archive))
        case "kill":
            cgroup_namespaces.kill(of, options.program)
        case "volume":
            volumes.claim(of, options.namespace, options.claim, options.folder)
        case verb:
            raise AssertionError(verb)


def tell(of: Places) -> None:
    """Say how to use a cluster that is up."""
    program = "bin/kubectl" if of.name == DEFAULT_NAME else f"{of.state}/bin/kubectl"
    say(f"  {program} get pods --all-namespaces")
    say(f"  KUBECONFIG={of.kubeconfig}")
    say(f"  logs: {of.logs}")


def status(of: Places) -> int:
    """Say what runs; 0 when everything does."""
    for program in node.PROGRAMS:
        runs = cgroup_namespaces.runs(of, program)
        say(f"  {program:24} {'runs' if runs else 'does not run'}")
    for name, (target, port) in forwarding.known(of).items():
        runs = cgroup_namespaces.runs(of, f"forward-{name}")
        say(f"  127.0.0.1:{port:<14} {target}{'' if runs else ' (does not run)'}")
    if not node.is_up(of):
        say(f"the cluster {of.name} is not up: make cluster")
        return 1
    say(f"the cluster {of.name} is up")
    tell(of)
    return 0
