"""The systemd unit lets sudo start the helper, and hardens what that leaves."""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
# systemd.exec(5), NoNewPrivileges=: with User= each of these takes away the right to gain privileges.
IMPLY_NO_NEW_PRIVILEGES = {
    "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces",
    "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs",
    "ProtectClock", "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID",
    "DynamicUser", "LockPersonality", "ProtectHostname", "NoNewPrivileges",
}  # fmt: skip


def _service(path: Path) -> dict[str, str]:
    lines = path.read_text().partition("[Service]")[2].partition("\n[")[0].splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def test_the_unit_takes_nothing_away_that_sudo_needs() -> None:
    settings = _service(DEPLOY / "ctsd.service")
    assert settings["User"] == "ctsd"
    assert not IMPLY_NO_NEW_PRIVILEGES & settings.keys()
    kept = settings["CapabilityBoundingSet"].split()
    assert {"CAP_SETUID", "CAP_SETGID"} <= set(kept)
    assert settings["ProtectSystem"] == "strict"


def test_the_drop_in_takes_away_what_only_sudo_needs() -> None:
    settings = _service(DEPLOY / "ctsd.service.d" / "no-helper.conf")
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["CapabilityBoundingSet"] == ""


def test_the_unit_starts_the_commands_of_the_package() -> None:
    settings = _service(DEPLOY / "ctsd.service")
    assert settings["ExecStart"] == "/opt/cts/bin/ctsd run --config /etc/cts/gateway.toml"
    assert settings["ExecStartPre"] == "/opt/cts/bin/ctsd migrate --config /etc/cts/gateway.toml"
