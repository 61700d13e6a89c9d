"""Checks of this machine before an apply: port, permissions, signing key, disk space, GPU."""

import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.complaints import Complaint
from stockpot.api.reading import refuse
from stockpot.api.runspec import Place
from stockpot.api.training import WeightsDtype
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.errors import ExitCode, StockpotError
from stockpot.local.environment import FolderEnvironment
from stockpot.local.layout import Layout
from stockpot.store.base import denoiser_parameters
from stockpot.unlearning.keys import load_private_key

HOST = "127.0.0.1"
"""The address that a server of local mode listens on."""
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")
_BYTES = {WeightsDtype.FP16: 2, WeightsDtype.BF16: 2, WeightsDtype.FP32: 4}


@dataclass(frozen=True)
class Fault:
    """A reason to refuse an apply, with the exit code of a command that fails for it."""

    complaint: Complaint
    exit_code: ExitCode


@dataclass(frozen=True)
class ServerView:
    """The current state of the server of one soup."""

    soup: str
    is_running: bool
    port: int | None
    """The port that it listens on; None until it listens."""


def port_faults(servers: Sequence[ServerView], port: int, *, is_new: bool) -> Iterator[Fault]:
    """Yield why the servers cannot listen on the port.

    Args:
        servers: The servers of all soups that should be served.
        port: The port that is set; 0 is any free port.
        is_new: Whether this command sets it, rather than an earlier one.
    """
    place = f"--port {port}" if is_new else ""
    elsewhere = [
        server for server in servers if server.is_running and server.port not in {None, port}
    ]
    if is_new and port and elsewhere:
        yield Fault(
            Complaint(
                f"the server of Soup {elsewhere[0].soup} already listens on port "
                f"{elsewhere[0].port}",
                place=place,
                help="end the server with `stockpot local down`, then apply again",
            ),
            ExitCode.PORT_TAKEN,
        )
    starting = [server.soup for server in servers if not server.is_running]
    if not starting or port == 0:
        return
    listening = [
        server.soup for server in servers if server.is_running and server.port in {None, port}
    ]
    if len(starting) + len(listening) > 1:
        names = ", ".join(sorted({*starting, *listening}))
        yield Fault(
            Complaint(
                f"several Soups cannot be served on the same port {port}: {names}",
                place=place,
                help="use one folder for each Soup (--dir), or let each take a free port: --port 0",
            ),
            ExitCode.PORT_TAKEN,
        )
    elif why := _why_taken(port):
        yield Fault(
            Complaint(
                f"the server cannot listen on port {port} of {HOST}: {why}",
                place=place,
                help=f"stop the process on it (ss -ltnp 'sport = :{port}'), or set another: --port",
            ),
            ExitCode.PORT_TAKEN,
        )


def _why_taken(port: int) -> str:
    """Bind a port as the server will; return the error, or an empty string if the port is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            return error.strerror or str(error)
    return ""


def folder_faults(layout: Layout) -> Iterator[Fault]:
    """Yield each folder of local mode that this user cannot write."""
    for folder in (layout.root, layout.objects, layout.store, layout.root / "runs"):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield Fault(
                Complaint(
                    f"this user cannot write to the folder {folder}",
                    help=f"change its permissions (ls -ld {folder}), or use another folder: --dir",
                ),
                ExitCode.STORAGE,
            )


def key_faults(layout: Layout) -> Iterator[Fault]:
    """Yield why the signing key cannot be used, if there is one."""
    if not layout.signing_key.exists():
        return
    try:
        load_private_key(layout.signing_key)
    except StockpotError as error:
        yield Fault(Complaint(error.message, help=error.help), error.exit_code)


def key_notes(layout: Layout) -> Iterator[Complaint]:
    """Yield a note if there is no signing key, which every deletion waits for."""
    if not layout.signing_key.exists():
        yield Complaint(
            "there is no signing key: deleting a shard will wait for one",
            help=f"make one: stockpot keygen --out {layout.signing_key}",
        )


def space_faults(
    layout: Layout,
    environment: FolderEnvironment,
    soups: Iterable[Soup],
    untrained: Sequence[DataShard],
) -> Iterator[Fault]:
    """Yield a fault if the disk has less free space than will be written at least.

    Args:
        layout: The folder of local mode.
        environment: Locates the bases.
        soups: The soups that are applied, and the soups of shards that are applied.
        untrained: The shards that will be trained.
    """
    needed = 0
    for soup in soups:
        meta = soup.metadata
        shards = sum(
            1
            for shard in untrained
            if (shard.metadata.namespace, shard.spec.soup_ref.name) == (meta.namespace, meta.name)
        )
        needed += _needed_bytes(soup, shards, environment) if shards else 0
    free = shutil.disk_usage(layout.root).free
    count = f"{len(untrained)} shard{'s' if len(untrained) > 1 else ''}"
    if needed > free:
        yield Fault(
            Complaint(
                f"the disk of {layout.root} is too small: {_gib(free)} are free, and the weights "
                f"of {count} and their mean need at least {_gib(needed)}",
                help="free some space, or use a folder on another disk: --dir",
            ),
            ExitCode.STORAGE,
        )


def _needed_bytes(soup: Soup, shards: int, environment: FolderEnvironment) -> int:
    """Return the least that training and merging write; 0 if the base cannot be read."""
    try:
        location = environment.locate(soup.spec.base)
        store = environment.store_folder
        is_stored = location.place is Place.STORE
        folder = store / location.path.strip("/") if is_stored else Path(location.path)
        parameters = denoiser_parameters(folder)
    except StockpotError:
        return 0  # SourceCheck reports the base.
    training = soup.spec.training
    mean = parameters * _BYTES[soup.spec.merge.output]
    if training.method.name == "LoRA":
        return mean  # Its factors and their checkpoints are small beside the mean.
    ingredients = shards * parameters * _BYTES[training.publish_dtype]
    saves = training.checkpointing_steps < training.max_train_steps
    # A checkpoint holds the weights, two moments, and an average where there is one.
    columns = (4 if training.ema else 3) if saves else 0
    return ingredients + mean + min(shards, training.parallelism) * columns * parameters * 4


def lacks_gpu() -> bool:
    """Return whether torch will certainly find no GPU, without importing torch: that is slow."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in {"", "-1"}:
        return True
    return not any(Path(name).exists() for name in _GPU_FILES)


def refuse_faults(faults: Iterable[Fault]) -> None:
    """Raise one error for all faults.

    Raises:
        Refused: There is a fault. Its exit code is that of the faults if all have the same, else
            INVALID.
    """
    distinct = list(dict.fromkeys(faults))
    codes = {fault.exit_code for fault in distinct}
    refuse(
        [fault.complaint for fault in distinct],
        codes.pop() if len(codes) == 1 else ExitCode.INVALID,
    )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
