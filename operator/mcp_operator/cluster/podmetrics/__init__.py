"""What servers use and how much they are used, read while somebody listens. Reading order: `readings` says what is read of an
instance and why something isn't; `usage`, `quantities`, `series` and `exposition` read answers, `rating` and `summing` make the
event of them, all without I/O; `scraping` asks pods, `asking` metrics.k8s.io, `sampling` says when.
"""
