"""ZIP archives from untrusted sources, read in memory and within limits."""

from io import BytesIO
from pathlib import PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from lake_core.data.decoding import MAX_BYTES
from lake_core.data.labels import is_hidden, safe_path
from lake_core.errors import DatasetError

MAX_ENTRIES = 2000
MAX_TOTAL_BYTES = 1_000_000_000
_N_HEAD = 16
_MAX_RATIO, _HARMLESS_BYTES = 200, 100_000_000
"""Of the unpacked bytes to those of the archive, where they are many; unpacking a gigabyte of zeros takes seconds."""
_MAX_LISTED = 10 * MAX_ENTRIES
"""Entries of the list, with those of folders, and of archives inside that are stored as they are."""
_ENTRY = b"PK\x01\x02"
"""What each entry of the list begins with."""
ARCHIVE_SUFFIXES = frozenset({".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"})


class Archive:
    """The files of a ZIP archive, unpacked one at a time when asked for.

    Attributes:
        members: Relative paths of its files; folders, hidden files and macOS's own are left out, and so are archives
            inside the archive.
        names: What the archive itself calls its files, all of them.
        n_bytes: What they unpack to, as the archive claims.
        is_compressed: Whether any of them is.
        problems: What was left out and the user should know, one sentence each.
    """

    def __init__(self, data: bytes, name: str, remedy: str | None = None) -> None:
        """Read the list of files.

        Args:
            data: The archive.
            name: What to call it in messages.
            remedy: What to do where it cannot be read; by default what suits an archive of images.
        Raises:
            DatasetError: if it is not a ZIP archive, is encrypted, or is over a limit.
        """
        self.name = name
        self._remedy = remedy
        if PurePosixPath(name).suffix.lower() in ARCHIVE_SUFFIXES - {".zip"}:
            raise DatasetError(f"{name} is an archive in a format that is not read here: pack the images as a ZIP.")
        self._zip, infos = self._opened(data)
        self.n_bytes = sum(info.file_size for info in infos)
        self.is_compressed = any(info.compress_type != ZIP_STORED for info in infos)
        self._check_unpacked(len(data))
        self._bytes_left = MAX_TOTAL_BYTES
        self._counted: set[PurePosixPath] = set()
        self._infos: dict[PurePosixPath, ZipInfo] = {}
        problems, doubled = [], []
        for info in infos:
            path = safe_path(info.filename)
            if is_hidden(path):
                continue
            if path.suffix.lower() in ARCHIVE_SUFFIXES:
                problems.append(f"{path} is an archive inside {name} and was left out: unpack it first.")
                continue
            if path in self._infos:
                doubled.append(path.as_posix())
            self._infos[path] = info
        self.names = tuple(info.filename for info in infos)
        self.members = tuple(self._infos)
        if doubled:
            more = f" and {len(doubled) - 3} more" if len(doubled) > 3 else ""
            problems.append(
                f"{', '.join(doubled[:3])}{more} in {name}: several files have that path, and the last is used; rename "
                "the others."
            )
        if not self._infos and not problems:
            problems.append(f"{name} holds no files: pack the images again.")
        self.problems = tuple(problems)

    def _opened(self, data: bytes) -> tuple[ZipFile, list[ZipInfo]]:
        """The archive and the list of its files, within the limits."""
        n_entries = data.count(_ENTRY)  # before the list is read: five million entries take a minute and gigabytes
        if n_entries > _MAX_LISTED:
            raise DatasetError(self._too_many(n_entries))
        try:
            archive = ZipFile(BytesIO(data))
            infos = [info for info in archive.infolist() if not info.is_dir()]
        except Exception as error:  # broken directories raise BadZipFile, struct.error, ValueError, ...
            raise DatasetError(
                self._saying("is not a ZIP archive, or a damaged one", "pack the images again")
            ) from error
        if len(infos) > MAX_ENTRIES:
            raise DatasetError(self._too_many(len(infos)))
        if any(info.flag_bits & 1 for info in infos):
            raise DatasetError(self._saying("is encrypted", "pack the images without a password"))
        return archive, infos

    def _check_unpacked(self, n_packed: int) -> None:
        """Raises a DatasetError if the archive claims to unpack to more than it may."""
        if self.n_bytes > MAX_TOTAL_BYTES:
            raise DatasetError(self._too_large())
        if self.n_bytes > max(_HARMLESS_BYTES, _MAX_RATIO * n_packed):
            raise DatasetError(
                self._saying(
                    f"unpacks to more than {_MAX_RATIO} times its size, as no archive of images does",
                    "pack the images again",
                )
            )

    def read(self, member: PurePosixPath) -> bytes:
        """The unpacked bytes of a member.

        Raises:
            DatasetError: if it is damaged, or larger than an image may be, or the archive unpacks to more than
                MAX_TOTAL_BYTES; what is counted is what comes out, whatever the archive claims.
        """
        try:
            with self._zip.open(self._infos[member]) as stream:
                data = stream.read(MAX_BYTES + 1)
        except MemoryError:
            remedy = self._remedy or "reduce it"
            raise DatasetError(f"{member} in {self.name} needs more memory than there is: {remedy}.") from None
        except Exception as error:  # BadZipFile, zlib.error, EOFError, NotImplementedError for odd compressions
            remedy = self._remedy or "pack it again"
            raise DatasetError(f"{member} in {self.name} is damaged: {remedy}.") from error
        if len(data) > MAX_BYTES:
            raise DatasetError(
                f"{member} in {self.name} is over the {MAX_BYTES / 1e6:.0f} MB allowed for an image: reduce it."
            )
        if member not in self._counted:
            self._counted.add(member)
            self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise DatasetError(self._too_large())
        return data

    def head(self, member: PurePosixPath) -> bytes:
        """The first bytes of a member, as far as they can be read."""
        try:
            with self._zip.open(self._infos[member]) as stream:
                return stream.read(_N_HEAD)
        except Exception:  # as in `read`, which says so
            return b""

    def _too_many(self, n_files: int) -> str:
        return self._saying(f"holds {n_files} files, more than the {MAX_ENTRIES} allowed", "split it")

    def _too_large(self) -> str:
        return self._saying(f"unpacks to more than the {MAX_TOTAL_BYTES / 1e9:g} GB allowed", "split it")

    def _saying(self, fault: str, remedy: str) -> str:
        return f"{self.name} {fault}: {self._remedy or remedy}."
