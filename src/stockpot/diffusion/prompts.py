"""Check what a base's text encoder reads of a prompt, before a picture is drawn from it.

A text encoder reads a fixed number of tokens; tokenizers cut what is longer, and put one token in
the place of everything that their vocabulary lacks. Both happen silently, and two different prompts
then draw the same picture. `PromptReader` reports both; callers refuse lost text and name replaced
words.

    text ──▶ tokens ──┬── beyond the window            lost
                      ├── a control token, spelt out   control
                      └── not in the vocabulary        unknown
"""

import copy
import threading
from dataclasses import dataclass
from typing import Any

from torch import nn

from stockpot.errors import ExitCode, Refused

UNLIMITED_TOKENS = 1_000_000
"""transformers gives a tokenizer without a limit one of 10**30."""
_SHOWN_CHARACTERS = 120
"""How much of a lost text a message quotes."""


@dataclass(frozen=True)
class PromptReading:
    """What the text encoder reads of one text."""

    tokens: int
    """All of the text's tokens, with those that the tokenizer adds around them."""
    window: int
    """How many tokens the text encoder reads at most."""
    lost: str = ""
    """The text that is cut off."""
    lost_from: int = 0
    """Where it begins, in characters."""
    is_blank: bool = False
    """Whether nothing of the text becomes a token."""
    control: tuple[str, ...] = ()
    """Parts of the text that spell a control token, such as `[SEP]`."""
    unknown: tuple[str, ...] = ()
    """Parts of the text that share one token or have none, because the vocabulary lacks them."""

    @property
    def problem(self) -> str:
        """Why the text cannot be used as given, to follow the text's name; empty if it can."""
        if self.tokens > self.window:
            return (
                f"has {self.tokens} tokens, and the text encoder reads {self.window}: "
                f"{_quoted(self.lost)} (from character {self.lost_from} on) would be lost"
            )
        if self.control:
            named = ", ".join(map(_quoted, self.control))
            return f"spells control tokens of the text encoder, which are no words: {named}"
        if self.is_blank:
            return "has nothing that the text encoder reads"
        return ""


