"""Deploys and rollbacks on the running supervisor, and the control methods for them.

May use everything up to `control`. Start with `deploy`, which runs one as `policy.rollout` decides;
`file_steps` starts the children in which `steps` work with files.
"""
