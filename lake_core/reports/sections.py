"""The sections of a report on images and scores; those on neurons and on repeating it are in `evidence_sections`."""

import base64
import io

import numpy as np
from PIL import Image

from lake_core.backbones.weights import name_without_path
from lake_core.metrics.auroc_interval import auroc_interval
from lake_core.metrics.decision import counts
from lake_core.metrics.image_metrics import auroc
from lake_core.reports.content import MOST_NORMALS, MOST_ROWS, Report, Row, Shown, normal_thumbnail
from lake_core.reports.figures import Mark, histograms
from lake_core.sentences import quantity
from lake_core.visualization.colours import ScoreScale, score_colours
from lake_core.visualization.markup import Markup, definitions, element, embedded_image, joined, paragraph, table

_MEANINGS = {
    "layers": "Layers whose visual maps are averaged.",
    "site": "Where in a layer activations are read.",
    "top_k": "Neurons kept in each layer (K).",
    "criterion": "How neurons are ranked on the normal images.",
    "fusion_weight": "Weight w of the text part: score = (1 − w) × visual + w × text.",
    "top_q": "An image's score is the mean of its q highest patches; 1 is the maximum.",
    "threshold_quantile": "Quantile of the normal images' leave-one-out scores that gives the threshold.",
    "calibration_quantile": "Quantile of the normal patches that is 1 on the visual and on the text map.",
    "normalise": "Whether vectors of the selected neurons are scaled to length 1.",
    "smooth": "Activations are averaged over squares of so many patches a side.",
    "memory_bank_size": "Normal patches kept in each layer; None keeps all.",
    "seed": "Of whatever is drawn at random.",
}
LABELS = {"good": "labelled good", "defective": "labelled defective", None: "no label"}


def headline(report: Report) -> str:
    """What came of it, in a sentence."""
    above, n = sum(row.is_anomalous for row in report.rows), len(report.rows)
    said = f"{above} of {quantity(n, 'test image')} {'is' if above == 1 else 'are'} above the threshold."
    known = {kind: [row for row in report.rows if row.label == kind] for kind in ("defective", "good")}
    if not all(known.values()):
        return said
    found, flagged = (sum(row.is_anomalous for row in rows) for rows in known.values())
    return (
        f"{said} Of {quantity(len(known['defective']), 'image')} labelled defective {found} "
        f"{'is' if found == 1 else 'are'} among them, of {len(known['good'])} labelled good {flagged}."
    )


def introduction() -> Markup:
    """What a reader needs to know to whom this is new."""
    return paragraph(
        "A pretrained network describes every image as a grid of patches, and each patch by numbers, its neurons. LAKE "
        "(Li et al., arXiv 2604.07802) keeps the neurons that vary most over a few images of good parts, the normal "
        "images, and scores a patch of a test image by how far it is, in those neurons, from the nearest patch of a "
        "normal image. A text part, which compares the patch with phrases such as “flawless” and “damaged”, is mixed "
        "in. An image's score is that of its highest patch; above the threshold, which comes from the normal images, "
        "it counts as anomalous."
    )


def asked(report: Report) -> Markup:
    """What was asked, of which model, about which images."""
    config, backbone = report.lake.config, report.lake.backbone
    kinds = {label: sum(row.label == label for row in report.rows) for label in ("good", "defective", None)}
    labelled = ", ".join(f"{n} {LABELS[label]}" for label, n in kinds.items() if n)
    when = report.when
    return definitions(
        [
            ("Object", config.object_name),
            ("Model", f"{name_without_path(backbone.spec)}, images of {backbone.input_size[0]} pixels"),
            ("Normal images", str(len(report.lake.normals_))),
            ("Test images", f"{len(report.rows)} ({labelled})" if labelled else "0"),
            ("Date", f"{when.day} {when:%B %Y, %H:%M}"),
        ]
    )


def configuration(report: Report) -> Markup:
    """The parameters, each with what it is."""
    values = report.lake.config.as_dict()
    rows = [(name, _plain(values[name]), meaning) for name, meaning in _MEANINGS.items()]
    rows.append(("resize", report.lake.backbone.resize, "How an image is laid into the model's square input."))
    return joined([table(("Parameter", "Value", "What it is"), rows, "Configuration"), _prompts(report)])


def _prompts(report: Report) -> Markup:
    prompts = report.lake.config.prompts
    texts = [
        ("Normal states", prompts.normal_states),
        ("Anomalous states", prompts.anomalous_states),
        ("Templates around them", prompts.templates),
    ]
    if report.lake.memory_bank_.text is None:
        return paragraph("The text part takes no part in the score, so no prompt was asked.")
    explained = paragraph(
        "Every phrase in every template is a prompt, with the object in the place of {}: ",
        f"{len(prompts.normal_texts(''))} prompts for the normal and {len(prompts.anomalous_texts(''))} for the "
        "anomalous state.",
        small=True,
    )
    return joined([definitions([(name, " · ".join(given)) for name, given in texts]), explained])


def normal_images(report: Report) -> Markup:
    """The images that were learned from, with their own scores."""
    lake = report.lake
    cards = [
        element(
            "figure",
            embedded_image(normal_thumbnail(image), f"Normal image {image.name}"),
            element("figcaption", image.name, element("br"), f"score {score:.2f} · sha256 {image.sha256[:12]}"),
            class_="report-card report-small-card",
        )
        for image, score in list(zip(lake.normals_, lake.normal_scores_.tolist(), strict=True))[:MOST_NORMALS]
    ]
    says = "Each one's score is from a comparison with the others alone."
    return joined([paragraph(_cut(len(cards), len(lake.normals_), "normal image"), says), _cards(cards)])


