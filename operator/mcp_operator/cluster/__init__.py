"""Kubernetes in and out. Reading order: `connecting` asks the API server, `watching` and `reflecting` hold what it answers,
`grouping` sorts that by server, `observing` evaluates and tells it; `triggering` and `reconciling` say when, `applying` writes
the children, `reporting` the status, `recording` the Kubernetes Events; `running` starts and stops them all.
"""
