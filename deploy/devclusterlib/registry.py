"""The OCI registry and the small images that are made for it without Docker."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from devclusterlib.parts import Part, must, quiet
from devclusterlib.settings import Settings

IMAGES = Path(__file__).parent / "images"


def part(settings: Settings) -> Part:
    """Return the registry, plain HTTP on loopback."""
    return Part(
        "registry",
        ["docker-registry", "serve", "/etc/devregistry.yml"],
        lambda: quiet("curl", "-sf", f"http://{settings.registry}/v2/"),
        lambda: _write_config(settings),
    )


def _write_config(settings: Settings) -> None:
    Path("/etc/devregistry.yml").write_text(f"""\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: /var/lib/devregistry}}, delete: {{enabled: true}}}}
http: {{addr: "{settings.registry}"}}
""")


def load(settings: Settings) -> list[str]:
    """Make and push the test images that the registry does not have; return the names pushed."""
    pushed = []
    for source in sorted(IMAGES.glob("*.sh")):
        name = source.stem
        reference = f"{settings.registry}/test/{name}:1.0"
        if quiet("crane", "digest", "--insecure", f"{settings.registry}/test/{name}:latest"):
            continue  # this tag is the last thing pushed
        with tempfile.TemporaryDirectory() as folder:
            layer = Path(folder) / "layer.tar"
            _layer(source, layer)
            must("crane", "append", "--insecure", "--new_layer", str(layer), "--new_tag", reference)
        options = ["--env", "PATH=/bin", "--workdir", "/"]
        if name != "noentry":
            options += ["--entrypoint", f"/bin/{name}"]
        must(
            "crane",
            "mutate",
            "--insecure",
            reference,
            *options,
            "--set-platform",
            "linux/amd64",
            "--tag",
            reference,
        )
        must("crane", "tag", "--insecure", reference, "latest")
        pushed.append(f"test/{name}:1.0")
    return pushed


def _layer(source: Path, target: Path) -> None:
    busybox = Path("/usr/bin/busybox")
    applets = must(str(busybox), "--list").split()
    with tarfile.open(target, "w") as tar:
        for directory in ("bin", "etc", "tmp", "proc", "sys", "dev", "var", "root", "home"):
            _add(tar, directory, tarfile.DIRTYPE, 0o755)
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, busybox.read_bytes())
        for applet in applets:
            if applet not in ("busybox", source.stem):
                _add(tar, f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        _add(tar, f"bin/{source.stem}", tarfile.REGTYPE, 0o755, source.read_bytes())


def _add(
    tar: tarfile.TarFile, name: str, kind: bytes, mode: int, data: bytes = b"", link: str = ""
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = (
        kind,
        mode,
        len(data),
        link,
        1_700_000_000,
    )
    tar.addfile(info, io.BytesIO(data))
