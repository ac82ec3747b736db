"""Two numbers: the version of this package, and that of the method, which says whether scores can be compared."""

from importlib.metadata import PackageNotFoundError, metadata, version

METHOD_VERSION: int = 3
"""Raised whenever the same images, model and configuration give other scores than before; work of another version is
not resumed. `tests/core/reference_scores.json` holds scores of this version."""


def project_page() -> str | None:
    """The address of the project's page that the installed package's metadata names; None where they name none."""
    try:
        named = metadata("lake-explorer").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    pages = dict(one.split(", ", 1) for one in named)
    return pages.get("Homepage")


def package_version() -> str:
    """The installed package's version, made from the repository's tags; "0+unknown" where nothing is installed."""
    try:
        return version("lake-explorer")
    except PackageNotFoundError:
        return "0+unknown"
