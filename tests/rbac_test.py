"""The chart on a real cluster: what it installs answers, with no right too many and none too few.

usage: rbac_test.py STACKBENCH HELM KUBECTL CHART      (as root, unless KUBECONFIG names a cluster)

KUBECONFIG names a cluster whose nodes have both images; without one, a cluster is brought up and taken down.
The controller's Job runs a scenario once in the cluster. Then this machine takes the account's own
token: a run's requests must be those the rights are for, and with each right taken away in turn a
run must say which, and leave nothing.
"""

import atexit
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

STACKBENCH, HELM, KUBECTL, CHART = map(os.path.abspath, sys.argv[1:5])
PATIENCE = 60
NAMESPACE = "stackbench-test"
ROLE = f"stackbench-{NAMESPACE}"
ROLE_PATH = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ROLE}"
SCENARIO = """
question: What does a Service cost here?
topology: {nodes: 1, pods: {client: {node: 1}, web: {node: 1}}, services: {web: {target: web}}}
environments: {cluster: {datapath: installed, filler: 1}}
arms:
  - {name: pod_ip,     in: cluster, dial: pod/web}
  - {name: cluster_ip, in: cluster, dial: service/web}
workloads: [{kind: tcp_rr, duration: 20ms, warm_up: 2ms}]
blocks: 6
"""
REPLACING = """
question: What do clients notice when a pod is replaced?
topology:
  nodes: 1
  pods: {client: {node: 1}, web: {node: 1, standby: 1}}
  services: {web: {target: web}}
environments: {cluster: {datapath: installed}}
arms: [{name: cluster_ip, in: cluster, dial: service/web}]
workloads: [{kind: tcp_crr, rate: 100/s, connections: 4, duration: 500ms}]
events: [{at: 100ms, kind: replace, pod: web-0, by: web-1, grace: 100ms}]
blocks: 6
"""
POLICIES = """
question: Are policies enforced here?
topology:
  nodes: 1
  namespaces: {other: {labels: {team: red}}}
  pods: {client: {node: 1}, web: {node: 1, namespace: other}}
policy:
  ports: {http: {protocol: TCP, port: 8080}}
  objects:
    - apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: {name: deny, namespace: other}
      spec: {podSelector: {}}
  random_cases: 2
checks: [policy_matrix]
"""
# Waits: a cluster that is fast has what is waited for already in the list that comes before a watch.
# And what is needed only where Calico is.
CALICOS = "get clusterinformations.crd.projectcalico.org"
MAY_BE_SPARED = {"watch serviceaccounts", "watch endpointslices.discovery.k8s.io", "watch services",
                 "watch pods", CALICOS}
# Measured, quietly or not: this is no test of the machine.
MEASURED = (0, 4)
# May be missing: the report says so.
FACTS = {"list daemonsets.apps", "get configmaps"}
# Of those rights that are for some objects alone, one.
NAMES = {"serviceaccounts": "default", "configmaps": "kube-proxy", "clusterinformations": "default"}
# A kubectl that writes down what it asks for.
RECORDER = """#!/bin/sh
exec {kubectl} "$@" -v=6 2>>{log}
"""


def run(*words, check=True, env=None):
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          timeout=5 * PATIENCE, env={**os.environ, **(env or {})})
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(holds, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.05)
    return found


class Cluster:
    """The cluster KUBECONFIG names, or one of our own."""

    def __init__(self, folder):
        self.folder = folder
        self.own = "KUBECONFIG" not in os.environ
        if self.own:
            self.env = {"XDG_STATE_HOME": folder}
            atexit.register(self.down)
            run(STACKBENCH, "up", "--name", "rbac", "--nodes", "1", env=self.env)
            os.environ["KUBECONFIG"] = f"{folder}/stackbench/clusters/rbac/kubeconfig"
        os.environ["HOME"] = folder

    def down(self):
        if self.own:
            run(STACKBENCH, "down", "--name", "rbac", env=self.env)


def kubectl(*words, **more):
    return run(KUBECTL, *words, **more)


def get(*words):
    return json.loads(kubectl("get", *words, "-o", "json").stdout)


