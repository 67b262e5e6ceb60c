"""The page /docs: the OpenAPI document as HTML for people, with nothing that comes from elsewhere and no script.

`documenting` serves it. It reads like a manual: what a stream is, the routes, each event with its fields and an example, the
control frames, the other types. Whatever stands in the document is text and gets escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

STYLE: Final = files(__package__).joinpath("docs.css").read_text(encoding="utf-8")

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style, and nothing else."""

_GATEWAY: Final = "\0gateway\0"
_EVENT_STREAM: Final = "text/event-stream"
_NOT_SHOWN: Final = frozenset({"Message", "Event"})
"""Schemas that only gather others: each of these has its place on the page."""
_CURL_PARAMETERS: Final = ("types", "named")


class DocumentPage:
    """The page of one OpenAPI document, for whatever address the gateway is reached at."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._pieces = _Page(document).html().split(_GATEWAY)

    def html(self, gateway: str) -> bytes:
        """The page, with this address in its examples. It is escaped, but has to be safe to paste into a shell."""
        return escape(gateway).join(self._pieces).encode()


class _Page:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._schemas: Mapping[str, Any] = document["components"]["schemas"]
        self._messages = [_name(reference) for reference in self._schemas["Message"]["discriminator"]["mapping"].values()]

    def html(self) -> str:
        info = self._document["info"]
        events = [name for name in self._messages if name.endswith("Event")]
        frames = [name for name in self._messages if name not in events]
        told = {*self._messages, *_NOT_SHOWN, "StreamItem", "Envelope", *(f"{name[:-5]}Payload" for name in events)}
        types = [name for name in sorted(self._schemas) if name not in told]
        sections = [
            ("about", "What a stream is", [], self._about()),
            ("routes", "URLs", [(_route_id(*route), route[1]) for route in self._routes()], self._all_routes()),
            (
                "events",
                "Events",
                [(name, self._type(name)) for name in ("StreamItem", "Envelope", *events)],
                self._all_events(events),
            ),
            ("frames", "Control frames", [(name, self._type(name)) for name in frames], "".join(map(self._schema, frames))),
            ("types", "Other types", [(name, name) for name in types], "".join(map(self._schema, types))),
        ]
        body = "".join(f'<section id="{id_}"><h2>{_linked(id_, title)}</h2>{html}</section>' for id_, title, _, html in sections)
        title = escape(f"{info['title']} {info['version']}")
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<meta name="color-scheme" content="light dark"><title>{title}: API</title><style>{STYLE}</style></head><body>'
            '<a class="skip" href="#about">Skip to the text</a>'
            f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1><p>{escape(info['summary'])} "
            'For programs: <a href="/openapi.json">openapi.json</a></p></header>'
            f'<div class="columns">{_contents(sections)}<main>{body}</main></div></body></html>\n'
        )

    def _about(self) -> str:
        stream = next(iter(self._event_streams()))
        example = next(iter(stream["examples"].values()))
        return (
            f"{_paragraphs(self._document['info']['description'])}"
            f"{_code(f'curl -N {_GATEWAY}/api/events', label='Try it')}"
            f"{_code(example['serializedValue'], label=example['summary'])}"
        )

    def _event_streams(self) -> Iterable[Mapping[str, Any]]:
        for _, _, operation in self._routes():
            for response in operation["responses"].values():
                yield from (media for name, media in response.get("content", {}).items() if name == _EVENT_STREAM)

    def _routes(self) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
        for path, item in self._document["paths"].items():
            for method, operation in item.items():
                yield method.upper(), path, operation

    def _all_routes(self) -> str:
        return "".join(self._route(*route) for route in self._routes())

    def _route(self, method: str, path: str, operation: Mapping[str, Any]) -> str:
        id_ = _route_id(method, path)
        parameters = operation.get("parameters", [])
        title = f'<span class="method">{method}</span> <code>{escape(path)}</code>'
        parts = [
            f'<article id="{id_}"><h3>{_linked(id_, title)}</h3><p class="summary">{escape(operation["summary"])}</p>',
            _paragraphs(operation.get("description", "")),
            _code("\n".join(_curl_lines(path, parameters, operation)), label="Try it"),
        ]
        if parameters:
            rows = [[_parameter_name(each), self._shape(each["schema"]), _inline(each["description"])] for each in parameters]
            parts.append(_table(("parameter", "value", "meaning"), rows))
        rows = [self._response(status, response) for status, response in operation["responses"].items()]
        return "".join([*parts, _table(("status", "body", "meaning"), rows), "</article>"])

    def _response(self, status: str, response: Mapping[str, Any]) -> list[str]:
        if "$ref" in response:
            response = self._document["components"]["responses"][_name(response["$ref"])]
        content = response.get("content", {})
        bodies = (
            f"<code>{escape(name)}</code> {self._shape(media.get('itemSchema', media.get('schema', {})))}"
            for name, media in content.items()
        )
        headers = "".join(
            f"<br>Header <code>{escape(name)}</code>: {_inline(header['description'])}"
            for name, header in response.get("headers", {}).items()
        )
        return [f"<code>{escape(status)}</code>", "<br>".join(bodies) or "none", _inline(response["description"]) + headers]

    def _all_events(self, events: Sequence[str]) -> str:
        return "".join(map(self._schema, ("StreamItem", "Envelope", *events)))

    def _schema(self, name: str) -> str:
        schema = self._schemas[name]
        own = next(
            (self._schemas[_name(p["$ref"])] for p in schema.get("allOf", []) if not p["$ref"].endswith("/Envelope")), schema
        )
        parts = [
            f'<article id="{escape(name)}"><h3>{_linked(name, f"<code>{escape(self._type(name))}</code>")}</h3>',
            _paragraphs(schema.get("description", "")),
            _values(own),
            self._fields(own),
        ]
        parts += [
            _code(json.dumps(example, ensure_ascii=False, indent=2), label="Example") for example in schema.get("examples", [])
        ]
        return "".join([*parts, "</article>"])

    def _fields(self, schema: Mapping[str, Any]) -> str:
        required = schema.get("required", [])
        rows = [
            [
                f"<code>{escape(name)}</code>{'' if name in required else ' <small>(sometimes)</small>'}",
                self._shape(field),
                _inline(field.get("description", "")),
            ]
            for name, field in schema.get("properties", {}).items()
        ]
        return _table(("field", "value", "meaning"), rows) if rows else ""

    def _type(self, name: str) -> str:
        """What a frame's `type` says, of other schemas their name."""
        mapping = self._schemas["Message"]["discriminator"]["mapping"]
        return next((type_ for type_, reference in mapping.items() if _name(reference) == name), name)

    def _shape(self, schema: Mapping[str, Any]) -> str:
        """What a value may be, in a few words with links."""
        match schema:
            case {"$ref": str(reference)} if "/properties/" in reference:
                within, _, field = reference.partition("/properties/")
                return self._shape(self._schemas[_name(within)]["properties"][field])
            case {"$ref": str(reference)}:
                return self._linked_shape(_name(reference))
            case {"anyOf": list(choices)} | {"oneOf": list(choices)}:
                return " or ".join(self._shape(choice) for choice in choices)
            case {"type": "array", "items": items}:
                return f"list of {self._shape(items)}"
            case {"type": list(kinds)}:
                return " or ".join(self._shape({**schema, "type": kind}) for kind in kinds)
            case _:
                return _simple_shape(schema)

    def _linked_shape(self, name: str) -> str:
        if name not in self._schemas or name in _NOT_SHOWN:
            return escape(name)
        values = self._schemas[name].get("enum", [])
        return f'<a href="#{escape(name)}">{escape(name)}</a>{": " if values else ""}{_list(values)}'


