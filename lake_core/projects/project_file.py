"""`NAME.lake`: a project as one ZIP file, written whole or not at all and read strictly (docs/project-file.md)."""

import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from lake_core.data.archives import MAX_ENTRIES, MAX_TOTAL_BYTES, Archive
from lake_core.data.limited import LIGHT_BYTES, LIGHT_FILES, is_light
from lake_core.errors import DatasetError, ProjectError, writing
from lake_core.projects.manifest import Manifest, read_manifest
from lake_core.projects.project import Project, sha256_of

SUFFIX = ".lake"
MANIFEST = "manifest.json"
FILES = "files/"
"""Folder of the files, each named by its sha256."""
MAX_RATIO = 200
"""Of the unpacked bytes to those of the file; we do not compress, but who unpacks and packs one again may."""
_LIGHT_MANIFEST = 100_000
"""Bytes of a manifest that are checked in 0.2 s, whatever is in them."""
_FILE = re.compile(f"{FILES}[0-9a-f]{{64}}")
_DATE = (1980, 1, 1, 0, 0, 0)
_REMEDY = "save the project again"


def project_bytes(project: Project) -> bytes:
    """The file of a project: the same bytes for the same project, on any machine."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        archive.writestr(_entry(MANIFEST), project.manifest.as_json())
        for sha256 in sorted(project.manifest.files):
            archive.writestr(_entry(FILES + sha256), project.files[sha256])
    return buffer.getvalue()


def write_project(project: Project, path: Path) -> None:
    """Writes the file of a project, whole or not at all.

    Raises:
        LakeError: if it cannot be written.
    """
    write_whole(path, project_bytes(project))


def read_project(source: Path | bytes, name: str | None = None) -> Project:
    """The project in a file. No image is decoded and no model is opened; see `Project.dataset`.

    Args:
        source: The file, or its bytes.
        name: What to call it in messages; by default the file's name.
    Raises:
        ProjectError: one sentence with the name, the reason and the remedy: if there is no such file, it is no project
            or a damaged one, is over a limit, is of a newer version, or holds anything but what its manifest names.
    """
    name = name or (source.name if isinstance(source, Path) else f"project{SUFFIX}")
    packed = packed_project(source if isinstance(source, bytes) else _bytes_of(source), name)
    return Project(packed.manifest, dict(packed.files))


def read_light_project(data: bytes, name: str) -> Project | None:
    """A project that is read and decoded in a fraction of a second, as `is_light` says of images; None for another.

    Raises:
        ProjectError: as `read_project`.
    """
    if len(data) > LIGHT_BYTES:
        return None
    archive = _archive(data, name)
    if archive.is_compressed or archive.n_bytes > LIGHT_BYTES or len(archive.names) > LIGHT_FILES:
        return None
    manifest = _unpacked(archive, MANIFEST)
    if len(manifest) > _LIGHT_MANIFEST:
        return None
    packed = _project(archive, read_manifest(manifest, name))
    project = Project(packed.manifest, dict(packed.files))
    decoded = [name for image in project.manifest.images for name in (image.sha256, image.mask) if name is not None]
    return project if is_light((name, project.files[name]) for name in decoded) else None


def packed_project(data: bytes, name: str) -> Project:
    """The project in a file's bytes, whose files are unpacked and checked when they are asked for.

    Raises:
        ProjectError: as `read_project`, and when a file is asked for that is damaged or not what the manifest says.
    """
    archive = _archive(data, name)
    return _project(archive, read_manifest(_unpacked(archive, MANIFEST), name))


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name beside it and renames it: others see the old one or the whole new one.

    Raises:
        LakeError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with writing(path):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


class _Packed(Mapping[str, bytes]):
    """sha256 -> bytes of the files in an archive, unpacked at each look."""

    def __init__(self, archive: Archive, files: frozenset[str]) -> None:
        self._archive, self._files = archive, files

    def __getitem__(self, sha256: str) -> bytes:
        if sha256 not in self._files:
            raise KeyError(sha256)
        content = _unpacked(self._archive, FILES + sha256)
        if sha256_of(content) != sha256:
            name = self._archive.name
            raise ProjectError(f"The file {sha256[:12]} … in {name} is not what the manifest says: {_REMEDY}.")
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)


def _archive(data: bytes, name: str) -> Archive:
    """The list of what a file holds, in which nothing is that no project has."""
    try:
        archive = Archive(data, name, _REMEDY)
    except DatasetError as error:
        raise ProjectError(str(error)) from None
    if archive.n_bytes > MAX_RATIO * len(data):
        raise ProjectError(f"{name} unpacks to more than {MAX_RATIO} times its size, as no project does.")
    if MANIFEST not in archive.names:
        raise ProjectError(f"{name} is a ZIP archive, but no project: it holds no {MANIFEST}.")
    _check_kinds(archive.names, name)
    return archive


def _project(archive: Archive, manifest: Manifest) -> Project:
    _check_names(archive.names, {MANIFEST, *(FILES + sha256 for sha256 in manifest.files)}, archive.name)
    return Project(manifest, _Packed(archive, manifest.files))


def _unpacked(archive: Archive, member: str) -> bytes:
    try:
        return archive.read(PurePosixPath(member))
    except DatasetError as error:
        raise ProjectError(str(error)) from None


def _check_kinds(found: tuple[str, ...], name: str) -> None:
    """Refuses what no project has, before anything is read: to an archive "../manifest.json" is a manifest, too."""
    strange = [one for one in found if one != MANIFEST and not _FILE.fullmatch(one)]
    if strange:
        raise ProjectError(f"{name} holds {strange[0][:60]!r}, which does not belong to a project: {_REMEDY}.")


def _check_names(found: tuple[str, ...], expected: set[str], name: str) -> None:
    if len(found) == len(expected) and set(found) == expected:
        return
    missing, more = sorted(expected - set(found)), sorted(set(found) - expected)
    if missing:
        raise ProjectError(f"{name} lacks {missing[0][:60]}, which its manifest names: {_REMEDY}.")
    what = f"{more[0][:60]!r}, which its manifest does not name" if more else "a file twice"
    raise ProjectError(f"{name} holds {what}: {_REMEDY}.")


def _bytes_of(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise ProjectError(f"{path.name} is not a file: give the file of a project.")
        n_bytes = found.st_size
        if n_bytes > MAX_TOTAL_BYTES + MAX_ENTRIES * 1000:
            raise ProjectError(
                f"{path.name} has {n_bytes / 1e9:.1f} GB, more than the {MAX_TOTAL_BYTES / 1e9:g} GB allowed."
            )
        return path.read_bytes()
    except OSError as error:
        raise ProjectError(f"{path} cannot be read ({error.strerror or error}): check the path.") from None


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, _DATE)
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every system
    return entry
