"""The sections of a report on neurons, on what it does not prove, and on how it is repeated."""

import base64

from lake_core.backbones.devices import device_name
from lake_core.detector.selection import Selection
from lake_core.experiments.ranking import elbow, participation_ratio
from lake_core.projects.checking import made_with
from lake_core.reports.content import Explained, NeuronPart, Report
from lake_core.reports.figures import Mark, histograms, ranked
from lake_core.reports.limits import limits as sentences_on_limits
from lake_core.reports.reproduce import command, python, without_option
from lake_core.sentences import control_caveat, quantity, sentence
from lake_core.visualization.markup import Markup, definitions, element, embedded_image, joined, paragraph, table

_N_NAMED = 12


def microscopes(report: Report) -> Markup:
    """The images with the highest scores, each under its microscope; a still of it where scripts do not run."""
    n = len(report.explained)
    which = "The test image with the highest score." if n == 1 else f"The {n} test images with the highest scores."
    how = "Point at the image, or move over it with the arrow keys, to see what the score of each patch is made of."
    return joined(
        [
            paragraph(which, element("span", f" {how}", class_="report-screen")),
            _own_aurocs(report),
            *map(_in_full, report.explained),
        ]
    )


def _own_aurocs(report: Report) -> Markup | None:
    """What a neuron's AUROC alone is, and over which images; None where labels do not tell."""
    if report.control is None or not any(_has_aurocs(one) for one in report.explained):
        return None
    n_images, n_all = report.control.n_images, len(report.rows)
    which = "labelled test images" if n_images == n_all else f"labelled ones of {n_images} test images, evenly spread"
    return paragraph(
        f"A neuron's AUROC alone is that of its greatest activation on each of the {which}: 1 where every defective "
        "image has a greater one than every good image, 0.5 by chance, 0 the other way round. Among many neurons the "
        "best look good by chance.",
        small=True,
    )


def _has_aurocs(one: Explained) -> bool:
    return any(part.auroc is not None for part in one.neurons)


def selection(report: Report) -> Markup:
    """What is kept of each layer, and what as many random neurons do."""
    says = (
        "Neurons are ranked by sensitivity on the normal images alone, and the first K are kept. The curve is their "
        "sensitivity, the most sensitive first. The ranking does not prove that they cause anything."
    )
    layers = [_layer(one, report.lake.config.criterion) for one in report.lake.selection_.values()]
    return joined([paragraph(says), *layers, *_control(report)])


def verdict(report: Report) -> Markup | None:
    """Whether the selected neurons do better than random ones, where labels say what is better."""
    if report.control is None or report.control.found.finding is None:
        return None
    return paragraph(element("b", sentence(report.control.found.finding)))


def limits(report: Report) -> Markup:
    """What the report does not prove."""
    return element("ul", *(element("li", one) for one in sentences_on_limits(report)))


def reproduction(report: Report) -> Markup:
    """Versions, weights, and the analysis as a command and in Python."""
    lake, folders = report.lake, report.folders
    known = made_with(lake.backbone.spec, device_name(lake.backbone.device))
    versions = [(name, version) for name, version in known.versions.items()]
    weights = [(name, element("code", digest)) for name, digest in known.weights.items()]
    best = report.gallery[0].row.path if report.gallery else None
    lacking = without_option(lake)
    exact = f" It has no option for {', '.join(lacking)}, which Python below says, too." if lacking else ""
    return joined(
        [
            definitions([*versions, ("method", f"version {known.method}"), ("device", known.device)]),
            definitions([(f"sha256 of {name}", digest) for name, digest in weights])
            if weights
            else paragraph("The model's files are not on this machine any more, so that their sha256 is not known."),
            paragraph(
                f"As a command, in the folder that holds {folders.normal} (normal images) and {folders.test} (test "
                f"images).{exact}"
            ),
            element("pre", element("code", command(lake, folders)), tabindex="0"),
            paragraph("In Python:"),
            element("pre", element("code", python(lake, folders, best)), tabindex="0"),
        ]
    )


def _in_full(one: Explained) -> Markup:
    payload = element("script", Markup(base64.b64encode(one.payload).decode()), type="text/plain")
    view = element("div", class_="report-microscope")
    return element("article", payload, view, _still(one), class_="report-explained", aria_label=one.row.path)


