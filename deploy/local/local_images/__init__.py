"""The project's images, built on this machine without Docker and without an image registry.

The cluster's commands, the tests and the demo call `build` and load the archive into the node; people use
`python -m local_images build operator`. docs/decisions/20261123-local-images.md says why it is built this way.
"""

from local_images.building import Image, build
from local_images.commands import BuildError

__all__ = ["BuildError", "Image", "build"]
