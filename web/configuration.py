"""The environment of the site: read here and nowhere else."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import dj_database_url
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from messages.envelope import Name


class SettingsError(Exception):
    """A variable holds a value that cannot be used; the text is one sentence for an operator."""


def _http_url(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError("must look like http://host:port")
    return url.rstrip("/")


def _broker_urls(urls: SecretStr) -> SecretStr:
    for url in urls.get_secret_value().split(","):
        parts = urlsplit(url.strip())
        whole = parts.scheme in {"amqp", "amqps"} and parts.hostname and parts.username
        if not whole or parts.path in {"", "/"}:
            raise ValueError("must look like amqp://user:password@host:port/vhost")
    return urls


def _networks(text: str) -> str:
    for part in filter(None, (part.strip() for part in text.split(","))):
        # Raises ValueError with a text of its own.
        ip_network(part)
    return text


class SiteSettings(BaseSettings):
    """Every variable that the site knows. Defaults fit a machine where all runs on loopback."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    #: Port of the site on loopback; a reverse proxy stands before it.
    web_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    #: One or more brokers, separated by commas: the nodes of a cluster, tried in turn.
    rabbitmq_url: Annotated[SecretStr, AfterValidator(_broker_urls)] = SecretStr(
        "amqp://web@127.0.0.1:5673/mri"
    )
    orthanc_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8043"
    orthanc_user: str = "labrelay"
    orthanc_password: SecretStr = SecretStr("")
    #: Where the default database lies.
    var_dir: Path = Path("var")
    #: Where the OHIF viewer lies (infra/viewer); none: ``viewer`` in `var_dir`.
    ohif_dir: Path | None = None
    #: Empty: SQLite in `var_dir`.
    database_url: SecretStr = SecretStr("")
    #: Offered as long as no lab has told which models it serves, and chosen when none is named.
    default_model: Name = "breast_dce_phantom"
    #: True: requests go to the lab's pool; false: to the pool of the web machine itself.
    use_local_inference: bool = True
    #: Seconds that a request may take from its acceptance.
    request_deadline_seconds: Annotated[int, Field(ge=1)] = 3600
    #: Seconds that a request may wait for a lab: seven days.
    request_expires_seconds: Annotated[int, Field(ge=1)] = 604_800
    #: A request for series whose images are still arriving waits for the last one; false: it is
    #: sent at once, and only said. For an archive that never calls a series stable.
    wait_for_whole_series: bool = True
    #: Signs sessions. Needed to serve; a command without it gets a random one for its own run.
    secret_key: SecretStr = SecretStr("")
    debug: bool = False
    #: json: for a collector; text: for a person; journal: text with systemd's priorities.
    log_format: Literal["json", "text", "journal"] = "json"
    #: Host names that the site answers to, separated by commas.
    allowed_hosts: str = "127.0.0.1,localhost,[::1]"
    #: False is refused for now: processes that share a site need a shared channel layer.
    run_broker_tasks: bool = True
    #: The site is reached by https only: secure cookies, HSTS, http sent on to https.
    https_only: bool = False
    #: Seconds that a blocking call of the old front end waits for its result.
    legacy_wait_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    #: Networks from which the old calls need no log-in, separated by commas; none by default.
    legacy_trusted_networks: Annotated[str, AfterValidator(_networks)] = ""

    #: Bytes of a call's body; the largest that a view of ours reads (Django's own limit).
    max_body_bytes: Annotated[int, Field(ge=65_536)] = 2_621_440
    #: Seconds from the headers of a call to the end of its body.
    body_timeout_seconds: Annotated[float, Field(gt=0)] = 30
    #: Seconds from the first byte of a call, or a new connection, to the end of its headers.
    header_timeout_seconds: Annotated[float, Field(gt=0)] = 10
    #: Sockets that one user may have open; a clinic may share an account among its workplaces.
    max_sockets_per_user: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _long_secret(self) -> SiteSettings:
        if 0 < len(self.secret_key.get_secret_value()) < 32:
            raise ValueError("SECRET_KEY must have 32 characters or more")
        return self

    @property
    def broker_urls(self) -> tuple[str, ...]:
        """The brokers, each with its password: never to be logged."""
        return tuple(url.strip() for url in self.rabbitmq_url.get_secret_value().split(","))

    @property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`legacy_trusted_networks`, parsed."""
        parts = (part.strip() for part in self.legacy_trusted_networks.split(","))
        return tuple(ip_network(part) for part in parts if part)

    @property
    def viewer_dir(self) -> Path:
        """Where the viewer lies, if there is one."""
        return self.ohif_dir or self.var_dir / "viewer"

    @property
    def pool(self) -> Literal["lab", "server"]:
        """The pool that new requests go to."""
        return "lab" if self.use_local_inference else "server"

    def why_not_serve(self) -> str | None:
        """Return the sentence that keeps a server from starting, or None."""
        if not (self.secret_key.get_secret_value() or self.debug):
            return "SECRET_KEY is missing: set it to a random text of 32 characters or more"
        if self.debug and self.https_only:
            # Its error pages show settings and values to whoever asks.
            return "DEBUG is true: it must not be where the site is reached from outside"
        if not self.run_broker_tasks:
            # Processes that share a site need a shared channel layer, which this one has not.
            return "RUN_BROKER_TASKS is false: then nothing would send the requests"
        return None


#: ``OPTIONS`` of a SQLite database, also of a host project's.
SQLITE_OPTIONS: dict[str, Any] = {
    # A transaction takes the write lock at its start: two that read first and write later would
    # otherwise fail at once, whatever the timeout.
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    # FULL: an answer of 202 means that the request is on the disk.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}


def load(**decided: Any) -> SiteSettings:
    """Read the environment; raises `SettingsError`, whose text quotes no value.

    `decided` comes first: what a host project's own settings say, whatever the environment holds.
    """
    try:
        return SiteSettings(**decided)
    except ValidationError as exc:
        problems = [
            f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}".removeprefix(": ")
            for e in exc.errors()
        ]
        raise SettingsError(f"the site cannot start: {'; '.join(problems)}") from None


def database(site: SiteSettings) -> dict[str, Any]:
    """``DATABASES["default"]`` of the site."""
    url = site.database_url.get_secret_value()
    default = f"sqlite:///{(site.var_dir / 'web.sqlite3').resolve()}"
    database: dict[str, Any] = dict(dj_database_url.parse(url or default))
    # Open as long as its thread: the threads are few and stay (web/handler.py).
    database |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    if database["ENGINE"].endswith("sqlite3"):
        database["OPTIONS"] = dict(SQLITE_OPTIONS)
        database["TEST"] = {}
    return database
