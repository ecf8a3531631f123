"""A campaign for export."""

import pytest

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.run import run_campaign
from cereals_tf.export.formats import FORMATS


@pytest.fixture(scope="session")
def needs():
    """Skips a test where the packages of a format are missing."""

    def skip(name: str) -> None:
        for package in FORMATS[name].needs:
            reason = f"needs {package}: pip install 'cereals-tf[{name}]'"
            pytest.importorskip(package, reason=reason)

    return skip


@pytest.fixture(scope="session")
def counting(tmp_path_factory, begin) -> Campaign:
    """A campaign of two rounds whose cost model has three maps. Not to be changed."""
    campaign = begin(tmp_path_factory.mktemp("counting") / "campaign", cost_maps="all")
    run_campaign(campaign, 2, 1.0)
    return campaign
