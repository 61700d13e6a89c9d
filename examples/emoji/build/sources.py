"""What the example is drawn from: packages, pinned, with their licences. Facts only, no code."""

from typing import NamedTuple


class Package(NamedTuple):
    """One npm package and the part of it that is used.

    Attributes:
        name: The package.
        version: Exactly this one.
        integrity: SHA-512 of its tarball, base64, as the registry publishes it.
        licence: SPDX expression for the pictures or texts inside.
        credit: Whose work it is.
    """

    name: str
    version: str
    integrity: str
    licence: str
    credit: str


# One vendor a set of SVG bodies. The order is part of the base's training data: append only.
VENDORS: dict[str, Package] = {
    "noto": Package(
        "@iconify-json/noto",
        "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0",
        "Noto Emoji, Google",
    ),
    "noto-v1": Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "Apache-2.0",
        "Noto Emoji (v1), Google",
    ),
    "twemoji": Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0",
        "Twemoji, Twitter and contributors",
    ),
    "emojione": Package(
        "@iconify-json/emojione",
        "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        "CC-BY-4.0",
        "EmojiTwo (Emoji One), EmojiTwo and contributors",
    ),
    "fxemoji": Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
        "Apache-2.0",
        "Firefox OS Emoji, Mozilla",
    ),
    "fluent-emoji-flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT",
        "Fluent Emoji Flat, Microsoft Corporation",
    ),
    "fluent-emoji-high-contrast": Package(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==",
        "MIT",
        "Fluent Emoji High Contrast, Microsoft Corporation",
    ),
    "streamline-emojis": Package(
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A==",
        "CC-BY-4.0",
        "Streamline Emojis, Streamline (Webalys LLC)",
    ),
}

# English names, keywords and groups of emoji, from Unicode CLDR.
CAPTIONS = Package(
    "emojibase-data",
    "17.0.0",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    "MIT",
    "emojibase-data, Miles Johnson and contributors",
)

BASE_VENDORS = ("noto", "noto-v1", "twemoji", "emojione", "fxemoji")

# Unicode's names of the groups that we draw, and ours.
GROUPS = {
    "animals-nature": "animals",
    "food-drink": "food",
    "travel-places": "travel",
    "objects": "objects",
    "smileys-emotion": "smileys",
}
