"""Builds and runs the image of the Dockerfile: with a Docker engine of its own (dockerd without a network of its own,
below a directory), or, where none can be run, by the Dockerfile's steps in a chroot. The base image is made with
mmdebstrap from the Debian sources that this machine's apt is set up with, so no registry is needed. Wants root."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

BASE = "debian:bookworm-slim"
USER = "65532"


def run(command, check=True, timeout=900, **more):
    done = subprocess.run(command, capture_output=True, timeout=timeout, **more)
    if check and done.returncode != 0:
        raise AssertionError(
            "%s: status %d\n%s"
            % (shlex.join(map(str, command)), done.returncode, (done.stdout + done.stderr)[-6000:].decode())
        )
    return done


def debian_sources():
    """The machine's own sources of Debian 12, as lines for sources.list."""
    fields = "$(ORIGIN)|$(SUITE)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    text = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]).stdout.decode()
    rows = {tuple(line.split("|")) for line in text.splitlines()}
    lines = sorted(
        "deb %s %s %s" % (uri, release, component)
        for origin, _, codename, uri, release, component in rows
        if origin == "Debian" and codename.startswith("bookworm")
    )
    return lines


def make_base(path):
    """A tar of a minimal Debian 12, which later runs use again."""
    if path.exists():
        return
    sources = debian_sources()
    made = path.with_suffix(".part.tar")
    settings = "".join(
        p.read_text()
        for p in pathlib.Path("/etc/apt/apt.conf.d").iterdir()
        if re.search(r"Check-Valid-Until|Check-Date|Proxy", p.read_text())
    )
    options = ["--aptopt=%s" % line.strip().rstrip(";") for line in settings.splitlines() if line.startswith("Acquire")]
    run(["mmdebstrap", "--variant=minbase", "--format=tar", *options, "bookworm", str(made), *sources])
    made.rename(path)


