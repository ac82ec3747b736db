"""The shared sidebar: backbone, layers, activation site, K, criterion, fusion weight and object name, on every page."""

import streamlit as st

from dashboard import session
from dashboard.services import compute
from dashboard.session import Settings
from dashboard.text import escaped
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.registry import DEFAULT_BACKBONE
from lake_core.config import NORMALISATIONS
from lake_core.criteria import criteria
from lake_core.errors import LakeError
from lake_core.types import SITES, Site

OTHER = "another model …"
ABOUT = {
    "lake-cnn": "ImageNet's EfficientNet-Lite2, frozen, with a small text tower. Its neurons never saw a defect.",
    "lake-vit": "Our own small ViT, trained with synthetic defects: for comparison only. Nothing it shows is evidence "
    "for latent knowledge of defects.",
}
SITE_NAMES: dict[Site, str] = {"mlp_hidden": "hidden neurons", "residual_channel": "channels"}
SIZES = (224, 256, 288, 320, 384, 448, 512)


def draw(kept: Settings) -> Settings | None:
    """Draws the sidebar.

    Args:
        kept: Settings kept on the server for this session; widgets that have no value yet, or lost it because they
            were not drawn for a while, take it from there.
    Returns:
        The settings as they stand, or None if the backbone cannot be opened (which is said).
    """
    _set_widgets(kept)
    with st.sidebar:
        st.subheader("Configuration", anchor=False)
        spec = _pick_backbone()
        if spec is None:
            return None
        try:
            backbone = compute.model(compute.ModelKey(spec, None)).backbone
            image_size = _pick_size(backbone)
            backbone = compute.model(compute.ModelKey(spec, image_size)).backbone
        except LakeError as error:
            st.error(escaped(str(error)), icon=":material/error:")
            return None
        site = _pick_site(backbone)
        layers = _pick_layers(backbone, site)
        n_neurons = max(backbone.layer(layer).n_neurons[site] for layer in layers)
        st.session_state.top_k = min(st.session_state.get("top_k", 100), n_neurons)
        st.slider(
            "Neurons kept per layer (K)",
            1,
            n_neurons,
            key="top_k",
            help="Neurons of a layer are ranked by sensitivity over the normal patches; the K most sensitive are kept.",
        )
        st.selectbox(
            "Sensitivity criterion",
            list(criteria()),
            key="criterion",
            format_func=lambda name: criteria()[name].title,
            help="How neurons are ranked. The two controls show what is gained by selecting at all.",
        )
        st.slider(
            "Fusion weight (w)",
            0.0,
            1.0,
            step=0.05,
            key="fusion_weight",
            help="Score = (1 − w) × visual + w × text. The paper's best weight is about 0.3.",
        )
        st.text_input(
            "Object name",
            key="object_name",
            placeholder="object",
            max_chars=60,
            help="What the images show; it stands in the prompts of the text (text) part.",
        )
        with st.expander("Distance and score"):
            _pick_distance(backbone)
    return Settings(
        spec=spec,
        image_size=image_size,
        layers=tuple(layers),
        site=site,
        top_k=st.session_state.top_k,
        criterion=st.session_state.criterion,
        fusion_weight=st.session_state.fusion_weight,
        object_name=st.session_state.object_name.strip(),
        normalise=st.session_state[f"normalise_{spec}"],
        smooth=st.session_state[f"smooth_{spec}"],
        top_q=st.session_state.top_q,
        prompts=st.session_state.prompts,
    )


def take(settings: Settings) -> None:
    """Sets the sidebar to other settings; only before it is drawn, as in a button's callback."""
    session.set_settings(settings)
    _set_widgets(settings, anew=True)