class Api:
    """The API server by one proxy: a kubectl for every question takes longer than the answer."""

    def __init__(self):
        self.proxy = subprocess.Popen([KUBECTL, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
        said = self.proxy.stdout.readline()
        if not said.startswith("Starting to serve on "):
            self.close()
            raise AssertionError(f"kubectl proxy does not serve: {said!r}")
        self.address = "http://" + said.split()[-1]
        # This machine's, whatever proxy leads elsewhere.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def close(self):
        self.proxy.kill()
        self.proxy.wait()
        self.proxy.stdout.close()

    def request(self, method, path, body=None, sort="application/json"):
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.address + path, data, {"Content-Type": sort}, method=method)
        with self.opener.open(asked, timeout=PATIENCE) as answer:
            return json.load(answer)


def rights_of(rules):
    """"verb resource.group" of each, with the rule and the place in its verbs."""
    for number, rule in enumerate(rules):
        for resource in rule["resources"]:
            for group in rule["apiGroups"]:
                name = f"{resource}.{group}" if group else resource
                for verb in rule["verbs"]:
                    yield f"{verb} {name}", number, resource, verb


def without(rules, number, resource, verb):
    """The rules less one right: the rule's other resources keep the verb."""
    left = [rule for place, rule in enumerate(rules) if place != number]
    rule = rules[number]
    others = [one for one in rule["resources"] if one != resource]
    if others:
        left.append({**rule, "resources": others})
    verbs = [one for one in rule["verbs"] if one != verb]
    if verbs:
        left.append({**rule, "resources": [resource], "verbs": verbs})
    return left


def rights_of_request(method, url, created):
    """What the API server authorizes a request by; none for what everybody may."""
    parts = urllib.parse.urlsplit(url)
    words = parts.path.strip("/").split("/")
    group = words[1] if words[0] == "apis" and len(words) > 3 else ""
    words = words[3 if words[0] == "apis" else 2:]
    if len(words) > 2 and words[0] == "namespaces":
        words = words[2:]
    if not words or words[0] == "selfsubjectaccessreviews":
        return
    resource = "/".join([words[0], *words[2:3]]) + (f".{group}" if group else "")
    collection = {"GET": "watch" if "watch=" in parts.query else "list",
                  "DELETE": "deletecollection", "POST": "create"}
    single = {"GET": "get", "DELETE": "delete", "PATCH": "patch", "POST": "create"}
    yield f"{(collection if len(words) == 1 else single)[method]} {resource}"
    if created and method == "PATCH":
        yield f"create {resource}"


class ChartOnAClusterTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)  # also where what follows fails
        cls.folder = cls.stack.enter_context(tempfile.TemporaryDirectory())
        cls.cluster = Cluster(cls.folder)
        cls.stack.callback(cls.cluster.down)
        cls.scenario = os.path.join(cls.folder, "two-arms.yaml")
        pathlib.Path(cls.scenario).write_text(SCENARIO, encoding="utf-8")
        values = {"job": {"enabled": True}, "scenario": {"name": "two-arms"},
                  "ownScenarios": {"two-arms": SCENARIO}}
        file = os.path.join(cls.folder, "values.json")
        pathlib.Path(file).write_text(json.dumps(values), encoding="utf-8")
        run(HELM, "install", "stackbench", CHART, "--namespace", NAMESPACE, "--create-namespace",
            "--values", file)
        cls.account = cls.kubeconfig_of_the_account()
        cls.api = Api()
        cls.stack.callback(cls.api.close)

    @classmethod
    def tearDownClass(cls):
        if not cls.cluster.own:
            run(HELM, "uninstall", "stackbench", "--namespace", NAMESPACE, check=False)
            kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")

    @classmethod
    def kubeconfig_of_the_account(cls):
        """The administrator's, with the account's token for a user."""
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o",
                                    "json").stdout)
        token = kubectl("create", "token", "stackbench", "-n", NAMESPACE).stdout.strip()
        config["users"][0]["user"] = {"token": token}
        file = os.path.join(cls.folder, "account.json")
        pathlib.Path(file).write_text(json.dumps(config), encoding="utf-8")
        return file

    def run_as_the_account(self, *words, path=os.path.dirname(KUBECTL), scenario=None):
        """The scenario, from here: a whole run where nothing stops it."""
        report = os.path.join(self.folder, "report.json")
        done = run(STACKBENCH, "run", scenario or self.scenario, "--target", "kubernetes", "--kubeconfig",
                   self.account, "--out", report, *words, check=False,
                   env={"PATH": f"{path}:{os.environ['PATH']}", "XDG_STATE_HOME": self.folder})
        return done, report

    def answers(self, *words, **more):
        """A run that measures; its report's text. A machine that is busy may disturb it."""
        done, report = self.run_as_the_account(*words, **more)
        self.assertIn(done.returncode, MEASURED, done.stdout + done.stderr)
        return pathlib.Path(report).read_text(encoding="utf-8")

    @contextlib.contextmanager
    def recorded(self):
        """A folder with a kubectl in it, and the set of rights that is asked for by its way."""
        with tempfile.TemporaryDirectory() as tools:
            log, recorder = pathlib.Path(tools) / "log", pathlib.Path(tools) / "kubectl"
            recorder.write_text(RECORDER.format(kubectl=KUBECTL, log=log), encoding="utf-8")
            recorder.chmod(0o755)
            asked = set()
            yield tools, asked
            for line in log.read_text(encoding="utf-8").splitlines():
                found = re.search(r'verb="(\w+)" url="([^"]+)" status="(\d+)', line)
                if found:
                    asked |= set(rights_of_request(found[1], found[2], found[3] == "201"))

    def left(self):
        return [one["metadata"]["name"] for one in self.api.request(
            "GET", "/api/v1/namespaces?labelSelector=stackbench.io/run")["items"]]

    @contextlib.contextmanager
    def role(self, rules):
        """The chart's ClusterRole with these rules, until the block ends."""
        before = self.api.request("GET", ROLE_PATH)["rules"]
        self.set_rules(rules)
        try:
            yield
        finally:
            self.set_rules(before)

    def set_rules(self, rules):
        self.api.request("PATCH", ROLE_PATH, [{"op": "replace", "path": "/rules", "value": rules}],
                         "application/json-patch+json")

    def may(self, right):
        verb, named = right.split()
        resource, _, group = named.partition(".")
        resource, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": resource,
                      "subresource": subresource,
                      "name": NAMES.get(resource, ""),
                      "namespace": "kube-system" if resource == "configmaps" else ""}
        user = f"system:serviceaccount:{NAMESPACE}:stackbench"
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                  "spec": {"user": user, "resourceAttributes": attributes}}
        answer = self.api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return answer["status"]["allowed"]

    def test_1_the_job_answers_from_inside(self):
        name = "stackbench-run-1"

        def exit_code():
            pods = get("pods", "-n", NAMESPACE, "-l", f"job-name={name}")["items"]
            states = [one["state"] for pod in pods
                      for one in pod["status"].get("containerStatuses", [])]
            return [one["terminated"]["exitCode"] for one in states if "terminated" in one]
        try:
            ended = eventually(exit_code, "the Job's pod ends")
        finally:
            log = kubectl("logs", "-n", NAMESPACE, f"job/{name}", check=False).stdout
        self.assertIn(ended[0], MEASURED, log)
        self.assertIn("What does a Service cost here?", log)
        # Of a machine so busy that no block was kept there are no figures.
        if "Blocks: 0 kept" not in log:
            self.assertRegex(log, r"(?m)^1 pod_ip( \[\w\])* +\d")
            self.assertRegex(log, r"(?m)^2 cluster_ip( \[\w\])* +\d")
        self.assertEqual(self.left(), [])
        # By night the same runs.
        nightly = get("cronjob", "stackbench-nightly", "-n", NAMESPACE)["spec"]["jobTemplate"]["spec"]
        job = get("job", name, "-n", NAMESPACE)["spec"]
        self.assertEqual(nightly["template"]["spec"], job["template"]["spec"])

    def test_2_a_run_asks_for_all_it_may_and_no_more(self):
        with self.recorded() as (tools, asked):
            self.answers(path=tools)
        granted = {right for right, *_ in rights_of(get("clusterrole", ROLE)["rules"])}
        granted |= {"get configmaps"}
        self.assertEqual(asked - granted, {"get nodes/proxy"})  # which is not granted, and can be spared
        self.assertLessEqual(granted - asked, MAY_BE_SPARED)
        self.assertEqual(self.left(), [])

    def test_3_without_any_one_right_a_run_names_it_and_makes_nothing(self):
        rules = get("clusterrole", ROLE)["rules"]
        tried = 0
        for right, number, resource, verb in list(rights_of(rules)):
            if right in FACTS or right == CALICOS:
                continue
            with self.subTest(right), self.role(without(rules, number, resource, verb)):
                eventually(lambda right=right: not self.may(right), f"{right} is refused")
                done, _ = self.run_as_the_account()
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertRegex(done.stderr, rf"lack rights .*: {re.escape(right)}\n")
                self.assertEqual(self.left(), [])
                tried += 1
        self.assertGreaterEqual(tried, 20)
        for right, *_ in rights_of(rules):
            eventually(lambda right=right: self.may(right), f"{right} is granted again")

    def test_4_without_facts_the_report_says_what_it_could_not_see(self):
        rules = get("clusterrole", ROLE)["rules"]
        unseen = [one for one in rights_of(rules) if one[0] == "list daemonsets.apps"]
        kubectl("delete", "rolebinding", "-n", "kube-system", f"{ROLE}-facts")
        with self.role(without(rules, *unseen[0][1:])):
            for right in FACTS:
                eventually(lambda right=right: not self.may(right), f"{right} is refused")
            text = self.answers()
        self.assertIn('cannot list resource \\"daemonsets\\"', text)
        self.assertIn('cannot get resource \\"configmaps\\"', text)

    def test_5_who_replaces_pods_must_be_let(self):
        replacing = os.path.join(self.folder, "replacing.yaml")
        pathlib.Path(replacing).write_text(REPLACING, encoding="utf-8")
        done, _ = self.run_as_the_account(scenario=replacing)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"lack rights .*: delete pods\n")
        self.assertEqual(self.left(), [])

    def test_6_in_one_namespace_it_needs_no_other(self):
        kubectl("create", "namespace", "bench")
        self.addCleanup(kubectl, "delete", "namespace", "bench", "--wait=false")
        run(HELM, "upgrade", "stackbench", CHART, "--namespace", NAMESPACE, "--set",
            "namespace=bench,rbac.facts=false")
        self.assertEqual(get("clusterrole", ROLE)["rules"],
                         [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}])
        with self.recorded() as (tools, asked):
            self.answers("--namespace", "bench", path=tools)
        granted = {right for right, *_ in rights_of(get("role", ROLE, "-n", "bench")["rules"])}
        self.assertEqual(asked - granted, {"list nodes", "get nodes/proxy", *FACTS})
        self.assertLessEqual(granted - asked, MAY_BE_SPARED)
        for kind in ("pods", "services", "endpointslices"):
            self.assertEqual(get(kind, "-n", "bench")["items"], [], kind)

    def test_7_who_applies_policies_must_be_let(self):
        applying = os.path.join(self.folder, "policies.yaml")
        pathlib.Path(applying).write_text(POLICIES, encoding="utf-8")
        run(HELM, "upgrade", "stackbench", CHART, "--namespace", NAMESPACE, "--set",
            "rbac.policies=true")
        rules = get("clusterrole", ROLE)["rules"]
        of_policies = [one for one in rights_of(rules) if "networkpolicies" in one[0]]
        self.assertEqual(len(of_policies), 4)
        for right, number, resource, verb in of_policies:
            with self.subTest(right), self.role(without(rules, number, resource, verb)):
                eventually(lambda right=right: not self.may(right), f"{right} is refused")
                done, _ = self.run_as_the_account(scenario=applying)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertRegex(done.stderr, rf"lack rights .*: {re.escape(right)}\n")
                self.assertEqual(self.left(), [])
        for right, *_ in of_policies:
            eventually(lambda right=right: self.may(right), f"{right} is granted again")
        with self.recorded() as (tools, asked):
            done, _ = self.run_as_the_account(path=tools, scenario=applying)
        # Nobody enforces them here, and that is found.
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(asked - {right for right, *_ in rights_of(rules)} - FACTS,
                         {"get nodes/proxy"})
        self.assertLessEqual({right for right, *_ in of_policies}, asked)
        self.assertEqual(self.left(), [])

    def test_8_uninstalled_nothing_of_it_stays(self):
        run(HELM, "uninstall", "stackbench", "--namespace", NAMESPACE, "--wait")
        for kind in ("clusterrole", "clusterrolebinding"):
            found = get(kind, "-l", "app.kubernetes.io/instance=stackbench")["items"]
            self.assertEqual(found, [], kind)
        for kind in ("role", "rolebinding", "serviceaccount", "configmap", "cronjob", "job"):
            found = get(kind, "-A", "-l", "app.kubernetes.io/instance=stackbench")["items"]
            self.assertEqual(found, [], kind)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], failfast=True)
