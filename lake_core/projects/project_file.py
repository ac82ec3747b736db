"""`NAME.lake`: a project as one ZIP file, written whole or not at all and read strictly (docs/project-file.md)."""

import os
import re
import secrets
import stat
from io import BytesIO
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from lake_core.data.archives import MAX_ENTRIES, MAX_TOTAL_BYTES, Archive
from lake_core.errors import DatasetError, ProjectError, writing
from lake_core.projects.manifest import read_manifest
from lake_core.projects.project import Project, sha256_of

SUFFIX = ".lake"
MANIFEST = "manifest.json"
FILES = "files/"
"""Folder of the files, each named by its sha256."""
MAX_RATIO = 200
"""Of the unpacked bytes to those of the file; we do not compress, but who unpacks and packs one again may."""
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
    data = source if isinstance(source, bytes) else _bytes_of(source)
    try:
        archive = Archive(data, name, _REMEDY)
        if archive.n_bytes > MAX_RATIO * len(data):
            raise ProjectError(f"{name} unpacks to more than {MAX_RATIO} times its size, as no project does.")
        if MANIFEST not in archive.names:
            raise ProjectError(f"{name} is a ZIP archive, but no project: it holds no {MANIFEST}.")
        _check_kinds(archive.names, name)
        manifest = read_manifest(archive.read(PurePosixPath(MANIFEST)), name)
        _check_names(archive.names, {MANIFEST, *(FILES + sha256 for sha256 in manifest.files)}, name)
        files = {sha256: archive.read(PurePosixPath(FILES + sha256)) for sha256 in sorted(manifest.files)}
    except DatasetError as error:
        raise ProjectError(str(error)) from None
    for sha256, content in files.items():
        if sha256_of(content) != sha256:
            raise ProjectError(f"The file {sha256[:12]} … in {name} is not what the manifest says: {_REMEDY}.")
    return Project(manifest, files)


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
