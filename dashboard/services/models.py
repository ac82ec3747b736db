"""Backbones with their stores of activations, and the built-in samples: opened once for all sessions."""

import time
from collections.abc import Sequence

import streamlit as st
from PIL import Image

from dashboard.services.access import allowed_models, check_allowed
from dashboard.services.cache import budget, disk, results
from dashboard.services.jobs import Job, jobs
from dashboard.settings import ModelKey
from lake_core.backbones.catalogue import OFFERED
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.fetching import fetch, is_here
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.registry import SHIPPED, cached_pretrained
from lake_core.data.datasets import Dataset
from lake_core.data.images import InputImage
from lake_core.data.samples import load_sample
from lake_core.errors import BackboneError
from lake_core.types import Progress
from lake_core.visualization.overlays import thumbnail

SPECS_SECONDS = 60
COVER_SIDE = 320
_OF_FILES = ("local-dir:", "checkpoint:")
"""How the spec of a model begins that lies in files of this machine."""


def model(key: ModelKey) -> FeatureStore:
    """The backbone of a key, with the activations of all sessions; its own size asked for by number is no other one.

    Raises:
        BackboneError: if visitors may not choose it, or it cannot be opened.
    """
    check_allowed(key.spec)
    if key.image_size is not None:
        own = _model(ModelKey(key.spec, None))
        if own.backbone.input_size == (key.image_size, key.image_size):
            return own
    return _model(key)


@st.cache_resource(max_entries=6, show_spinner="Opening the backbone …")
def _model(key: ModelKey) -> FeatureStore:
    try:
        backbone = open_backbone(key.spec, image_size=key.image_size)
    except BackboneError as error:
        if key.image_size is not None or not key.spec.startswith(_OF_FILES):
            raise
        raise BackboneError(  # one sentence for all faults: the page does not tell which files this machine has
            f"{key.spec} cannot be opened; in a terminal on the server, `lake models check {key.spec}` says why."
        ) from error
    return FeatureStore(backbone, budget(), disk=disk())


def known_specs() -> list[str]:
    """Backbones that may be chosen and open without a network on this machine; looked for once a minute."""
    return results().made(_specs_key(), _look_for_specs)


def offered_specs() -> list[str]:
    """Backbones that are offered and not on this machine."""
    known, allowed = known_specs(), allowed_models()
    return [spec for spec in allowed or [one.spec for one in OFFERED] if spec not in known]


def must_be_downloaded(spec: str) -> bool:
    """Whether a backbone has to come from the hub before it is opened; what is no backbone need not."""
    try:
        return not is_here(spec)
    except BackboneError:
        return False


def download(owner: str, spec: str) -> Job:
    """The owner's download of a backbone, begun if their latest is another one; it counts megabytes."""

    def work(report: Progress) -> None:
        check_allowed(spec)
        fetch(spec, lambda n_done, n_all: report(round(n_done / 1e6), round(n_all / 1e6)))
        results().put(_specs_key(), _look_for_specs())

    return jobs().beside(owner, spec, f"Downloading {spec}", work, "download")


def _specs_key() -> tuple[str, tuple[str, ...] | None, int]:
    return "specs", allowed_models(), int(time.monotonic() / SPECS_SECONDS)


def _look_for_specs() -> list[str]:
    allowed = allowed_models()
    return [*SHIPPED, *cached_pretrained()] if allowed is None else [s for s in allowed if not must_be_downloaded(s)]


def sample(name: str) -> Dataset:
    """A built-in sample."""

    def n_bytes(dataset: Dataset) -> int:
        images = [example.image for example in (*dataset.normals, *dataset.tests)]
        return sum(image.rgb.nbytes + len(image.encoded or b"") for image in images)

    return results().made(("sample", name), lambda: load_sample(name), n_bytes)


def sample_cover(name: str) -> Image.Image:
    """A small defective image of a built-in sample."""

    def cover() -> Image.Image:
        defective = [example for example in sample(name).tests if example.label == "defective"]
        return thumbnail(defective[-1].image, COVER_SIDE)

    return results().made(("cover", name), cover)


def ensure_every_layer(store: FeatureStore, images: Sequence[InputImage]) -> None:
    """Runs the network once for the layers that are looked at next, where all of these images' activations fit.

    Without it each layer would run the network again, if so many test images are held that only some layers are.
    """
    store.ensure(images, (), besides=store.hook_points_that_fit(len(images), ()))
