"""Dagster resources: the site that steps work on. No logic."""

import dagster as dg

from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.site import Site, open_site


class SiteResource(dg.ConfigurableResource[Site]):
    """Opens the site from the environment, in whichever process needs it."""

    def open(self) -> Site:
        return open_site(load_settings())
