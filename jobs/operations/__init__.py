"""What interfaces may ask of workers and jobs: functions with typed input and a typed result.

Command line, pages and API call these and only these. An operation reports its steps to a `Progress`
function. It never asks: what needs an answer is returned as a `ConfirmationPlan`.
"""

from typing import TYPE_CHECKING

from jobs.lazy import load_on_first_use

if TYPE_CHECKING:
    from jobs.operations.agent_checks import check_agents
    from jobs.operations.checks import check_everything, check_worker_in_full
    from jobs.operations.configuration import SettingJson, list_settings
    from jobs.operations.confirmation import ConfirmationPlan
    from jobs.operations.events import count_events, read_events, read_events_by_id
    from jobs.operations.feed import TAIL, FeedMessage, changes_since, newest_event_id
    from jobs.operations.first_steps import FirstStep, check_first_step, list_first_steps
    from jobs.operations.google_checks import Approve, GoogleRequest, check_google, repair_google
    from jobs.operations.image import BuiltImage, ImageBuild, ImageComparison, build_image, compare_images
    from jobs.operations.inbox import InboxRow, dismiss_rows, list_dismissed, newest_event, restore_rows
    from jobs.operations.interruption import Interrupted
    from jobs.operations.machines import (
        ChangePlan,
        Deleted,
        DeletionPlan,
        delete_machine,
        keep_machine,
        plan_deletion,
        plan_rebuild,
        plan_resize,
        preempt_machine,
        read_console,
        rebuild_machine,
        resize_machine,
        start_machine,
        stop_machine,
    )
    from jobs.operations.notices import NOTIFIED, is_webhook, last_failed_notice, recent_events
    from jobs.operations.observe import JobFilter, list_jobs, observe_jobs, read_job, read_jobs
    from jobs.operations.one_job import (
        JobStatus,
        find_named_job,
        read_removal,
        read_status,
        wait_until_ended,
    )
    from jobs.operations.pools import (
        PoolOverview,
        PoolPlan,
        PoolRequest,
        list_pools,
        plan_pool,
        remove_pool,
        save_pool,
    )
    from jobs.operations.prices import BOOT_DISK_GB, MachinePrice, get_cost, list_prices
    from jobs.operations.progress import Progress, silent
    from jobs.operations.provision_settings import (
        DEFAULT_MACHINE_TYPE,
        DEFAULT_ZONES,
        ProvisionRequest,
        named_project,
        named_zones,
        owner_of,
    )
    from jobs.operations.provisioning import (
        Provisioned,
        ProvisionPlan,
        describe_price,
        plan_provision,
        provision_worker,
    )
    from jobs.operations.pulls import (
        ObservedPull,
        list_pulls,
        list_pulls_of_known,
        observe_pull,
        refresh_inbox,
    )
    from jobs.operations.screens import SCREENS, LineState, Picture, ScreenPage
    from jobs.operations.security_checks import check_security
    from jobs.operations.simulation import start_if_used
    from jobs.operations.ssh_names import SshNames, include_ssh_names, plan_include, write_ssh_names
    from jobs.operations.submission import NewJob, submit_job
    from jobs.operations.sweeping import (
        Account,
        SweepRequest,
        plan_stop_all,
        stop_all_machines,
        sweep_resources,
    )
    from jobs.operations.tokens import (
        DEFAULT_LIFE,
        add_token,
        check_token,
        is_valid_token,
        list_tokens,
        remove_token,
    )
    from jobs.operations.workers import (
        AddedWorker,
        NewWorker,
        WorkerOverview,
        add_worker,
        describe_worker,
        get_worker,
        list_workers,
        read_workers,
        remove_worker,
    )

__all__ = [
    "BOOT_DISK_GB",
    "DEFAULT_LIFE",
    "DEFAULT_MACHINE_TYPE",
    "DEFAULT_ZONES",
    "NOTIFIED",
    "SCREENS",
    "TAIL",
    "Account",
    "AddedWorker",
    "Approve",
    "BuiltImage",
    "ChangePlan",
    "ConfirmationPlan",
    "Deleted",
    "DeletionPlan",
    "FeedMessage",
    "FirstStep",
    "GoogleRequest",
    "ImageBuild",
    "ImageComparison",
    "InboxRow",
    "Interrupted",
    "JobFilter",
    "JobStatus",
    "LineState",
    "MachinePrice",
    "NewJob",
    "NewWorker",
    "ObservedPull",
    "Picture",
    "PoolOverview",
    "PoolPlan",
    "PoolRequest",
    "Progress",
    "ProvisionPlan",
    "ProvisionRequest",
    "Provisioned",
    "ScreenPage",
    "SettingJson",
    "SshNames",
    "SweepRequest",
    "WorkerOverview",
    "add_token",
    "add_worker",
    "build_image",
    "changes_since",
    "check_agents",
    "check_everything",
    "check_first_step",
    "check_google",
    "check_security",
    "check_token",
    "check_worker_in_full",
    "compare_images",
    "count_events",
    "delete_machine",
    "describe_price",
    "describe_worker",
    "dismiss_rows",
    "find_named_job",
    "get_cost",
    "get_worker",
    "include_ssh_names",
    "is_valid_token",
    "is_webhook",
    "keep_machine",
    "last_failed_notice",
    "list_dismissed",
    "list_first_steps",
    "list_jobs",
    "list_pools",
    "list_prices",
    "list_pulls",
    "list_pulls_of_known",
    "list_settings",
    "list_tokens",
    "list_workers",
    "named_project",
    "named_zones",
    "newest_event",
    "newest_event_id",
    "observe_jobs",
    "observe_pull",
    "owner_of",
    "plan_deletion",
    "plan_include",
    "plan_pool",
    "plan_provision",
    "plan_rebuild",
    "plan_resize",
    "plan_stop_all",
    "preempt_machine",
    "provision_worker",
    "read_console",
    "read_events",
    "read_events_by_id",
    "read_job",
    "read_jobs",
    "read_removal",
    "read_status",
    "read_workers",
    "rebuild_machine",
    "recent_events",
    "refresh_inbox",
    "remove_pool",
    "remove_token",
    "remove_worker",
    "repair_google",
    "resize_machine",
    "restore_rows",
    "save_pool",
    "silent",
    "start_if_used",
    "start_machine",
    "stop_all_machines",
    "stop_machine",
    "submit_job",
    "sweep_resources",
    "wait_until_ended",
    "write_ssh_names",
]

__getattr__ = load_on_first_use(__name__, __file__)
