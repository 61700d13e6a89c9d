"""Load the parts of a base out of a diffusers folder: offline, and without remote code.

`stockpot.store.base.open_base` has checked the folder. Weights other than the base's come through
`load_denoiser`, which refuses any that do not fit exactly.

diffusers and transformers are imported where they are used, not before: that takes several
seconds, and a run with bad data, a bad suite or a taken port should be refused at once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from stockpot.diffusion.families.port import Denoiser
from stockpot.errors import ExitCode, Refused
from stockpot.store.families import PIPELINE_INDEX

BATCH_SIZE = 64
"""Captions or pictures that are encoded at a time: bounds memory."""

_LIBRARIES = ("diffusers", "transformers", "stockpot.diffusion.patch_codec")
_NAMED_AT_MOST = 5
"""Differences that an error message lists."""

T = TypeVar("T")


class Components:
    """The components of one base folder, by the classes that its model_index.json names."""

    def __init__(self, folder: Path) -> None:
        import diffusers  # noqa: PLC0415
        import transformers  # noqa: PLC0415

        self.folder = folder
        self.index: Mapping[str, Any] = json.loads((folder / PIPELINE_INDEX).read_text())
        # A bar for each of five small files would be most of a run's log.
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        diffusers.utils.logging.disable_progress_bar()

    def load(self, name: str, **options: Any) -> Any:
        """Load a tokenizer or a scheduler.

        Raises:
            Refused: (BAD_BASE) It is missing, or of a library that no base may name.
        """
        kind = self._class_of(name)
        try:
            return kind.from_pretrained(self.folder / name, local_files_only=True, **options)
        except (OSError, ValueError, SafetensorError) as error:
            raise Refused(
                f"The base's {name} cannot be loaded: {_first_line(error)}.",
                help=f"Save the pipeline again with save_pretrained; look at {name}/.",
                exit_code=ExitCode.BAD_BASE,
            ) from error

    def load_frozen(self, name: str, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Load a text encoder or a VAE, frozen and in evaluation mode.

        Raises:
            Refused: As `load`.
        """
        is_diffusers = self._class_of(name).__module__.startswith(("diffusers", "stockpot"))
        options = {"torch_dtype" if is_diffusers else "dtype": dtype}
        return self.load(name, **options).to(device).eval().requires_grad_(False)

    def config_of(self, name: str) -> dict[str, Any]:
        """Read the configuration of a model without loading it."""
        config: dict[str, Any] = json.loads((self.folder / name / "config.json").read_text())
        return config

    def _class_of(self, name: str) -> Any:
        library, kind_name = self.index.get(name) or ("", "")
        kind = getattr(import_module(library), kind_name, None) if library in _LIBRARIES else None
        if kind is None:
            raise Refused(
                f"The base's {name} is a {kind_name} of {library}, which this program does not "
                "load.",
                help=f"Its model_index.json may name classes of {', '.join(_LIBRARIES)}.",
                exit_code=ExitCode.BAD_BASE,
            )
        return kind


def load_denoiser(
    kind: Any,
    config_folder: Path,
    weights: Sequence[Path],
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Denoiser:
    """Make a denoiser with these weights, in evaluation mode, copied: the files may go afterwards.

    Args:
        kind: The diffusers class.
        config_folder: The folder with the `config.json` of the base's denoiser.
        weights: Safetensors files with exactly its keys and shapes together, of any dtype.
        device: The device of the denoiser.
        dtype: Its dtype.

    Raises:
        Refused: (BAD_WEIGHTS) The file cannot be read, or does not fit; names five differences.
    """
    # The meta device skips the random initialization, which would be overwritten.
    with torch.device("meta"):
        denoiser = kind.from_config(kind.load_config(config_folder))
    wanted = {key: tuple(tensor.shape) for key, tensor in denoiser.state_dict().items()}
    actual: dict[str, tuple[int, ...]] = {}
    for path in weights:
        with _opened(path) as file:
            actual |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    _refuse_misfit(weights[0], wanted, actual)
    tensors = {}
    for path in weights:
        with _opened(path) as file:
            for key in file.keys():  # noqa: SIM118
                tensors[key] = file.get_tensor(key).to(device=device, dtype=dtype, copy=True)
    denoiser.load_state_dict(tensors, strict=True, assign=True)
    return denoiser.eval()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise Refused(
            f"{path.name} cannot be read as safetensors: {_first_line(error)}.",
            help="It was cut short or edited; fetch it or make it again.",
            exit_code=ExitCode.BAD_WEIGHTS,
        ) from error


def in_batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Part a sequence into batches that bound memory."""
    return (values[at : at + BATCH_SIZE] for at in range(0, len(values), BATCH_SIZE))


def _refuse_misfit(
    weights: Path, wanted: Mapping[str, tuple[int, ...]], actual: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse keys or shapes that differ, naming the first five."""
    if wanted == actual:
        return
    differences = [
        f"{key} is {_shape(actual.get(key))} and should be {_shape(wanted.get(key))}"
        for key in sorted({*wanted, *actual})
        if wanted.get(key) != actual.get(key)
    ]
    more = len(differences) - _NAMED_AT_MOST
    raise Refused(
        f"{weights.name} does not fit the base's denoiser: "
        + "; ".join(differences[:_NAMED_AT_MOST])
        + (f"; and {more} more." if more > 0 else "."),
        help="It was trained from another base: train it again from this one.",
        exit_code=ExitCode.BAD_WEIGHTS,
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a scalar"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
