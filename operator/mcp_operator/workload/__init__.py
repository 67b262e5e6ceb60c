"""From an MCPServer to its children: pure functions that make the Deployment and the Service."""
