"""`offload fleet add NAME`: add an existing machine as a worker."""

from __future__ import annotations

import logging
import shlex

from jobs import operations
from jobs.cli.output import print_json, say
from jobs.cli.request import Request
from jobs.invocation import command
from jobs.serializers import worker_json


async def run(request: Request) -> int:
    """Check the machine and add it."""
    name = request.words[0]
    logging.getLogger("offload.transport").setLevel(logging.ERROR)  # new host keys are shown below
    added = await operations.add_worker(
        operations.NewWorker(
            name=name,
            provider=request.provider,
            host=request.host or "",
            jump=request.jump or "",
            key=request.key or "",
            alias=request.alias or "",
            root=request.root or "",
            container=request.container,
            image=request.image or "",
            engine=tuple(shlex.split(request.engine or "")),
            network=request.network or "",
            isolation=request.isolation or "",
            programs=tuple(request.program or ()),
        )
    )
    keys = [
        {"host": pin.name, "kind": pin.key.kind, "fingerprint": pin.key.fingerprint} for pin in added.new_pins
    ]
    if request.json:
        print_json("worker", {**worker_json(added.worker), "new_host_keys": keys})
        return 0
    for key in keys:
        print(f"First contact: {key['host']} has the host key {key['fingerprint']} ({key['kind']}).")
    if keys:
        print("Compare it on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    for problem in added.warnings:
        say(f"{problem.subject}: {problem.detail} {problem.remedy}")
    print(f"{name} was added; run jobs there with --worker {name}. Its root is {added.worker.root}.")
    print(f"Check it again with: {command(f'doctor {name}')}")
    return 0
