"""Every knob that comes from the environment. No other module reads an environment variable.

Each process builds the class it needs once, in its `__main__`, and hands the values on.
"""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def _parse_duration(value: object) -> object:
    """A number of seconds for `3`, `3s`, `500ms`, `2m` or `1h`; anything else is left to pydantic (ISO 8601)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", value.strip()) if isinstance(value, str) else None
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]]) if match else value


Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]


class Settings(BaseSettings):
    """What every process has in common."""

    model_config = SettingsConfigDict(env_prefix="LUTHIER_", env_ignore_empty=True, extra="ignore")

    home: Path = Path("~/.luthier")
    """Folder of the local installation: state, keys, caches."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    log_format: str = "json"
    """`json` for machines, `text` for people."""

    @property
    def home_dir(self) -> Path:
        """`home`, with `~` expanded."""
        return self.home.expanduser().absolute()


class ClientSettings(Settings):
    """What the SDK and the CLI need to find a gateway."""

    gateway: str = ""
    """`host:port` of the gateway's gRPC; empty: the one that `luthier up` started in `home`."""
    api_key: SecretStr = SecretStr("")
    """API key; empty: the one that `luthier up` left in `home`."""
    hardware: Path = Path("")
    """Table of hardware and prices that plans compare; empty: the packaged one."""
    model_cache: Path = Path("")
    """Where workers of this machine keep base models; empty: `home`/models. Plans read their config.json."""

    @property
    def model_cache_path(self) -> Path:
        """`model_cache`, or its default under `home`."""
        return self.model_cache if self.model_cache != Path() else self.home_dir / "models"


class BusSettings(Settings):
    """How to reach NATS."""

    nats_url: SecretStr = SecretStr("nats://127.0.0.1:4222")
    """May carry a user and a password."""


class CoordinatorSettings(BusSettings):
    """`python -m coordinator`."""

    database_url: SecretStr = SecretStr("")
    """`postgresql://...`"""
    internal_token: SecretStr = SecretStr("")
    """Shared secret of coordinator, gateway and workers."""
    coordinator_listen: str = "127.0.0.1:7430"
    """`host:port` of the internal gRPC."""
    artifacts: str = ""
    """fsspec URI of the artifact store."""
    lease: Duration = timedelta(seconds=15)
    """How long an attempt lives without a heartbeat."""
    quarantine: Duration = timedelta(seconds=60)
    """How long a worker gets nothing after its third failure in a row; doubles with every further one, up to 1 h."""
    gang_wait: Duration = timedelta(seconds=30)
    """How long the workers of a gang wait for those that are missing; then they begin, or are set free."""
    reconcile_interval: Duration = timedelta(seconds=2)
    """Pause between two looks for expired leases and lost events; a sixth of the lease if that is shorter."""
    stop_grace: Duration = timedelta(seconds=10)
    """Time for calls in flight when asked to stop."""


class GatewaySettings(Settings):
    """`python -m gateway`."""

    coordinator: str = "127.0.0.1:7430"
    """`host:port` of the coordinator, or `ip:port,ip:port` of several that work on one database."""
    internal_token: SecretStr = SecretStr("")
    """Shared secret of coordinator, gateway and workers."""
    gateway_listen: str = "127.0.0.1:7400"
    """`host:port` of the public gRPC."""
    triton_url: str = ""
    """`host:port` of Triton's gRPC; empty: no chat."""
    stop_grace: Duration = timedelta(seconds=10)
    """Time for calls in flight when asked to stop."""


