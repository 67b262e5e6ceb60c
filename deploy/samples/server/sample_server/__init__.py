"""A small MCP server that can get into trouble on demand, to try the operator with.

It serves two tools over streamable HTTP on /mcp and its figures on /metrics, writes its log to standard output, and fails in the
ways that `settings` lists. Nothing in it depends on the operator: it is what a user's own server looks like to it.
"""