def _simple_shape(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"const": value}:
            return f"<code>{escape(json.dumps(value))}</code>"
        case {"enum": list(values)}:
            return _list(values)
        case {"type": "string", "format": "date-time"}:
            return "time"
        case {"type": str(kind)}:
            return escape(kind) + _bounds(schema)
        case _:
            return "anything"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {low} to {high}"
    return "" if low is None else f" from {low}"


def _curl_lines(path: str, parameters: Sequence[Mapping[str, Any]], operation: Mapping[str, Any]) -> Iterable[str]:
    """Commands that work when they are pasted: for the route, and one for some of its parameters."""
    streaming = any(_EVENT_STREAM in response.get("content", {}) for response in operation["responses"].values())
    examples = {each["name"]: each["example"] for each in parameters}
    url = f"{_GATEWAY}{re.sub(r'{(.*?)}', lambda match: str(examples[match[1]]), path)}"
    command = "curl -N" if streaming else "curl"
    yield f"{command} {url}"
    if streaming:
        query = {name: ",".join(value) if isinstance(value := examples[name], list) else value for name in _CURL_PARAMETERS}
        yield f"{command} '{url}?{urlencode(query, safe=',')}'"
        yield f"curl -H 'Accept: application/json' {url}"


def _contents(sections: Sequence[tuple[str, str, Sequence[tuple[str, str]], str]]) -> str:
    def entry(id_: str, title: str, below: str = "") -> str:
        return f'<li><a href="#{escape(id_)}">{escape(title)}</a>{below}</li>'

    entries = (
        entry(id_, title, f"<ul>{''.join(entry(*child) for child in children)}</ul>" if children else "")
        for id_, title, children, _ in sections
    )
    return f'<nav aria-label="Contents"><ul>{"".join(entries)}</ul></nav>'


def _values(schema: Mapping[str, Any]) -> str:
    values = _list(schema.get("enum", []))
    return f"<p>One of {values}.</p>" if values else ""


def _list(values: Iterable[object]) -> str:
    return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)


def _parameter_name(parameter: Mapping[str, Any]) -> str:
    where = {"query": "query", "path": "path", "header": "header"}[parameter["in"]]
    return f"<code>{escape(parameter['name'])}</code> <small>({where})</small>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _code(text: str, *, label: str) -> str:
    return f'<figure><figcaption>{escape(label)}</figcaption><pre tabindex="0"><code>{escape(text)}</code></pre></figure>'


def _linked(id_: str, html: str) -> str:
    return f'<a href="#{escape(id_)}">{html}</a>'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph)


def _inline(text: str) -> str:
    """Text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[1]


def _route_id(method: str, path: str, _operation: object = None) -> str:
    return "-".join(re.findall(r"\w+", f"{method} {path}")).lower()
