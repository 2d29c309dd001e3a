"""Dagster's resources: the workspace that assets, checks and sensors share."""

import dagster as dg

from webinstruct_assets.core.workspace import Workspace


class WorkspaceResource(dg.ConfigurableResource):
    """The project root and environment; empty values mean WEBINSTRUCT_HOME and WEBINSTRUCT_ENV."""

    environment: str = ""

    def open(self) -> Workspace:
        """Configuration, lake and LLM access of this installation."""
        return Workspace.open(environment=self.environment or None)
