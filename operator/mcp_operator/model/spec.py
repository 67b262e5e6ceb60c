"""The MCPServer resource as people write it: the one source of the CustomResourceDefinition and of what the operator reads.

`crd` makes the schema that the API server checks, `workload` the children. Field docstrings are what `kubectl explain` shows.
Defaults are filled in by the API server; the same defaults hold here for objects that were stored before a field existed.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Self, TypeAlias

import pydantic
from pydantic import ConfigDict, Field

from mcp_operator.model.base import Object, SpecModel
from mcp_operator.model.containers import Argument, Env, EnvFrom, ImagePullSecrets, ResourceRequirements
from mcp_operator.model.schema import ANY_OBJECT, Rule, int_or_string, with_rules
from mcp_operator.model.servers import ServerName
from mcp_operator.model.workload_ref import WorkloadRef, rules

GROUP: Final = "mcp-operator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "MCPServer"
PLURAL: Final = "mcpservers"

NAME_LENGTH: Final = 52
"""Longest name of a server: names of pods and values of labels are made from it and end at 63."""


DEFAULT_HISTORY_LIMIT: Final = 10
"""Records of operations that are kept of a server whose spec doesn't say how many."""


class InvalidSpecError(ValueError):
    """A spec that the API server has accepted and that can't be carried out all the same.

    `reason` is the one word for the condition Accepted; `field` is the path of what must change.
    """

    def __init__(self, field: str, problem: str, *, reason: str = "InvalidSpec") -> None:
        super().__init__(f"{field}: {problem}")
        self.reason = reason
        self.field = field


class Transport(StrEnum):
    """How MCP messages travel."""

    STREAMABLE_HTTP = "streamable-http"
    SSE = "sse"


class ImagePullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ServiceType(StrEnum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class Strategy(StrEnum):
    """How new instances take the place of old ones."""

    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


# The grammar of github.com/distribution/reference.
_HOST: Final = r"([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(:[0-9]+)?"
_REPOSITORY: Final = r"[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
_TAG: Final = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST: Final = r"[a-zA-Z][a-zA-Z0-9]*([-_+.][a-zA-Z][a-zA-Z0-9]*)*:[a-fA-F0-9]{32,}"

_IMAGE: Final = Rule(
    f"self.matches(r'^({_HOST}/)?{_REPOSITORY}(/{_REPOSITORY})*(:{_TAG})?(@{_DIGEST})?$')",
    "must be a reference [registry[:port]/]repository[:tag][@digest]",
)
_PATH: Final = Rule(
    r"self.matches('^/[!-~]*$') && !self.contains('?') && !self.contains('#')",
    "must begin with / and have only visible ASCII characters without ? and #",
)
_SERVICE_ACCOUNT: Final = Rule(
    "!format.dns1123Subdomain().validate(self).hasValue()",
    "must be a DNS name in lower case",
)
_KEYS: Final = Rule(
    "self.all(key, !format.qualifiedName().validate(key).hasValue())",
    "each key must be letters, digits, -, _ and ., after an optional DNS name and /, such as example.com/team",
)
_LABEL: Final = Rule(
    "!format.labelValue().validate(self).hasValue()",
    "must be at most 63 letters, digits, -, _ and . that begin and end with a letter or digit",
)

Labels: TypeAlias = Annotated[dict[str, Annotated[str, Field(max_length=63), _LABEL]], Field(max_length=64), _KEYS]
Annotations: TypeAlias = Annotated[dict[str, Annotated[str, Field(max_length=65536)]], Field(max_length=64), _KEYS]

_PERCENT: Final = Rule(
    "type(self) == int || self.matches('^(0|[1-9][0-9]{0,2})%$')",
    "must be a number or a percentage such as 25%",
)
_NOT_OVER_100: Final = Rule(
    "type(self) == int || !self.matches('^[0-9]{3,}%$') || self == '100%'",
    "must be at most 100%",
)
IntOrPercent: TypeAlias = Annotated[int | str, int_or_string(minimum=0, maximum=1000, maxLength=16), _PERCENT]


class MetadataSpec(SpecModel):
    """Labels and annotations."""

    labels: Labels = Field(default_factory=dict)
    """Labels; the operator's own ones win."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations."""


class ServiceSpec(SpecModel):
    """The Service in front of the instances."""

    type: ServiceType = ServiceType.CLUSTER_IP
    """Who reaches the Service: ClusterIP (only the cluster), NodePort or LoadBalancer."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service alone, over those of spec.metadata."""
    app_protocol: Annotated[str, Field(min_length=1, max_length=253)] = "http"
    """What the port speaks, as gateways and meshes want it named."""


class PodTemplateSpec(SpecModel):
    """What is merged over the pod that the operator makes."""

    metadata: MetadataSpec = MetadataSpec()
    """Labels and annotations of the pods alone, over those of spec.metadata."""
    spec: Annotated[Mapping[str, Any], ANY_OBJECT] = Field(default_factory=dict)
    """Any part of a pod's spec, for instance tolerations, volumes, probes or more containers. Lists of named things are merged
    by name, and the MCP server's container is named mcp. An entry with "$patch: delete" takes something away, one with "$patch:
    replace" takes its place as a whole."""


class RolloutSpec(SpecModel):
    """How new instances take the place of old ones, and how long that may take."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "self.strategy == 'Recreate' || ![self.maxSurge, self.maxUnavailable].all(count, string(count) in ['0', '0%'])",
                "maxSurge and maxUnavailable must not both be 0, or no instance could be replaced",
            ),
            Rule(
                "self.progressDeadlineSeconds > self.minReadySeconds",
                "progressDeadlineSeconds must be greater than minReadySeconds",
            ),
        )
    )

    strategy: Strategy = Strategy.ROLLING_UPDATE
    """RollingUpdate replaces instances step by step; Recreate ends all old ones before the first new one starts."""
    max_surge: IntOrPercent = 1
    """How many instances may exist beyond the wanted ones while a RollingUpdate runs: a number, or a percentage of the wanted
    instances such as 25%, rounded up."""
    max_unavailable: Annotated[IntOrPercent, _NOT_OVER_100] = 0
    """How many of the wanted instances may be missing while a RollingUpdate runs: a number, or a percentage of the wanted
    instances such as 25%, rounded down."""
    min_ready_seconds: Annotated[int, Field(ge=0, le=86400)] = 0
    """Seconds for which a new instance must have been ready before it counts as available."""
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = 600
    """Seconds without progress after which a rollout or a scaling is told as failed. It goes on all the same, so that an edit
    or a healed cause leads out of it. An observed Deployment has its own; for an observed StatefulSet this one counts."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """Seconds for which an instance goes on serving after its end was decided, so that clients and load balancers notice
    before it stops. It then has another 30 seconds to stop by itself."""
    history_limit: Annotated[int, Field(ge=1, le=50)] = DEFAULT_HISTORY_LIMIT
    """How many records of rollouts and scalings that are over are kept, as MCPServerRollout objects; older ones are deleted."""


class PrometheusSpec(SpecModel):
    """Where each instance serves figures in the text format of Prometheus."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the pod; spec.port by default."""
    path: Annotated[str, Field(max_length=1024), _PATH] = "/metrics"
    """Path on that port."""


class MetricsSpec(SpecModel):
    """How the server is measured while somebody listens."""

    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 15
    """Seconds between two samples."""
    prometheus: PrometheusSpec | None = None
    """Where the number of served requests is read; without it there is none."""


class LogFormat(StrEnum):
    """What the server's log lines are."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogFollow(StrEnum):
    """When the logs are followed."""

    ON_DEMAND = "onDemand"
    ALWAYS = "always"


class LogsSpec(SpecModel):
    """How the server's logs are told."""

    follow: LogFollow = LogFollow.ON_DEMAND
    """onDemand follows the logs while somebody listens and for 5 minutes more; always follows them without a listener, so that
    whoever comes finds the newest lines, at the cost of one open request for each container."""
    tail_lines: Annotated[int, Field(ge=0, le=10000)] = 100
    """How many of the lines that an instance has already printed are told when its log begins to be followed."""
    format: LogFormat = LogFormat.AUTO
    """auto looks at each line; json takes a line that isn't a JSON object as text; text takes each line as it is."""
    redact: bool = True
    """Whether what looks like a password, token or key in a line is told as [redacted]. It can't know every secret."""


class MCPServerSpec(SpecModel):
    """What the server should be, or which workload it is."""

    model_config = ConfigDict(json_schema_extra=with_rules(*rules()))

    image: Annotated[str, Field(max_length=1024), _IMAGE] | None = None
    """Image of the MCP server: [registry[:port]/]repository[:tag][@digest]."""
    workload_ref: WorkloadRef | None = None
    """Instead of an image: a Deployment or StatefulSet of the same namespace that something else owns. It is observed, and never
    written to; no Service is made. Fields that would change a pod can't be set beside it."""
    image_pull_policy: ImagePullPolicy | None = None
    """When the image is pulled. By default Always for the tag latest and for none, else IfNotPresent."""
    image_pull_secrets: ImagePullSecrets = ()
    """Secrets of the namespace with credentials for the image's registry."""
    transport: Transport = Transport.STREAMABLE_HTTP
    """The MCP transport that the server speaks: streamable-http, or sse (HTTP with Server-Sent Events, the older one)."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """TCP port on which the server listens; the Service has the same."""
    path: Annotated[str, Field(max_length=1024), _PATH] = "/mcp"
    """Path of the MCP endpoint on that port."""
    command: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """What is run instead of the image's entrypoint."""
    args: Annotated[tuple[Argument, ...], Field(max_length=256)] = ()
    """Arguments to the command, instead of the image's."""
    env: Env = ()
    """Environment variables, from values or from Secrets, ConfigMaps and the pod itself."""
    env_from: EnvFrom = ()
    """Secrets and ConfigMaps whose keys all become environment variables."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Wanted instances. Set it here or by `kubectl scale`, a HorizontalPodAutoscaler or KEDA on the MCPServer: a manifest
    without it keeps what they set."""
    suspend: bool = False
    """True stops all instances; replicas keeps its value for the way back."""
    restarted_at: Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})] | None = None
    """A new time rolls all instances, as a restart; RFC 3339."""
    resources: ResourceRequirements = ResourceRequirements()
    """CPU, memory and other resources of each instance."""
    service_account_name: Annotated[str, Field(max_length=253), _SERVICE_ACCOUNT] | None = None
    """ServiceAccount that the instances run as. Without one they get no token for the Kubernetes API."""
    metadata: MetadataSpec = MetadataSpec()
    """Labels and annotations for the Deployment, its pods and the Service; a change rolls the instances."""
    service: ServiceSpec = ServiceSpec()
    """The Service, which bears the server's name."""
    pod_template: PodTemplateSpec = PodTemplateSpec()
    """Merged over the pod that the operator makes, for all that has no field of its own."""
    rollout: RolloutSpec = RolloutSpec()
    """How new instances take the place of old ones, and how long that may take."""
    metrics: MetricsSpec = MetricsSpec()
    """How the server is measured while somebody listens."""
    logs: LogsSpec = LogsSpec()
    """How the server's logs are told."""


class ObjectMeta(SpecModel):
    """The part of an object's metadata that the operator's pure rooms need."""

    namespace: str
    name: str
    uid: str
    generation: int


class MCPServer(SpecModel):
    """An MCPServer that the API server has accepted."""

    metadata: ObjectMeta
    spec: MCPServerSpec

    @property
    def name(self) -> ServerName:
        return ServerName(self.metadata.namespace, self.metadata.name)

    @classmethod
    def parse(cls, raw: Object) -> Self:
        """Read an object of the API server; fields that this version doesn't know are ignored.

        Raises:
            InvalidSpecError: a field has a value that the CustomResourceDefinition of this version would have refused.
        """
        try:
            server = cls.model_validate(raw)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidSpecError(".".join(map(str, first["loc"])), f"{first['msg']}, not {first['input']!r:.100}") from None
        if (server.spec.image is None) == (server.spec.workload_ref is None):
            raise InvalidSpecError("spec", "must have either image or workloadRef")
        return server
