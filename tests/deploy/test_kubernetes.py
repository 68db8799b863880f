"""The manifests: rendered with and without each component, held against Kubernetes' own types, their references, the
"restricted" profile and the arithmetic of the drain; then each mailhatch container is started as its YAML says, and the
probes that it declares are asked. Nothing here repeats what the YAML says."""
import functools
import json
import os
import pathlib
import re
import subprocess
import unittest
import urllib.error
import urllib.request

import yaml

import harness
import manifests
from manifests import COMPONENTS, OVERLAYS, Mounted, containers, mailhatch_of, of_kind, pod_of, port_of
from netns import Netns
from peer import Peer
from service import Service

NODE = harness.ROOT / "tests/deploy/node"
WORKLOAD = {"sidecar": "webapp", "standalone": "mailhatch"}
KEY = "web:0123456789abcdef0123456789abcdef"
STOP_MARGIN = 5  # seconds of terminationGracePeriodSeconds beyond what the settings need
TYPES = {
    "Deployment": "apps/v1",
    "Service": "core/v1",
    "ConfigMap": "core/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "NetworkPolicy": "networking/v1",
}
MEMORY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def octets(text):
    return int(text[:-2]) * MEMORY[text[-2:]]


@functools.cache
def every_rendering():
    """[(overlay, components, documents)]"""
    wanted = [("sidecar", ()), *(("standalone", c) for c in ((), *((c,) for c in COMPONENTS), COMPONENTS))]
    return [(overlay, components, manifests.render(overlay, components)) for overlay, components in wanted]


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = every_rendering()

    def each_pod(self):
        for overlay in OVERLAYS:
            documents = next(d for name, components, d in self.all if name == overlay and not components)
            yield overlay, documents, pod_of(documents, WORKLOAD[overlay])


