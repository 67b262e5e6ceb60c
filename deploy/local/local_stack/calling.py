"""`python calling.py URL`: call a tool of the sample server, as an MCP client does.

A process of its own, because it runs inside the cluster's network namespace, where Services have their addresses.
"""

import asyncio
import sys

from mcp import Client

SECONDS = 30


async def call(url: str) -> None:
    """Call the tool `add` once."""
    async with asyncio.timeout(SECONDS), Client(url) as client:
        await client.call_tool("add", {"a": 2, "b": 3})


if __name__ == "__main__":
    asyncio.run(call(sys.argv[1]))
