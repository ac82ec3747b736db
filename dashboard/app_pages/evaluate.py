"""Evaluate: the few-shot protocol on the labelled workspace or on data sets of the server, in the background."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from dashboard.components.analysis import need_images
from dashboard.components.page import error, heading
from dashboard.components.pickers import pick_one
from dashboard.components.progress import watch
from dashboard.services.analysis import resolved
from dashboard.services.jobs import EvaluationRequest, Job, jobs
from dashboard.services.models import model
from dashboard.session import current
from dashboard.settings import Settings
from dashboard.text import escaped
from dashboard.views.evaluate import sections
from dashboard.words import METHOD_NAMES
from dashboard.workspace import identities
from lake_core.config import TextConfig
from lake_core.data.data_root import VARIABLE, check_data_set, listed
from lake_core.data.datasets import Dataset
from lake_core.errors import LakeError
from lake_core.evaluation.protocol import METHODS, CategoryProgress, FewShotProtocol, Method
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.runner import evaluate, evaluate_dataset
from lake_core.sentences import quantity

WORKSPACE, FOLDER = "This workspace", "A folder on the server"
NO_NAME = TextConfig().object_name
SHOTS = (1, 2, 4, 8, 16, 32)
# What is chosen at first.
FIRST = FewShotProtocol(shots=(1, 4), methods=("lake", "random", "all"), pixel=False)
Work = Callable[[CategoryProgress], EvaluationReport]


def turn() -> int:
    """A part of the widgets' keys, another one after each run.

    So they are new ones then, and begin with what was chosen for it: those of before, which were not drawn while it
    ran, would show one thing and mean another.
    """
    job = jobs().latest(current().number, "evaluation")
    return job.number if job is not None else 0


def protocol(max_shots: int) -> FewShotProtocol:
    """The choice of shots, seeds and methods.

    Raises:
        ConfigError: if nothing is chosen for one of them.
    """
    asked = current().evaluated
    last = asked.protocol if asked is not None else FIRST
    possible = [n for n in SHOTS if n <= max_shots] or [1]
    with st.container(horizontal=True, gap="large"):
        shots = st.pills(
            "Normal images to learn from (shots)",
            possible,
            selection_mode="multi",
            default=[n for n in last.shots if n in possible],
            key=f"shots_{possible[-1]}_{turn()}",
            help="Each number is evaluated; the remaining normal images are not used.",
        )
        n_seeds = st.number_input(
            "Random seeds",
            1,
            10,
            len(last.seeds),
            key=f"n_seeds_{turn()}",
            width=190,
            help="How many random choices of the normal images.",
        )
    methods: list[Method] = st.pills(
        "Methods",
        METHODS,
        selection_mode="multi",
        default=last.methods,
        format_func=METHOD_NAMES.__getitem__,
        key=f"methods_{turn()}",
    )
    pixel = st.toggle(
        "Also evaluate the maps against masks",
        last.pixel,
        key=f"pixel_{turn()}",
        help="Pixel metrics; takes longer and needs masks of the defects.",
    )
    return FewShotProtocol(shots, range(n_seeds), methods, pixel)


def on_workspace(settings: Settings) -> tuple[Work, EvaluationRequest] | None:
    """The choices for the images of this session, and what would be run."""
    workspace = current().workspace
    need_images(page_after="evaluate")
    n_labelled = sum(example.label is not None for example in workspace.tests)
    if not n_labelled:
        st.info("No test image has a label yet. Label some as good or defective in the workspace.")
        st.page_link(current().pages["images"], label="Go to Images", icon=":material/upload:")
        return None
    st.caption(
        f"{quantity(len(workspace.normals), 'normal image')} to choose from, "
        f"{quantity(n_labelled, 'labelled test image')} to score."
    )
    chosen = protocol(len(workspace.normals))
    store = model(settings.model)
    config = resolved(settings)
    dataset = Dataset(workspace.name or "workspace", workspace.normals, workspace.tests)

    def work(report: CategoryProgress) -> EvaluationReport:
        return evaluate_dataset(dataset, store, config, chosen, on_progress=report)

    return work, EvaluationRequest(dataset.name, None, chosen, identities(workspace.tests))


def on_folder(settings: Settings) -> tuple[Work, EvaluationRequest] | None:
    """The choices for data sets below the server's data folder, and what would be run."""
    root = current().data_root
    if root is None:
        st.info(
            "This server has no data folder yet. Start it with `lake dashboard --data DIR`, or set the environment "
            f"variable `{VARIABLE}`: the data sets below that folder can then be chosen here, and nothing else.",
            icon=":material/folder_off:",
        )
        return None
    found = listed(root)
    if not found:
        st.info("There is no data set in the server's data folder: each needs train/good (or normal) and test.")
        return None
    asked = current().evaluated
    last = set(asked.folders.values()) if asked is not None and asked.folders is not None else set()
    name = st.selectbox(
        "Folder",
        list(found),
        next((i for i, folders in enumerate(found.values()) if last and last <= set(folders)), 0),
        key=f"folder_{turn()}",
        format_func=lambda one: root.name if one == "." else f"{root.name}/{one}",
    )
    by_name = {folder.name: folder for folder in found[name]}
    default = [one for one, folder in by_name.items() if folder in last] or list(by_name)[:1]
    names = st.multiselect("Data sets", list(by_name), default=default, key=f"sets_{name}_{turn()}")
    chosen = protocol(SHOTS[-1])
    folders = [by_name[one] for one in names]
    backbone = model(settings.model).backbone
    config = resolved(settings.having(object_name=NO_NAME))

    def work(report: CategoryProgress) -> EvaluationReport:
        for folder in folders:
            check_data_set(root, folder)
        return evaluate(folders, backbone, config, chosen, on_progress=report)

    if not names:
        st.caption("Choose at least one data set.")
        return None
    return work, EvaluationRequest(", ".join(names), {folder.name: folder for folder in folders}, chosen)


