"""Projects of the dashboard: what a visitor has as a project, and back; and the server's store of them."""

import sys

import streamlit as st

from dashboard.services.access import allowed_models
from dashboard.services.analysis import Analysis, analyse, filled, hook_points_to_compute, resolved
from dashboard.services.models import known_specs, model, must_be_downloaded
from dashboard.services.snapshot import Snapshot
from dashboard.settings import ModelKey, Note, Pin, Settings
from dashboard.workspace import Workspace, shas
from lake_core.backbones.devices import device_name
from lake_core.backbones.weights import name_without_path
from lake_core.config import FitConfig, LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.data.samples import sample_names
from lake_core.errors import LakeError, ProjectError
from lake_core.projects.checking import Verification, compare, made_with, scores_of
from lake_core.projects.manifest import Chosen, Configuration, Manifest, PinnedNeuron, SavedScores, checked
from lake_core.projects.project import OpenedProject, Project, State, project_of
from lake_core.projects.store import Store, store_of

DEVICE = "cpu"
"""Where the dashboard opens its backbones."""


@st.cache_resource
def store() -> Store:
    """The store that this server was started with."""
    return store_of(sys.argv[1:])


def as_project(
    held: Snapshot, chosen: Chosen | None = None, scores: SavedScores | None = None, *, for_others: bool
) -> Project:
    """What a visitor has, as a project.

    Args:
        chosen: What is looked at.
        scores: As from `scores_now`.
        for_others: Whether paths of this machine are left out of the names of models.
    Raises:
        LakeError: if it cannot be kept in a project.
    """
    workspace = held.workspace
    configuration, *compared = (_configuration(one, for_others) for one in (held.settings, *held.configurations))
    pins = tuple(_saved_pin(pin, held.notes.get(pin, Note()), for_others) for pin in held.pins)
    state = State(workspace.sample, held.own_threshold, pins, tuple(compared), chosen or Chosen())
    dataset = Dataset(workspace.name, workspace.normals, workspace.tests)
    made = made_with(held.settings.spec, DEVICE)
    return project_of(dataset, configuration, made, scores, state)


def scores_now(held: Snapshot) -> SavedScores | None:
    """The scores of a visitor's images where the network has run on all of them; None where it has not.

    Raises:
        LakeError: if they cannot be computed.
    """
    workspace, settings = held.workspace, held.settings
    if not workspace.normals or any(image.encoded is None for image in workspace.images):
        return None
    if model(settings.model).missing(workspace.images, hook_points_to_compute(settings, workspace).needed):
        return None
    found = analyse(settings, workspace)
    return scores_of(found.lake, found.scores)


def as_snapshot(opened: OpenedProject, is_own: bool) -> tuple[Snapshot, list[str]]:
    """A project as a visitor has it, and what there is to say about it.

    Args:
        is_own: Whether it is this visitor's own session, which may name a model that they chose themselves.
    Raises:
        ProjectError: if its model has no such layer, site or input size.
    """
    manifest, dataset = opened
    settings, said = _settings(manifest.configuration, is_own)
    try:
        filled(settings)
    except LakeError as error:
        raise ProjectError(f"The project's configuration cannot be used here. {error}") from None
    if manifest.configuration.resize != "squash":
        said.append("The project was scored with letterboxed images; here images fill the input, so scores differ.")
    compared = [_settings(one, is_own) for one in manifest.compared]
    sample = manifest.sample if manifest.sample in sample_names() else ""
    notes = {_pin(one): Note(one.in_list, one.note) for one in manifest.pins}
    held = Snapshot(
        Workspace(dataset.normals, dataset.tests, manifest.name, sample),
        settings=settings,
        configurations=tuple(dict.fromkeys(one for one, problems in compared if not problems)),
        pins=tuple(notes),
        notes={pin: note for pin, note in notes.items() if note != Note()},
        own_threshold=manifest.own_threshold,
    )
    return held, said


def agreement(manifest: Manifest, found: Analysis) -> Verification | None:
    """Whether the scores of a project that was opened are those that came out here.

    Returns:
        None where there is nothing to compare: no scores in it, or images or configuration were changed since.
    """
    sides = (shas(found.workspace.normals), manifest.normals), (shas(found.workspace.tests), manifest.tests)
    if manifest.scores is None or any(own != tuple(one.sha256 for one in saved) for own, saved in sides):
        return None
    settings = Settings(found.key.model.spec, found.key.model.image_size, manifest.configuration.config())
    if resolved(settings) != found.lake.config or name_without_path(settings.spec) != manifest.configuration.spec:
        return None
    here = made_with(settings.spec, device_name(found.lake.backbone.device))
    return compare(manifest, scores_of(found.lake, found.scores), here)


def _settings(saved: Configuration, is_own: bool) -> tuple[Settings, list[str]]:
    """The settings of a configuration; where its model is not opened by itself, the default one and a sentence."""
    config = saved.config()
    if saved.spec in known_specs() or (is_own and _is_here(saved.spec)):
        return Settings(saved.spec, saved.image_size, config), []
    open_again = {name: getattr(LakeConfig(), name) for name in ("layers", "site", "normalise", "smooth")}
    fit = FitConfig(**vars(config.part(FitConfig)) | open_again | {"top_k": max(config.ks)})
    said = f"This was made with {saved.spec}, which is not opened just because a project names it. {Settings.spec} is "
    said += "used instead, and scores differ" + (
        "; enter the model under Backbone if you trust it." if allowed_models() is None else "."
    )
    return Settings(config=LakeConfig(**vars(config) | vars(fit))), [said]


def _is_here(spec: str) -> bool:
    """Whether a model opens without a download."""
    if must_be_downloaded(spec):
        return False
    try:
        model(ModelKey(spec, None))
    except LakeError:
        return False
    return True


def check_configuration(settings: Settings) -> None:
    """Raises a LakeError where a configuration cannot be kept in a project, as with very many prompts."""
    _configuration(settings, for_others=True)


def _configuration(settings: Settings, for_others: bool) -> Configuration:
    return Configuration.of(_spec(settings.spec, for_others), settings.image_size, settings.config)


def _spec(spec: str, for_others: bool) -> str:
    return name_without_path(spec) if for_others else spec


def _saved_pin(pin: Pin, note: Note, for_others: bool) -> PinnedNeuron:
    spec = _spec(pin.model.spec, for_others)
    place = {"image_size": pin.model.image_size, "layer": pin.layer, "site": pin.site, "neuron": pin.neuron}
    return checked(PinnedNeuron, {"spec": spec, **place, "in_list": note.in_list, "note": note.text})


def _pin(saved: PinnedNeuron) -> Pin:
    return Pin(ModelKey(saved.spec, saved.image_size), saved.layer, saved.site, saved.neuron)
