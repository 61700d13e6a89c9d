"""What a text encoder reads of a prompt, for tokenizers of several families."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from stockpot.diffusion.families.registry import open_family
from stockpot.diffusion.prompts import UNLIMITED_TOKENS, PromptReader, limit_window
from stockpot.errors import ExitCode, Refused


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> PromptReader:
    """WordPiece, 6 tokens of which 2 mark the ends."""
    return PromptReader(open_family(tiny.a_base(tmp_path_factory.mktemp("base"))).tokenizer)


@pytest.fixture(scope="module")
def clip() -> PromptReader:
    """Byte-level pairs, 6 tokens of which 2 mark the ends; the last also stands for the unknown."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return PromptReader(CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=6))


@pytest.fixture(scope="module")
def unigram() -> PromptReader:
    """SentencePiece as T5 has it: one token at the end, spaces belong to words."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁red", -1.0), ("▁cat", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PromptReader(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            model_max_length=4,
            pad_token="<pad>",
            eos_token="</s>",
            unk_token="<unk>",
        )
    )


@pytest.mark.parametrize(
    ("reader", "text", "tokens", "lost", "lost_from"),
    [
        ("bert", "", 2, "", 0),
        ("bert", "a red circle", 5, "", 0),
        ("bert", "a big red circle", 6, "", 0),
        ("bert", "a big red circle \n ", 6, "", 0),
        ("bert", "a big red circle bar", 7, "bar", 16),
        ("bert", "  a big  red circle  and a cat", 9, "and a cat", 19),
        ("bert", "red apple " * 60 + "cat", 123, "red apple " * 58 + "cat", 19),
        ("clip", "a b c d", 6, "", 0),
        ("clip", "abcd", 6, "", 0),
        ("clip", "a b c d e", 7, "e", 7),
        ("clip", "abcde", 7, "e", 4),
        ("unigram", "red cat red", 4, "", 0),
        ("unigram", "red cat red cat cat", 6, "cat cat", 11),
    ],
)
def test_text_beyond_the_window_is_named(
    request: pytest.FixtureRequest, reader: str, text: str, tokens: int, lost: str, lost_from: int
) -> None:
    reading = request.getfixturevalue(reader).read(text)

    assert (reading.tokens, reading.lost, reading.lost_from) == (tokens, lost, lost_from)
    assert bool(reading.problem) == bool(lost)
    if lost:
        assert f"has {tokens} tokens" in reading.problem
        assert f"reads {reading.window}" in reading.problem
        assert lost[:40] in reading.problem


@pytest.mark.parametrize(
    ("reader", "text", "unknown"),
    [
        ("bert", "a 😀 bar", ("😀",)),
        ("bert", "a zebra", ("zebra",)),
        ("bert", "zebra zebra", ("zebra",)),
        ("bert", "a red bar", ()),
        ("bert", "RED", ()),
        ("unigram", "red 龍", ("龍",)),
    ],
)
def test_words_outside_the_vocabulary_are_named(
    request: pytest.FixtureRequest, reader: str, text: str, unknown: tuple[str, ...]
) -> None:
    reading = request.getfixturevalue(reader).read(text)

    assert reading.unknown == unknown
    assert reading.problem == ""


@pytest.mark.parametrize(
    ("reader", "text", "because"),
    [
        ("bert", " ", "nothing that the text encoder reads"),
        ("bert", "\x00\u200b", "nothing that the text encoder reads"),
        ("bert", "a [SEP] bar", "control tokens of the text encoder, which are no words: '[SEP]'"),
        ("bert", "[UNK]", "'[UNK]'"),
        ("clip", "a <|endoftext|> b", "'<|endoftext|>'"),
        ("unigram", "red</s>", "'</s>'"),
    ],
)
def test_a_prompt_that_is_not_read_as_given_has_a_problem(
    request: pytest.FixtureRequest, reader: str, text: str, because: str
) -> None:
    assert because in request.getfixturevalue(reader).read(text).problem


def test_a_tokenizer_that_cuts_on_the_left_loses_the_beginning(tmp_path: Path) -> None:
    base = tiny.a_base(tmp_path)
    edit(base / "tokenizer/tokenizer_config.json", truncation_side="left")

    reading = PromptReader(open_family(base).tokenizer).read("circle a big red circle bar")

    assert (reading.lost, reading.lost_from) == ("circle a", 0)


def test_reading_leaves_the_tokenizer_that_draws_alone(tmp_path: Path) -> None:
    tokenizer = open_family(tiny.a_base(tmp_path)).tokenizer
    padded = tokenizer("a red bar", padding="max_length", max_length=6, truncation=True)

    PromptReader(tokenizer).read("red apple " * 60)

    backend = tokenizer.backend_tokenizer
    assert (backend.padding["length"], backend.truncation["max_length"]) == (6, 6)
    assert tokenizer("a red bar", padding="max_length", max_length=6, truncation=True) == padded


def test_a_prompt_of_a_suite_is_refused_by_its_name(bert: PromptReader) -> None:
    with pytest.raises(Refused, match="prompt of samples 'a big red circle bar' has 7") as refused:
        bert.require_readable("a big red circle bar", "The prompt of samples")

    assert refused.value.exit_code == ExitCode.BAD_RUN_SPEC
    assert refused.value.help


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


SMALL: dict[str, Any] = {"vocab_size": 30, "num_hidden_layers": 1, "num_attention_heads": 1}
WIDTHS: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8}
IDS: dict[str, Any] = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def bert_model() -> BertModel:
    return BertModel(BertConfig(**SMALL, **WIDTHS, max_position_embeddings=16))


def clip_model() -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**SMALL, **WIDTHS, **IDS, max_position_embeddings=77))


def roberta_model() -> RobertaModel:
    """It counts positions from behind the one for padding: 12 of 14 are left."""
    return RobertaModel(RobertaConfig(**SMALL, **WIDTHS, **IDS, max_position_embeddings=14))


def t5_model() -> T5EncoderModel:
    """An encoder with relative positions: the tokenizer's limit alone counts."""
    return T5EncoderModel(T5Config(vocab_size=30, d_model=8, d_kv=8, d_ff=8, num_layers=1))


@pytest.mark.parametrize(
    ("encoder", "stated", "window"),
    [
        (bert_model, 6, 6),
        (bert_model, 512, 16),
        (bert_model, 10**30, 16),
        (clip_model, 77, 77),
        (clip_model, 10**30, 77),
        (roberta_model, 512, 12),
        (t5_model, 512, 512),
    ],
)
def test_the_window_is_the_smaller_of_what_tokenizer_and_encoder_can(
    tmp_path: Path, encoder: Callable[[], torch.nn.Module], stated: int, window: int
) -> None:
    tokenizer = open_family(tiny.a_base(tmp_path)).tokenizer
    tokenizer.model_max_length = stated

    limit_window(tokenizer, encoder())

    assert PromptReader(tokenizer).window == window


def test_a_base_that_names_no_window_at_all_is_refused(tmp_path: Path) -> None:
    tokenizer = open_family(tiny.a_base(tmp_path)).tokenizer
    tokenizer.model_max_length = UNLIMITED_TOKENS

    with pytest.raises(Refused, match="does not say how many tokens") as refused:
        limit_window(tokenizer, t5_model())

    assert refused.value.exit_code == ExitCode.BAD_BASE
