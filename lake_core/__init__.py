"""LAKE Explorer's core: numbers only. Import as `import lake_core as lk`.

backbone = lk.open_backbone("lake-cnn")
lake = lk.Lake(backbone, lk.LakeConfig(top_k=100, object_name="metal plate")).fit(normal_images)
result = lake.explain(image)
result.score, result.visual, result.text, result.map, result.contributions(), result.evidence()
lake.score_samples(images), lake.predict(images)

Public names are listed once, in `__init__.pyi`, and imported when they are first used, so that `lake --help` need not
wait for the networks.
"""

from typing import Any

import lazy_loader

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from lake_core.version import package_version

        return package_version()
    return _lazy(name)