class WorkerSettings(BusSettings):
    """`python -m workers`, and the runner that it starts."""

    coordinator: str = "127.0.0.1:7430"
    """`host:port` of the coordinator, or `ip:port,ip:port` of several that work on one database."""
    internal_token: SecretStr = SecretStr("")
    """Shared secret of coordinator, gateway and workers."""
    worker_id: str = ""
    """Stable id; empty: a new one."""
    worker_classes: str = ""
    """Comma-separated; empty: `cpu`, and `gpu` when there is an accelerator."""
    worker_kinds: str = ""
    """Comma-separated stage kinds it takes; empty: all."""
    work_dir: Path = Path("")
    """Scratch folder of the attempts; empty: `home`/work."""
    artifacts: str = ""
    """fsspec URI of the artifact store."""
    data_roots: str = ""
    """URI or path prefixes, comma-separated, that job files may read data and models from. Empty: none."""
    data_hosts: str = ""
    """Hosts, comma-separated, that job files may read data from by `https://`: `host`, or `host:port` for another port
    than 443. Empty: none."""
    data_private_hosts: str = ""
    """Hosts in the same form that may be read although their address is not public, also by `http://`. Empty: none."""
    data_download_bytes: int = 64 << 30
    """At most so many bytes of data are downloaded for one job."""
    data_s3_endpoint: str = ""
    """Base URL of the store that `s3://` of job files' data means; empty: AWS."""
    model_cache: Path = Path("")
    """Converted base models; empty: `home`/models."""
    custom_methods: str = ""
    """Functions that `method.type: custom` may name, comma-separated: `module:function`, or names of the entry-point
    group `luthier.methods`. Empty: none."""
    custom_rewards: str = ""
    """Functions that rewards of `objective.type: grpo` may name, comma-separated: `module:function`, or names of the
    entry-point group `luthier.rewards`. Empty: none."""
    writer_endpoints: str = ""
    """Base URLs of OpenAI-compatible endpoints, comma-separated, that may write rows for job files. Empty: none."""
    writer_keys: SecretStr = SecretStr("")
    """The API keys of `writer_endpoints`, comma-separated, in their order; nothing between two commas: no key."""
    hub_url: str = ""
    """Base URL of the model hub, or a local directory laid out as one; empty: the library's default."""
    triton_url: str = ""
    """`host:port` of Triton's gRPC; empty: deploy fails with the reason."""
    triton_unavailable_reason: str = ""
    """Why there is no Triton, told to the person whose deploy fails."""
    triton_repository: Path = Path("")
    """Model repository that Triton reads."""
    checkpoint_key: SecretStr = SecretStr("")
    """Key of the HMAC in checkpoint manifests: only checkpoints that we wrote are resumed."""
    moderation_url: str = ""
    """Base URL of the OpenAI-compatible moderation endpoint of `data.toxicity`, such as `https://host/v1`; empty: jobs
    that ask for it are refused."""
    moderation_key: SecretStr = SecretStr("")
    """Its key, sent as bearer token; may be empty."""
    pseudonym_key: SecretStr = SecretStr("")
    """Key of the pseudonyms that `data.pii` writes, 16 to 64 bytes; empty: jobs that ask for them are refused."""
    ray_address: str = ""
    """`HOST:PORT` of the Ray cluster for jobs with `data.engine: ray`; the worker's machine is one of its nodes. Empty:
    none. Keep it in a network that only its nodes reach: whoever reaches it can run code there."""
    gang_host: str = "127.0.0.1"
    """IPv4 address of this machine for the other workers of a gang. Keep it in a network that only workers reach: what
    ranks say to each other is neither encrypted nor signed."""
    heartbeat_timeout: Duration = timedelta(seconds=5)
    """Deadline of one call to the coordinator."""
    drain_grace: Duration = timedelta(seconds=30)
    """Time to write a last checkpoint when asked to stop."""

    @property
    def work_path(self) -> Path:
        """`work_dir`, or its default under `home`."""
        return self.work_dir if self.work_dir != Path() else self.home_dir / "work"

    @property
    def model_cache_path(self) -> Path:
        """`model_cache`, or its default under `home`."""
        return self.model_cache if self.model_cache != Path() else self.home_dir / "models"

    def runner_environment(self) -> dict[str, str]:
        """The environment of a runner: ours without any of our variables, then the settings that stages read.

        So a runner never sees the internal token or the NATS URL, and sees the same settings as its supervisor.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LUTHIER_")}
        for name, value in _RUNNER_DEFAULTS.items():
            inherited.setdefault(name, value)
        for name in _RUNNER_FIELDS:
            value = getattr(self, name)
            inherited[f"LUTHIER_{name.upper()}"] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
        return inherited


# Threads of GNU OpenMP that wait for each other spin for some 10 us, then sleep. Its default is to spin for
# milliseconds, which costs most of the speed as soon as something else wants one of the cores. Those of a runner meet
# thousands of times in a step: for them, going to sleep costs more than to wait a little longer.
_SPIN_COUNT, _RUNNER_SPIN_COUNT = "1000", "10000"

# oneDNN, and PyTorch's layer above it, compile products in bf16 for each shape and keep 1024 of them. The lengths of
# rows are new in every step, so a run would grow by most of a gigabyte. One pass has some dozens of shapes.
_KEPT_PRODUCTS = "128"
_RUNNER_DEFAULTS = {
    "GOMP_SPINCOUNT": _RUNNER_SPIN_COUNT,
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": _KEPT_PRODUCTS,
    "LRU_CACHE_CAPACITY": _KEPT_PRODUCTS,
}

# What a stage may need to know; everything else stays with the supervisor.
_RUNNER_FIELDS = (
    "home",
    "log_level",
    "log_format",
    "artifacts",
    "data_roots",
    "data_hosts",
    "data_private_hosts",
    "data_download_bytes",
    "data_s3_endpoint",
    "model_cache",
    "custom_methods",
    "custom_rewards",
    "writer_endpoints",
    "writer_keys",
    "hub_url",
    "triton_url",
    "triton_unavailable_reason",
    "triton_repository",
    "checkpoint_key",
    "moderation_url",
    "moderation_key",
    "pseudonym_key",
    "ray_address",
    "drain_grace",
    "gang_host",
)


class RankSettings(BaseSettings):
    """What torchrun tells each rank of a training: its place among those of this worker."""

    model_config = SettingsConfigDict(extra="ignore")

    rank: int = Field(alias="RANK")
    """From 0."""
    num_ranks: int = Field(alias="WORLD_SIZE")
    """All of them."""


class LocalSettings(Settings):
    """`luthier up`: a URL that is set here is used instead of an embedded service."""

    database_url: SecretStr = SecretStr("")
    """External PostgreSQL; empty: embedded."""
    nats_url: SecretStr = SecretStr("")
    """External NATS; empty: embedded."""
    artifacts: str = ""
    """External artifact store; empty: `home`/artifacts."""
    triton_url: str = ""
    """External Triton; empty: embedded."""
    triton_repository: Path = Path("")
    """Model repository of an external Triton."""
    serving_venv: Path = Path("")
    """Virtual environment with Triton; empty: `home`/serving."""


class TelemetrySettings(BaseSettings):
    """The OpenTelemetry SDK's own variables that we look at."""

    model_config = SettingsConfigDict(extra="ignore")

    otel_exporter_otlp_endpoint: str = Field(default="", alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Where spans go; empty: nowhere."""


def ranks_environment(num_ranks: int, num_cpus: int, interface: str = "lo") -> dict[str, str]:
    """This process's environment for torchrun and `num_ranks` ranks on this machine, which has `num_cpus`.

    They share the threads among them, and what they listen on can be reached through `interface` alone: from no other
    machine, if that is the loopback.
    """
    num_threads = int(os.environ.get("OMP_NUM_THREADS") or num_cpus)
    return os.environ | {
        "OMP_NUM_THREADS": str(max(1, num_threads // num_ranks)),
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }


# What programs in general want to know of the machine.
_SYSTEM_NAMES = frozenset({"PATH", "HOME", "USER", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"})
# What our own processes may be told besides: proxies, threads, and the settings of the libraries that they use.
_SERVICE_NAMES = frozenset(
    {"LD_LIBRARY_PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
    | {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_SPINCOUNT", "TORCH_EXTENSIONS_DIR"}
)
_SERVICE_PREFIXES = ("OTEL_", "SSL_", "CUDA_", "NVIDIA_", "PIP_", "HF_", "AWS_", "GOOGLE_", "LUTHIER_")
# Secrets, and what `luthier up` decides itself: each is handed to the children that need it, by name.
_KEPT_BACK = frozenset(
    {"LUTHIER_API_KEY", "LUTHIER_INTERNAL_TOKEN", "LUTHIER_CHECKPOINT_KEY", "LUTHIER_DATABASE_URL"}
    | {"LUTHIER_NATS_URL", "LUTHIER_TRITON_URL", "LUTHIER_ARTIFACTS", "LUTHIER_GATEWAY", "LUTHIER_COORDINATOR"}
)
# Keys of endpoints that workers alone talk to.
_WORKER_SECRETS = frozenset({"LUTHIER_WRITER_KEYS", "LUTHIER_MODERATION_KEY"})


def system_environment() -> dict[str, str]:
    """The part of this process's environment that a program which is not ours gets from `luthier up`."""
    passed = {name: value for name, value in os.environ.items() if name in _SYSTEM_NAMES}
    return {"GOMP_SPINCOUNT": _SPIN_COUNT} | passed


def service_environment() -> dict[str, str]:
    """The part of this process's environment that coordinator, gateway and workers get from `luthier up`."""
    return {
        name: value
        for name, value in os.environ.items()
        if (name in _SYSTEM_NAMES | _SERVICE_NAMES or name.startswith(_SERVICE_PREFIXES))
        and name not in _KEPT_BACK | _WORKER_SECRETS
    }


def worker_secrets() -> dict[str, str]:
    """What a worker gets from `luthier up` beside that."""
    return {name: value for name, value in os.environ.items() if name in _WORKER_SECRETS}
