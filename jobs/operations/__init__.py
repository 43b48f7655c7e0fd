"""What interfaces may ask of workers and jobs: functions with typed input and a typed result.

Command line, pages and API call these and only these. An operation reports its steps to a `Progress`
function. It never asks: what needs an answer is returned as a `ConfirmationPlan`.
"""
