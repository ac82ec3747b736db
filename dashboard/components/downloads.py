"""Models that are not on this machine: downloaded beside the page, and in use only when they are here."""

import streamlit as st

from dashboard.components.page import error
from dashboard.components.progress import watch
from dashboard.services.jobs import jobs
from dashboard.services.models import download
from dashboard.session import current
from dashboard.text import escaped
from lake_core.backbones.catalogue import offered


def begin(spec: str) -> None:
    """Begins a download, or lets the one of this model go on."""
    download(current().number, spec)


def begin_anew(spec: str) -> None:
    """Begins a download, whatever became of an earlier one of this model."""
    forget_ended()
    begin(spec)


def forget_ended() -> None:
    """Says no more of a download that is over."""
    job = jobs().latest(current().number, "download")
    if job is not None and not job.is_running:
        jobs().forget(current().number, "download")


def arrived() -> str | None:
    """The model whose download is done, told once."""
    job = jobs().latest(current().number, "download")
    if job is None or job.status != "done":
        return None
    forget_ended()
    return str(job.asked)


def show_download() -> None:
    """How the visitor's download stands: its progress with a way to cancel it, or why there is none."""
    here = current()
    job = jobs().latest(here.number, "download")
    if job is None:
        return
    spec = escaped(str(job.asked))
    if job.is_running:
        one = offered(str(job.asked))
        licence = f" Licence: {escaped(one.licence)}." if one is not None else ""
        in_use = escaped(here.settings.spec)
        heading = f":small[Downloading **{spec}**.{licence} Until it is here, {in_use} stays in use.]"
        begun = "Asking the hub …" if job.stage else "Waiting for another download …"
        watch(job, begun, "Megabytes", heading)
    else:
        if job.status == "failed":
            error(job.error)
        else:
            st.caption(f"The download of {spec} was stopped; nothing of it was kept.")
        st.button("Try again", icon=":material/refresh:", on_click=begin_anew, args=(str(job.asked),), key="download")
