"""The event log: the ordered, bounded history of events that every stream reads. No Kubernetes, no HTTP."""
