"""Secrets in lines as programs print them: what is redacted, what stays, and that hostile lines cost no time.

The keys are made up: right in form, and nobody's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster.podlogs.interpreting import Interpreter
from mcp_operator.cluster.podlogs.lines import Line
from mcp_operator.cluster.podlogs.parsing import parse
from mcp_operator.cluster.podlogs.redacting import MARK, may_hold_secret, redact
from mcp_operator.model.spec import LogFormat, LogsSpec
from tests.kubelet import at

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ3ZWF0aGVyIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r"
LONG = "0123456789abcdefABCDEF0123456789abcdefAB"
SK = "sk-" + "proj-" + LONG
PEM = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
KEY = ["-----BEGIN PRIVATE KEY-----", PEM, "  AbCd+/==", "-----END PRIVATE KEY-----"]

REDACTED = [
    # By a name before them; `…` stands for the mark.
    ("password=hunter2", "password=…"),
    ("{'user': ['bob'], 'password': ['hunter2']}", "{'user': ['bob'], 'password': ['…']}"),
    ("map[password:[hunter2] user:[bob]]", "map[password:… user:[bob]]"),
    ("map[Authorization:[Basic dXNlcjpwYXNz] Accept:[*/*]]", "map[Authorization:[Basic …] Accept:[*/*]]"),
    ("(b'authorization', b'Basic dXNlcjpwYXNz')", "(b'authorization', b'Basic …')"),
    ("DB_PASSWORD=hunter2 DB_HOST=db", "DB_PASSWORD=… DB_HOST=db"),
    ("dbPassword: hunter2", "dbPassword: …"),
    ("connecting with password 'x' and password='hunter two'", "connecting with password 'x' and password='…'"),
    ('level=info password="hun\\"ter2" user=bob', 'level=info password="…" user=bob'),
    ("Server=db;Uid=sa;Pwd=hunter2;Timeout=5", "Server=db;Uid=sa;Pwd=…;Timeout=5"),
    ("{'user': 'bob', 'password': 'hunter2'}", "{'user': 'bob', 'password': '…'}"),
    ('sent {\\"password\\":\\"hunter2\\",\\"user\\":\\"bob\\"}', 'sent {\\"password\\":\\"…\\",\\"user\\":\\"bob\\"}'),
    (r'sent {\"password\":\"hun\\\"ter2\",\"user\":\"bob\"}', r'sent {\"password\":\"…\",\"user\":\"bob\"}'),
    (r'sent {\\\"password\\\":\\\"hunter2\\\",\\\"user\\\":7}', r'sent {\\\"password\\\":\\\"…\\\",\\\"user\\\":7}'),
    (r"{'password': 'hun\'ter2', 'user': 'bob'}", "{'password': '…', 'user': 'bob'}"),
    ("{b'password': b'hunter2'}", "{b'password': b'…'}"),
    ("[(b'x-api-key', b'abcdef'), (b'accept', b'*/*')]", "[(b'x-api-key', b'…'), (b'accept', b'*/*')]"),
    ("[['x-api-key', 'abc123'], ['accept', '*/*']]", "[['x-api-key', '…'], ['accept', '*/*']]"),
    ("(b'cookie', b'session=abc; theme=dark')", "(b'cookie', b'…')"),
    ("password=$(hunter2 user=bob", "password=… user=bob"),
    ("password=${DB_PASSWORD:-hunter2}", "password=…"),
    ("password=<hunter2>", "password=…"),
    ("password = hunter", "password = …"),
    ("password: hunter, user: bob", "password: …, user: bob"),
    ("passphrase => 'open sesame'", "passphrase => '…'"),
    ("API_KEY=abc", "API_KEY=…"),
    ("x-api-key: abcdef", "x-api-key: …"),
    ("apiKey: 'abcdef'", "apiKey: '…'"),
    ("client_secret=abcdef&grant_type=x", "client_secret=…&grant_type=x"),
    (f"aws_secret_access_key = {LONG}", "aws_secret_access_key = …"),
    ("GET /forecast?city=Berlin&api_key=abc HTTP/1.1", "GET /forecast?city=Berlin&api_key=… HTTP/1.1"),
    ("GET /blob?sp=r&sig=abcdefghijk%2Blmnop%3D HTTP/1.1", "GET /blob?sp=r&sig=… HTTP/1.1"),
    ("access_token=ya29-abc-12345", "access_token=…"),
    ("token: 5f4dcc3b5aa765d6", "token: …"),
    ("secret=12345678", "secret=…"),
    ("secret: api_key=abc", "secret: api_key=…"),
    ("starting --db-password hunter2 --port 8080", "starting --db-password … --port 8080"),
    ("Authorization: Bearer abc", "Authorization: Bearer …"),
    ("authorization: Basic Ym9iOmh1bnRlcjI=", "authorization: Basic …"),
    ("headers={'Authorization': 'Bearer abc'}", "headers={'Authorization': 'Bearer …'}"),
    ("Authorization: 5f4dcc3b5aa765d6", "Authorization: …"),
    ("curl -H 'Cookie: session=abc; theme=dark'", "curl -H 'Cookie: …'"),
    ("Set-Cookie: session=abc; HttpOnly", "Set-Cookie: …"),
    # By what they look like.
    ("got bearer abcdef123456", "got bearer …"),
    (f"token is {JWT}.", "token is …."),
    ("postgres://bob:hunter2@db:5432/weather", "postgres://bob:…@db:5432/weather"),
    ("postgres://bob:hun@ter2@db/weather", "postgres://bob:…@db/weather"),
    ("redis://:hunter2@cache:6379/0", "redis://:…@cache:6379/0"),
    ("AKIAIOSFODNN7EXAMPLE", "…"),
    ("using ASIAIOSFODNN7EXAMPLE.", "using …."),
    (f"gh{'p'}_{LONG[:36]}", "…"),
    (f"github_{'pat'}_11ABCDEFG0_{LONG}", "…"),
    (f"glpat-{LONG[:20]}", "…"),
    (f"xox{'b'}-123456789012-{LONG[:24]}", "…"),
    (f"https://hooks.slack.com/services/T00000000/B00000000/{LONG[:24]}", "https://hooks.slack.com/services/…"),
    (SK, "…"),
    (f"invalid key {SK}, see https://platform.example", "invalid key …, see https://platform.example"),
    (f"sk-{'ant'}-api03-{LONG}", "…"),
    (f"sk_{'live'}_{LONG[:24]}", "…"),
    (f"AIza{LONG[:35]}", "…"),
    (f"hf_{LONG[:34]}", "…"),
    (f"npm_{LONG[:36]}", "…"),
    (f"SG.{LONG[:22]}.{LONG}", "…"),
    (f"bot123456789:AA{LONG[:33]}", "bot…"),
    (f"{KEY[0]}\\n{PEM}\\n{KEY[-1]}", f"{KEY[0]}…{KEY[-1]}"),
]  # fmt: skip

STAYS = [
    "6b1f6a52-5d2c-4b1f-9a35-0c8d1f4f7a11",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
    "containerd://7d97b9dfc6c5a0d3e2f1b4a5968778695a4b3c2d1e0f",
    "2026-11-23 09:00:00,123 - weather.forecast - INFO - no answer",
    'INFO:     127.0.0.1:40312 - "POST /mcp HTTP/1.1" 200 OK',
    "https://api.example/v1/cities/berlin@home?next=7",
    "https://host:8080/path?email=bob@example.com",
    "max_tokens=4096 prompt_tokens: 123456789",
    "unexpected token: identifier",
    "token: }",
    "token=none token=5",
    "progressToken: 5f4dcc3b5aa765d6",
    "next_page_token=5f4dcc3b5aa765d6",
    "Invalid password: must have eight letters",
    "password is not set",
    "fields = ('password', 'username') or ['api_key', 'city']",
    "password=$(DB_PASSWORD) password='<not set>'",
    "password=*** password=<hidden> password=${DB_PASSWORD} password= user=bob",
    f"password={MARK}",
    "PWD=/app OLDPWD=/",
    "bearer token is missing, bearer authentication failed",
    "Authorization: required",
    "authorization failed for user bob",
    "primary_key=7 key=value sort-key: name cache_key=forecast-berlin-12",
    "kubernetes secret default/weather-tls not found, secret=weather-tls",
    "task-0123456789abcdef0123 risk-free-long-name-0123456789",
    "scikit sk-learn-like-name-of-many-letters",
    "cookie: none",
    "-----BEGIN CERTIFICATE-----",
    "eyJ is how a token begins",
    "a -- b --key --token",
    "",
]


@pytest.mark.parametrize(("line", "told"), REDACTED)
def test_a_secret_is_redacted_and_the_rest_of_its_line_stays(line: str, told: str) -> None:
    expected = told.replace("…", MARK)
    assert parse(line, LogFormat.TEXT, redacted=True).msg == expected
    assert parse(f"09:00:00 ERROR {line}", LogFormat.AUTO, redacted=True).msg == f"09:00:00 ERROR {expected}"
    assert parse(json.dumps({"msg": line, "a": [{"b": line}]}), LogFormat.AUTO, redacted=True).fields == {"a": [{"b": expected}]}
    assert redact(expected) == expected, "once is enough"


@pytest.mark.parametrize("line", STAYS)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redact(line) == line


def test_nothing_is_redacted_where_the_server_does_not_want_it() -> None:
    line = Line(at(0), "password=hunter2", truncated=False)
    for redacts, told in ((True, f"password={MARK}"), (False, "password=hunter2")):
        parsed, _ = Interpreter().read(line, LogsSpec(redact=redacts), key="1")
        assert parsed.msg == told


FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"password": "hunter2", "user": "bob"}, {"password": MARK, "user": "bob"}),
    ({"dbPassword": 12345}, {"dbPassword": MARK}),
    ({"headers": {"authorization": "abc", "Set-Cookie": ["a"]}}, {"headers": {"authorization": MARK, "Set-Cookie": [MARK]}}),
    ({"api_key": None, "password": "", "secret_key": False}, {"api_key": None, "password": "", "secret_key": False}),
    ({"token": "5f4dcc3b5aa765d6", "tokens": 500, "max_token": 4096}, {"token": MARK, "tokens": 500, "max_token": 4096}),
    ({"token": "short"}, {"token": "short"}),
    ({"error": "401 for https://u:p@host/"}, {"error": f"401 for https://u:{MARK}@host/"}),
    ({"key": "berlin", "keys": ["a"]}, {"key": "berlin", "keys": ["a"]}),
    ({"password": {"value": "hunter2"}}, {"password": {"value": MARK}}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), FIELDS)
def test_of_a_json_line_a_field_is_redacted_by_its_name_too(fields: dict[str, Any], told: dict[str, Any]) -> None:
    parsed = parse(json.dumps({"level": "error", "msg": "no", **fields}), LogFormat.AUTO, redacted=True)
    assert (parsed.level, parsed.msg, parsed.fields) == ("error", "no", told)


@pytest.mark.parametrize("fields", [{"password": ["hunter2"]}, {"cookie": "abc123secretvalue"}, {"authorization": "hunter2"}])
def test_a_json_line_without_a_message_is_redacted_by_the_names_of_its_fields(fields: dict[str, Any]) -> None:
    said = parse(json.dumps(fields), LogFormat.AUTO, redacted=True).msg
    assert json.loads(said) == {name: [MARK] if isinstance(value, list) else MARK for name, value in fields.items()}


def test_a_json_line_without_a_message_is_redacted_as_it_is() -> None:
    parsed = parse('{"user":"bob","password":"hun\\"ter2","url":"http:\\/\\/u:p@h"}', LogFormat.AUTO, redacted=True)
    assert parsed.msg == f'{{"user":"bob","password":"{MARK}","url":"http://u:{MARK}@h"}}'
    assert parsed.fields == {"user": "bob", "password": MARK, "url": f"http://u:{MARK}@h"}


def test_a_secret_that_would_be_cut_is_redacted_first() -> None:
    parsed = parse("x" * (16 * 1024 - 20) + f" {JWT}", LogFormat.AUTO, redacted=True)
    assert "eyJ" not in parsed.msg


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        pytest.param([*KEY, "done"], [KEY[0], MARK, MARK, KEY[3], "done"], id="a whole key"),
        pytest.param([*KEY[:2], "what else is new?", PEM], [KEY[0], MARK, "what else is new?", PEM], id="one that breaks off"),
        pytest.param(
            ["key: -----BEGIN RSA PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED", "", PEM],
            ["key: -----BEGIN RSA PRIVATE KEY-----", MARK, "", MARK],
            id="one with headers",
        ),
        pytest.param(["-----BEGIN CERTIFICATE-----", PEM], ["-----BEGIN CERTIFICATE-----", PEM], id="a certificate is no secret"),
    ],
)
def test_a_private_key_is_redacted_line_by_line(printed: list[str], told: list[str]) -> None:
    interpreter = Interpreter()
    said = [interpreter.read(Line(at(0), text, truncated=False), LogsSpec(), key="1")[0].msg for text in printed]
    assert said == told


HOSTILE = {
    "beginnings of tokens": "eyJ" * 20_000,
    "beginnings of tokens with points": "eyJaaaaaaaa." * 5_000,
    "names without values": "password" * 8_000,
    "names with open quotes": 'password="' * 6_000,
    "names with escapes": 'password=\\"' * 5_000,
    "names with deeper escapes": 'password=\\\\\\"' * 4_000,
    "a name with backslashes": 'password="' + "\\" * 60_000,
    "an open value with escapes": 'password=\\"' + "\\\\\\" * 20_000,
    "pairs": "('password','" * 5_000,
    "names with spaces": "password = " * 6_000,
    "spaces": "password" + " " * 60_000,
    "urls": "://a:" * 12_000,
    "one url": "://a:" + "b" * 60_000,
    "colons": "://" + ":" * 60_000,
    "options": "--a-a-a-a-" * 6_000,
    "one option": "--" + "a" * 60_000,
    "bearers": "bearer " * 9_000,
    "one bearer": "bearer " + "a" * 60_000,
    "keys": "-----BEGIN PRIVATE KEY-----" * 2_000,
    "dashes": "-----BEGIN PRIVATE KEY-----" + "-" * 60_000,
    "cookies": "cookie: a=" * 6_000,
    "headers": "authorization: basic " * 3_000,
    "prefixes": "sk-" * 20_000,
    "prefixes with names": " sk-aaaaaaaaaaaaaaaaaaaaaaaa" * 2_000,
    "digits": "1" * 60_000 + ":AA",
    "slack": "xoxb-" * 12_000,
    "progress": "progresstoken=" * 4_000,
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_line_made_to_take_time_takes_as_much_as_its_length_asks_for(line: str) -> None:
    """A pattern that isn't linear takes minutes; the bound is far above what a busy machine makes of a linear one."""
    assert may_hold_secret(line)
    began = time.process_time()
    redact(line)
    assert time.process_time() - began < 5


