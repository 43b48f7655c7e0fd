"""The form that adds an existing machine as a worker."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.operations import NewWorker


class AddWorkerForm(forms.Form):
    """Takes the arguments of `offload fleet add` that most machines need; `jobs.operations` checks them."""

    name = forms.CharField(label="Name", max_length=63, help_text="small letters, digits and dashes")
    host = forms.CharField(
        label="Address", max_length=300, required=False,
        help_text="[user@]host[:port], or a name of your OpenSSH config; empty: the name",
    )  # fmt: skip
    jump = forms.CharField(label="Through", max_length=300, required=False, help_text="jump hosts")
    key = forms.CharField(
        label="Key", max_length=1000, required=False, help_text="path of a private key on this computer"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "add-%s", **kwargs})
        for field in self.fields.values():
            field.widget.attrs.update(autocomplete="off", spellcheck="false", autocapitalize="off")

    def worker(self) -> NewWorker:
        """Return the worker to add."""
        data = self.cleaned_data
        return NewWorker(name=data["name"], host=data["host"], jump=data["jump"], key=data["key"])
