"""A workshop's hub on one machine; README.md beside this file says how to use it.

Anybody with the workshop's password may choose a name and work. Each learner's workbook lies in
their home; the course itself, with its data and its trained networks, in a shared folder that they
can only read.
"""

import os
import sys
from pathlib import Path

PASSWORD = os.environ.get("WORKSHOP_PASSWORD", "REPLACE-ME")
ADMIN_PASSWORD = os.environ.get("WORKSHOP_ADMIN_PASSWORD", "REPLACE-ME")
COURSE = Path(os.environ.get("WORKSHOP_COURSE", "/srv/camwidgets"))

if "REPLACE-ME" in (PASSWORD, ADMIN_PASSWORD):
    sys.exit(
        "The hub does not start with the example's passwords. Set WORKSHOP_PASSWORD (8 characters "
        "or more) and WORKSHOP_ADMIN_PASSWORD (32 or more: openssl rand -hex 24)."
    )

c = get_config()  # noqa: F821 - JupyterHub provides it

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = PASSWORD
c.SharedPasswordAuthenticator.admin_password = ADMIN_PASSWORD
c.Authenticator.admin_users = {"instructor"}
c.Authenticator.allow_all = True

# What a learner gets: README.md has the measurements behind these.
c.Spawner.cmd = [str(COURSE / "binder" / "start"), "jupyterhub-singleuser"]
c.Spawner.default_url = "/lab/tree/workbook/00_welcome.ipynb"
c.Spawner.mem_guarantee = "1G"
c.Spawner.mem_limit = "2G"
c.Spawner.cpu_limit = 1.0
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180

# A room logs in at once: servers start a few at a time, the others wait and are told so.
c.JupyterHub.concurrent_spawn_limit = 8
c.JupyterHub.cleanup_servers = False  # learners work on while the hub restarts

c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=3600"],
    }
]
