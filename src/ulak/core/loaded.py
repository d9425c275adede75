"""What is a catalogue together with its compiled templates?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ulak.core.project import Catalog
from ulak.core.render import Renderer


@dataclass(frozen=True, slots=True)
class Loaded:
    """A catalogue that is ready to be planned and sent from."""

    catalog: Catalog
    renderer: Renderer

    @classmethod
    def of(cls, catalog: Catalog) -> Loaded:
        """Compile a catalogue's templates."""
        return cls(catalog, Renderer(catalog))


class Catalogs(Protocol):
    """Where a catalogue is found by tenant and version."""

    async def get(self, tenant: int, version: int) -> Loaded:
        """Load it once; raises ``KeyError`` when there is none."""
