"""Kubernetes in and out. Reading order: `watching` and `reflecting` hold what the API server answers,
`grouping` sorts that by server, `observing` evaluates and tells it; `triggering` and `reconciling` say when, `applying` writes
the children, `reporting` the status, `recording` the Kubernetes Events; `podlogs` and `podmetrics` tell what servers print and
use; `running` starts and stops them all.
"""
