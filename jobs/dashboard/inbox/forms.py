"""The form that submits a job: target, repository, action, worker."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs import invocation
from jobs.agents import registry as agents
from jobs.models import Pool, Repository, Worker
from jobs.playbooks import registry as playbooks

POOL = "pool:"  # no worker's name has a colon


class LaunchForm(forms.Form):
    """Takes the arguments of `manage.py offload TARGET ACTION`; `jobs.execution` checks them."""

    target = forms.CharField(
        label="Target", max_length=500, help_text="123, its address, or a branch; an issue for implement"
    )
    repository = forms.CharField(
        label="Repository", max_length=1000, required=False, help_text="owner/name, an address, or a path"
    )
    action = forms.ChoiceField(label="Action")
    worker = forms.ChoiceField(label="Worker", required=False)
    agent = forms.CharField(label="Agent", max_length=100, required=False, widget=forms.Select)
    name = forms.CharField(
        label="Name", max_length=40, required=False, help_text="for a second job on one target"
    )
    secrets = forms.CharField(
        label="Secrets", max_length=1000, required=False,
        help_text="names of stored secrets that the job may use, with spaces between",
    )  # fmt: skip
    prompt = forms.CharField(
        label="Prompt", max_length=4000, required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="further instructions for the agent",
    )  # fmt: skip
    trust = forms.BooleanField(label="I trust this repository to run code on this machine", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["action"].choices = [(p.action, p.action) for p in playbooks.PLAYBOOKS]  # type: ignore[attr-defined]
        # The page asks for load and prices when the form is opened: see `choices`.
        workers = [(name, f"{name}: {state}") for name, state in Worker.objects.values_list("name", "state")]
        names = Pool.objects.values_list("name", flat=True)
        pools = [(f"{POOL}{name}", f"any worker of {name}") for name in names]
        groups = [("Class", pools), ("One worker", workers)] if pools else workers
        self.fields["worker"].choices = [("", "default"), *groups]  # type: ignore[attr-defined]
        self.repositories = list(Repository.objects.values_list("slug", flat=True))
        self.fields["agent"].widget.choices = [("", "none: evidence only"), *((n, n) for n in agents.NAMES)]
        self.program = invocation.command()
        self.ask_trust = False
        for name in ("target", "repository", "name", "prompt", "secrets"):
            self.fields[name].widget.attrs.update(
                autocomplete="off", spellcheck="false", autocapitalize="off"
            )
        self.fields["target"].widget.attrs.update(placeholder="123", list="known-targets")
        self.fields["repository"].widget.attrs.update(list="known-repositories", placeholder="owner/name")

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of the chosen secrets."""
        return tuple(dict.fromkeys(self.cleaned_data["secrets"].replace(",", " ").split()))

    @property
    def place(self) -> dict[str, str]:
        """The chosen `worker` or `pool`."""
        chosen = self.cleaned_data["worker"]
        if chosen.startswith(POOL):
            return {"worker": "", "pool": chosen.removeprefix(POOL)}
        return {"worker": chosen, "pool": ""}

    def show_error(self, field: str, message: str, hint: str) -> None:
        """Show an error next to the field that it concerns."""
        self.add_error(field, f"{message} {hint}".strip())
        self.fields[field].widget.attrs["aria-invalid"] = "true"
