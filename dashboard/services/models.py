"""Backbones with their stores of activations, and the built-in samples: opened once for all sessions."""

import time
from collections.abc import Sequence

import streamlit as st
from PIL import Image

from dashboard.services.cache import budget, disk, results
from dashboard.services.jobs import Job, jobs
from dashboard.services.options import is_demo
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


def model(key: ModelKey) -> FeatureStore:
    """The backbone of a key, with the activations of all sessions; its own size asked for by number is no other one."""
    if key.image_size is not None:
        own = _model(ModelKey(key.spec, None))
        if own.backbone.input_size == (key.image_size, key.image_size):
            return own
    return _model(key)


@st.cache_resource(max_entries=6, show_spinner="Opening the backbone …")
def _model(key: ModelKey) -> FeatureStore:
    return FeatureStore(open_backbone(key.spec, image_size=key.image_size), budget(), disk=disk())


def known_specs() -> list[str]:
    """Backbones that open without a network on this machine, looked for once a minute; of a demo those that are
    included."""
    return list(SHIPPED) if is_demo() else results().made(_specs_key(), _look_for_specs)


def offered_specs() -> list[str]:
    """Backbones that are offered and not on this machine."""
    known = known_specs()
    return [one.spec for one in OFFERED if one.spec not in known]


def must_be_downloaded(spec: str) -> bool:
    """Whether a backbone has to come from the hub before it is opened; what is no backbone need not."""
    try:
        return not is_here(spec)
    except BackboneError:
        return False


def download(owner: str, spec: str) -> Job:
    """The owner's download of a backbone, begun if their latest is another one; it counts megabytes."""

    def work(report: Progress) -> None:
        fetch(spec, lambda n_done, n_all: report(round(n_done / 1e6), round(n_all / 1e6)))
        results().put(_specs_key(), _look_for_specs())

    return jobs().beside(owner, spec, f"Downloading {spec}", work, "download")


def _specs_key() -> tuple[str, int]:
    return "specs", int(time.monotonic() / SPECS_SECONDS)


def _look_for_specs() -> list[str]:
    return [*SHIPPED, *cached_pretrained()]


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
