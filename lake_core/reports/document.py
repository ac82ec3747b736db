"""The report as one HTML document, which needs no other file and no network."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from lake_core.config import TextConfig
from lake_core.errors import writing
from lake_core.reports import evidence_sections, sections
from lake_core.reports.content import Report
from lake_core.visualization.markup import Markup, element, joined
from lake_core.visualization.microscope import html as microscope

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
SECTIONS: dict[str, Callable[[Report], Markup]] = {
    "What was asked": sections.asked,
    "Test images": sections.gallery,
    "Under the microscope": evidence_sections.microscopes,
    "Scores": sections.all_scores,
    "Threshold": sections.threshold,
    "Selection of neurons": evidence_sections.selection,
    "Normal images": sections.normal_images,
    "Configuration": sections.configuration,
    "Limits": evidence_sections.limits,
    "How to reproduce it": evidence_sections.reproduction,
}
"""By their headings, in order; those on test images are left out where there is none."""
_NEED_TESTS = ("Test images", "Under the microscope", "Scores")


def document(report: Report) -> str:
    """The whole report: at most 10 MB, however many images there are.

    Args:
        report: What it tells; every text in it may be anybody's.
    """
    name = report.lake.config.object_name
    title = "LAKE Explorer report" if name == TextConfig().object_name else f"{name}: LAKE Explorer report"
    named = {name: make for name, make in SECTIONS.items() if report.rows or name not in _NEED_TESTS}
    links = [element("a", name, href=f"#{_id(name)}") for name in named]
    parts = [
        element("section", element("h2", name), make(report), id=_id(name), class_="report-section")
        for name, make in named.items()
    ]
    body = element(
        "main",
        element(
            "header",
            element("h1", title),
            element("p", sections.headline(report), class_="report-lead"),
            sections.introduction(),
            evidence_sections.verdict(report),
        ),
        element("nav", *links, aria_label="Sections"),
        *parts,
        class_="report",
    )
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Markup(microscope.style() + _file("report.css"))),
    ]
    script = element("script", Markup(microscope.script() + _file("report.js")), type="module")
    page = element("html", element("head", *head), element("body", body, script), lang="en")
    return joined([Markup("<!doctype html>\n"), page])


def save(report: Report, path: Path) -> None:
    """Writes the report.

    Raises:
        LakeError: if the file cannot be written.
    """
    text = document(report)
    with writing(path):
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


@cache
def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")