def counted(job: Job) -> str:
    """What a running evaluation counts: the images of the data set that it is at."""
    return f"{escaped(job.stage or job.title)} (images)"


def start(work: Work, asked: EvaluationRequest) -> None:
    here = current()
    here.evaluated = asked
    try:
        jobs().evaluate(here.number, asked, work)
    except LakeError as reason:
        here.say([str(reason)])


heading(
    "Evaluate",
    "How well defects are found: few-shot evaluation on labelled test images, beside random neurons, all neurons and "
    "published methods on the same backbone.",
)
job = jobs().latest(current().number, "evaluation")
if job is not None and job.is_running:
    watch(
        job,
        "getting ready …",
        partial(counted, job),
        f"**Evaluating {escaped(job.title)}.** It continues while you visit other pages or reload.",
    )
    st.stop()
if job is not None and job.status == "failed":
    error(job.error)
if job is not None and job.status == "cancelled":
    st.info(f"The evaluation of {escaped(job.title)} was cancelled.", icon=":material/pause_circle:")
has_result = job is not None and job.status == "done"
choices = st.expander("Run another evaluation") if has_result else st.container()
if job is not None and has_result:
    sections.show(job)
with choices:  # drawn last: it ends the page where images are missing
    asked_before = current().evaluated
    last_source = WORKSPACE if asked_before is None or asked_before.folders is None else FOLDER
    source = pick_one("Images", [WORKSPACE, FOLDER], f"source_{turn()}", last_source)
    settings = current().settings
    try:
        ready = on_workspace(settings) if source == WORKSPACE else on_folder(settings)
    except LakeError as reason:
        error(str(reason))
        ready = None
    if ready is not None:
        st.button("Evaluate", type="primary", icon=":material/play_arrow:", on_click=start, args=ready)
        named = "" if source == WORKSPACE else ", with each data set's own name as the object name"
        st.caption(
            f"Uses the sidebar's configuration{named}. The network runs once per image, whatever is chosen here."
        )
