"""A Kubernetes operator for MCP servers that tells what happens to them, as it happens.

Read the rooms in the order that data takes: `model` is the vocabulary, `workload` turns an MCPServer into a Deployment and a
Service, `rollout` turns what the API server holds into a status and into events, `eventlog` keeps those events in one order,
`cluster` is Kubernetes in and out, `gateway` serves the log over HTTP, and `app` starts and stops them all.
"""
