"""Approving an image records what its name stands for now, once, whoever asks in the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config import ImagesSection
from gateway.errors import AppCode, GatewayError
from gateway.images.crane import Crane, ImageConfig
from gateway.images.service import ImageRegistry, Notes
from gateway.store.db import Database

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
NAME = "reg.example.org/bio/tool"
CONFIG = ImageConfig(["/bin/tool"], ["-h"], "/data", {"PATH": "/bin"})


class FakeCrane(Crane):
    """A registry of one repository: tags and digests that a test may move."""

    def __init__(self) -> None:
        super().__init__(ImagesSection())
        self.tags = {"1.0": ONE}
        self.configs = {ONE: CONFIG, TWO: CONFIG}
        self.indexes: dict[str, dict[str, str]] = {}
        self.looked: list[str] = []
        self.meet: threading.Barrier | None = None

    def digest(self, reference: str) -> str:
        name, _, digest = reference.partition("@")
        found = digest if digest in self.configs else self.tags.get(name.rpartition(":")[2])
        if found is None:
            raise GatewayError(AppCode.IMAGE_FETCH, f"There is no image {reference}")
        return found

    def platforms(self, reference: str) -> dict[str, str] | None:
        return self.indexes.get(reference.partition("@")[2])

    def config(self, reference: str) -> ImageConfig:
        if self.meet is not None:
            self.meet.wait(10)
        self.looked.append(reference.partition("@")[2])
        return self.configs[reference.partition("@")[2]]


@pytest.fixture
def crane() -> FakeCrane:
    return FakeCrane()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path}/cts.db")
    made.migrate()
    return made


@pytest.fixture
def registry(database: Database, crane: FakeCrane) -> ImageRegistry:
    return ImageRegistry(database, crane)


def refusal(act: Callable[[], object]) -> tuple[AppCode, str]:
    with pytest.raises(GatewayError) as caught:
        act()
    return caught.value.code, caught.value.message


def test_an_approved_image_is_pinned_and_found_by_tag_and_by_digest(
    registry: ImageRegistry,
) -> None:
    row = registry.approve(f"{NAME}:1.0", "ada")
    assert (row.name, row.tag, row.digest, row.registered_by) == (NAME, "1.0", ONE, "ada")
    assert (row.entrypoint, row.cmd, row.workdir) == (["/bin/tool"], ["-h"], "/data")
    assert row.env == {"PATH": "/bin"}
    for text in (f"{NAME}:1.0", f"{NAME}@{ONE}", f"{NAME}:1.0@{ONE}"):
        assert registry.get(text).id == row.id
    assert [image.id for image in registry.everything()] == [row.id]


def test_jobs_keep_what_was_approved_though_the_tag_has_moved(
    registry: ImageRegistry, crane: FakeCrane
) -> None:
    registry.approve(f"{NAME}:1.0", "ada")
    crane.tags["1.0"] = TWO
    assert registry.get(f"{NAME}:1.0").digest == ONE
    code, message = refusal(lambda: registry.approve(f"{NAME}:1.0", "ada"))
    assert code is AppCode.IMAGE_TAG_EXISTS
    assert ONE in message
    assert f"approve the new one by its digest, {NAME}@{TWO}, or first delete" in message
    assert f"cts admin image delete {NAME}:1.0" in message
    assert registry.approve(f"{NAME}@{TWO}", "ada").tag is None
    assert registry.get(f"{NAME}:1.0").digest == ONE


def test_a_tag_that_is_not_the_given_digest_is_refused_and_both_are_shown(
    registry: ImageRegistry,
) -> None:
    code, message = refusal(lambda: registry.approve(f"{NAME}:1.0@{TWO}", "ada"))
    assert code is AppCode.IMAGE_FETCH
    assert ONE in message
    assert TWO in message
    assert registry.everything() == []


def test_a_registry_that_answers_another_digest_than_asked_for_is_refused(
    registry: ImageRegistry, crane: FakeCrane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crane, "digest", lambda reference: TWO)
    assert refusal(lambda: registry.approve(f"{NAME}@{ONE}", "ada"))[0] is AppCode.IMAGE_FETCH


def test_an_image_approved_twice_is_told(registry: ImageRegistry) -> None:
    registry.approve(f"{NAME}:1.0", "ada")
    for text in (f"{NAME}:1.0", f"{NAME}@{ONE}", f"{NAME}:1.0@{ONE}"):
        code, message = refusal(lambda text=text: registry.approve(text, "bob"))  # type: ignore[misc]
        assert code is AppCode.IMAGE_DIGEST_EXISTS
        assert message == f"{NAME}@{ONE} is approved already."


def test_an_image_without_an_entrypoint_is_refused(
    registry: ImageRegistry, crane: FakeCrane
) -> None:
    crane.configs[ONE] = ImageConfig([], ["/bin/sh"], "/", {})
    code, message = refusal(lambda: registry.approve(f"{NAME}:1.0", "ada"))
    assert code is AppCode.IMAGE_NO_ENTRYPOINT
    assert "build it with an ENTRYPOINT" in message


def test_an_image_that_nobody_approved_is_told_with_who_can(registry: ImageRegistry) -> None:
    code, message = refusal(lambda: registry.get(f"{NAME}:9"))
    assert code is AppCode.NO_SUCH_IMAGE
    assert f"ask an admin to run: cts admin image approve {NAME}:9" in message


def test_a_digest_approved_with_another_tag_is_told(registry: ImageRegistry) -> None:
    registry.approve(f"{NAME}:1.0", "ada")
    code, message = refusal(lambda: registry.get(f"{NAME}:2.0@{ONE}"))
    assert code is AppCode.NO_SUCH_IMAGE
    assert "is approved with the tag 1.0, not 2.0" in message


def approve_at_once(registry: ImageRegistry, crane: FakeCrane, texts: list[str]) -> list[object]:
    """Approve each of them, all past their look-up before one is written."""
    crane.meet = threading.Barrier(len(texts))

    def approve(text: str) -> object:
        try:
            return registry.approve(text, "ada").digest
        except GatewayError as exc:
            return exc.code

    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(approve, texts))


def test_of_many_approvals_of_one_tag_at_once_one_wins_and_the_others_are_told(
    registry: ImageRegistry, crane: FakeCrane
) -> None:
    found = approve_at_once(registry, crane, [f"{NAME}:1.0"] * 6)
    assert sorted(map(str, found)) == sorted(map(str, [AppCode.IMAGE_DIGEST_EXISTS] * 5 + [ONE]))
    assert len(registry.everything()) == 1


def test_a_race_that_only_the_database_sees_ends_in_the_same_error(
    registry: ImageRegistry, crane: FakeCrane, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.approve(f"{NAME}:1.0", "ada")
    looks: list[int] = []
    real = ImageRegistry._refuse_known

    def blind_at_first(*arguments: object) -> None:
        looks.append(1)
        if len(looks) > 2:
            real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageRegistry, "_refuse_known", staticmethod(blind_at_first))
    code, _ = refusal(lambda: registry.approve(f"{NAME}:1.0", "ada"))
    assert code is AppCode.IMAGE_DIGEST_EXISTS
    assert len(looks) == 3


def test_a_deleted_images_tag_and_digest_are_free_again(
    registry: ImageRegistry, crane: FakeCrane
) -> None:
    first = registry.approve(f"{NAME}:1.0", "ada")
    crane.tags["1.0"] = TWO
    registry.delete(f"{NAME}:1.0")
    code, _ = refusal(lambda: registry.get(f"{NAME}@{ONE}"))
    assert code is AppCode.NO_SUCH_IMAGE
    assert registry.approve(f"{NAME}:1.0", "ada").digest == TWO
    assert registry.approve(f"{NAME}@{ONE}", "ada").digest == first.digest
    registry.delete(f"{NAME}@{ONE}")
    assert [image.digest for image in registry.everything()] == [TWO]
    for text in (f"{NAME}:9", f"{NAME}@{ONE}", f"{NAME}:1.0@{ONE}"):
        assert refusal(lambda text=text: registry.delete(text))[0] is AppCode.NO_SUCH_IMAGE  # type: ignore[misc]
    assert refusal(lambda: registry.delete("a@md5:12"))[0] is AppCode.IMAGE_NAME_PARSE


def test_images_are_listed_by_name(registry: ImageRegistry, crane: FakeCrane) -> None:
    for name in ("reg/z:1.0", "reg/a:1.0", f"reg/a@{TWO}", "docker.io/b:1.0"):
        registry.approve(name, "ada")
    listed = [(image.name, image.tag) for image in registry.everything()]
    assert listed == [
        ("docker.io/library/b", "1.0"),
        ("docker.io/reg/a", "1.0"),
        ("docker.io/reg/a", None),
        ("docker.io/reg/z", "1.0"),
    ]


class TestNotes:
    def test_what_is_not_said_is_taken_from_another_image(self, registry: ImageRegistry) -> None:
        said = Notes(["https://x.example"], "use it so", None, 3, "/refdata")
        registry.approve(f"{NAME}:1.0", "ada", said)
        row = registry.approve(f"{NAME}@{TWO}", "ada", Notes(from_image=f"{NAME}:1.0"))
        assert (row.urls, row.usage_notes) == (["https://x.example"], "use it so")
        assert (row.refdata_id, row.default_refdata_mount_point) == (3, "/refdata")

    def test_what_is_said_goes_before(self, registry: ImageRegistry) -> None:
        registry.approve(f"{NAME}:1.0", "ada", Notes(["https://x.example"], "old", None, 3, "/old"))
        given = Notes([], "", f"{NAME}:1.0", 4, "/new")
        row = registry.approve(f"{NAME}@{TWO}", "ada", given)
        assert (row.urls, row.usage_notes) == ([], "")
        assert (row.refdata_id, row.default_refdata_mount_point) == (4, "/new")

    def test_an_image_to_take_from_that_is_not_approved_is_told_with_its_place(
        self, registry: ImageRegistry
    ) -> None:
        with pytest.raises(GatewayError) as caught:
            registry.approve(f"{NAME}:1.0", "ada", Notes(from_image="other:2"))
        assert caught.value.code is AppCode.NO_SUCH_IMAGE
        assert caught.value.message.startswith("from_image: The image docker.io/library/other:2 is not approved")  # fmt: skip
        assert caught.value.details[0].loc == ("from_image",)
        assert registry.everything() == []


class TestPlatforms:
    ARM, AMD = "sha256:" + "a" * 64, "sha256:" + "b" * 64

    @pytest.fixture
    def sites(self, database: Database, crane: FakeCrane) -> ImageRegistry:
        """Two sites, and an index of two platforms whose programs differ."""
        crane.indexes[ONE] = {"linux/arm64": self.ARM, "linux/amd64": self.AMD}
        crane.configs[self.ARM] = replace(CONFIG, entrypoint=["/arm"], platform="linux/arm64")
        crane.configs[self.AMD] = replace(CONFIG, entrypoint=["/amd"])
        return ImageRegistry(database, crane, {"big": "linux/amd64", "new": "linux/arm64/v8"})

    def test_each_site_runs_its_own_of_an_index_whose_digest_the_image_has(
        self, sites: ImageRegistry
    ) -> None:
        image = sites.approve(f"{NAME}:1.0", "ada")
        assert image.digest == ONE
        assert image.entrypoint == ["/amd"]
        assert sorted(image.platforms) == ["linux/amd64", "linux/arm64"]
        for site, digest, program in (("big", self.AMD, "/amd"), ("new", self.ARM, "/arm")):
            variant = sites.variant(sites.get(f"{NAME}@{ONE}"), site)
            assert (variant.digest, variant.config.entrypoint) == (digest, [program])

    def test_only_configurations_that_a_site_needs_are_looked_up(
        self, database: Database, crane: FakeCrane, sites: ImageRegistry
    ) -> None:
        one = ImageRegistry(database, crane, {"big": "linux/amd64"})
        image = one.approve(f"{NAME}:1.0", "ada")
        assert crane.looked == [self.AMD]
        # A site that came later asks once.
        for _ in range(2):
            assert sites.variant(sites.get(f"{NAME}:1.0"), "new").config.entrypoint == ["/arm"]
        assert crane.looked == [self.AMD, self.ARM]
        assert image.id == sites.get(f"{NAME}:1.0").id

    def test_an_image_that_is_not_for_a_sites_platform_is_refused_there_with_what_it_has(
        self, sites: ImageRegistry, crane: FakeCrane
    ) -> None:
        crane.configs[TWO] = replace(CONFIG, platform="linux/arm64")
        image = sites.approve(f"{NAME}@{TWO}", "ada")
        assert sites.variant(image, "new").digest == TWO
        code, message = refusal(lambda: sites.variant(image, "big"))
        assert code is AppCode.ILLEGAL_PARAMETER
        assert (
            "has nothing for linux/amd64, which the nodes of big run, but for linux/arm64"
            in message
        )

    def test_one_platform_without_an_entrypoint_refuses_the_whole(
        self, sites: ImageRegistry, crane: FakeCrane
    ) -> None:
        crane.configs[self.ARM] = replace(CONFIG, entrypoint=[])
        code, message = refusal(lambda: sites.approve(f"{NAME}:1.0", "ada"))
        assert code is AppCode.IMAGE_NO_ENTRYPOINT
        assert self.ARM in message
