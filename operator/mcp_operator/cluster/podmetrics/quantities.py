"""Kubernetes' quantities (500m, 256Mi, 1e3) as exact numbers. No I/O."""

from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity

_LARGEST = 2**63 - 1
"""No quantity is larger (k8s.io/apimachinery/pkg/api/resource/quantity.go)."""


def read_quantity(value: object) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: it isn't a quantity, or one larger than any that Kubernetes knows.
    """
    quantity = Decimal(parse_quantity(value))  # type: ignore[no-untyped-call]  # no annotations there
    if not quantity.is_finite() or abs(quantity) > _LARGEST:
        raise ValueError(f"{value!s:.64} is not a quantity")
    return quantity