_PART = st.text("abcdefgxyzQ0123456789", min_size=6, max_size=12).map(lambda text: f"s3{text}")
SECRETS = st.tuples(_PART, st.sampled_from(["", "'", '"', "\\", "\\'", '\\"', " ", "}", "$(", ",", "%"]), _PART)
"""Two words with something between them that a rule might stop at."""
FORMS = {
    "a JSON line": lambda secret: json.dumps({"msg": "sent", "password": secret, "user": "bob"}),
    "a JSON line without a message": lambda secret: json.dumps({"password": {"value": secret}}),
    "JSON in a text": lambda secret: "sent " + json.dumps({"user": "bob", "api_key": secret}),
    "JSON in a JSON line": lambda secret: json.dumps({"msg": json.dumps({"password": secret})}),
    "JSON in JSON in a text": lambda secret: "sent " + json.dumps(json.dumps({"password": secret, "user": "bob"})),
    "JSON three times in a text": lambda secret: "sent " + json.dumps(json.dumps(json.dumps({"password": secret}))),
    "a dict of Python": lambda secret: f"sent {({'password': secret, 'user': 'bob'})!r}",
    "a list in a dict of Python": lambda secret: f"sent {({'password': [secret]})!r}",
    "a dict of bytes": lambda secret: f"sent {({b'password': secret.encode()})!r}",
    "a tuple of bytes": lambda secret: f"headers {[(b'x-api-key', secret.encode()), (b'accept', b'*/*')]!r}",
    "logfmt": lambda secret: f"level=info password={json.dumps(secret)} user=bob",
    "a bearer token": lambda secret: f"Authorization: Bearer {quote(secret, safe='')}",
    "basic credentials": lambda secret: f"(b'authorization', b'Basic {quote(secret, safe='')}')",
    "a URL": lambda secret: f"postgres://bob:{quote(secret, safe='')}@db/weather",
    "a query": lambda secret: f"GET /forecast?api_key={quote(secret, safe='')}&city=Berlin",
    "an option": lambda secret: f"starting --db-password {quote(secret, safe='')} --port 8080",
    "a variable": lambda secret: f"DB_PASSWORD={quote(secret, safe='')} DB_HOST=db",
    "a cookie": lambda secret: f"(b'cookie', b'session={quote(secret, safe='')}')",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(secret=SECRETS)
def test_a_secret_in_a_known_form_never_shows_whatever_it_consists_of(
    form: Callable[[str], str], secret: tuple[str, str, str]
) -> None:
    line = form("".join(secret))
    parsed = parse(line, LogFormat.AUTO, redacted=True)
    shown = parsed.msg + json.dumps(parsed.fields)
    assert secret[0] not in shown, line
    assert secret[2] not in shown, line


@given(st.text(), st.sampled_from(["password=", "token: ", "Bearer ", "://u:", "eyJ", '"api_key":"']), st.text())
def test_whatever_is_printed_is_survived(before: str, word: str, after: str) -> None:
    redact(before + word + after)
