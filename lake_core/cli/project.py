"""What `lake project` does: save an analysis as one file, check its scores on this machine, list a server's store."""

from pathlib import Path
from typing import cast, get_args

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.devices import device_name
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.patch_grid import Resize
from lake_core.backbones.process import limit_threads
from lake_core.backbones.weights import name_without_path
from lake_core.cli.console import Reporter, check_output
from lake_core.cli.request import Request
from lake_core.cli.terminal import say
from lake_core.config import LakeConfig, require_one_of
from lake_core.data.datasets import Dataset, read_side
from lake_core.detector.lake import Lake
from lake_core.errors import ConfigError, LakeError, ProjectError
from lake_core.projects.checking import check, made_with, opens_by_itself, scores_of
from lake_core.projects.manifest import MAX_IMAGES, Configuration
from lake_core.projects.project import Project, project_of
from lake_core.projects.project_file import SUFFIX, read_project, write_project
from lake_core.projects.store import WAITING, Store, store_folder
from lake_core.sentences import quantity, sentence


def save(request: Request) -> None:
    """Scores images against normal ones and writes all of it as a project.

    Raises:
        ConfigError, BackboneError, DatasetError, ProjectError: if something was asked for that cannot be.
        LakeError: if nothing can be scored, or the file cannot be written.
    """
    limit_threads()
    require_one_of("--resize", request.resize, get_args(Resize))
    check_output(request.out)
    if request.out.suffix != SUFFIX:
        raise ProjectError(f"--out {request.out} must end with {SUFFIX}.")
    config = LakeConfig(**request.parameters)
    reporter = Reporter()
    dataset = _read(request, reporter)
    backbone = open_backbone(
        request.model, image_size=request.image_size, resize=cast(Resize, request.resize), device=request.device
    )
    with reporter.progress:
        project = _scored(dataset, Lake(backbone, config), request, reporter)
        write_project(project, request.out)
    n_images = quantity(len(dataset.normals) + len(dataset.tests), "image")
    say(f"{request.out}: {n_images}, {request.out.stat().st_size / 1e6:.1f} MB.")


def verify(path: Path, model: str | None, device: str) -> bool:
    """Prints whether the scores of a project agree with those of this machine, and what differs; returns whether.

    Args:
        model: The backbone to use in place of the one that the project names, another one at its own input size; None
            is that one.
    Raises:
        ProjectError: if the file cannot be used, or names a model that is not opened unasked.
        BackboneError: if the model cannot be opened.
    """
    limit_threads()
    project = read_project(path)
    configuration = project.manifest.configuration
    if model is None and not opens_by_itself(configuration.spec):
        raise ProjectError(
            f"{path.name} was made with {configuration.spec}, which is not opened just because a file names it: "
            "name the model that you trust with --model."
        )
    spec = model or configuration.spec
    is_same = name_without_path(spec) == configuration.spec
    backbone = open_backbone(
        spec,
        image_size=configuration.image_size if is_same else None,
        resize=configuration.resize,
        device=device,
    )
    reporter = Reporter()
    with reporter.progress:
        found = check(project, backbone, reporter.bar("Scoring", None))
    first, *others = found.sentences()
    for line in (f"{path.name}: {first}", *others):
        say(line)
    return found.agrees


def list_store(given: Path | None) -> None:
    """Prints what a server's store holds, one project a line.

    Raises:
        ConfigError: if there is no such folder.
    """
    store = Store(store_folder(given))
    if not store.folder.is_dir():
        raise ConfigError(f"{store.folder} is no folder: give the one of the server's --store.")
    found = store.listed()
    for one in found:
        waits = one.identity.endswith(WAITING)
        what = "waiting" if waits else "shared " if one.kind == "shared" else "session"
        age = f"{24 * one.age_days:.1f} hours" if one.age_days < 1 else f"{one.age_days:.1f} days"
        say(f"{what}  {one.identity}  {one.n_images:>4} images {one.n_bytes / 1e6:>8.1f} MB {age:>11}  {one.name}")
    n_shared = sum(one.kind == "shared" for one in found)
    n_sessions = sum(one.kind == "sessions" and not one.identity.endswith(WAITING) for one in found)
    say(f"{quantity(n_shared, 'shared project')} and {quantity(n_sessions, 'session')} in {store.folder}")


def _read(request: Request, reporter: Reporter) -> Dataset:
    normals, tests = read_side(request.normal, "normal"), read_side(request.test, "test")
    for problem in (*normals.problems, *tests.problems):
        reporter.note(problem)
    for option, images in (("--normal", normals.normals), ("--test", tests.tests)):
        if not images:
            raise LakeError(f"None of the images of {option} can be read.")
        if len(images) > MAX_IMAGES:
            raise ProjectError(f"{option} holds {len(images)} images; a project holds up to {MAX_IMAGES} on each side.")
    return Dataset(request.out.stem, normals.normals, tests.tests)


def _scored(dataset: Dataset, lake: Lake, request: Request, reporter: Reporter) -> Project:
    backbone: Backbone = lake.backbone
    lake.fit([example.image for example in dataset.normals], reporter.bar("Learning what is normal", None))
    for warning in lake.memory_bank_.warnings:
        reporter.note(sentence(warning))
    results = lake.explain_all([example.image for example in dataset.tests], reporter.bar("Scoring", None))
    spec = name_without_path(backbone.spec)
    configuration = Configuration.of(spec, backbone.input_size[0], lake.config, backbone.resize)
    return project_of(
        dataset, configuration, made_with(request.model, device_name(backbone.device)), scores_of(lake, results)
    )
