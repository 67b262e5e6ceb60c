"""What the history of metrics relies on: where an event's figures stand."""

from mcp_operator.gateway.charting import AVERAGED, COUNTED
from mcp_operator.model.events import MetricsPayload


def test_the_figures_of_the_whole_server_stand_before_its_instances() -> None:
    aliases = [field.alias for field in MetricsPayload.model_fields.values()]
    assert {*AVERAGED, *COUNTED} <= set(aliases[: aliases.index("perInstance")])
