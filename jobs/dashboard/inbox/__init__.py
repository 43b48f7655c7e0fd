"""The list of jobs and the launch form."""
