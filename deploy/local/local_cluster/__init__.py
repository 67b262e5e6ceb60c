"""A real Kubernetes cluster on one Linux machine, without Docker and without an image registry.

Every command, test and demo of the project that needs a cluster starts one through `Cluster`; people use
`python -m local_cluster`. docs/decisions/20261123-local-cluster.md says why it is built this way.
"""

from local_cluster.cluster import Cluster
from local_cluster.errors import ClusterError
from local_cluster.status import ComponentStatus

__all__ = ["Cluster", "ClusterError", "ComponentStatus"]
