"""`python calling.py URL`: call tools of the sample server, as an MCP client does.

A process of its own, because it runs inside the cluster's network namespace, where Services have their addresses.
"""

import argparse
import asyncio

from mcp import Client

SECONDS = 30


async def call(url: str, *, calls: int, failing: int) -> None:
    """Call the tool `add`, then another one with an argument that it refuses."""
    async with asyncio.timeout(SECONDS), Client(url) as client:
        for _ in range(calls):
            await client.call_tool("add", {"a": 2, "b": 3})
        for _ in range(failing):
            await client.call_tool("count_slowly", {"steps": 0})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Call tools of the sample server.")
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, default=1, help="calls that succeed (default: 1)")
    parser.add_argument("--failing", type=int, default=0, help="calls that fail")
    arguments = parser.parse_args()
    asyncio.run(call(arguments.url, calls=arguments.calls, failing=arguments.failing))
