"""Settings of a worker are checked before they are saved."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import TestCase

from jobs.errors import UsageError
from jobs.models import Worker
from jobs.workers.records import change_settings, create_worker, replace_settings
from jobs.workers.settings_schema import check_settings

GCE = {"project": "acme-dev", "zones": ["us-central1-a"]}


@pytest.mark.parametrize(
    ("provider", "config", "named"),
    [
        (
            "ssh",
            {"port": 70000},
            "setting port of the worker box is 70000: .*less than or equal to 65535",
        ),
        ("ssh", {"hots": "h"}, r"cannot have the setting hots \('h'\)"),
        ("local", {"container": {"isolation": "vm"}}, "container.*isolation.* is 'vm': .*'worker' or 'job'"),
        ("gce-cos", {"zones": ["a"]}, "needs the setting project"),
        ("gce-cos", {**GCE, "spec": {"data_disk_gb": 0}}, "spec.data_disk_gb .* is 0: .*greater than 0"),
        ("gce-cos", {**GCE, "spec": {"colour": "red"}}, "spec.colour .* is 'red'"),
        ("gce-cos", {**GCE, "disk_zone": "us-central1-a"}, "cannot have the setting disk_zone"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_what_is_allowed(
    provider: str, config: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        check_settings("box", provider, config)


class Saving(TestCase):
    def test_what_is_refused_is_not_saved_and_old_settings_hold_up_no_change(self) -> None:
        with self.assertRaises(UsageError):
            create_worker("box", "ssh", "/r", {"port": 0})
        self.assertFalse(Worker.objects.exists())
        row = Worker.objects.create(name="box", provider="ssh", root="/r", config={"old": 1, "host": "h"})
        change_settings(row.id, alias="gcli-worker")
        with self.assertRaises(UsageError):
            change_settings(row.id, port="many")
        with self.assertRaises(UsageError):
            replace_settings(row.id, "/r", {"old": 1}, {})
        row.refresh_from_db()
        self.assertEqual(row.config, {"old": 1, "host": "h", "alias": "gcli-worker"})
