"""With so many test images that only some layers' activations are held, other layers take one more pass, not many."""

from dashboard.services.analysis import all_selections, analyse
from dashboard.services.every_layer import Ahead, known_maps, look_ahead
from dashboard.services.models import model
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from tests.dashboard.visit import over


def test_all_layers_of_some_images_take_one_pass_of_the_network(small: Dataset, fresh: None) -> None:
    workspace, settings = Workspace(small.normals, small.tests, small.name), Settings()
    store = model(settings.model)
    store.ensure(workspace.images, Lake(store.backbone, store=store).hook_points)
    n_before = store.n_forwards
    assert len(all_selections(settings, workspace)) > 10
    assert store.n_forwards == n_before + len(workspace.normals)

    found = analyse(settings, workspace)
    shown = found.scores[0]
    assert over(look_ahead(found, Ahead(shown, None, True, None), "a visitor")).status == "done"
    assert known_maps(found, shown.image)
    assert store.n_forwards == n_before + len(workspace.normals) + 1