def gallery(report: Report) -> Markup:
    """The test images with their maps, all on one scale."""
    cut = _cut(len(report.gallery), len(report.rows), "test image", "with the highest scores")
    return joined(
        [
            paragraph(cut, "All maps have the same colours. What is above the threshold is outlined."),
            legend(report.scale),
            _cards([_card(one) for one in report.gallery]),
        ]
    )


def all_scores(report: Report) -> Markup:
    """How the scores are spread, and all of them as numbers."""
    by_score = report.by_score[:MOST_ROWS]
    groups = {"normal images": report.lake.normal_scores_.tolist()}
    for label, name in LABELS.items():
        groups[name] = [row.score for row in report.rows if row.label == label]
    threshold = report.lake.threshold_
    spread = {name: f"{min(held):.2f} to {max(held):.2f}" for name, held in groups.items() if held}
    says = "Scores: " + "; ".join(f"{name} {bounds}" for name, bounds in spread.items())
    rows = [
        (
            row.path,
            f"{row.score:.4f}",
            f"{row.visual:.4f}",
            f"{row.text:.4f}",
            "▲ above threshold" if row.is_anomalous else "▽ not above threshold",
            LABELS[row.label],
        )
        for row in by_score
    ]
    return joined(
        [
            histograms(groups, Mark(threshold, f"threshold {threshold:.3g}"), "image score", says),
            paragraph(_cut(len(rows), len(report.rows), "test image", "with the highest scores"), _formula(report)),
            table(("Image", "Score", "Visual", "Text", "Decision", "Label"), rows, "Scores of the test images"),
        ]
    )


def threshold(report: Report) -> Markup:
    """Where the threshold is from, and how well it decides where labels are known."""
    lake, known = report.lake, report.labelled
    quantile = lake.config.threshold_quantile
    origin = (
        f"It is the {quantile:g} quantile of the normal images' leave-one-out scores."
        if lake.own_threshold is None
        else f"It was set by hand; that of the normal images is {lake.with_threshold(None).threshold_:.3f}."
    )
    said = paragraph(f"An image is anomalous if its score is greater than {lake.threshold_:.3f}. ", origin)
    if not known:
        return joined([said, paragraph("No test image is labelled, so there is nothing to count decisions against.")])
    return joined([said, _confusion(known, lake.threshold_), _separation(known)])


def legend(scale: ScoreScale) -> Markup:
    """The colours of all maps, with the threshold marked."""
    colours = Image.fromarray(score_colours(np.linspace(0, 1, 256, dtype=np.float32)[None]))
    file = io.BytesIO()
    colours.save(file, "PNG")
    strip = element("img", src=f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", alt="")
    end = f"{scale.vmax:.3g}{'+' if scale.is_open else ''}"
    at = min(max(scale.threshold / scale.vmax, 0.0), 1.0)
    marks = [(0.0, "0", ""), (at, f"threshold {scale.threshold:.3g}", " report-at"), (1.0, end, " report-end")]
    ticks = [
        element("span", text, style=f"left: {100 * x:.1f}%", class_=f"report-tick{kind}") for x, text, kind in marks
    ]
    says = f"Colours of the maps, from dark at 0 to bright at {end}; the threshold is at {scale.threshold:.3g}"
    return element("div", strip, *ticks, class_="report-legend", role="img", aria_label=says)


def _confusion(known: list[Row], limit: float) -> Markup:
    found = counts([bool(row.is_defective) for row in known], [row.score for row in known], limit)
    rows = [
        ("labelled defective", str(found.true_positives), str(found.false_negatives)),
        ("labelled good", str(found.false_positives), str(found.true_negatives)),
    ]
    return table(("Label", "Above the threshold", "Not above"), rows, "Decisions against labels")


def _separation(known: list[Row]) -> Markup:
    labels, scores = [bool(row.is_defective) for row in known], [row.score for row in known]
    area, bounds = auroc(labels, scores), auroc_interval(labels, scores)
    if area is None or bounds is None:
        return paragraph("Labels are of one kind only, so that an AUROC cannot be computed.")
    return paragraph(
        f"Image AUROC {area:.3f} (95% interval {bounds.low:.3f} to {bounds.high:.3f}) over "
        f"{quantity(len(known), 'labelled test image')}. The interval is over test images; the choice of the normal "
        "images is not in it."
    )


def _card(one: Shown) -> Markup:
    row = one.row
    side = "▲ above threshold" if row.is_anomalous else "▽ not above threshold"
    return element(
        "figure",
        embedded_image(one.jpeg, f"{row.path} with its score map: score {row.score:.3f}, {side[2:]}"),
        element(
            "figcaption",
            element("b", f"{row.score:.2f}"),
            f" {side}",
            element("br"),
            f"{row.path} · {LABELS[row.label]}",
        ),
        class_="report-card",
    )


def _cards(cards: list[Markup]) -> Markup:
    return element("div", *cards, class_="report-cards")


def _cut(n: int, n_all: int, noun: str, which: str = "") -> str:
    """How many are shown of how many."""
    if n == n_all:
        return f"All {quantity(n_all, noun)}. " if n_all > 1 else f"{quantity(n_all, noun)}. "
    return f"{n} of {quantity(n_all, noun)}{f', those {which}' if which else ''}. "


def _formula(report: Report) -> str:
    q = report.lake.config.top_q
    place = "max-scoring patch" if q == 1 else f"{q} highest patches"
    return f"Of each image's {place}: score = (1 − w) × visual + w × text."


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
