"""Secrets in log lines, replaced before a line enters the event log: known by what they look like, or by the name before them.

Best effort, as docs/logs.md says: a secret that looks like any other word is known only by its name. What merely looks random
(UUIDs, digests, images in base64) stays. Pure, and in linear time whatever is printed: each rule is tried only where one of its
words is found, and what repeats in a pattern is bounded, possessive, or begins at the edge of a word. `parsing` calls it for
lines and for the fields of JSON lines, `interpreting` for the lines of a key that spans several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

MARK = "[redacted]"
"""What stands in the place of a secret."""

_MOST_KEY_LINES = 200
"""Of a private key: one of 16,384 bits has as many."""
_LONGEST_NAME = 64
"""Characters at the end of a field's name that are looked at."""

_STRONG = (
    r"passw(?:or)?d|passphrase|pwd(?![\"']?\s{0,3}[=:]\s{0,3}[\"']?/)"  # PWD=/app is a folder
    r"|(?:client|app|shared)[_-]?secret|secret[_-]?(?:access[_-]?)?key"
    r"|(?:api|auth|access|account|private|encryption|signing|master)[_-]?key"
)
_WEAK = r"(?<!progress)(?<!progress_)(?<!page)(?<!page_)(?<!next)(?<!next_)token|secret|credentials?"
"""Names that also stand before much that is no secret."""
_NAME = re.compile(rf"(?:{_STRONG}|(?P<weak>{_WEAK})|authorization|cookie)\Z", re.IGNORECASE)

_NO_SECRET = re.compile(
    r"(?:[\[({]?(?:true|false|yes|no|none|null|nil|undefined|(?:un)?set|empty|missing|invalid|hidden|masked|filtered|redacted"
    r"|secret|\*+|x+|\.+)?[\])}]?|<[a-z_ -]*>|\$\{[\w.]+\}|\$\([\w.]+\))",
    re.IGNORECASE,
)
_OPAQUE = re.compile(r"(?=[^\d\s]{0,200}\d)\S{8}|\S{32}")
"""How a value begins that a weak name makes a secret."""

_QUOTE = r"\\{0,15}[\"']"
"""A quotation mark, also of JSON within JSON: each time the backslashes are twice as many and one."""
_VALUE = (
    r"(?:(?P<depth>\\{1,15})\"(?P<escaped>(?:(?!(?<!\\)(?P=depth)\").)*+)|\"(?P<quoted>(?:[^\"\\]++|\\.)*+)"
    r"|'(?P<single>(?:[^'\\]++|\\.)*+)|(?P<bare>[^\s,;&\"'\\]++))"
)
_BYTES = r"(?:b(?=[\"']))?"
"""Python's mark of bytes."""
_BY = (
    rf"(?:{_QUOTE})?(?:\s{{0,3}}(?P<colon>:)(?P<space>\s{{0,3}})|\s{{1,3}}=>?\s{{0,3}}|=>?)"
    rf"(?:[\[({{]\s?(?=b?{_QUOTE}))?{_BYTES}"
)


def _assigned_to(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{names}){_BY}{_VALUE}(?=(?P<goes_on>\s{{1,3}}\w)?)", re.IGNORECASE | re.DOTALL)


_TO_STRONG, _TO_WEAK = _assigned_to(_STRONG), _assigned_to(_WEAK)
_PAIR = re.compile(rf"(?:{_STRONG})[\"'],\s{{0,3}}(?P<bytes>b)?(?=[\"']){_VALUE}[\"']?\s?[)\]]", re.IGNORECASE)
"""A name and its value as two strings, as ASGI servers print headers."""
_HEADER = re.compile(
    rf"authorization(?:{_QUOTE})?\s{{0,3}}[:=,]\s{{0,3}}[\[(]?{_BYTES}(?:{_QUOTE})?"
    r"(?:(?:(?:bearer|basic|digest|token|apikey|negotiate)\s{1,3})(?!\[redacted)(?P<value>[^\s\"'\\;}\]]++)|(?P<other>[^\s\"'\\;}\]]++))",
    re.IGNORECASE,
)
_EDGE = r"(?<![A-Za-z0-9_-])"


