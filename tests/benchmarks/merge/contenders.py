"""One contender, in a process of its own: `contenders.py NAME THREADS OUTPUT INPUT...`.

Imports, says "ready", waits for a line, merges, and says what it took as JSON. Each is used through
what it offers to its users. None is asked to bring its output to the disk before it ends, but the
one that says so: what would be measured is the disk.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from plans import FLOOR_BUFFERS_BYTES

Merge = Callable[[], object]

name, threads, output, *inputs = sys.argv[1:]
THREADS = int(threads)


def floor(buffer_bytes: int, *, plain: bool = False) -> Merge:
    """Read every byte, write as many as the result has, do nothing else.

    What that costs depends on the size of the buffer, and by how much depends on the machine: on
    one kernel the first reads of a process cost five times as much by 256 KiB as by 128 KiB. So
    each of several sizes is tried, by a process of its own, and the least of them is the floor.

    Args:
        buffer_bytes: How much is read or written at once.
        plain: Let the output grow as it is written, as `cp` does. Else the room for it is taken at
            once, as stockpot does it too: that is the faster way, and so the floor.
    """
    sizes = [os.stat(path).st_size for path in inputs]

    def share(number: int, target: int) -> None:
        buffer = bytearray(buffer_bytes)
        for path, size in zip(inputs, sizes, strict=True):
            source = os.open(path, os.O_RDONLY)
            for offset in range(number * buffer_bytes, size, THREADS * buffer_bytes):
                os.preadv(source, [buffer], offset)
            os.close(source)
        for offset in range(number * buffer_bytes, sizes[0], THREADS * buffer_bytes):
            os.pwrite(target, memoryview(buffer)[: sizes[0] - offset], offset)

    def run() -> None:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if not plain:
            os.posix_fallocate(target, 0, sizes[0])
        workers = [threading.Thread(target=share, args=(n, target)) for n in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        os.close(target)

    return run


def stockpot(*, plain: bool = False, durable: bool = False) -> Merge:
    """This engine, through its Python function."""
    from stockpot.merging import kernel, merge, soup

    if plain:
        vars(soup)["installed"] = lambda: None
    else:
        assert kernel.installed() is not None, "the kernel is not compiled: make kernel"
    if not durable:
        os.fsync = lambda descriptor: None
    return lambda: merge(inputs, output, threads=THREADS)


def stockpot_verb(*, keep: bool = False, change: str = "") -> Merge:
    """This engine as a MergeRun has it: what is read is hashed too. Local files, no store.

    The files that are written are there before, as large as they will be.

    Args:
        keep: Keep the sums.
        change: `add` or `remove`: go by the sums of a recipe that lacks the last checkpoint, or has
            the first one twice. These are made before the clock starts.
    """
    from collections.abc import Iterator
    from contextlib import ExitStack, contextmanager

    from stockpot.merging import merge
    from stockpot.merging.accumulator import open_accumulator
    from stockpot.merging.formats import FORMATS
    from stockpot.merging.ingredients import read_canonical
    from stockpot.merging.interfaces import MergeSettings
    from stockpot.merging.kernel import installed
    from stockpot.merging.recipes import MergeContext, SumsPlan, write_mean
    from stockpot.merging.step import Step
    from stockpot.merging.targets import _Descriptor, null_target
    from stockpot.metrics.progress import Progress
    from stockpot.store.ranges import opened

    assert installed() is not None, "the kernel is not compiled: make kernel"
    os.fsync = lambda descriptor: None
    stack, others = ExitStack(), ExitStack()
    files = [Path(path) for path in inputs]
    settings, stop, form = MergeSettings(THREADS, installed()), threading.Event(), FORMATS[_dtype()]
    old_sums, new_sums = (Path(output).with_suffix(f".{age}-sums") for age in ("old", "new"))

    @contextmanager
    def soup(size_bytes: int) -> Iterator[_Descriptor]:
        descriptor = os.open(output, os.O_WRONLY)
        yield _Descriptor(Path(output), descriptor)
        os.close(descriptor)

    def make(chosen: list[Path], context: MergeContext, kept: SumsPlan | None) -> str:
        parts = [read_canonical(stack.enter_context(opened(path)), 1, "") for path in chosen]
        hashed = [part.first_bytes for part in parts]
        checkpoints = [part.checkpoint for part in parts]
        seal = write_mean(checkpoints, [1] * len(parts), context, kept, hashed)[1]
        stack.close()
        return str(seal)

    def fresh(count: int) -> SumsPlan:
        ones = (1,) * count
        return SumsPlan("bench", Step(1, 1, ones, ones, 0, count, count), None, None)

    merge(inputs[:1], output)
    new_sums.write_bytes(bytes(4 * Path(output).stat().st_size))
    if not change:
        context = MergeContext(soup, new_sums, form, settings, Progress(), stop)
        return lambda: make(files, context, fresh(len(files)) if keep else None)
    before = files[:-1] if change == "add" else [*files, files[0]]
    seal = make(
        before,
        MergeContext(null_target, old_sums, form, settings, Progress(), stop),
        fresh(len(before)),
    )
    delta, changed = (1, files[-1]) if change == "add" else (-1, files[0])

    def run() -> None:
        old = open_accumulator(others.enter_context(opened(old_sums)))
        step = Step(1, 1, (delta,), (delta,), len(before), len(files), len(files))
        context = MergeContext(soup, new_sums, form, settings, Progress(), stop)
        make([changed], context, SumsPlan("bench", step, old, seal))

    return run


def torch_sum() -> Merge:
    """What many scripts do: load all state dicts, add in float32, divide, cast, save."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(THREADS)

    def run() -> None:
        loaded = [load_file(path) for path in inputs]
        mean = {}
        for key, tensor in loaded[0].items():
            total = torch.zeros(tensor.shape, dtype=torch.float32)
            for tensors in loaded:
                total += tensors[key].float()
            mean[key] = (total / len(loaded)).to(tensor.dtype)
        save_file(mean, output)

    return run


