"""What servers use and how much they are used, read while somebody listens. Reading order: `readings` says what is read of an
instance and why something isn't; `usage`, `quantities` and `exposition` read answers, `summing` makes the event of them, all
without I/O; `scraping` asks pods, `sampling` says when and asks metrics.k8s.io.
"""
