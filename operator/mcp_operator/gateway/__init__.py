"""The HTTP side: streams, pages and snapshots of the event log for subscribers."""
