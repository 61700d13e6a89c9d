"""A real API server for tests: etcd, kube-apiserver and the controllers, without root or a node.

Everything listens on 127.0.0.1, on ports that were free, and keeps its data in a folder that is
thrown away. Pods are stored, and never run.

    with ControlPlane(crds=Path("crds")) as cluster:
        client = connect(cluster.kubeconfig)
"""

import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import build, commands, keys
from devcluster.api import Api, wait_until
from devcluster.problem import Problem
from devcluster.program import Program

READY_WITHIN_S = 120.0
"""An order of magnitude more than it takes on two busy cores."""
ATTEMPTS = 3
"""A port that was free may be taken before it is used."""


class ControlPlane:
    """An API server of one's own, from `start` to `stop`; or as a context manager."""

    etcd: Program
    apiserver: Program
    controller_manager: Program
    url: str
    """`https://127.0.0.1:port`."""
    token: str
    """A token of the group system:masters."""
    ca: Path
    """The certificate to trust, in PEM."""
    kubeconfig: Path
    """With the three above."""
    scheduler: Program | None
    """If it was asked for."""

    def __init__(
        self,
        *,
        crds: Path | None = None,
        scheduler: bool = False,
        controllers: bool = True,
        audit: tuple[Path, Path] | None = None,
    ) -> None:
        """Say what is wanted; nothing starts yet.

        Args:
            crds: A folder of CustomResourceDefinitions, one a file, to have from the start.
            scheduler: Also run the scheduler.
            controllers: Run the controller manager: garbage collection, Jobs, namespaces' ends.
            audit: An audit policy, and the log that requests are written to.
        """
        self._crds = crds
        self._audit = audit
        self._with_scheduler = scheduler
        self._with_controllers = controllers
        self._folder: Path | None = None

    def start(self) -> Self:
        """Start everything and wait until it is ready.

        Raises:
            Problem: The programs are not built, or do not run.
        """
        programs = build.built(build.control_plane())
        for attempt in range(1, ATTEMPTS + 1):
            self._lay_out(programs)
            try:
                self._run()
            except Problem:
                self.stop()
                if attempt == ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return self
        raise AssertionError

    def _lay_out(self, programs: Path) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="stockpot-controlplane-"))
        client, peer, port = free_ports(3)
        etcd = f"http://127.0.0.1:{client}"
        self.url = f"https://127.0.0.1:{port}"
        keys.make(folder / "keys", programs=programs, names=["127.0.0.1", "localhost"])
        self.ca = folder / "keys" / "ca.crt"
        self.token = keys.token(folder / "keys", "admin")
        self.kubeconfig = self._kubeconfig("admin")
        self.etcd = self._program(
            commands.etcd(
                programs, data=folder / "etcd", client=etcd, peer=f"http://127.0.0.1:{peer}"
            )
        )
        self.apiserver = self._program(
            commands.apiserver(
                programs,
                keys=folder / "keys",
                etcd=etcd,
                address="127.0.0.1",
                port=port,
                loopback=True,
                audit=self._audit,
            )
        )
        self.controller_manager = self._program(
            commands.controller_manager(
                programs, keys=folder / "keys", kubeconfig=self._kubeconfig("controller-manager")
            )
        )
        self.scheduler = (
            self._program(commands.scheduler(programs, kubeconfig=self._kubeconfig("scheduler")))
            if self._with_scheduler
            else None
        )

    def _program(self, command: list[str]) -> Program:
        assert self._folder is not None
        name = Path(command[0]).name
        return Program(name, command, self._folder / f"{name}.log")

    def _kubeconfig(self, user: str) -> Path:
        assert self._folder is not None
        path = self._folder / f"{user}.kubeconfig"
        text = commands.kubeconfig(
            url=self.url, token=keys.token(self._folder / "keys", user), ca=self.ca
        )
        path.write_text(text)
        path.chmod(0o600)
        return path

    def _run(self) -> None:
        self.etcd.start()
        self.start_apiserver()
        if self._with_controllers:
            self.controller_manager.start()
        if self.scheduler is not None:
            self.scheduler.start()
        if self._crds is not None:
            install_crds(self.api, self._crds)
        if self._with_controllers:
            # Without it no pod is admitted: every namespace must get this account first.
            wait_until(
                lambda: (
                    self.api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None
                ),
                "the controllers make the first ServiceAccount",
                within_s=READY_WITHIN_S,
                alive=self.controller_manager.alive,
            )

    @property
    def api(self) -> Api:
        """For a few requests by hand."""
        return Api(self.url, self.token, self.ca)

    def start_apiserver(self) -> None:
        """Start the API server (again, on the same port) and wait until it is ready."""
        self.apiserver.start()
        wait_until(
            self.api.ready,
            "the API server is ready",
            within_s=READY_WITHIN_S,
            alive=self._both_alive,
        )

    def restart_apiserver(self) -> None:
        """Kill the API server, as a crash does, and start it again: all watches are lost."""
        self.apiserver.kill()
        self.start_apiserver()

    def _both_alive(self) -> None:
        self.etcd.alive()
        self.apiserver.alive()

    def stop(self) -> None:
        """End everything, etcd last, and throw its data away. May be called again."""
        if self._folder is None:
            return
        # Nothing of it is wanted any more, so nobody is given time for farewells.
        for program in (self.scheduler, self.controller_manager, self.apiserver, self.etcd):
            if program is not None:
                program.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def install_crds(api: Api, folder: Path) -> None:
    """Create every CustomResourceDefinition of a folder, and wait until all are served.

    Raises:
        Problem: The API server does not take one, or none is there.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise Problem(f"there are no CustomResourceDefinitions in {folder}", help="")
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for path in paths:
        status, answer = api.request("POST", definitions, path.read_bytes(), "application/yaml")
        if status not in (201, 409):
            raise Problem(f"the API server does not take {path.name}", help=answer.decode()[:1000])

    def served() -> bool:
        listing = api.get(definitions)
        items = listing["items"] if listing else []
        return len(items) >= len(paths) and all(_established(item) for item in items)

    wait_until(served, "the CustomResourceDefinitions are served", within_s=READY_WITHIN_S)


def _established(definition: dict[str, object]) -> bool:
    status = definition.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return any(
        condition["type"] == "Established" and condition["status"] == "True"
        for condition in conditions or ()
    )


def free_ports(count: int) -> list[int]:
    """Find ports of 127.0.0.1 that nobody listens on; held together, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]