class Docker:
    """A dockerd that listens on a Unix socket below `directory`; its images are kept there from run to run."""

    name = "docker"

    def __init__(self, directory):
        self.directory = directory
        self.env = {**os.environ, "DOCKER_HOST": "unix://%s/s.sock" % directory, "DOCKER_BUILDKIT": "0"}
        self.env.pop("DOCKER_CONTEXT", None)
        for part in ("data", "exec"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        command = ["dockerd", "--data-root", directory / "data", "--exec-root", directory / "exec"]
        command += ["-H", self.env["DOCKER_HOST"], "--pidfile", directory / "pid", "--bridge=none", "--iptables=false"]
        command += ["--ip-masq=false", "--userland-proxy=false"]
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while self.docker("version", check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise OSError("dockerd does not run here:\n" + (directory / "log").read_text()[-2000:])
            time.sleep(0.2)

    def docker(self, *arguments, **more):
        return run(["docker", *map(str, arguments)], env=self.env, **more)

    def build(self, context, base):
        if not self.docker("images", "-q", BASE).stdout:
            self.docker("import", base, BASE)
        self.docker("build", "--network", "host", "-t", "mailhatch-test", context)
        # The stage that compiles, from the cache.
        self.docker("build", "--network", "host", "--target", "build", "-t", "mailhatch-test-build", context)

    def in_build_stage(self, script):
        done = self.docker("run", "--rm", "--network", "host", "mailhatch-test-build", "sh", "-ec", script)
        return done.stdout.decode()

    def size(self):
        return json.loads(self.docker("inspect", "mailhatch-test").stdout)[0]["Size"]

    def configuration(self):
        return json.loads(self.docker("inspect", "mailhatch-test").stdout)[0]["Config"]

    def files(self, to):
        made = self.docker("create", "mailhatch-test").stdout.decode().strip()
        try:
            self.docker("export", "-o", to, made)
        finally:
            self.docker("rm", made)

    def command(self, arguments, env, mounts=(), options=()):
        command = ["docker", "run", "--rm", "-i", "--network", "host", "--read-only", "--user", USER]
        command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", *options]
        for path in mounts:
            command += ["-v", "%s:%s:ro" % (path, path)]
        for key, value in env.items():
            command += ["-e", "%s=%s" % (key, value)]
        return command + ["mailhatch-test", *arguments]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


class Chroot:
    """The same steps without an engine: each stage of the Dockerfile is a directory."""

    name = "chroot"

    def __init__(self, directory):
        self.directory = directory
        self.env = dict(os.environ)
        self.settings = {"Env": [], "User": "", "Entrypoint": [], "Healthcheck": None}

    def build(self, context, base):
        self.image = self.directory / "image"
        self.stage = self.directory / "stage"
        for d in (self.image, self.stage):
            shutil.rmtree(d, ignore_errors=True)
            d.mkdir(parents=True)
        run(["tar", "-xf", base, "-C", self.stage])
        shutil.copy("/etc/resolv.conf", self.stage / "etc/resolv.conf")
        where, cwd = self.stage, "/"
        text = (context / "Dockerfile").read_text().replace("\\\n", " ")
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                where = self.stage if rest.split()[0] == BASE else self.image
            elif word == "WORKDIR":
                cwd = rest
                (where / cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self.copy(rest.split(), context, where, cwd)
            elif word == "ARG":
                self.env.update([rest.split("=", 1)])
            elif word == "RUN":
                run(["chroot", where, "sh", "-ec", "cd %s; %s" % (cwd, rest)], env=self.env)
            elif word == "USER":
                self.settings["User"] = rest
            elif word == "ENV":
                self.settings["Env"].append(rest)
            elif word == "ENTRYPOINT":
                self.settings["Entrypoint"] = json.loads(rest)
            elif word == "HEALTHCHECK":
                self.settings["Healthcheck"] = {"Test": ["CMD", *json.loads(rest.split("CMD ")[1])]}

    def copy(self, words, context, where, cwd):
        if words[0] == "--from=build":
            run(["cp", "-a", str(self.stage / words[1].lstrip("/")) + "/.", where])
            return
        *sources, target = words
        for source in sources:
            to = where / cwd.lstrip("/") / target
            to.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "-r", context / source, to])

    def in_build_stage(self, script):
        return run(["chroot", self.stage, "sh", "-ec", "cd /src; " + script], env=self.env).stdout.decode()

    def size(self):
        return sum(p.lstat().st_size for p in self.image.rglob("*") if not p.is_dir())

    def configuration(self):
        return self.settings

    def files(self, to):
        run(["tar", "-cf", to, "-C", self.image, "."])

    def command(self, arguments, env, mounts=(), options=()):
        """In a mount namespace of its own, where the image is bound over itself, read only."""
        script = "mount --bind %s %s && cd %s\n" % ((self.image,) * 3)
        for name in ("hosts", "resolv.conf"):           # an engine brings these
            shutil.copy("/etc/" + name, self.image / "etc")
        for path in mounts:
            inside = self.image / str(path).lstrip("/")
            inside.mkdir(parents=True, exist_ok=True)
            script += "mount --bind %s %s\n" % (path, inside)
        script += "mount -o remount,ro,bind %s\n" % self.image
        script += 'exec setpriv --no-new-privs chroot --userspec=%s:%s %s "$@"' % (USER, USER, self.image)
        variables = [*self.settings["Env"], *("%s=%s" % pair for pair in env.items())]
        command = ["unshare", "--mount", "sh", "-ec", script, "sh", *self.settings["Entrypoint"], *arguments]
        return ["env", "-i", "PATH=" + os.environ["PATH"], *variables, *command]

    def stop(self):
        pass


def start(directory):
    """Docker, or where that cannot be run the chroot; says which."""
    kind = os.environ.get("MAILHATCH_IMAGE_ENGINE", "docker")
    if kind != "chroot" and shutil.which("dockerd") and shutil.which("docker"):
        try:
            engine = Docker(directory / "docker")
            print("the image is built and run by a Docker engine", flush=True)
            return engine
        except OSError as e:
            print(e, flush=True)
    print("no Docker engine here: the image's steps are done in a chroot", flush=True)
    return Chroot(directory / "chroot")
