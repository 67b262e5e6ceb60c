"""A local cluster with the operator and a sample server in it: what `make up` leaves running and `make demo` tells a story with.

`stack` brings it up, `demo` acts in it, `story` finds the acts again in the recorded event stream.
"""
