"""Measures what the operator costs and how soon it tells things, each against a peer in the same run.

    export PYTHONPATH=deploy/local                 (as in the Makefile)
    python -m tests.bench                       all rows
    python -m tests.bench memory                one of them

`rows` says what is measured: one module a row, with a function `measure` that returns figures. `running` gives rows what they
need (a cluster, processes of their own), `probing` is those processes, `figures` is what comes out, `reporting` shows it.
`servers` starts what is compared (ours is in `serving`, and gets its events through `ingesting`), `loading` puts subscribers on
it, and `building` makes the programs in C that both need.
docs/benchmarks.md says how each figure comes about.
"""
