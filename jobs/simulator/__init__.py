"""A hostile Compute Engine API on loopback: `Simulator`. For tests, and for a tour without an account.

Real paths and bodies, checked against the client library's own types; operations take time; capacity,
quota and permissions fail; requests and answers are lost or doubled; machines are preempted; lists come in
pages. Its state survives its end, and a real sshd may stand behind each machine.
"""
