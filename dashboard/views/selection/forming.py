"""Selection, watched while it forms: normal images arrive one by one, or K grows; neurons enter and leave."""

import base64

import streamlit as st

from dashboard.components.pickers import pick_layer_of, pick_one
from dashboard.components.progress import computed
from dashboard.components.replay import replay
from dashboard.components.tables import download_table
from dashboard.plots.formation import arriving, growing, table
from dashboard.services.analysis import resolved
from dashboard.services.images import plain_image
from dashboard.services.models import model
from dashboard.settings import Settings
from dashboard.text import escaped
from dashboard.views.selection.overview import pick_k_of
from dashboard.workspace import Workspace, identities
from lake_core.detector.lake import Lake
from lake_core.experiments.controls import log_scale
from lake_core.experiments.formation import Formation, FormationStep, formation
from lake_core.sentences import sentence

ARRIVING, GROWING = "Normal images arrive", "K grows"
SIDE, N_VALUES = 112, 12


def watch(settings: Settings, workspace: Workspace) -> None:
    """The replay of a layer's selection; nothing is fitted for it, so that K moves at once."""
    config, backbone = resolved(settings), model(settings.model).backbone
    with st.container(horizontal=True, vertical_alignment="bottom"):
        what = pick_one("What changes", (ARRIVING, GROWING), "forming")
        layer = pick_layer_of(backbone.layers_with(config.site), config.layers)
        pick_k_of(max(backbone.layer(number).n_neurons[config.site] for number in config.layers))
    formed = _formed(settings, workspace, layer)
    if formed is None:
        return
    if what == GROWING:
        steps = formed.growing([*log_scale(formed.rankings[-1].n_neurons, N_VALUES), config.k_of(layer)])
        shown = growing(steps)
        st.markdown(
            "All normal images are there, and K grows: the ranking stays as it is, so neurons enter and none leaves."
        )
    else:
        steps = formed.arriving(config.k_of(layer))
        shown = arriving(steps, sources(workspace, steps))
        st.markdown(f"**{escaped(sentence(formed.finding(config.k_of(layer))))}**")
    replay(shown, f"replay_{what}_{layer}")
    if what == ARRIVING:
        st.caption(
            "Images arrive in the order in which they were added; in another order other neurons may enter first. What "
            "is kept shows how much one more image changes the selection, not whether the selection finds defects."
        )
    _step_by_step(steps, layer)


def _formed(settings: Settings, workspace: Workspace, layer: int) -> Formation | None:
    """The layer's rankings, which do not depend on K."""
    store, config = model(settings.model), resolved(settings)
    images = [example.image for example in workspace.normals]
    ranking = config.criterion, config.seed, config.site, layer
    return computed(
        ("formation", settings.model, ranking, identities(workspace.normals)),
        "Normal images",
        lambda show: formation(Lake(store.backbone, config, store), layer, images, show),
    )


def sources(workspace: Workspace, steps: tuple[FormationStep, ...]) -> list[dict[str, str]]:
    """Names and addresses of the images, where each step brings one."""
    images = [example.image for example in workspace.normals]
    if len(images) != len(steps):
        return []
    return [
        {
            "name": image.name,
            "source": f"data:image/jpeg;base64,{base64.b64encode(plain_image(image, SIDE)).decode()}",
        }
        for image in images
    ]


def _step_by_step(steps: tuple[FormationStep, ...], layer: int) -> None:
    rows = table(steps)
    with st.expander("Step by step"):
        shares = ("kept", "kept by chance", "in the last selection")
        st.dataframe(
            rows,
            hide_index=True,
            column_config={name: st.column_config.NumberColumn(format="percent") for name in shares},
            alt="The neurons that enter and leave at each step",
        )
        download_table(rows, f"layer{layer}_forming.csv")
