"""The store of projects: what is kept comes back, limits are said, and several servers do each other no harm."""

import os
import threading
import time
from pathlib import Path

import pytest

from lake_core.errors import ProjectError, StoreError, StoreFullError
from lake_core.projects.project import State
from lake_core.projects.store import DAY_S, Limits, Store, new_identity, store_folder, store_of
from tests.core.projects.cases import project


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files_of(store: Store) -> set[str]:
    return {path.name for path in (store.folder / "files").glob("*/*")}


def age(path: Path, days: float) -> None:
    """Makes a file that many days old."""
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def age_all(store: Store, days: float) -> None:
    for path in store.folder.rglob("*"):
        if path.is_file():
            age(path, days)


def test_a_shared_project_comes_back_in_another_process_s_store(store: Store) -> None:
    saved = project()
    identity = store.share(saved)
    found = Store(store.folder).find("shared", identity)
    assert found is not None
    assert found.manifest == saved.manifest
    assert found.files == saved.files
    assert Store(store.folder).find("sessions", identity) is None


def test_an_identity_has_128_bits_and_nothing_else_is_looked_for(store: Store) -> None:
    assert len(new_identity()) == 22
    assert len({new_identity() for _ in range(1000)}) == 1000
    store.share(project())
    (store.folder.parent / "secret.json").write_bytes(project().manifest.as_json())
    for identity in ("", "x", "../../secret", "../" * 6 + "etc/passwd", "a" * 200, "a/" * 10, new_identity()):
        assert store.find("shared", identity) is None
    with pytest.raises(StoreError, match="not the identity"):
        store.keep_session("../../../tmp/evil-session", project())


def test_a_shared_project_stays_as_it_was_while_its_session_goes_on(store: Store) -> None:
    session = new_identity()
    store.keep_session(session, project(0))
    identity = store.share(project(0))
    store.keep_session(session, project(50))
    shared, kept = store.find("shared", identity), store.find("sessions", session)
    assert shared is not None
    assert kept is not None
    assert shared.manifest == project(0).manifest
    assert kept.manifest == project(50).manifest


def test_images_are_kept_once_for_all_projects(store: Store) -> None:
    for _ in range(3):
        store.share(project())
        store.keep_session(new_identity(), project())
    assert files_of(store) == set(project().files)


def test_the_owner_s_list_names_all(store: Store) -> None:
    identity, session = store.share(project()), new_identity()
    store.keep_session(session, project(9, State()))
    (store.folder / "shared" / f"{new_identity()}.json").write_text("{}")
    found = {one.identity: one for one in store.listed()}
    assert len(found) == 3
    assert (found[identity].kind, found[identity].name, found[identity].n_images) == ("shared", "plates", 5)
    assert found[identity].n_bytes == sum(map(len, project().files.values()))
    assert found[session].kind == "sessions"
    assert "(cannot be read)" in {one.name for one in found.values()}
    assert Store(store.folder / "none").listed() == []


# Limits --------------------------------------------------------------------------------------------------------------


def test_a_full_store_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits(max_projects=2))
    first, _ = store.share(project(0)), store.share(project(50))
    with pytest.raises(StoreFullError, match=r"full \(2 shared projects\); save the project as a file\."):
        store.share(project(100))
    assert store.find("shared", first) is not None
    session = new_identity()
    store.keep_session(session, project(0))
    store.keep_session(new_identity(), project(0))
    with pytest.raises(StoreFullError, match="2 sessions"):
        store.keep_session(new_identity(), project(0))
    store.keep_session(session, project(1))  # who is in goes on


def test_a_store_holds_no_more_bytes_than_it_may(tmp_path: Path) -> None:
    n_bytes = sum(map(len, project().files.values()))
    store = Store(tmp_path, Limits(max_bytes=int(1.5 * n_bytes)))
    store.share(project(0))
    with pytest.raises(StoreFullError, match="GB"):
        store.share(project(50))
    assert files_of(store) == set(project(0).files)
    with pytest.raises(StoreFullError):
        Store(tmp_path, store.limits).share(project(50))  # a server that has just started


