"""Records tables for the evaluator: what a real cluster's objects go through in a story, and what is told of it.

    export PYTHONPATH=deploy/local                 (as in the Makefile)
    python -m tests.recorder                    all stories
    python -m tests.recorder new-image          one of them
    python -m tests.recorder --cases            the causes' cases, of each failure in tests/failures.py
    python -m tests.recorder --retell           what the evaluator tells of the recorded moments now

`stories` says what a person does, `stage` does it with kubectl on a cluster of its own and watches, `tables` is the form in which
tests/unit/rollout/*.yaml keep it and by which the tests replay it. A recording is read before it is kept: the recorder writes
what the evaluator tells today, and only a reader knows whether that is what it should tell.
"""