def _set_widgets(kept: Settings, anew: bool = False) -> None:
    known = kept.spec in compute.known_specs()
    values = {
        "backbone_choice": kept.spec if known else OTHER,
        "other_spec": "" if known else kept.spec,
        "top_k": kept.top_k,
        "criterion": kept.criterion,
        "fusion_weight": kept.fusion_weight,
        "top_q": kept.top_q,
        "object_name": kept.object_name,
        f"size_{kept.spec}": kept.image_size,
        f"site_{kept.spec}": kept.site,
        f"layers_{kept.spec}_{kept.site}": list(kept.layers) if kept.layers else None,
        f"normalise_{kept.spec}": kept.normalise,
        f"smooth_{kept.spec}": kept.smooth,
    }
    for name, value in values.items():
        if value is not None and (anew or name not in st.session_state):
            st.session_state[name] = value
    if anew or "prompts" not in st.session_state:
        st.session_state.prompts = kept.prompts


def _pick_backbone() -> str | None:
    st.session_state.setdefault("backbone_choice", DEFAULT_BACKBONE)
    choice = st.selectbox("Backbone", [*compute.known_specs(), OTHER], key="backbone_choice")
    if choice != OTHER:
        if choice in ABOUT:
            st.caption(ABOUT[choice])
        return str(choice)
    spec = st.text_input(
        "Model",
        key="other_spec",
        placeholder="ViT-B-16:openai or local-dir:/path",
        help="NAME:TAG of open_clip (needs the hub once), local-dir:FOLDER, or checkpoint:WEIGHTS@CONFIG.",
    ).strip()
    if not spec:
        st.info("Name an open_clip model, such as ViT-B-16:openai.", icon=":material/edit:")
        return None
    return spec


def _pick_size(backbone: Backbone) -> int | None:
    """Input size for towers that take any; changing it runs the model again on all images."""
    if not backbone.takes_any_size:
        return None
    key = f"size_{backbone.spec}"
    st.session_state.setdefault(key, backbone.input_size[0])
    return int(
        st.select_slider(
            "Input size (pixels)",
            sorted({*SIZES, backbone.input_size[0]}),
            key=key,
            help="A larger input sees finer defects and takes longer. Changing it runs the model again.",
        )
    )


def _pick_site(backbone: Backbone) -> Site:
    sites = [site for site in SITES if backbone.layers_with(site)]
    key = f"site_{backbone.spec}"
    if st.session_state.get(key) not in sites:
        st.session_state[key] = backbone.recommended.site
    st.segmented_control(
        "Activation site",
        sites,
        key=key,
        format_func=SITE_NAMES.__getitem__,
        required=True,
        help="Hidden neurons: inside a block, after its activation function. Channels: the output of a block.",
    )
    site: Site = st.session_state[key]
    return site


def _pick_layers(backbone: Backbone, site: Site) -> list[int]:
    key = f"layers_{backbone.spec}_{site}"
    allowed = backbone.layers_with(site)
    recommended = [layer for layer in backbone.recommended.layers if layer in allowed] or [allowed[-1]]
    kept = [layer for layer in st.session_state.get(key, []) if layer in allowed]
    st.session_state[key] = kept or recommended
    st.multiselect(
        f"Layers (of {len(backbone.layers)})",
        allowed,
        key=key,
        help="Blocks of the image tower, numbered from 1 at the input. Their maps are averaged.",
    )
    return sorted(st.session_state[key]) or recommended


def _pick_distance(backbone: Backbone) -> None:
    spec = backbone.spec
    st.session_state.setdefault(f"normalise_{spec}", backbone.recommended.normalise)
    st.session_state.setdefault(f"smooth_{spec}", backbone.recommended.smooth)
    st.session_state.setdefault("top_q", 1)
    st.selectbox(
        "Vectors of selected neurons",
        NORMALISATIONS,
        key=f"normalise_{spec}",
        format_func={"unit": "scaled to length 1", "none": "as they are"}.__getitem__,
    )
    st.selectbox(
        "Averaged over",
        (1, 3, 5),
        key=f"smooth_{spec}",
        format_func={1: "single patches", 3: "3 × 3 patches", 5: "5 × 5 patches"}.__getitem__,
    )
    st.slider("Image score: mean of the top … patches", 1, 20, key="top_q", help="1 is the maximum.")


def current() -> Settings:
    """The settings of this run, for the pages."""
    found: Settings = st.session_state.settings
    return found