def mergekit() -> Merge:
    """mergekit's command for models that are no language models."""
    import torch
    from mergekit.scripts.merge_raw_pytorch import main

    torch.set_num_threads(THREADS)
    dtype = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}[_dtype()]
    folder = Path(output).with_suffix(".mergekit")
    folder.mkdir()
    config = folder / "config.yml"
    models = [f"  - model: {path}\n    parameters: {{weight: 1.0}}\n" for path in inputs]
    config.write_text(f"merge_method: linear\ndtype: {dtype}\nmodels:\n{''.join(models)}")
    arguments = [str(config), str(folder / "out"), "--quiet", "-j", str(THREADS)]

    def run() -> None:
        main.main(arguments, standalone_mode=False)
        made = [path for path in (folder / "out").iterdir() if path.suffix == ".safetensors"]
        assert len(made) == 1
        made[0].replace(output)

    return run


def sd_mecha() -> Merge:
    """sd-mecha's mean, told by hand what it would guess wrong: the model's tensors."""
    import sd_mecha
    import torch
    from sd_mecha.extensions import model_configs

    torch.set_num_threads(1)
    dtype = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[_dtype()]
    keys = {
        key: {"shape": entry["shape"], "dtype": str(dtype).removeprefix("torch.")}
        for key, entry in _header().items()
    }
    config = model_configs.ModelConfigImpl(identifier="unet-bench", components={"unet": keys})
    model_configs.register_aux(config)
    models = [sd_mecha.model(path, config=config) for path in inputs]

    def run() -> None:
        sd_mecha.merge(
            sd_mecha.n_average(*models),
            merge_device="cpu",
            merge_dtype=torch.float32,
            output_dtype=dtype,
            threads=THREADS,
            check_finite_output=False,
            output=output,
        )

    return run


def _header() -> dict[str, dict[str, object]]:
    with open(inputs[0], "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        document: dict[str, dict[str, object]] = json.loads(file.read(length))
    return document


def _dtype() -> str:
    return str(next(iter(_header().values()))["dtype"])


CONTENDERS: dict[str, Callable[[], Merge]] = {
    **{f"floor-{size}": partial(floor, size) for size in FLOOR_BUFFERS_BYTES},
    **{f"floor-plain-{size}": partial(floor, size, plain=True) for size in FLOOR_BUFFERS_BYTES},
    "stockpot": stockpot,
    "stockpot-plain": lambda: stockpot(plain=True),
    "stockpot-fsync": lambda: stockpot(durable=True),
    "stockpot-verb": stockpot_verb,
    "stockpot-keep": lambda: stockpot_verb(keep=True),
    "stockpot-add": lambda: stockpot_verb(change="add"),
    "stockpot-remove": lambda: stockpot_verb(change="remove"),
    "torch": torch_sum,
    "mergekit": mergekit,
    "sd-mecha": sd_mecha,
}


def main() -> None:
    """Get ready, wait, run, report."""
    run = CONTENDERS[name]()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began_s, before = time.perf_counter(), os.times()
    run()
    took_s, after = time.perf_counter() - began_s, os.times()
    user_s, system_s = after.user - before.user, after.system - before.system
    report = {"wall_s": took_s, "user_s": user_s, "system_s": system_s}
    sys.stdout.write("\n" + json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
