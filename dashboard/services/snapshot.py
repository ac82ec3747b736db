"""What the server keeps of one visitor under one number."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboard.settings import Note, Pin, Settings
from dashboard.workspace import Workspace


@dataclass(frozen=True)
class Snapshot:
    """What the server keeps under one number.

    Attributes:
        arrived: Images that wait for an answer: in place of those in the workspace, or beside them.
        configurations: Kept for the page Compare: A, B, C ...
        pins: Pinned neurons, in the order in which they were pinned.
        notes: What was noted on pinned neurons.
        own_threshold: The user's decision threshold; None is the one that the normal images give.
        shared: The identity of the shared project that is looked at, which cannot be changed; "" for a visitor's own.
    """

    workspace: Workspace = field(default_factory=Workspace)
    arrived: Workspace = field(default_factory=Workspace)
    settings: Settings = field(default_factory=Settings)
    configurations: tuple[Settings, ...] = ()
    pins: tuple[Pin, ...] = ()
    notes: Mapping[Pin, Note] = field(default_factory=dict)
    own_threshold: float | None = None
    shared: str = ""

    @property
    def n_images(self) -> int:
        """All images, those that wait for an answer included."""
        return self.workspace.n_images + self.arrived.n_images
