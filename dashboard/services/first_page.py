"""What the first page of a server shows, made before a browser asks for it, by the page's own functions and caches."""

from dashboard.services.analysis import analyse, filled, hook_points_to_compute
from dashboard.services.every_layer import layers_outside
from dashboard.services.images import microscope_payload, sprite
from dashboard.services.models import model, sample
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.samples import sample_facts
from lake_core.types import Progress


def prepare(name: str | None, report: Progress) -> None:
    """Opens the default backbone and, where sessions begin with a sample, analyses it as the sidebar stands at first.

    Args:
        name: Of the sample, or None.
        report: Called after each batch of images; whatever it raises ends the work.
    """
    store = model(Settings().model)
    if name is None:
        return
    workspace, _ = Workspace(sample=name).with_added(sample(name))
    facts = sample_facts(name)
    settings = filled(Settings(config=LakeConfig(object_name=facts.object_name if facts else name)))
    to_compute = hook_points_to_compute(settings, workspace)
    store.ensure(workspace.images, to_compute.needed, report, besides=to_compute.all)
    found = analyse(settings, workspace)
    report(1, 1)
    order = found.by_score
    sprite([*(one.image for one in order), *found.lake.normals_])
    microscope_payload(found, order[0], None, layers_outside(found))
