"""The one rule about where code from elsewhere may run."""

import pytest
from django.utils import timezone

from jobs.errors import Refused
from jobs.execution.placement import Exposure, Placement, assess_exposure, require_trust
from jobs.models import Repository, Worker

FAR, HERE = "https://forge.example/acme/shop.git", "/home/ann/shop"
BARE = Worker(name="local", provider="local", config={})
REFUSES_CONTAINER = Worker(name="local", provider="local", config={"container": False})
CONTAINED = Worker(name="box", provider="local", config={"container": {"image": "maintainer"}})
SSH = Worker(name="far", provider="ssh", config={"host": "far.example"})


@pytest.mark.parametrize(
    ("url", "trusted", "worker", "expected"),
    [
        (FAR, False, BARE, Exposure.UNTRUSTED),
        (FAR, False, REFUSES_CONTAINER, Exposure.UNTRUSTED),
        (FAR, True, BARE, Exposure.TRUSTED),
        (FAR, False, CONTAINED, Exposure.NONE),
        (FAR, False, SSH, Exposure.NONE),
        (HERE, False, BARE, Exposure.NONE),
        (f"file://{HERE}", False, BARE, Exposure.NONE),
    ],
)
def test_only_untrusted_code_from_elsewhere_on_a_bare_local_worker_is_refused(
    url: str, trusted: bool, worker: Worker, expected: Exposure
) -> None:
    repository = Repository(url=url, trusted_at=timezone.now() if trusted else None)
    assert assess_exposure(repository, worker) is expected
    placement = Placement(repository, worker, "No engine answers.")
    if expected is not Exposure.UNTRUSTED:
        require_trust(placement)
        return
    with pytest.raises(Refused, match=r"is not trusted yet.*No engine answers\."):
        require_trust(placement)