class Rendered(Manifests):
    def test_types(self):
        """Unknown fields and wrong types, found by the compiler in Kubernetes' own definitions."""
        lines, n = [], 0
        for overlay, components, documents in self.all:
            for d in documents:
                if d["kind"] == "ServiceMonitor":
                    continue
                module = TYPES[d["kind"]]
                self.assertEqual(d["apiVersion"].replace(".k8s.io/", "/"), module.removeprefix("core/"))
                n += 1
                lines.append("// %s with %s" % (overlay, ", ".join(components) or "nothing"))
                kind = 'import("kubernetes-types/%s").%s' % (module, d["kind"])
                lines.append("export const d%d: %s = %s;" % (n, kind, json.dumps(d, indent=1)))
        self.assertGreater(n, 20)
        status, text = self.compile("\n".join(lines))
        self.assertEqual(status, 0, text)

    def test_types_can_be_wrong(self):
        wrong = 'export const d: import("kubernetes-types/core/v1").Service = {"spec": {"port": []}};'
        status, text = self.compile(wrong)
        self.assertNotEqual(status, 0)
        self.assertIn("does not exist in type 'ServiceSpec'", text)

    def compile(self, text):
        path = NODE / "manifests.ts"
        path.write_text(text)
        try:
            done = subprocess.run(
                ["node_modules/.bin/tsc", "--noEmit", "--strict", "--moduleResolution", "node", path.name],
                cwd=NODE,
                capture_output=True,
                text=True,
                timeout=120,
            )
        finally:
            path.unlink()
        return done.returncode, done.stdout

    def test_names_lead_somewhere(self):
        for overlay, documents, pod in self.each_pod():
            volumes = {v["name"]: v for v in pod["volumes"]}
            used = set()
            for c in containers(pod):
                for mount in c["volumeMounts"]:
                    self.assertIn(mount["name"], volumes)
                    self.assertTrue(mount["readOnly"])
                    used.add(mount["name"])
                names = [p["name"] for p in c["ports"]]
                self.assertEqual(len(names), len(set(names)))
            self.assertEqual(used, set(volumes), "every volume is mounted")
            for v in volumes.values():
                if "configMap" in v:
                    self.assertEqual(len(of_kind(documents, "ConfigMap", v["configMap"]["name"])), 1, overlay)
                else:
                    self.assertEqual(v["secret"]["defaultMode"], 0o440)
            # one pod, one set of ports
            numbers = [p["containerPort"] for c in containers(pod) for p in c["ports"]]
            self.assertEqual(len(numbers), len(set(numbers)))

    def test_services_find_their_pods(self):
        for overlay, documents, pod in self.each_pod():
            (deployment,) = of_kind(documents, "Deployment")
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            self.assertEqual(deployment["spec"]["selector"]["matchLabels"].items() - labels.items(), set())
            for service in of_kind(documents, "Service"):
                self.assertTrue(service["spec"]["selector"].items() <= labels.items())
                for port in service["spec"]["ports"]:
                    named = [p["name"] for c in containers(pod) for p in c["ports"]]
                    self.assertIn(port["targetPort"], named)

    def test_components_find_the_deployment(self):
        documents = next(d for name, components, d in self.all if components == COMPONENTS)
        (deployment,) = of_kind(documents, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        names = [p["name"] for p in mailhatch_of(pod_of(documents, "mailhatch"))["ports"]]
        (pdb,) = of_kind(documents, "PodDisruptionBudget")
        (policy,) = of_kind(documents, "NetworkPolicy")
        (hpa,) = of_kind(documents, "HorizontalPodAutoscaler")
        (monitor,) = of_kind(documents, "ServiceMonitor")
        (service,) = of_kind(documents, "Service")
        for selector in (pdb["spec"]["selector"], policy["spec"]["podSelector"]):
            self.assertTrue(selector["matchLabels"].items() <= labels.items())
        self.assertTrue(monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items())
        self.assertIn(monitor["spec"]["endpoints"][0]["port"], [p["name"] for p in service["spec"]["ports"]])
        target = hpa["spec"]["scaleTargetRef"]
        self.assertEqual((target["kind"], target["name"]), ("Deployment", deployment["metadata"]["name"]))
        self.assertNotIn("replicas", deployment["spec"], "the autoscaler says how many")
        self.assertGreater(hpa["spec"]["minReplicas"], pdb["spec"]["minAvailable"])
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                self.assertIn(port["port"], names)
        self.assertEqual(sorted(policy["spec"]["policyTypes"]), ["Egress", "Ingress"])

    def test_relay_may_be_reached(self):
        """The ports of the NetworkPolicy are those of the relays in the configuration."""
        documents = next(d for name, components, d in self.all if components == COMPONENTS)
        (policy,) = of_kind(documents, "NetworkPolicy")
        (config,) = of_kind(documents, "ConfigMap")
        allowed = {p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]}
        for relay in yaml.safe_load(config["data"]["mailhatch.yaml"])["relays"].values():
            self.assertIn(int(re.search(r":(\d+)$", relay["url"]).group(1)), allowed)

    def test_restricted(self):
        """The Pod Security Standard "restricted"."""
        for _, _, pod in self.each_pod():
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertNotEqual(pod["securityContext"]["runAsUser"], 0)
            self.assertEqual(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
            self.assertIs(pod["automountServiceAccountToken"], False)
            for key in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(key, pod)
            self.assertEqual({k for v in pod["volumes"] for k in v} - {"name", "configMap", "secret"}, set())
            for c in containers(pod):
                s = c["securityContext"]
                self.assertIs(s["allowPrivilegeEscalation"], False)
                self.assertIs(s["readOnlyRootFilesystem"], True)
                self.assertEqual(s["capabilities"], {"drop": ["ALL"]})
                self.assertEqual(set(s), {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"})
                self.assertTrue(all("hostPort" not in p for p in c["ports"]))

    def test_words(self):
        """What the types call a string, and Kubernetes a choice."""
        for overlay, documents, pod in self.each_pod():
            for c in containers(pod):
                self.assertIn(c.get("imagePullPolicy", "Always"), ("Always", "IfNotPresent", "Never"))
                self.assertIn(c.get("restartPolicy"), (None, "Always"))
            if overlay == "sidecar":
                self.assertEqual([c["name"] for c in pod["initContainers"]], ["mailhatch"])
                self.assertEqual(mailhatch_of(pod)["restartPolicy"], "Always")
        for _, _, documents in self.all:
            for policy in of_kind(documents, "NetworkPolicy"):
                rules = policy["spec"]["ingress"] + policy["spec"]["egress"]
                self.assertLessEqual({p["protocol"] for r in rules for p in r["ports"]}, {"TCP", "UDP"})

    def test_both_overlays_run_the_same_container(self):
        same = []
        for _, _, pod in self.each_pod():
            c = dict(mailhatch_of(pod))
            for key in ("env", "ports", "resources", "restartPolicy"):
                c.pop(key, None)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                c[probe] = {**c[probe], "httpGet": {**c[probe]["httpGet"], "port": None}}
            same.append(c)
        self.assertEqual(same[0], same[1])
        version = harness.run_program("version")[1].split()[1]
        self.assertEqual(same[0]["image"], "mailhatch:" + version)


class Started(Manifests):
    """Here the containers run."""

    def setUp(self):
        self.net = self.enterContext(Netns())
        self.peer = self.enterContext(Peer())
        self.secrets = {"mailhatch": {"smtp": harness.PASSWORD + "\n", "keys": KEY + "\n"}}

    def mounted(self, documents, pod):
        """Its relay is the test's; all else is as the YAML has it."""
        m = Mounted(documents, pod, mailhatch_of(pod), self.secrets)
        self.addCleanup(m.remove)
        config = pathlib.Path(m.env["MAILHATCH_CONFIG"])
        parsed = yaml.safe_load(config.read_text())
        parsed["relays"]["default"].update(url=self.peer.url(), ca_file=harness.cert_path("ca.pem"))
        config.write_text(yaml.safe_dump(parsed))
        return m

    def effective(self, m):
        """Milliseconds and octets that the settings come to, as `check-config` tells."""
        status, text, err = harness.run_program("check-config", *m.args, env=m.env)
        self.assertEqual((status, err), (0, ""))
        return dict(re.findall(r"^(\w+): (\S+)", text, re.M))

    def start(self, m):
        s = Service([harness.binary(), *m.args], m.env)
        self.addCleanup(s.stop)
        return s

    def ask(self, container, probe):
        get = container[probe]["httpGet"]
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port_of(container, get["port"]), get["path"])) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    def test_settings_are_right_as_they_are(self):
        """The configuration of the YAML, with its own relay: no mistake, no warning."""
        for overlay, documents, pod in self.each_pod():
            m = Mounted(documents, pod, mailhatch_of(pod), self.secrets)
            self.addCleanup(m.remove)
            self.effective(m)

    def test_probes(self):
        for overlay, documents, pod in self.each_pod():
            with self.subTest(overlay):
                container, m = mailhatch_of(pod), self.mounted(documents, pod)
                with self.start(m) as s:
                    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                        self.assertEqual(self.ask(container, probe), 200)
                    headers = {"Authorization": "Bearer " + KEY.split(":")[1]} if overlay == "standalone" else {}
                    port = m.env["MAILHATCH_LISTEN"].rsplit(":", 1)[1]
                    where = "127.0.0.1:" + port
                    answer = harness.http_request(where, "POST", "/v1/emails", harness.MAIL, headers)
                    self.assertEqual(answer.status, 200, repr(answer))
                    if overlay == "standalone":
                        self.assertEqual(harness.http_request(where, "GET", "/v1/errors").status, 401)
                        self.assertEqual(int(port), port_of(container, "http"))
                    self.assertEqual(s.listening["admin"], m.env["MAILHATCH_ADMIN_LISTEN"])

    def test_addresses(self):
        """The sidecar's API on loopback, and only its admin listener where the kubelet can reach it."""
        for overlay, documents, pod in self.each_pod():
            m = self.mounted(documents, pod)
            self.assertEqual(m.env["MAILHATCH_LISTEN"].startswith("127.0.0.1:"), overlay == "sidecar")
            self.assertTrue(m.env["MAILHATCH_ADMIN_LISTEN"].startswith("0.0.0.0:"))
            if overlay == "sidecar":
                app = next(c for c in pod["containers"] if c["name"] == "webapp")
                url = next(e["value"] for e in app["env"] if e["name"] == "MAIL_URL")
                self.assertIn("//%s/" % m.env["MAILHATCH_LISTEN"], url)
                self.assertNotIn(8587, [p["containerPort"] for p in mailhatch_of(pod)["ports"]])

    def test_drain_fits_into_the_grace_period(self):
        for overlay, documents, pod in self.each_pod():
            e = self.effective(self.mounted(documents, pod))
            needed = float(e["drain_delay"].rstrip("s")) + float(e["drain_timeout"].rstrip("s")) + STOP_MARGIN
            grace = pod["terminationGracePeriodSeconds"]
            self.assertLessEqual(needed, grace)
            probe = mailhatch_of(pod)["readinessProbe"]
            if overlay == "sidecar":
                # the application ends first, in the same grace period
                self.assertLessEqual(needed + 15, grace)
            else:
                # the endpoints have forgotten the pod before its sends are refused
                unready = probe["periodSeconds"] * probe["failureThreshold"]
                self.assertGreater(float(e["drain_delay"].rstrip("s")), unready)

    def test_drain(self):
        """SIGTERM: readiness turns false at once and mails are still taken; then it ends by itself, with 0."""
        documents, pod = next((d, p) for o, d, p in self.each_pod() if o == "standalone")
        m = self.mounted(documents, pod)
        delay = float(m.env["MAILHATCH_DRAIN_DELAY"].rstrip("s"))
        m.env["MAILHATCH_DRAIN_DELAY"] = "%dms" % (delay * 100)          # a tenth, for a test's sake
        with self.start(m) as s:
            container = mailhatch_of(pod)
            s.process.terminate()
            harness.wait_for(lambda: self.ask(container, "readinessProbe") == 503, what="readiness turns false")
            self.assertEqual(self.ask(container, "livenessProbe"), 200)
            headers = {"Authorization": "Bearer " + KEY.split(":")[1]}
            where = "127.0.0.1:" + m.env["MAILHATCH_LISTEN"].rsplit(":", 1)[1]
            self.assertEqual(harness.http_request(where, "POST", "/v1/emails", harness.MAIL, headers).status, 200)
            self.assertEqual(s.wait()[0], 0)

    def test_memory_fits_the_limit(self):
        """tests/e2e/test_memory.py: what is reserved, a fifth more for a moment, and 32 MiB that are kept;
        docs/benchmarks.md: a thousand connections take 40 MB, a start 10 MB."""
        for overlay, documents, pod in self.each_pod():
            e = self.effective(self.mounted(documents, pod))
            limits = mailhatch_of(pod)["resources"]["limits"]
            inflight = octets(e["max_inflight_bytes"].replace("MiB", "Mi"))
            needed = 1.2 * inflight + 32 * 2**20 + 40e6 * int(e["max_connections"]) / 1000 + 10e6
            self.assertLessEqual(needed, octets(limits["memory"]))
            self.assertGreater(inflight, 2 * octets(e["max_body"].replace("MiB", "Mi")))
            self.assertNotIn("cpu", limits)

    def test_webapp(self):
        """The example application beside its sidecar, both as the YAML says: a request to it becomes a mail."""
        documents, pod = next((d, p) for o, d, p in self.each_pod() if o == "sidecar")
        app = next(c for c in pod["containers"] if c["name"] == "webapp")
        mounted = Mounted(documents, pod, app)
        self.addCleanup(mounted.remove)
        with self.start(self.mounted(documents, pod)):
            webapp(self, mounted.args, mounted.env, port_of(app, "http"), self.peer)


def webapp(test, command, env, port, peer):
    """Runs the application, sends a mail through it, and one that is refused."""
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **env}, stdin=subprocess.DEVNULL)
    try:
        where = "127.0.0.1:%d" % port

        def healthy():
            try:
                return harness.http_request(where, "GET", "/healthz").status == 200
            except OSError:
                return False

        harness.wait_for(healthy, what="the application answers")
        before = len(peer.mails)
        body = {"email": "bob@example.net", "message": "Hello"}
        answer = harness.http_request(where, "POST", "/contact", body)
        test.assertEqual(answer.status, 200, repr(answer))
        test.assertEqual(len(peer.mails), before + 1)
        answer = harness.http_request(where, "POST", "/contact", {"email": "no address", "message": "Hello"})
        test.assertEqual(answer.status, 502, repr(answer))
        test.assertIs(answer.json["retryable"], False)
        test.assertTrue(answer.json["error"])
    finally:
        process.terminate()
        test.assertEqual(process.wait(harness.PATIENCE), 0)


