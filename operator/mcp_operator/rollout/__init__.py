"""The truth about a rollout: pure functions from the API server's objects to a state, and from two states to events.

Data goes one way through it, and `cluster` calls each step:

    Observation --evaluate--> State --tell--> events for the log
                                    --status_of--> the MCPServer's status --restore--> State, after a restart

Time is an argument, nothing waits, nothing is read or written: a table of objects and expected events tests all of it.
"""
