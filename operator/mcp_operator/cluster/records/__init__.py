"""Records of rollouts and scalings: one MCPServerRollout object each, read back by a reflector."""
