"""Neurons by their numbers: a look at a neuron's map before it is opened, and the way to its page."""

import base64
from typing import Any

import streamlit as st

from dashboard.components import sidebar
from dashboard.services.analysis import resolved
from dashboard.services.images import neuron_preview
from dashboard.session import current
from dashboard.text import escaped
from lake_core.data.images import InputImage
from lake_core.types import HookPoint, Site


def preview(layer: int, neuron: int, site: Site | None = None, image: InputImage | None = None) -> str:
    """A tip for a button: the neuron's map.

    Args:
        site: By default the configuration's.
        image: By default the shared one.
    """
    image = image or shared_image()
    address = preview_address(layer, neuron, site, image)
    return f"![]({address})\n\nNeuron {neuron} of layer {layer} on {escaped(image.name)}"


def preview_address(layer: int, neuron: int, site: Site | None, image: InputImage) -> str:
    """The neuron's map on an image, as an address that holds the JPEG itself."""
    here = current()
    hook_point = HookPoint(layer, site or resolved(here.settings).site)
    normals = [example.image for example in here.workspace.normals]
    jpeg = neuron_preview(image, normals, (here.settings.model, hook_point, neuron))
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def open_neuron(layer: int, site: Site, neuron: int) -> None:
    """Makes a neuron the one that the page Neurons shows, and its site the sidebar's; only in a callback."""
    here = current()
    if here.settings.config.site != site:
        sidebar.take(here.settings.having(site=site, layers=None))
    here.set_focus(layer=layer, neuron=neuron)


def neuron_button(label: str, key: str, neuron: tuple[int, Site, int], tip: str = "", **look: Any) -> None:
    """A button on the page Neurons that opens a neuron of a layer and site, with its map as a tip.

    Args:
        tip: Markdown below the map.
        look: As in `st.button`.
    """
    layer, site, number = neuron
    help_ = preview(layer, number, site) + (f"\n\n{tip}" if tip else "")
    st.button(label, key=key, on_click=open_neuron, args=neuron, help=help_, **look)


def shared_image() -> InputImage:
    """The shared test image; the first image where there is none."""
    here = current()
    images = [example.image for example in (*here.workspace.tests, *here.workspace.normals)]
    return next((image for image in images if image.sha256 == here.focus.image), images[0])