class PromptReader:
    """Reads texts with a copy of a base's tokenizer. Safe to use from any thread.

    A tokenizer keeps how it pads and cuts from one call to the next: with the one that draws, a
    reading would change a picture.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.Lock()

    @property
    def window(self) -> int:
        """How many tokens the text encoder reads at most; see `limit_window`."""
        return int(self._tokenizer.model_max_length)

    def read(self, text: str) -> PromptReading:
        """Report what the text encoder reads of a text; an empty one is read as given."""
        with self._lock:
            return self._read_fast(text) if self._tokenizer.is_fast else self._read_slow(text)

    def require_readable(self, text: str, name: str) -> None:
        """Refuse a text that the text encoder does not read as given.

        Args:
            text: The prompt.
            name: How messages call it.

        Raises:
            Refused: (BAD_RUN_SPEC) It would be cut, or is otherwise not read.
        """
        if problem := self.read(text).problem:
            raise Refused(
                f"{name} {_quoted(text)} {problem}.",
                help="shorten or reword it",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )

    def _read_fast(self, text: str) -> PromptReading:
        whole = self._encode(text)
        ids, spans = self._content(whole)
        kept = [span for _, span in zip(*self._content(self._encode(text, cut=True)), strict=True)]
        first, last = (kept[0][0], kept[-1][1]) if kept else (0, 0)
        tokens = len(whole["input_ids"])
        # A tokenizer may cut on the left: its configuration says so.
        is_head_lost = tokens > self.window and bool(spans) and first > spans[0][0]
        lost, lost_from = (text[:first], 0) if is_head_lost else (text[last:], last)
        control, unknown = self._special(text, ids, spans)
        is_cut = tokens > self.window
        return PromptReading(
            tokens=tokens,
            window=self.window,
            lost=lost.strip() if is_cut else "",
            lost_from=lost_from if is_cut else 0,
            is_blank=bool(text) and not spans,
            control=control,
            unknown=unknown,
        )

    def _special(
        self, text: str, ids: list[int], spans: list[tuple[int, int]]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Find spelt-out control tokens, and parts that the vocabulary lacks."""
        tokenizer = self._tokenizer
        special, end_before = set(tokenizer.all_special_ids), 0
        control, unknown = dict[str, None](), dict[str, None]()
        for number, (start, end) in zip(ids, spans, strict=True):
            if skipped := text[end_before:start].strip():
                unknown[skipped] = None
            end_before = max(end_before, end)
            part = text[start:end].strip()
            if number not in special:
                continue
            # CLIP's token for what it lacks is also the one that ends a text.
            is_unknown = number == tokenizer.unk_token_id and part != tokenizer.unk_token
            (unknown if is_unknown else control)[part] = None
        if skipped := text[end_before:].strip():
            unknown[skipped] = None
        return tuple(control), tuple(unknown)

    def _encode(self, text: str, *, cut: bool = False) -> Any:
        options: dict[str, Any] = {"truncation": False}
        if cut:
            options = {"truncation": True, "max_length": self.window}
        return self._tokenizer(
            text,
            padding=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,
            **options,
        )

    def _content(self, encoded: Any) -> tuple[list[int], list[tuple[int, int]]]:
        """Leave out the tokens that the tokenizer adds: they stand for no text."""
        content = [
            (number, tuple(span))
            for number, span in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            if span[0] < span[1]
        ]
        return [number for number, _ in content], [(span[0], span[1]) for _, span in content]

    def _read_slow(self, text: str) -> PromptReading:
        """Read with a tokenizer that does not say where in the text its tokens come from."""
        tokenizer = self._tokenizer
        whole = list(tokenizer(text, truncation=False, verbose=False)["input_ids"])
        content = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        added = len(whole) - len(content)
        rest = content[max(self.window - added, 0) :] if len(whole) > self.window else []
        lost = str(tokenizer.decode(rest)).strip()
        unknown = tokenizer.unk_token if tokenizer.unk_token_id in content else None
        return PromptReading(
            tokens=len(whole),
            window=self.window,
            lost=lost,
            lost_from=max(text.rfind(lost), 0) if lost else 0,
            is_blank=bool(text) and not content,
            unknown=(str(unknown),) if unknown else (),
        )


def limit_window(tokenizer: Any, text_encoder: Any, *, at_most: int = UNLIMITED_TOKENS) -> None:
    """Have the tokenizer cut and pad where the text encoder ends.

    The tokenizer's configuration says how long texts are; the encoder cannot read more than it has
    positions for, whatever the tokenizer says.

    Args:
        tokenizer: Changed in place.
        text_encoder: Whose positions count.
        at_most: How many tokens the denoiser was trained with, where neither says so.

    Raises:
        Refused: (BAD_BASE) Neither says how many tokens are read.
    """
    window = min(int(tokenizer.model_max_length), _positions(text_encoder), at_most)
    if not 0 < window < UNLIMITED_TOKENS:
        raise Refused(
            "The base does not say how many tokens its text encoder reads.",
            help="Set model_max_length in tokenizer/tokenizer_config.json.",
            exit_code=ExitCode.BAD_BASE,
        )
    tokenizer.model_max_length = window


def _positions(text_encoder: Any) -> int:
    """Count the tokens that an encoder has positions for; many where they are relative."""
    for name, module in text_encoder.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith(
            ("position_embedding", "position_embeddings", "wpe")
        ):
            # RoBERTa and its relatives count positions from behind the one for padding.
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - unused
    return UNLIMITED_TOKENS


def _quoted(text: str) -> str:
    whole = " ".join(text.split())
    if len(whole) > _SHOWN_CHARACTERS:
        return f"{whole[:_SHOWN_CHARACTERS]!r} …"
    return repr(whole)