def _word(pattern: str) -> re.Pattern[str]:
    """A secret that is a word of its own, known by how it begins."""
    return re.compile(rf"{_EDGE}(?P<value>{pattern})")


_LONG = r"(?=[A-Za-z_-]{0,255}\d)[A-Za-z0-9_-]{20,}+"
"""The rest of a key after its maker's prefix: a word without a digit is a name."""

_RULES: Mapping[str, re.Pattern[str]] = {
    # What the group `value` matches is the secret. A rule is tried on a text that has its word in it, in any case.
    "eyj": _word(r"eyJ[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]{2,}+){1,4}"),  # a JSON Web Token
    "private key": re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?P<value>(?:[^-]++|-(?!----END))++)"),
    "bearer": re.compile(r"(?<![A-Za-z0-9])bearer\s{1,3}(?P<value>(?=[^\d\s]{0,200}\d)[\w.~+/=%:-]{8,}+)", re.IGNORECASE),
    "cookie": re.compile(
        rf"cookie(?:{_QUOTE})?(?:\s{{0,3}}[:=]|(?<=[\"']),)\s{{0,3}}{_BYTES}(?:{_QUOTE})?(?P<value>[^\s\"'\\=;,]{{1,100}}=[^\"'\\]++)",
        re.IGNORECASE,
    ),
    "://": re.compile(r"://[^\s/?#@:\"']{0,256}+:(?P<value>[^\s/?#\"'<>]{1,512})@"),
    "--": re.compile(rf"(?<![\w-])--(?:[a-z]++-){{0,4}}(?:{_STRONG}|{_WEAK})\s{{1,3}}(?P<value>[^\s-]\S*+)", re.IGNORECASE),
    "sig": re.compile(r"[?&](?:x-amz-signature|x-goog-signature|signature|sig)=(?P<value>[^\s&\"'\\]{16,}+)", re.IGNORECASE),
    "akia": _word(r"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "asia": _word(r"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _word(r"gh[pousr]_[A-Za-z0-9]{20,}+")),
    "github_pat_": _word(r"github_pat_[A-Za-z0-9_]{20,}+"),
    "glpat-": _word(rf"glpat-{_LONG}"),
    "xox": _word(r"xox[a-z]-[A-Za-z0-9-]{10,}+"),
    "xapp-": _word(r"xapp-[A-Za-z0-9-]{20,}+"),
    "hooks.slack.com": re.compile(r"hooks\.slack\.com/(?:services|workflows)/(?P<value>[A-Za-z0-9/_-]{20,}+)"),
    "sk-": _word(rf"sk-{_LONG}"),
    **dict.fromkeys(("k_live_", "k_test_"), _word(r"[spr]k_(?:live|test)_[A-Za-z0-9]{10,}+")),
    "whsec_": _word(r"whsec_[A-Za-z0-9+/=]{20,}+"),
    "aiza": _word(r"AIza[A-Za-z0-9_-]{35}"),
    "ya29.": _word(r"ya29\.[A-Za-z0-9_-]{20,}+"),
    **{prefix: _word(prefix + _LONG) for prefix in ("npm_", "pypi-", "hf_", "gsk_", "xai-", "r8_", "dop_v1_", "dckr_pat_")},
    "sg.": _word(r"SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"),
    ":aa": re.compile(r"(?<!\d)(?P<value>\d{8,10}:AA[A-Za-z0-9_-]{32,}+)"),  # a Telegram bot
}
_NAMES = ("passw", "passphrase", "pwd", "secret", "key", "token", "credential")


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Finds each of the words, by its first letter first: in a line without any that takes a third of the time."""
    by_letter = groupby(sorted(words), key=itemgetter(0))
    return re.compile(
        "|".join(f"{re.escape(first)}(?:{'|'.join(re.escape(word[1:]) for word in each)})" for first, each in by_letter)
    )


_SUSPICIOUS = _any_of({*_NAMES, "authorization", *_RULES, r":\/\/"})  # some write / as \/ in JSON


def may_hold_secret(text: str) -> bool:
    """Whether it is worth looking: False for most lines, at little cost.

    Args:
        text: a line as it was printed; if it is JSON, this is also about the fields that it has.
    """
    return _SUSPICIOUS.search(text.lower()) is not None


def redact(text: str) -> str:
    """A text with a mark in the place of each secret that is known as one."""
    words = set(_SUSPICIOUS.findall(text.lower()))
    for word, rule in _RULES.items():
        if word in words:
            text = rule.sub(_masked, text)
    if "authorization" in words:
        text = _HEADER.sub(_header, text)
    if not words.isdisjoint(_NAMES):
        text = _TO_WEAK.sub(_assigned, _TO_STRONG.sub(_assigned, text))
        if "'," in text or '",' in text:
            text = _PAIR.sub(_paired, text)
    return text


def redact_value(value: Any, *, name: str = "") -> Any:
    """A value of a JSON line without its secrets, which are also known by the name of the field that they stand in."""
    match value:
        case dict():
            secret = _kind_of_name(name[-_LONGEST_NAME:]) == "strong"
            return {key: redact_value(inner, name=name if secret and not _is_name(key) else key) for key, inner in value.items()}
        case list():
            return [redact_value(inner, name=name) for inner in value]
        case bool() | None:
            return value
        case str():
            return MARK if _is_secret(name, value) else redact(value)
        case _:
            return MARK if _is_secret(name, str(value)) else value


class KeyLines:
    """The lines of a private key that is printed line by line: that they belong to one, only its first line says."""

    _BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\"']*\Z")
    _WITHIN = re.compile(r"\s*(?:[A-Za-z0-9+/=]{1,100}|[A-Za-z-]{1,20}: \S.{0,80})?\s*")

    def __init__(self) -> None:
        self._left = 0

    def has(self, text: str) -> bool:
        """Whether the next line is one of those; it may also be the one before them."""
        if self._left and self._WITHIN.fullmatch(text):
            self._left -= 1
            return bool(text.strip())
        self._left = _MOST_KEY_LINES if "PRIVATE KEY" in text and self._BEGIN.search(text) else 0
        return False


@lru_cache(4096)
def _kind_of_name(name: str) -> str | None:
    """`strong`, `weak`, or None for a name that says nothing about its value."""
    found = _NAME.search(name)
    return None if found is None else "weak" if found["weak"] else "strong"


def _is_name(name: str) -> bool:
    """Whether a field's name says something about its value."""
    return _kind_of_name(name[-_LONGEST_NAME:]) is not None


