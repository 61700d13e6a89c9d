"""Recognizes files that hold an adapter instead of a model, by the names of their tensors.

What an adapter adds to a model is a product of its tensors, or belongs to one model's vocabulary or
one optimizer's step. The mean of such tensors means nothing: the mean of products is not the
product of means. So a file of one of these kinds is never averaged tensor by tensor. LoRAs can be
folded into their model (see `lora`); the others are refused with the name of their kind.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

LORA = "LoRA"


@dataclass(frozen=True)
class Adapter:
    """The adapter that a file holds instead of a model."""

    kind: str
    """The name that its authors use."""
    key: str
    """A tensor by which it was recognized."""


def _words(*names: str) -> str:
    """Match whole words of a key, separated by dots or underscores."""
    return rf"(?:^|[._])(?:{'|'.join(names)})(?=[._]|$)"


_PREFIXED = r"^(?:lora|oft|boft|glora|lycoris)_\w+\."
"""kohya's scripts and LyCORIS begin the name of every module with one of these."""

_KINDS: tuple[tuple[str, str], ...] = (
    # The more specific come first: a DoRA has the factors of a LoRA, too.
    ("DoRA", _words("dora_scale", "lora_magnitude_vector", "dora_magnitude")),
    ("LoHa", _words("hada_(?:w[12]_[ab]|w[12]|t[12])")),
    ("LoKr", _words("lokr_(?:w[12]_[ab]|w[12]|t[12])")),
    ("BOFT", _words("boft_[A-Za-z]+")),
    ("OFT", _words("oft_(?:blocks|diag|r|R|s)")),
    ("(IA)^3", rf"{_words('ia3_l')}|\.on_input$"),
    ("GLoRA", rf"{_PREFIXED}(?:[ab][12]|bm[12])(?:\.weight)?$"),
    ("DyLoRA", r"\.(?:up|down)_list\.\d+$"),
    ("VeRA", _words("vera_(?:lambda_[bd]|A|B)", "pvera_[A-Za-z_]+")),
    ("VB-LoRA", _words("vblora_[A-Za-z_]+")),
    ("RandLoRA", _words("randlora_[A-Za-z]+")),
    ("GraLoRA", _words("gralora_[A-Za-z]+")),
    ("DeLoRA", _words("delora_[A-Za-z]+")),
    ("X-LoRA", _words("(?:internal_)?xlora_[a-z_]+")),
    ("Poly", _words("poly_lora_[AB]")),
    ("FourierFT", _words("fourierft_spectrum")),
    ("WaveFT", _words("waveft_spectrum")),
    ("HRA", _words("hra_u")),
    ("HiRA", _words("hira_[AB]")),
    ("C3A", _words("c3a_kernel")),
    ("Bone", _words("(?:bone|miss)_block")),
    ("SHiRA", _words("shira_weight")),
    ("RoAd", _words("road_(?:theta|alpha)")),
    ("LN tuning", _words("ln_tuning_layers")),
    ("prompt tuning", _words("prompt_embeddings", "prompt_encoder", "adaption_(?:prompt|gate)")),
    ("trained tokens", _words("trainable_tokens_[a-z_]+")),
    ("ControlNet-LoRA", r"^lora_controlnet$"),
    (
        LORA,
        _words(r"lora_(?:[ABEab]\d*|(?:down|up)\d*|mid|bias|embedding_[AB])")
        + r"|(?:^|[._])lora\d*(?:_linear_layer)?\.(?:down|up)(?:\.|$)"
        + r"|^\w+:\d+:(?:up|down)$",
    ),
    ("whole differences", r"\.(?:diff|diff_b|set_weight|w_norm|b_norm)$"),
    (
        "textual inversion",
        r"^(?:emb_params|clip_[lg]|\*|<[^<>]+>|bundle_emb\..+|(?:.+\.)?string_to_(?:param|token)(?:\..*)?)$",
    ),
    (
        "the state of an optimizer",
        _words("(?:max_)?exp_avg(?:_sq)?", "exp_inf", "momentum_buffer", "square_avg") + r"$",
    ),
    ("an adapter of PEFT", r"^base_model\.model\.|\.base_layer\."),
    ("an adapter of kohya's scripts or LyCORIS", _PREFIXED),
)
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _KINDS)
_HINTS = (
    *("lora", "oft_", "lycoris_", "hada_", "lokr_", "ia3_", ".on_input\n", "_list.", "vera_"),
    *(
        "dora_",
        "_spectrum",
        "hra_u",
        "hira_",
        "c3a_",
        "bone_block",
        "miss_block",
        "shira_",
        "road_",
    ),
    *("ln_tuning_", "prompt_e", "adaption_", "trainable_tokens_", ":up\n", ":down\n", ".diff\n"),
    *(".diff_b\n", "set_weight\n", "_norm\n", "emb_params", "clip_l\n", "clip_g\n", "*\n", ">\n"),
    *("string_to_", "bundle_emb.", "exp_avg", "exp_inf", "momentum_buffer", "square_avg"),
    *("base_model.model.", ".base_layer."),
)
"""Every key of an adapter contains one of these. Searching all keys for them at once takes a
hundredth of the time of the patterns, and most files contain none."""


def adapter_in(keys: Iterable[str]) -> Adapter | None:
    """Return the adapter that a file holds, or None if it holds a model.

    Args:
        keys: The names of the file's tensors.
    """
    return _adapter_in(tuple(keys))


@lru_cache(maxsize=4)
def _adapter_in(keys: tuple[str, ...]) -> Adapter | None:
    """Cached, for the checkpoints of one merge have the same keys."""
    text = "\n".join((*keys, ""))
    if not any(hint in text for hint in _HINTS):
        return None
    for kind, pattern in _PATTERNS:
        for key in keys:
            if pattern.search(key):
                return Adapter(kind, key)
    return None
