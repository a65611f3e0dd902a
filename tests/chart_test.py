"""What helm makes of the chart: no cluster is needed.

usage: chart_test.py HELM CHART STACKBENCH SCENARIOS
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import yaml

HELM, CHART, STACKBENCH, SCENARIOS = sys.argv[1:5]
EXAMPLES = sorted(str(one) for one in (pathlib.Path(CHART) / "examples").glob("*.yaml"))
# Each switch once, beside the defaults and the examples.
CASES = [[], *(["-f", example] for example in EXAMPLES),
         ["--set", "namespace=bench"],
         ["--set", "rbac.nodesProxy=true,rbac.replace=true,rbac.generators=true,rbac.policies=true"],
         ["--set", "namespace=bench,rbac.generators=true,rbac.policies=true"],
         ["--set", "rbac.mesh=true"],
         ["--set", "rbac.fillers=false,rbac.facts=false"],
         ["--set", "rbac.create=false,serviceAccount.create=false,serviceAccount.name=mine"],
         ["--set", "job.enabled=true,nightly.enabled=false"],
         ["--set", "job.enabled=true,nightly.suspend=true"],
         ["--set", "job.enabled=false,nightly.enabled=false"],
         ["--set", "metrics.enabled=true,metrics.address=[::]"],
         ["--set", "results.persistentVolumeClaim.enabled=true,"
                   "results.persistentVolumeClaim.existingClaim=there"]]


def helm(*words):
    return subprocess.run([HELM, *words], capture_output=True, text=True, check=False)


def rendered(*words):
    done = helm("template", "nightly", CHART, "--namespace", "bench-system", *words)
    if done.returncode != 0:
        raise AssertionError(f"helm template {words}: {done.stderr}")
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def one(objects, kind):
    found = of_kind(objects, kind)
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects of kind {kind}")
    return found[0]


def rules(objects, kind):
    return [rule for role in of_kind(objects, kind) for rule in role["rules"]]


def rights(objects, *kinds):
    return {(verb, resource) for kind in kinds for rule in rules(objects, kind)
            for resource in rule["resources"] for verb in rule["verbs"]}


def pod_specs(objects):
    for job in of_kind(objects, "Job"):
        yield job["spec"]["template"]["spec"]
    for nightly in of_kind(objects, "CronJob"):
        yield nightly["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def option(spec, name):
    found = [word.partition("=")[2] for word in spec["containers"][0]["args"]
             if word.startswith(name + "=")]
    return found[0] if found else None


class ChartTest(unittest.TestCase):
    def for_all_cases(self):
        for case in CASES:
            with self.subTest(" ".join(case)):
                yield case, rendered(*case)

    def test_lint_finds_nothing(self):
        for case in CASES:
            with self.subTest(" ".join(case)):
                done = helm("lint", "--strict", CHART, *case)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("0 chart(s) failed", done.stdout)

    def test_names_and_labels_are_the_releases(self):
        for _, objects in self.for_all_cases():
            names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
                     for one in objects]
            self.assertEqual(len(names), len(set(names)))
            for kind, namespace, name in names:
                if kind != "ServiceAccount" or name != "mine":
                    self.assertTrue(name.startswith("nightly-stackbench"), name)
                # Of what is once in a cluster, the namespace is part of the name.
                if kind.startswith("Cluster") or namespace:
                    self.assertIn("bench-system", name)
            for thing in objects:
                labels = thing["metadata"]["labels"]
                self.assertEqual(labels["app.kubernetes.io/instance"], "nightly")
                self.assertEqual(labels["app.kubernetes.io/managed-by"], "Helm")

    def test_no_right_is_a_wildcard_or_more_than_a_run_needs(self):
        allowed = {"create", "patch", "delete", "deletecollection", "get", "list", "watch"}
        for _, objects in self.for_all_cases():
            for rule in rules(objects, "ClusterRole") + rules(objects, "Role"):
                self.assertNotIn("*", rule["apiGroups"] + rule["resources"] + rule["verbs"])
                self.assertLessEqual(set(rule["verbs"]), allowed)
                for resource in ("secrets", "roles", "clusterroles", "pods/attach", "pods/portforward"):
                    self.assertNotIn(resource, rule["resources"])
            # Each right is granted once.
            granted = [(verb, group, resource) for rule in rules(objects, "ClusterRole")
                       for verb in rule["verbs"] for group in rule["apiGroups"]
                       for resource in rule["resources"]]
            self.assertEqual(len(granted), len(set(granted)))

    def test_bindings_give_our_roles_to_our_account_alone(self):
        for _, objects in self.for_all_cases():
            account = next(pod_specs(objects), {}).get("serviceAccountName", "nightly-stackbench")
            for kind in ("ClusterRole", "Role"):
                roles = {role["metadata"]["name"] for role in of_kind(objects, kind)}
                bindings = of_kind(objects, f"{kind}Binding")
                self.assertEqual({one["roleRef"]["name"] for one in bindings}, roles)
                for binding in bindings:
                    self.assertEqual(binding["roleRef"]["kind"], kind)
                    self.assertEqual(binding["subjects"], [{
                        "kind": "ServiceAccount", "name": account, "namespace": "bench-system"}])

    def test_in_one_namespace_rights_end_there(self):
        objects = rendered("--set", "namespace=bench,rbac.facts=false")
        self.assertEqual(rights(objects, "ClusterRole"), {("list", "nodes")})
        self.assertEqual(one(objects, "Role")["metadata"]["namespace"], "bench")
        self.assertIn(("deletecollection", "pods"), rights(objects, "Role"))
        self.assertEqual(option(next(pod_specs(objects)), "--namespace"), "bench")

    def test_what_few_scenarios_need_can_be_withheld(self):
        full, less = rendered(), rendered("--set", "rbac.fillers=false,rbac.facts=false")
        withheld = rights(full, "ClusterRole", "Role") - rights(less, "ClusterRole", "Role")
        self.assertEqual(withheld, {("create", "endpointslices"), ("patch", "endpointslices"),
                                    ("list", "daemonsets"), ("get", "clusterinformations"),
                                    ("get", "configmaps")})
        self.assertNotIn(("get", "nodes/proxy"), rights(full, "ClusterRole"))
        more = rendered("--set", "rbac.nodesProxy=true,rbac.replace=true,rbac.generators=true,"
                                 "rbac.policies=true")
        self.assertEqual(rights(more, "ClusterRole") - rights(full, "ClusterRole"),
                         {("get", "nodes/proxy"), ("delete", "pods"),
                          ("create", "jobs"), ("patch", "jobs"),
                          ("create", "networkpolicies"), ("patch", "networkpolicies"),
                          ("delete", "networkpolicies"), ("list", "networkpolicies")})

    def test_who_has_a_mesh_is_let_tell_it_in_namespaces_of_its_own(self):
        full, more = rendered(), rendered("--set", "rbac.mesh=true,rbac.facts=false")
        self.assertEqual(
            rights(more, "ClusterRole") - rights(full, "ClusterRole"),
            {(verb, kind) for verb in ("create", "patch")
             for kind in ("serviceaccounts", "peerauthentications", "authorizationpolicies",
                          "requestauthentications", "destinationrules", "envoyfilters")} |
            {("get", "pods/proxy"), ("list", "deployments"),
             ("list", "mutatingwebhookconfigurations"), ("get", "services/proxy"),
             ("get", "configmaps")})
        here = "namespace=bench,rbac.facts=false"
        self.assertEqual(rights(rendered("--set", here + ",rbac.mesh=true"), "ClusterRole", "Role"),
                         rights(rendered("--set", here), "ClusterRole", "Role"))

    def test_an_exec_takes_create_from_1_35_on(self):
        for version, expected in (("1.33.13", False), ("1.34.9", False), ("1.35.0", True),
                                  ("v1.36.1-gke.100", True)):
            granted = rights(rendered("--kube-version", version), "ClusterRole")
            self.assertEqual(("create", "pods/exec") in granted, expected, version)

    def test_pods_run_without_privileges(self):
        for _, objects in self.for_all_cases():
            for spec in pod_specs(objects):
                container = spec["containers"][0]
                self.assertEqual(len(spec["containers"]), 1)
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertEqual(spec["securityContext"]["seccompProfile"],
                                 {"type": "RuntimeDefault"})
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]}})
                # Whatever is mounted there has a volume, and what is written has a place.
                mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
                self.assertEqual(set(mounts), {volume["name"] for volume in spec["volumes"]})
                self.assertEqual((mounts["tmp"], mounts["results"]), ("/tmp", "/results"))
                self.assertTrue(option(spec, "--out").startswith("/results/"))

    def test_a_run_is_tried_once_alone_and_not_for_ever(self):
        for _, objects in self.for_all_cases():
            jobs = [job["spec"] for job in of_kind(objects, "Job")]
            for nightly in of_kind(objects, "CronJob"):
                self.assertEqual(nightly["spec"]["concurrencyPolicy"], "Forbid")
                jobs.append(nightly["spec"]["jobTemplate"]["spec"])
            for job in jobs:
                self.assertEqual(job["backoffLimit"], 0)
                self.assertEqual(job["template"]["spec"]["restartPolicy"], "Never")
                self.assertGreater(job["activeDeadlineSeconds"], 0)

    def test_images_are_of_the_charts_version_unless_told(self):
        chart = yaml.safe_load((pathlib.Path(CHART) / "Chart.yaml").read_text())
        version = subprocess.run([STACKBENCH, "--version"], capture_output=True, text=True,
                                 check=True).stdout.split()[-1]
        self.assertEqual(chart["appVersion"], version)
        spec = next(pod_specs(rendered()))
        self.assertEqual(spec["containers"][0]["image"], f"stackbench:{version}")
        self.assertEqual(option(spec, "--agent-image"), f"stackbench-agent:{version}")
        spec = next(pod_specs(rendered("--set", "agentImage.tag=x,image.tag=y")))
        self.assertEqual((spec["containers"][0]["image"], option(spec, "--agent-image")),
                         ("stackbench:y", "stackbench-agent:x"))

    def test_the_scenario_is_one_that_is_there(self):
        file = next(pod_specs(rendered()))["containers"][0]["args"][1]
        self.assertTrue((pathlib.Path(SCENARIOS).parent / file.lstrip("/")).is_file(), file)
        objects = rendered("-f", str(pathlib.Path(CHART) / "examples/own-scenario.yaml"))
        spec = next(pod_specs(objects))
        self.assertEqual(spec["containers"][0]["args"][1], "/etc/stackbench/scenarios/pod-to-pod.yaml")
        self.assertEqual(spec["containers"][0]["args"][-2:], ["--set", "blocks=8"])
        text = one(objects, "ConfigMap")["data"]["pod-to-pod.yaml"]
        written = yaml.safe_dump({"ownScenarios": {"as-values": yaml.safe_load(text)},
                                  "scenario": {"name": "as-values"}})
        with tempfile.TemporaryDirectory() as folder:
            values = pathlib.Path(folder) / "values.yaml"
            values.write_text(written, encoding="utf-8")
            as_values = one(rendered("-f", str(values)), "ConfigMap")["data"]["as-values.yaml"]
            self.assertEqual(yaml.safe_load(as_values), yaml.safe_load(text))
            for content in (text, as_values):
                scenario = pathlib.Path(folder) / "scenario.yaml"
                scenario.write_text(content, encoding="utf-8")
                done = subprocess.run([STACKBENCH, "validate", scenario], capture_output=True,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_figures_are_scraped_where_they_are_served(self):
        objects = rendered("-f", str(pathlib.Path(CHART) / "examples/nightly-with-metrics.yaml"))
        spec = next(pod_specs(objects))
        port = spec["containers"][0]["ports"][0]
        service, monitor = one(objects, "Service"), one(objects, "ServiceMonitor")
        self.assertEqual(option(spec, "--serve-metrics"), f"0.0.0.0:{port['containerPort']}")
        self.assertEqual(option(spec, "--push-gateway"), "http://pushgateway.monitoring:9091")
        self.assertEqual(service["spec"]["ports"][0]["targetPort"], port["name"])
        self.assertEqual(monitor["spec"]["endpoints"][0]["port"],
                         service["spec"]["ports"][0]["name"])
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        labels = one(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(service["spec"]["selector"].items(), labels.items())
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(),
                             service["metadata"]["labels"].items())
        self.assertEqual(of_kind(rendered(), "Service"), [])

    def test_mistakes_are_refused_with_their_name(self):
        for words, said in (("nightly.shedule=@daily", "shedule"), ("rbac.nodeProxy=true", "nodeProxy"),
                            ("serviceMonitor.enabled=true", "metrics.enabled"),
                            ("serviceAccount.create=false", "serviceAccount.name"),
                            ("activeDeadlineSeconds=1h", "activeDeadlineSeconds")):
            done = helm("template", "nightly", CHART, "--set", words)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(said, done.stderr)
        old = helm("template", "nightly", CHART, "--kube-version", "1.26.0")
        self.assertIn("incompatible with Kubernetes v1.26.0", old.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