def _is_secret(name: str, value: str) -> bool:
    kind = _kind_of_name(name[-_LONGEST_NAME:])
    return kind is not None and _NO_SECRET.fullmatch(value) is None and (kind == "strong" or _OPAQUE.match(value) is not None)


def _masked(found: re.Match[str], group: str = "value") -> str:
    """What was found, with a mark for the secret in it."""
    start, end = found.span(group)
    return found.string[found.start() : start] + MARK + found.string[end : found.end()]


def _assigned(found: re.Match[str]) -> str:
    """`password=...`, `"token": "..."`, `api_key: ...` and the like, unless it is plain that the value is no secret."""
    group = _group_of(found)
    value = found[group]
    in_prose = group == "bare" and found["colon"] and found["space"] and found["goes_on"] and value.isalpha()
    if in_prose or _NO_SECRET.fullmatch(value) or (found.re is _TO_WEAK and not _OPAQUE.match(value)):
        return found[0]
    return _masked(found, group)


def _paired(found: re.Match[str]) -> str:
    """`(b'x-api-key', b'...')`, but not two names beside each other."""
    group = _group_of(found)
    names = not found["bytes"] and found[group].isalpha()
    return found[0] if names or _NO_SECRET.fullmatch(found[group]) else _masked(found, group)


def _group_of(found: re.Match[str]) -> str:
    """The group of _VALUE that has the value."""
    return next(name for name in ("escaped", "quoted", "single", "bare") if found[name] is not None)


def _header(found: re.Match[str]) -> str:
    """`Authorization: Bearer ...`, and one without a scheme unless it is a word of a sentence."""
    if found["value"] is not None:
        return _masked(found)
    return found[0] if _OPAQUE.match(found["other"]) is None else _masked(found, "other")
