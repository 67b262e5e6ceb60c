"""The vocabulary that every room speaks: servers, statuses, causes, operations, events. No I/O."""
