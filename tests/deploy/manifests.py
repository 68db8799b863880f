"""The manifests as kustomize renders them, and a container of theirs as a process: its environment, arguments and files
are those of the YAML."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

import harness

KUBERNETES = harness.ROOT / "deploy/kubernetes"
OVERLAYS = ("sidecar", "standalone")
COMPONENTS = ("pdb", "hpa", "network-policy", "service-monitor")


def kubectl():
    """The one of install.sh where the machine has none that is new enough."""
    own = harness.ROOT / "build/kubectl"
    return str(own) if own.exists() else "kubectl"


def render(overlay, components=()):
    """The documents of an overlay, with components added as a user would: in a kustomization above it."""
    with tempfile.TemporaryDirectory(prefix="mailhatch-kustomize-") as d:
        top = pathlib.Path(d).resolve()
        relative = lambda part: os.path.relpath(KUBERNETES / part, top)
        text = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [relative("overlays/" + overlay)],
            "components": [relative("components/" + c) for c in components],
        }
        (top / "kustomization.yaml").write_text(yaml.safe_dump(text))
        done = subprocess.run([kubectl(), "kustomize", str(top)], capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(done.stderr + done.stdout)
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def of_kind(documents, kind, name=None):
    return [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]


def pod_of(documents, name):
    (deployment,) = of_kind(documents, "Deployment", name)
    return deployment["spec"]["template"]["spec"]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def mailhatch_of(pod):
    (found,) = [c for c in containers(pod) if c["name"] == "mailhatch"]
    return found


class Mounted:
    """A container's volumes as directories, and its environment and arguments with their paths put in the place of the
    container's. `secrets`: {name: {key: text}}, what `kubectl create secret` would have made."""

    def __init__(self, documents, pod, container, secrets=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-pod-"))
        volumes = {v["name"]: v for v in pod.get("volumes", [])}
        self.paths = {}
        for mount in container.get("volumeMounts", []):
            volume, there = volumes[mount["name"]], self.directory / mount["name"]
            there.mkdir()
            if "configMap" in volume:
                (source,) = of_kind(documents, "ConfigMap", volume["configMap"]["name"])
                files = source["data"]
            else:
                files = (secrets or {})[volume["secret"]["secretName"]]
            for name, text in files.items():
                (there / name).write_text(text)
                if "secret" in volume:
                    (there / name).chmod(0o400)  # of the pod's group there; here the file is our own
            self.paths[mount["mountPath"]] = str(there)
        for path in self.directory.rglob("*.yaml"):       # the configuration names the secrets' files
            path.write_text(self.here(path.read_text()))
        self.env = {e["name"]: self.here(e["value"]) for e in container["env"]}
        self.args = [self.here(a) for a in (*container.get("command", []), *container.get("args", []))]

    def here(self, text):
        for inside, outside in self.paths.items():
            text = re.sub(r"(?<![\w/])%s(?=/)" % re.escape(inside), outside, text)
        return text

    def remove(self):
        shutil.rmtree(self.directory, True)


def port_of(container, port):
    """A probe's or service's port: a number, or the name of a container's port."""
    if isinstance(port, int):
        return port
    (found,) = [p["containerPort"] for p in container["ports"] if p["name"] == port]
    return found
