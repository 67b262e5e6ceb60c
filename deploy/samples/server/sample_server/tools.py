"""The MCP server: two tools, and the count and duration of what it was asked. `serving` calls `application`."""

import asyncio
import logging
import time
from typing import Annotated, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

log = logging.getLogger("sample_server")

# Names, labels and buckets are OpenTelemetry's semantic conventions for MCP servers, as Prometheus writes them.
DURATION = Histogram(
    "mcp_server_operation_duration_seconds",
    "How long the server took to answer a request.",
    ("mcp_method_name", "gen_ai_tool_name", "error_type"),
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
)
REQUESTS = Counter("mcp_requests", "Requests that the server has answered.", ("mcp_method_name",))
ACTIVE = Gauge("mcp_server_active_requests", "Requests that the server works on now.")

_METHODS = frozenset({"initialize", "ping", "server/discover", "tools/call", "tools/list"})
"""Methods with a time series of their own; a client can make up any number of others."""


async def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


async def count_slowly(
    ctx: Context,
    steps: Annotated[int, Field(ge=1, le=1000, description="how far to count")] = 5,
    seconds: Annotated[float, Field(ge=0, le=3600, description="how long the whole count takes")] = 5.0,
) -> str:
    """Count to a number, and report progress at each step."""
    for step in range(1, steps + 1):
        await asyncio.sleep(seconds / steps)
        log.info("counted", extra={"step": step, "steps": steps})
        await ctx.report_progress(step, steps, f"step {step} of {steps}")
    return f"Counted to {steps} in {seconds:g} s."


TOOLS = {tool.__name__: tool for tool in (add, count_slowly)}


async def measure(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Count, time and log each request; a notification, which has no answer, passes through."""
    if ctx.request_id is None:
        return await call_next(ctx)
    method = ctx.method if ctx.method in _METHODS else "other"
    tool = _tool(ctx)
    error = ""
    started = time.perf_counter()
    try:
        with ACTIVE.track_inprogress():
            result = await call_next(ctx)
        if isinstance(result, dict) and result.get("isError") is True:
            error = "tool_error"
    except MCPError as failure:
        error = str(failure.error.code)
        raise
    except BaseException as failure:
        error = type(failure).__name__
        raise
    else:
        return result
    finally:
        seconds = time.perf_counter() - started
        REQUESTS.labels(method).inc()
        DURATION.labels(method, tool, error).observe(seconds)
        fields = {"method": ctx.method[:100], "tool": tool, "seconds": round(seconds, 3), "error": error}
        log.log(logging.WARNING if error else logging.INFO, "request", extra={n: v for n, v in fields.items() if v != ""})


def _tool(ctx: ServerRequestContext[Any, Any]) -> str:
    if ctx.method != "tools/call":
        return ""
    name = (ctx.params or {}).get("name")
    return name if isinstance(name, str) and name in TOOLS else "other"


async def metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def application(version: str) -> Starlette:
    """The ASGI application: MCP on /mcp, Prometheus' text format on /metrics."""
    server = MCPServer("sample-server", version=version, instructions="Tools to try an MCP client with.", middleware=[measure])
    for tool in TOOLS.values():
        server.add_tool(tool)
    server.custom_route("/metrics", methods=["GET"])(metrics)
    # With a loopback host the SDK would refuse every request that names a pod or a Service: 421 Invalid Host header.
    return server.streamable_http_app(host="0.0.0.0")  # noqa: S104 - a pod is reached by its own address
