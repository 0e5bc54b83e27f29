# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packaged NGINX: passes to Puma, says 502 while Puma is away, and shows the deploy page while there is one."""

from __future__ import annotations

from gitlab_ctl import layout
from gitlab_ctl.recipes import runit
from gitlab_ctl.resources import Converge
from gitlab_ctl.settings import Settings

_HOME = layout.DATA / "nginx"
_CONFIGURATION = _HOME / "conf/nginx.conf"
_USER = "gitlab-www"


def enable(run: Converge, settings: Settings) -> None:
    run.recipe("gitlab::nginx")
    run.user(_USER, _HOME, "/bin/false")
    run.directory(_HOME)
    run.directory(_CONFIGURATION.parent)
    changed = run.template(_CONFIGURATION, _configuration(settings))
    if changed:
        runit.restart_later(run, "nginx")
    command = f"exec {layout.EMBEDDED}/sbin/nginx -p {_HOME} -c {_CONFIGURATION}"
    runit.enable(run, runit.Service("nginx", command))


def _configuration(settings: Settings) -> str:
    puma = f"{settings.get('puma', 'listen', default='127.0.0.1')}:{settings.get('puma', 'port', default=8080)}"
    port = settings.get("nginx", "listen_port", default=80)
    return f"""\
daemon off;
user {_USER} {_USER};
worker_processes 1;
error_log stderr;
pid {_HOME}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types;
  access_log {layout.LOGS}/nginx/gitlab_access.log;
  server {{
    listen {port};
    server_name _;
    root {layout.PUBLIC};
    error_page 502 /502.html;
    location = /502.html {{ internal; }}
    location / {{
      if (-f {layout.PUBLIC}/index.html) {{ rewrite ^ /index.html last; }}
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_pass http://{puma};
    }}
    location = /index.html {{ add_header Cache-Control "no-cache, no-store"; }}
  }}
}}
"""
