"""nginx and haproxy in front of one mailhatch, with connections to it that many clients share. Each request that a
proxy passes on gets an X-Request-Id of its own: what mailhatch does under another one was no request to the proxy."""
import os
import shutil
import subprocess
import tempfile

import harness

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin")
OURS = r"(nginx|haproxy|lax)-[0-9a-f-]{32,36}$"

NGINX_CONF = """
%(user)s
daemon off;
pid %(dir)s/nginx.pid;
error_log %(dir)s/nginx.log;
worker_processes 1;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path %(dir)s/body;
    proxy_temp_path %(dir)s/proxy;
    fastcgi_temp_path %(dir)s/fastcgi;
    uwsgi_temp_path %(dir)s/uwsgi;
    scgi_temp_path %(dir)s/scgi;
    client_max_body_size 10m;
    ignore_invalid_headers off;
    upstream mailhatch { server %(to)s; keepalive 4; }
    server {
        listen 127.0.0.1:%(port)d;
        keepalive_requests 100000;
        location / {
            proxy_pass http://mailhatch;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;
            proxy_set_header X-Request-Id nginx-$request_id;
        }
    }
}
"""

HAPROXY_CONF = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
frontend strict
    bind 127.0.0.1:%(port)d
    http-request set-header X-Request-Id haproxy-%%[uuid]
    default_backend mailhatch
frontend lax
    bind 127.0.0.1:%(lax)d
    option accept-invalid-http-request
    http-request set-header X-Request-Id lax-%%[uuid]
    default_backend mailhatch
backend mailhatch
    http-request set-header Host localhost
    server a %(to)s maxconn 4
"""


class Proxies:
    """`fronts`: where each listens, by name."""

    def __init__(self, to, ports):
        self.dir = tempfile.mkdtemp(prefix="mailhatch-proxies-")
        os.chmod(self.dir, 0o755)
        nginx, haproxy, lax = ports
        self.fronts = {"nginx": nginx, "haproxy": haproxy, "lax": lax}
        self.processes = []
        try:
            user = "user root;" if os.geteuid() == 0 else ""
            conf = self.write("nginx.conf", NGINX_CONF % {"dir": self.dir, "user": user, "port": nginx, "to": to})
            self.run(NGINX, "-p", self.dir, "-c", conf, "-e", os.path.join(self.dir, "nginx.log"))
            conf = self.write("haproxy.cfg", HAPROXY_CONF % {"port": haproxy, "lax": lax, "to": to})
            self.run(HAPROXY, "-db", "-q", "-f", conf)
            for port in ports:
                harness.wait_for(lambda port=port: self.is_up(port), what="a proxy listens on port %d" % port)
        except BaseException:
            self.stop()
            raise

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def run(self, *command):
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def is_up(self, port):
        if any(p.poll() is not None for p in self.processes):
            raise AssertionError("a proxy did not start")
        try:
            harness.connect("127.0.0.1:%d" % port).close()
        except OSError:
            return False
        return True

    def stop(self):
        for p in self.processes:
            harness.stop_process(p)
        shutil.rmtree(self.dir, True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
