"""What `lake models` does: list the backbones that can be opened, bring one here, and check one."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.catalogue import OFFERED, UNTUNED
from lake_core.backbones.checks import Check, network_checks, seconds_per_image
from lake_core.backbones.fetching import fetch, is_here
from lake_core.backbones.libraries import open_clip
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.process import limit_threads
from lake_core.backbones.registry import DEFAULT_BACKBONE, SHIPPED, cached_pretrained
from lake_core.cli.console import Reporter
from lake_core.cli.terminal import say
from lake_core.data.images import InputImage
from lake_core.data.samples import assets_folder, load_sample
from lake_core.detector.decomposition_check import decomposition
from lake_core.sentences import quantity

ABOUT = {
    "lake-cnn": "ImageNet EfficientNet-Lite2, frozen, with a small text tower; never saw a defect",
    "lake-vit": "our own small ViT, distilled and trained with synthetic defects: for comparison, supports no claim "
    "about latent knowledge",
}
_FORMS = {
    "NAME:TAG": "an open_clip model and its pretrained tag, as in ViT-B-16:openai",
    "hf-hub:ORG/REPO": "an open_clip repository of the Hugging Face hub",
    "local-dir:FOLDER": "a folder with open_clip_config.json, open_clip_model.safetensors and the tokenizer's files",
    "checkpoint:WEIGHTS@CONFIG": "a weights file and its open_clip_config.json, as in checkpoint:/m/b16.pt@/m/b16.json",
}
_SAMPLE = "hazelnut"
"""Real photographs, for checks on real images."""
_WIDTH = 100


def lines(everything: bool) -> Iterator[str]:
    """The lines that `lake models list` prints.

    Args:
        everything: List every NAME:TAG of open_clip's, not only those offered and those whose weights are here.
    """
    yield "Shipped with LAKE Explorer, with layers and site that were measured:"
    for name in SHIPPED:
        here = any((assets_folder() / name).glob("*.safetensors"))
        marks = ("default" if name == DEFAULT_BACKBONE else "", "" if here else "MISSING: install again")
        remarks = "".join(f" ({mark})" for mark in marks if mark)
        yield f"  {name:<10}{ABOUT[name]}{remarks}"

    cached = cached_pretrained()
    yield ""
    yield "Real CLIP models; `lake models pull NAME` downloads one (* on this machine):"
    for one in OFFERED:
        mark = "*" if one.spec in cached else " "
        yield f"{mark} {one.spec:<31}{one.n_megabytes:>5} MB  {one.licence:<12}{one.about}"

    others = [spec for spec in cached if spec not in {one.spec for one in OFFERED}]
    if others:
        yield ""
        yield "Also on this machine, from open_clip:"
        yield from (f"* {spec}" for spec in others)
    if everything:
        yield ""
        yield "From open_clip, all (* on this machine):"
        for name, tag in open_clip.list_pretrained():
            spec = f"{name}:{tag}"
            yield f"{'*' if spec in cached else ' '} {spec}"

    yield ""
    yield "For every model but the shipped ones:"
    yield from (f"  {line}" for line in wrap(f"{UNTUNED} See docs/method.md, sections 1 and 7.", _WIDTH))
    yield ""
    yield "Ways to write a backbone:"
    yield from (f"  {form:<27}{meaning}" for form, meaning in _FORMS.items())
    if not everything:
        yield ""
        yield "`lake models list --all` lists every NAME:TAG."


def pull_model(spec: str) -> None:
    """Brings a model to this machine, with a progress bar.

    Raises:
        BackboneError: if there is no such model.
        UnavailableError: if it cannot be brought here.
    """
    was_here = is_here(spec)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Reporter().console
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(spec, total=None)
        fetch(spec, lambda n_done, n_all: progress.update(task, completed=n_done, total=n_all or None))
    if was_here:
        say(f"{spec} is on this machine already.")
    else:
        say(f"{spec} is on this machine now; `lake models check {spec}` checks it.")


def check_model(spec: str) -> bool:
    """Prints what each check of a model measured, one a line, and returns whether none failed.

    Raises:
        BackboneError: if the model cannot be opened.
    """
    n_threads = limit_threads()
    backbone = open_backbone(spec)
    for note in backbone.notes:
        say(f"note    {note}")
    sample = load_sample(_SAMPLE)
    normals = [example.image for example in sample.normals]
    image = next(example.image for example in reversed(sample.tests) if example.label == "defective")
    n_failed = 0
    for check in _checks(backbone, normals, image):
        verdict = {True: "ok", False: "FAILED", None: "none"}[check.passed]
        say(f"{verdict:<8}{check.name:<15}{check.measured}")
        n_failed += check.passed is False
    height, width = backbone.input_size
    milliseconds = 1000 * seconds_per_image(backbone, image)
    say(f"time    {milliseconds:.0f} ms an image of {width} x {height} pixels, CPU, threads: {n_threads}")
    say(f"{spec}: {quantity(n_failed, 'check')} failed." if n_failed else f"{spec}: no check failed.")
    return n_failed == 0


def _checks(backbone: Backbone, normals: Sequence[InputImage], image: InputImage) -> Iterator[Check]:
    yield from network_checks(backbone, image)
    yield decomposition(backbone, normals, image)