def test_what_is_too_old_is_removed_with_its_images(store: Store) -> None:
    old, young = store.share(project(0)), store.share(project(50))
    age_all(store, 91)
    assert store.find("shared", old) is None
    age(store.folder / "shared" / f"{young}.json", 89)
    store.sweep()
    assert store.find("shared", young) is not None
    assert files_of(store) == set(project(50).files)
    assert [one.identity for one in store.listed()] == [young]


def test_a_full_store_makes_room_by_itself_where_something_is_too_old(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits(max_projects=1, keep_days=10))
    store.share(project(0))
    age_all(store, 11)
    store.share(project(50))
    assert files_of(store) == set(project(50).files)


def test_images_of_a_project_that_only_a_newer_program_reads_stay(store: Store) -> None:
    identity = store.share(project())
    path = store.folder / "shared" / f"{identity}.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    for image in (store.folder / "files").glob("*/*"):
        age(image, 30)
    store.sweep()
    assert files_of(store) == set(project().files)
    with pytest.raises(ProjectError, match="newer LAKE Explorer"):
        store.find("shared", identity)


# Several servers, and damage ----------------------------------------------------------------------------------------


def test_an_image_that_was_taken_up_again_outlives_a_sweep_that_has_it_on_its_list(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = store.share(project())
    other, replaced = Store(store.folder), os.replace
    other.sweep()  # not again for an hour
    age_all(store, 2)
    (store.folder / "shared" / f"{identity}.json").unlink()
    taken_up: list[str] = []

    def meanwhile(old: object, new: object) -> None:
        if not taken_up and str(new).endswith(".tmp"):  # the sweep takes its first image away
            taken_up.append(other.share(project()))
        replaced(str(old), str(new))

    monkeypatch.setattr(os, "replace", meanwhile)
    store.sweep()
    assert len(taken_up) == 1
    found = other.find("shared", taken_up[0])
    assert found is not None
    assert found.files == project().files


def test_leftovers_of_a_server_that_was_killed_while_writing_go(store: Store) -> None:
    session = new_identity()
    store.keep_session(session, project())
    torn = [store.folder / "sessions" / f".{session}.json.ab.tmp", store.folder / "files" / "ab" / ".abc.ab.tmp"]
    for path in torn:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    store.sweep()
    assert all(path.exists() for path in torn)  # another server may be writing it
    for path in torn:
        age(path, 2)
    store.sweep()
    assert not any(path.exists() for path in torn)
    assert store.find("sessions", session) is not None


def test_a_reader_never_sees_half_a_session(store: Store) -> None:
    session, saved = new_identity(), [project(0), project(50)]
    store.keep_session(session, saved[0])
    done = threading.Event()

    def write() -> None:
        for i in range(40):
            Store(store.folder).keep_session(session, saved[i % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    manifests = [one.manifest for one in saved]
    n_read = 0
    while not done.is_set():
        found = store.find("sessions", session)
        assert found is not None
        assert found.manifest in manifests
        n_read += 1
    writer.join()
    assert n_read > 0


def test_a_changed_or_lost_image_is_said(store: Store) -> None:
    identity = store.share(project())
    path = next((store.folder / "files").glob("*/*"))
    path.write_bytes(b"other")
    with pytest.raises(ProjectError, match="not the one that was kept"):
        store.find("shared", identity)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        store.find("shared", identity)


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "store").share(project())


def test_the_folder_is_the_option_s_else_the_environment_s_else_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKE_STORE", raising=False)
    assert "lake-explorer" in store_folder().parts
    monkeypatch.setenv("LAKE_STORE", "/shared/lake")
    assert store_folder() == Path("/shared/lake")
    assert store_folder(Path("mine")) == Path("mine")


def test_what_lies_in_a_folder_of_others_is_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o755)
    Store(folder).share(project())
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {"shared": 0o700, "files": 0o700}


def test_a_program_s_arguments_name_the_folder_and_the_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKE_STORE", str(tmp_path))
    found = store_of(["--sample", "metal", "--store", "/srv/lake", "--keep-days", "0.5", "--store-gb", "2.5"])
    assert (found.folder, found.limits) == (Path("/srv/lake"), Limits(2_500_000_000, 10_000, 0.5))
    assert store_of(["--store-projects", "3"]).limits == Limits(max_projects=3)
    found = store_of()
    assert (found.folder, found.limits) == (tmp_path, Limits())
