"""The OCI registries, one of which wants a login, and the small images that are made for them without Docker."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import tempfile
from pathlib import Path

from devclusterlib.parts import Part, must, quiet
from devclusterlib.settings import Settings

IMAGES = Path(__file__).parent / "images"
LOGIN = ("puller", "lab-pull-9f4c27")
# Of that password; what it protects is made here and worth nothing.
_HTPASSWD = f"{LOGIN[0]}:$2b$05$Zr1mYb4iB8pQxk0o5n3KZe2oVQfGHjCo4g.uMA2Bdw0smmdwR/6ES\n"
_DOCKER = Path("/etc/devregistry-docker")


def parts(settings: Settings) -> list[Part]:
    """Return the registries, plain HTTP on loopback."""
    return [_part(settings, "registry"), _part(settings, "private-registry")]


def _part(settings: Settings, name: str) -> Part:
    address, config = f"127.0.0.1:{settings.port(name)}", f"/etc/dev{name}.yml"
    # The one that wants a login answers 401, which is an answer, too.
    return Part(
        name,
        ["docker-registry", "serve", config],
        lambda: quiet("curl", "-s", "-o", "/dev/null", f"http://{address}/v2/"),
        lambda: _write_config(name, address, Path(config)),
    )


def _write_config(name: str, address: str, config: Path) -> None:
    login = ""
    if name != "registry":
        Path(f"/etc/dev{name}.htpasswd").write_text(_HTPASSWD)
        login = f"auth: {{htpasswd: {{realm: lab, path: /etc/dev{name}.htpasswd}}}}\n"
    config.write_text(f"""\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: /var/lib/dev{name}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
{login}""")


def docker_config(settings: Settings) -> str:
    """Return what `docker login` to the private registry would have written."""
    word = base64.b64encode(":".join(LOGIN).encode()).decode()
    return json.dumps({"auths": {settings.private_registry: {"auth": word}}})


def load(settings: Settings) -> list[str]:
    """Make and push the test images that the registries do not have; return the names pushed."""
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
    return [*pushed, *_platforms(settings), *_private(settings)]


def _platforms(settings: Settings) -> list[str]:
    """Push an image for another platform alone, and an index of both."""
    test = f"{settings.registry}/test"
    if quiet("crane", "digest", "--insecure", f"{test}/multi:1.0"):
        return []
    other = ("--set-platform", "linux/arm64", "--entrypoint", "/bin/of-arm64")
    must("crane", "mutate", "--insecure", f"{test}/argv:1.0", *other, "--tag", f"{test}/arm64:1.0")
    both = ("--manifest", f"{test}/arm64:1.0", "--manifest", f"{test}/argv:1.0")
    must("crane", "index", "append", "--insecure", *both, "--tag", f"{test}/multi:1.0")
    return ["test/arm64:1.0", "test/multi:1.0"]


def _private(settings: Settings) -> list[str]:
    """Push an image into the registry that wants a login."""
    _DOCKER.mkdir(mode=0o700, exist_ok=True)
    (_DOCKER / "config.json").write_text(docker_config(settings))
    login, target = {"DOCKER_CONFIG": str(_DOCKER)}, f"{settings.private_registry}/lab/secret:1.0"
    catalog = ("crane", "catalog", "--insecure", settings.private_registry)
    if "lab/secret" in must(*catalog, environment=login):
        return []
    # Not the same bytes as the public one: the image cache of the site goes by digest.
    mark = ("--label", "lab=secret")
    with tempfile.TemporaryDirectory() as folder:
        tar = f"{folder}/image.tar"
        source = f"{settings.registry}/test/argv:1.0"
        must("crane", "mutate", "--insecure", source, *mark, "--output", tar)
        must("crane", "push", "--insecure", tar, target, environment=login)
    return ["lab/secret:1.0"]


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
        if source.stem == "shell":
            _add_bash(tar)


def _add_bash(tar: tarfile.TarFile) -> None:
    """Add bash with the libraries that it is linked with, each where the linker looks."""
    found = re.findall(r"(/\S+) \(0x", must("ldd", "/usr/bin/bash"))
    for folder in sorted({str(parent) for path in found for parent in Path(path).parents}):
        if folder != "/":
            _add(tar, folder.lstrip("/"), tarfile.DIRTYPE, 0o755)
    for path in ("/bin/bash", *found):
        _add(tar, path.lstrip("/"), tarfile.REGTYPE, 0o755, Path(path).read_bytes())


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
