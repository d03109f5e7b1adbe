"""ctsd: the daemon. `run` serves, `migrate` brings the database to this release, `check` tries each dependency."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer

from gateway.api.app import create_app
from gateway.api.server import Server
from gateway.api.tls import Tls
from gateway.config import ApiSection, Config, listen_address, load_config, warnings_of
from gateway.daemon.check import check_alone
from gateway.daemon.gateway import Gateway
from gateway.errors import ConfigError, SiteError, StoreError
from gateway.store.db import Database

app = typer.Typer(
    help="The cts daemon. Exit codes: 0 good, 1 a dependency fails, 2 the configuration is wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ConfigFile = Annotated[
    Path, typer.Option("--config", help="The configuration, TOML; see deploy/gateway.toml.example.")
]
_DEFAULT = Path("/etc/cts/gateway.toml")


@app.command()
def run(config: ConfigFile = _DEFAULT) -> None:
    """Serve until SIGTERM; SIGHUP has the TLS certificate read anew."""
    settings = _load(config)
    _logging(settings.gateway.log_format)
    try:
        gateway = Gateway(settings)
        app_ = create_app(gateway.services, settings.roles)
        server = Server(app_, settings.api.socket, tls=_tls(settings.api))
    except (ConfigError, StoreError, SiteError) as exc:
        _fail(str(exc), 2)
    log = structlog.get_logger()
    for warning in warnings_of(config, settings):
        log.warning("configuration", warning=warning)
    log.info(
        "daemon.start",
        socket=str(settings.api.socket),
        listen=settings.api.listen,
        sites=list(settings.sites),
    )
    gateway.start()
    try:
        server.serve()
    finally:
        log.info("daemon.stop")
        gateway.close()


@app.command()
def migrate(config: ConfigFile = _DEFAULT) -> None:
    """Make the database, or bring it to this release."""
    try:
        version = Database(_load(config).database_url()).migrate()
    except (ConfigError, StoreError) as exc:
        _fail(str(exc), 2)
    typer.echo(f"the database has schema {version}")


@app.command()
def check(config: ConfigFile = _DEFAULT) -> None:
    """Try each dependency, also while the daemon runs: a line each; exit code 1 when one fails."""
    settings = _load(config)
    for warning in warnings_of(config, settings):
        typer.echo(f"warning: {warning}", err=True)
    lines = check_alone(settings)
    width = max(len(line.name) for line in lines)
    for line in lines:
        typer.echo(f"{'ok  ' if line.ok else 'FAIL'}  {line.name:<{width}}  {line.detail}")
    raise typer.Exit(0 if all(line.ok for line in lines) else 1)


def _tls(section: ApiSection) -> Tls | None:
    if section.listen is None or section.tls_certificate is None or section.tls_key is None:
        return None
    return Tls(*listen_address(section.listen), section.tls_certificate, section.tls_key)


def _load(path: Path) -> Config:
    try:
        return load_config(path)
    except ConfigError as exc:
        _fail(str(exc), 2)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"ctsd: {message}", err=True)
    raise typer.Exit(code)


def _logging(form: str) -> None:
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def main() -> None:
    """Run the command line."""
    app()
