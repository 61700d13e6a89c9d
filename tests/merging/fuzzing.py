"""Fuzzes the safetensors reader: `python -m tests.merging.fuzzing SECONDS [SEED]`.

Stockpot and the safetensors package both read a mutated file. Stockpot may refuse a file that the
package accepts; it never fails in another way than by a refusal, never accepts a file that the
package refuses, and never reads it differently. `make fuzz-merge` runs it for an hour; every
failure becomes a test.
"""

import json
import random
import sys
import time
from io import BytesIO

from safetensors import SafetensorError, deserialize

from stockpot.errors import ExitCode, StockpotError
from stockpot.store.ranges import FileBytes
from stockpot.store.safetensors import read_header

TOKENS = [
    *(b"-1", b"0", b"1e3", b"18446744073709551616", b"9007199254740993", b"null", b"true", b"NaN"),
    *(b'"F16"', b'"I64"', b'"F4"', b"[]", b"{}", b"[0,8]", b"[8,0]", b'"a"', b'"__metadata__"'),
    *(b"\\ud800", b"\xff", b"\x00", b" ", b",", b":", b'"', b"{", b"}", b"[", b"]", b"1.0"),
]


def a_file(dice: random.Random) -> bytes:
    """Generate a small valid file."""
    offset, entries = 0, {}
    for number in range(dice.randint(0, 4)):
        shape = [dice.randint(0, 3) for _ in range(dice.randint(0, 3))]
        elements = 1
        for size in shape:
            elements *= size
        dtype, size_bytes = dice.choice([("F16", 2), ("F32", 4), ("I64", 8), ("U8", 1)])
        end = offset + elements * size_bytes
        entries[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    if dice.random() < 0.3:
        entries["__metadata__"] = {"format": "pt"}  # type: ignore[dict-item]
    text = json.dumps(entries).encode() + b" " * dice.randint(0, 9)
    return len(text).to_bytes(8, "little") + text + bytes(offset)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Change a few places, and usually correct the length of the header afterwards."""
    head, body = bytearray(data[:8]), bytearray(data[8:])
    for _ in range(dice.choice([1, 1, 2, 4])):
        at = dice.randrange(len(body) + 1)
        match dice.randrange(6):
            case 5:  # Change a digit.
                digits = [i for i, byte in enumerate(body) if 48 <= byte < 58]
                if digits:
                    body[dice.choice(digits)] = 48 + dice.randrange(10)
            case 0:
                body[at : at + dice.randint(1, 6)] = dice.choice(TOKENS)
            case 1:
                body[at:at] = dice.choice(TOKENS)
            case 2:
                del body[at : at + dice.randint(1, 9)]
            case 3:
                head[dice.randrange(8)] ^= 1 << dice.randrange(8)
            case _:
                body[at : at + 1] = bytes([dice.randrange(256)])
    if dice.random() < 0.8 and b"}" in body:
        head = bytearray((body.rindex(b"}") + 1).to_bytes(8, "little"))
    return bytes(head + body)


def check(data: bytes) -> bool:
    """Read a file with both readers; return whether Stockpot accepts it."""
    ours = None
    try:
        ours = read_header(FileBytes("fuzzed", len(data), BytesIO(data)))
    except StockpotError as error:
        refusal = error
    if ours is None:
        assert refusal.exit_code == ExitCode.BAD_WEIGHTS, refusal
        assert refusal.message.startswith("fuzzed is refused: "), refusal
        assert len(refusal.message) < 600
        return False
    try:
        theirs = {key: tuple(entry["shape"]) for key, entry in deserialize(data)}  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise AssertionError(f"we read what safetensors refuses: {error}") from error
    assert {span.key: span.shape for span in ours.spans} == theirs
    return True


def main(seconds: float, seed: int) -> None:
    """Fuzz until the time is over."""
    dice = random.Random(seed)
    began_s, tried, accepted = time.monotonic(), 0, 0
    while time.monotonic() - began_s < seconds:
        data = mutated(a_file(dice), dice)
        try:
            accepted += check(data)
        except Exception:
            sys.stderr.write(f"found after {tried} files, seed {seed}: {data!r}\n")
            raise
        tried += 1
    sys.stdout.write(f"{tried} files, {accepted} of them read, in {seconds:.0f} s, seed {seed}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
