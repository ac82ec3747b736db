"""Entry of the dashboard: the session, the shared sidebar, and the navigation."""

import sys
from pathlib import Path

import streamlit as st

from dashboard import session
from dashboard.components import common, sidebar
from dashboard.services import compute
from lake_core.backbones.process import freeze_imports, limit_threads
from lake_core.data.data_root import data_root
from lake_core.errors import LakeError

FOLDER = Path(__file__).parent
PAGES, LOGO, STYLE = FOLDER / "app_pages", FOLDER / "logo.svg", FOLDER / "style.css"
limit_threads()
freeze_imports()
st.set_page_config(page_title="LAKE Explorer", page_icon=str(FOLDER / "icon.png"), layout="wide")

arguments = sys.argv[1:]
launch_sample = arguments[arguments.index("--sample") + 1] if "--sample" in arguments[:-1] else None
st.session_state.data_root = data_root(arguments)
is_new = session.start(compute.registry())
if is_new and launch_sample is not None and session.workspace().is_empty:
    try:
        common.take_sample(launch_sample)
    except LakeError as error:
        session.say([str(error)])

pages = {
    "workspace": st.Page(
        PAGES / "workspace.py", title="Workspace", icon=":material/upload:", default=launch_sample is None
    ),
    "scores": st.Page(
        PAGES / "scores.py", title="Scores", icon=":material/grid_view:", default=launch_sample is not None
    ),
    "selection": st.Page(PAGES / "selection.py", title="Selection", icon=":material/bar_chart:"),
    "neurons": st.Page(PAGES / "neurons.py", title="Neurons", icon=":material/blur_on:"),
    "layer": st.Page(PAGES / "layer.py", title="Layer", icon=":material/layers:"),
    "score_decomposition": st.Page(
        PAGES / "score_decomposition.py", title="Score decomposition", icon=":material/call_split:"
    ),
    "text_prompts": st.Page(PAGES / "text_prompts.py", title="Text prompts", icon=":material/translate:"),
    "interventions": st.Page(PAGES / "interventions.py", title="Interventions", icon=":material/experiment:"),
    "evaluate": st.Page(PAGES / "evaluate.py", title="Evaluate", icon=":material/monitoring:"),
    "compare": st.Page(PAGES / "compare.py", title="Compare", icon=":material/compare:"),
}
st.session_state.pages = pages
st.logo(LOGO, size="large")
st.html(STYLE)
page = st.navigation(list(pages.values()))
if "go_to" in st.session_state:
    st.switch_page(pages[st.session_state.pop("go_to")])
settings = sidebar.draw(session.snapshot().settings)
if settings is not None:
    session.set_settings(settings)
    st.session_state.settings = settings
    session.write_link()  # before the page, which may stop early, and after it, since it may move the shared selection
    page.run()
session.write_link()
