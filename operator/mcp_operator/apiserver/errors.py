"""What can go wrong between us and the API server, as one exception that names status, reason and fields.

`connecting` raises it; everybody who asks the API server branches on its properties and never on HTTP libraries' exceptions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mcp_operator.model.base import Object

_MESSAGE_LIMIT = 2048
_CAUSES_LIMIT = 16
_CONTENT_AT_FAULT = ("failed to create typed patch object", "failed to convert new object")
_TYPED_PROBLEM = re.compile(r"(?:^|[ \n])\.([^\s:]+): ([^\n]+)")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that the API server refuses, and why."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(Exception):
    """The API server refused a request, failed at it, or couldn't be asked.

    Attributes:
        status: the HTTP status, None when there was no usable answer.
        reason: Kubernetes' word for it (metav1.Status `reason`: NotFound, Conflict, Invalid, Forbidden ...), or our own where
            the answer has none: Unreachable, TimedOut, Truncated, Malformed, or the HTTP reason phrase.
        message: a sentence, at most 2,048 characters.
        causes: the fields that are at fault, at most 16.
    """

    def __init__(self, *, status: int | None, reason: str, message: str, causes: tuple[FieldError, ...] = ()) -> None:
        self.status = status
        self.reason = reason
        self.message = message[:_MESSAGE_LIMIT]
        self.causes = causes[:_CAUSES_LIMIT]
        super().__init__(f"{self.reason}: {self.message}" if status is None else f"{status} {self.reason}: {self.message}")

    @property
    def gone(self) -> bool:
        """The object, or the kind, isn't there."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """A precondition (uid, resourceVersion, field ownership) didn't hold, or the object exists already."""
        return self.status == 409

    @property
    def expired(self) -> bool:
        """The resourceVersion or the continue token is older than what the API server keeps."""
        return self.status == 410

    @property
    def unauthorized(self) -> bool:
        """The credentials aren't accepted (any more)."""
        return self.status == 401

    @property
    def forbidden(self) -> bool:
        """The operator's rights don't reach so far (or, right after an API server's start, aren't known to it yet)."""
        return self.status == 403

    @property
    def in_going_namespace(self) -> bool:
        """Nothing new may be made in the namespace, because it is being deleted (admission plugin NamespaceLifecycle)."""
        return self.status == 403 and any(cause.field == "metadata.namespace" for cause in self.causes)

    @property
    def refused(self) -> bool:
        """A definite no to this content: asking the same again makes sense only after something has changed."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in {401, 404, 408, 409, 410, 429}

    def of_apply(self) -> ApiError:
        """The same, as a refusal where an apply's content is at fault though the API server takes the blame.

        A field that the schema doesn't know, or of another type, is answered by 500 and a sentence
        (k8s.io/apimachinery/pkg/util/managedfields/internal/structuredmerge.go).
        """
        if self.status != 500 or not self.message.startswith(_CONTENT_AT_FAULT):
            return self
        causes = tuple(FieldError(field, problem) for field, problem in _TYPED_PROBLEM.findall(self.message))
        message = "; ".join(map(str, causes)) or self.message
        return ApiError(status=422, reason="Invalid", message=message, causes=causes)

    @classmethod
    def from_status(cls, answer: Any, *, status: int, reason: str) -> ApiError:
        """Read a metav1.Status, as the body of an error answer or as the object of a watch's ERROR line.

        Args:
            answer: the parsed JSON, of any shape: proxies answer too.
            status, reason: what to say where the answer itself doesn't.
        """
        if not (isinstance(answer, dict) and answer.get("kind") == "Status"):
            return cls(status=status, reason=reason, message="the answer is not from a Kubernetes API server")
        details: Object = answer.get("details") or {}
        return cls(
            status=answer.get("code") or status,
            reason=answer.get("reason") or reason,
            message=answer.get("message") or "no message",
            causes=tuple(
                FieldError(field=cause.get("field") or "", message=cause.get("message") or cause.get("reason") or "")
                for cause in details.get("causes") or ()
            ),
        )
