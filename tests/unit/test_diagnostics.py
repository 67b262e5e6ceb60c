"""Log lines of the operator: untrusted text stays on its line and out of the terminal's control."""

import json
import logging

import pytest

from mcp_operator.diagnostics import configure_logging, printable

HOSTILE = "weather\n2026 INFO forged\x1b[2J\x00\x9b\u2028end"


def test_printable_text_has_no_control_characters() -> None:
    assert printable(HOSTILE) == r"weather\n2026 INFO forged\x1b[2J\x00\x9b\u2028end"
    assert printable("naïve 天気 ☂") == "naïve 天気 ☂"


@pytest.mark.parametrize("form", ["text", "json"])
def test_one_message_is_one_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logging(form=form, level="info")  # type: ignore[arg-type]  # parametrised
        logging.getLogger("story").info("server %s", HOSTILE)
    finally:
        root.handlers[:], root.level = before
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    if form == "json":
        assert json.loads(line)["msg"] == f"server {HOSTILE}"
    else:
        assert line.endswith(r"\u2028end")