def _still(one: Explained) -> Markup:
    """The microscope as paper shows it: image, map, what the score is made of, and the nearest normal patches."""
    row = one.row
    side = "above" if row.is_anomalous else "not above"
    images = [
        element("figure", embedded_image(one.plain, f"{row.path} as it is"), element("figcaption", "as it is")),
        element(
            "figure", embedded_image(one.drawn, f"{row.path} with its score map"), element("figcaption", "with its map")
        ),
    ]
    for found in one.neighbours:
        pair = (
            (found.here, f"layer {found.layer}: the max-scoring patch"),
            (found.normal, f"layer {found.layer}: nearest normal patch, on {found.normal_name}"),
        )
        images += [element("figure", embedded_image(jpeg, says), element("figcaption", says)) for jpeg, says in pair]
    if one.compared is not None:
        says = f"for comparison {one.compared.path} with its map: score {one.compared.score:.2f}"
        images.append(element("figure", embedded_image(one.compared.drawn, says), element("figcaption", says)))
    parts = [(name, f"{value:.3f}") for name, value in (*one.parts, ("score", row.score))]
    head = _NEURON_HEAD if _has_aurocs(one) else _NEURON_HEAD[:-1]
    neurons = [_neuron_row(part)[: len(head)] for part in one.neurons]
    return element(
        "div",
        element("h3", f"{row.path}: score {row.score:.2f}, {side} the threshold"),
        element("div", *images, class_="report-still-images"),
        table(("Part", "Adds"), parts, f"What the score of {row.path} is made of"),
        table(head, neurons, f"Neurons that add most to the score of {row.path}"),
        class_="report-still",
    )


_NEURON_HEAD = ("Layer", "Neuron", "Here", "Nearest normal patch", "Direction", "Adds", "AUROC alone")


def _neuron_row(part: NeuronPart) -> tuple[str, ...]:
    directions = {True: "↑ more active than normal", False: "↓ less active than normal"}
    direction = "= as active as normal" if part.here == part.normal else directions[part.here > part.normal]
    numbers = f"{part.here:.3f}", f"{part.normal:.3f}", direction, f"{part.contribution:.3f}"
    return str(part.layer), str(part.neuron), *numbers, "" if part.auroc is None else f"{part.auroc:.2f}"


def _layer(one: Selection, criterion: str) -> Markup:
    """One layer: the numbers of the page Selection, the curve, and the first of what is kept."""
    n_kept, n_neurons = len(one.neurons), one.n_neurons
    facts = definitions(
        [
            ("Neurons kept", f"{n_kept} of {n_neurons}, by {criterion}"),
            ("Sensitivity kept", f"{one.share_kept:.0%} of the layer's total"),
            ("If all were equal", f"{n_kept / n_neurons:.0%} of the layer's total (uniform baseline)"),
            ("Sensitivity spread over", f"{participation_ratio(one.sensitivity):.0f} neurons (participation ratio)"),
            ("Elbow of the curve", f"K = {elbow(one.sensitivity)}, a suggestion"),
            ("Most sensitive", ", ".join(map(str, one.neurons[:_N_NAMED].tolist()))),
        ]
    )
    says = f"Neurons of layer {one.layer} ranked by sensitivity; the first {n_kept} of {n_neurons} are kept"
    curve = ranked(one.sensitivity[one.order], n_kept, says)
    return element("div", element("h3", f"Layer {one.layer}"), facts, curve, class_="report-block")


def _control(report: Report) -> list[Markup]:
    if report.control is None:
        return [paragraph("Without a test image there is nothing to compare the selection with random neurons on.")]
    found, n_images = report.control
    name = "image AUROC" if found.measure == "auroc" else "mean test score less mean normal score"
    says = f"{name}: {found.selected:.3f} selected, {found.draws.mean():.3f} random on average"
    mark = Mark(found.selected, f"selected {found.selected:.3f}")
    n_all = len(report.rows)
    where = "" if n_images == n_all else f" Measured on {quantity(n_images, 'image')} of {n_all}, evenly spread."
    return [
        element(
            "div",
            element("h3", "Selected against random neurons"),
            None if found.finding is None else paragraph(element("b", sentence(found.finding))),
            paragraph(sentence(found.draws_finding(report.lake)), where),
            histograms({"random draws": found.draws.tolist()}, mark, name, says),
            paragraph(control_caveat(found.finding is not None), small=True),
            class_="report-block",
        )
    ]