class Compose(unittest.TestCase):
    """The same as a compose file."""

    FILE = harness.ROOT / "deploy/compose/compose.yaml"

    def setUp(self):
        self.net = self.enterContext(Netns())
        self.text = yaml.safe_load(self.FILE.read_text())
        self.mailhatch, self.app = (self.text["services"][n] for n in ("mailhatch", "webapp"))

    def test_hardened_and_one_network(self):
        self.assertEqual(self.app["network_mode"], "service:mailhatch")
        for service in (self.mailhatch, self.app):
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
        for secret in self.mailhatch["secrets"]:
            self.assertIn(secret, self.text["secrets"])
        grace = int(self.mailhatch["stop_grace_period"].rstrip("s"))
        self.assertGreaterEqual(grace, int(self.mailhatch["environment"]["MAILHATCH_DRAIN_TIMEOUT"].rstrip("s")) + 5)

    def test_a_mail(self):
        with Peer() as peer:
            env = dict(self.mailhatch["environment"])
            self.assertRegex(env["MAILHATCH_RELAY_URL"], r"^\$\{MAILHATCH_RELAY_URL:-smtp://[^}]+\}$")
            self.assertEqual(env["MAILHATCH_RELAY_PASSWORD_FILE"], "/run/secrets/" + self.mailhatch["secrets"][0])
            env.update(
                MAILHATCH_RELAY_URL=peer.url(),
                MAILHATCH_RELAY_CA_FILE=harness.cert_path("ca.pem"),
                MAILHATCH_RELAY_PASSWORD=harness.PASSWORD,
            )
            del env["MAILHATCH_RELAY_PASSWORD_FILE"]
            with Service([harness.binary()], env):
                test = self.mailhatch["healthcheck"]["test"]
                self.assertEqual(test[:2], ["CMD", "/usr/bin/mailhatch"])
                self.assertEqual(harness.run_program(*test[2:], env=env)[0], 0)
                outside, inside, _ = self.app["volumes"][0].split(":")
                source = str((self.FILE.parent / outside).resolve())
                command = [source if word == inside else word for word in self.app["command"]]
                port = int(self.mailhatch["ports"][0].rsplit(":", 1)[1])
                self.assertEqual(port, int(self.app["environment"]["PORT"]))
                webapp(self, command, self.app["environment"], port, peer)
