"""`python -m mcp_operator` is the same as the installed command."""

from mcp_operator.cli import main

main()
