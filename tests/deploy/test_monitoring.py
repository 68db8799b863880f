"""Alert rules and dashboard: understood by promtool, about metrics, labels and values that the running service has, and
each alert fires when it should."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

import harness
from peer import Peer

ALERTS = harness.ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = harness.ROOT / "deploy/grafana/mailhatch.json"
CASES = harness.ROOT / "tests/deploy/alerts.test.yaml"
SUFFIXES = ("_bucket", "_sum", "_count")


def promtool(*arguments, **more):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, **more)
    return done.returncode, done.stdout + done.stderr


def rules():
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return group["rules"]


def panels():
    return [p for p in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if p["type"] != "row"]


def expressions():
    """(where, PromQL) of every rule and panel."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """The metrics after a mail that was sent, and one that was refused."""
        with Peer(on={"rcpt": ["250 2.1.5 ok", "550 5.1.1 no"]}) as p, harness.Gateway(relay=p.url()) as g:
            for status in (200, 422):
                assert g.post(harness.MAIL).status == status
            cls.text = g.admin("/metrics").body.decode()
            tls = {"MAILHATCH_TLS_CERT_FILE": harness.cert_path("good.pem")}
            tls["MAILHATCH_TLS_KEY_FILE"] = harness.cert_path("good.key")
            with harness.Gateway(tls, ("--sandbox",)) as secure:
                added = [line for line in secure.admin("/metrics").body.decode().splitlines() if "certificate" in line]
            cls.text += "\n".join(added) + "\n"
            cls.codes = {e["code"] for e in g.get("/v1/errors").json["data"]}
        cls.labels, cls.values = {}, {}
        for name, pairs in re.findall(r"^(mailhatch_\w+?)(?:\{(.*)\})? \S+$", cls.text, re.M):
            found = dict(re.findall(r'(\w+)="([^"]*)"', pairs))
            cls.labels.setdefault(name, set()).update(found)
            for label, value in found.items():
                cls.values.setdefault(label, set()).add(value)

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-monitoring-"))
        self.addCleanup(shutil.rmtree, self.dir, True)

    def test_metrics(self):
        status, text = promtool("check", "metrics", input=self.text)
        self.assertEqual((status, text), (0, ""))

    def test_rules_are_understood(self):
        status, text = promtool("check", "rules", ALERTS)
        self.assertEqual(status, 0, text)
        self.assertIn("%d rules found" % len(rules()), text)

    def test_every_expression_is_promql(self):
        recorded = [{"record": "x:%d" % i, "expr": expr} for i, (_, expr) in enumerate(expressions())]
        self.assertGreater(len(recorded), 30)
        path = self.dir / "rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
        status, text = promtool("check", "rules", path)
        self.assertEqual(status, 0, text)

    def test_names_exist(self):
        """A metric, label or code that the service does not have would make a panel empty and an alert silent."""
        for where, expr in expressions():
            names = re.findall(r"\bmailhatch_\w+", expr)
            self.assertTrue(names or 'up{job="mailhatch"}' in expr, where)
            for name in names:
                self.assertIn(name, self.labels, where)
            for selector in re.findall(r"mailhatch_\w+\{([^}]*)\}", expr):
                for label in re.findall(r"(\w+)[!=]=?~?\"", selector):
                    known = set().union(*(self.labels[n] for n in names)) | {"instance"}
                    self.assertIn(label, known, where)
            for labels in re.findall(r"\bby \(([^)]*)\)", expr):
                known = set().union(*(self.labels[n] for n in names)) | {"instance"}
                self.assertLessEqual(set(re.split(r", *", labels)), known, where)

    def test_values_exist(self):
        for where, expr in expressions():
            for label, regex, value in re.findall(r"\b(code|delivery|phase|route|state)!?=(~?)\"([^\"]+)\"", expr):
                if label == "code":
                    matching = [c for c in self.codes if re.fullmatch(value if regex else re.escape(value), c)]
                    self.assertTrue(matching, "%s: no code is %s" % (where, value))
                elif label == "delivery":
                    self.assertIn(value, ("accepted", "rejected", "not_sent", "unknown"), where)
                else:
                    self.assertIn(value, self.values[label], where)
        self.assertLessEqual({"accepted", "rejected"}, self.values["delivery"])

    def test_every_metric_is_looked_at(self):
        """The dashboard shows each metric there is."""
        shown = set().union(*(re.findall(r"\bmailhatch_\w+", expr) for _, expr in expressions()))
        families = set(re.findall(r"^# TYPE (\w+)", self.text, re.M))
        base = {re.sub("(%s)$" % "|".join(SUFFIXES), "", s) for s in shown}
        self.assertEqual(families - base, set())

    def test_every_alert_fires_when_it_should(self):
        cases = yaml.safe_load(CASES.read_text("utf-8"))
        well, wrong = cases["tests"]
        self.assertEqual({t["alertname"] for t in well["alert_rule_test"]}, {r["alert"] for r in rules()})
        shutil.copy(ALERTS, self.dir / "alerts.yaml")
        self.assertEqual(self.evaluate({**cases, "tests": [well]})[0], 0)
        for test in well["alert_rule_test"]:
            # "none fires" must fail for each of them
            silent = {**cases, "tests": [{**wrong, "alert_rule_test": [{**test, "eval_time": "25m"}]}]}
            status, text = self.evaluate(silent)
            self.assertNotEqual(status, 0, "%s does not fire" % test["alertname"])
            self.assertIn("alertname:" + test["alertname"], text.replace("alertname: ", "alertname:"))

    def evaluate(self, cases):
        path = self.dir / "cases.yaml"
        path.write_text(yaml.safe_dump(cases))
        return promtool("test", "rules", path)

    def test_alerts_say_what_to_do(self):
        for rule in rules():
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
            self.assertTrue(rule["annotations"]["summary"])
            self.assertTrue(rule["annotations"]["description"])

    def test_dashboard(self):
        board = json.loads(DASHBOARD.read_text("utf-8"))
        ids = [p["id"] for p in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        variables = {v["name"] for v in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text("utf-8"))) - {"__rate_interval", "__all"}
        self.assertEqual(used, variables)
        places = [tuple(p["gridPos"][k] for k in "xywh") for p in board["panels"]]
        for i, (x, y, w, h) in enumerate(places):
            self.assertLessEqual(x + w, 24)
            for a, b, c, d in places[:i]:
                self.assertFalse(x < a + c and a < x + w and y < b + d and b < y + h, board["panels"][i]["title"])

    def test_scrape(self):
        """The job's name is the one that an alert asks for, its target the admin listener's default."""
        (job,) = yaml.safe_load((harness.ROOT / "deploy/prometheus/scrape.yaml").read_text())["scrape_configs"]
        self.assertIn('up{job="%s"}' % job["job_name"], ALERTS.read_text())
        _, sample, _ = harness.run_program("help", "sample")
        self.assertEqual(job["static_configs"][0]["targets"], re.findall(r"^# admin_listen: (\S+)$", sample, re.M))
        config = self.dir / "prometheus.yaml"
        config.write_text((harness.ROOT / "deploy/prometheus/scrape.yaml").read_text() + "rule_files: [%s]\n" % ALERTS)
        status, text = promtool("check", "config", config)
        self.assertEqual(status, 0, text)
