"""Deploys and rollbacks on the running supervisor, and the control methods for them.

May use everything up to `control`. Start with `deploy`, which runs one as `policy.rollout` decides;
`steps` is what its children do with files.
"""
