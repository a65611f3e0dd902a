#include "stackbench/verify/manifests.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "stackbench/verify/coverage.h"
#include "stackbench/verify/testing.h"

namespace stackbench {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view web = R"(apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {checksum/config: "1"}}
    spec:
      volumes: [{name: v, configMap: {name: c, defaultMode: 0644}}]
      initContainers:
        - {name: once, ports: [{name: never, containerPort: 1}]}
        - {name: mesh, restartPolicy: Always, ports: [{name: admin, containerPort: 15000}]}
      containers: [{name: it, image: "x", ports: [{name: http, containerPort: 8080}]}]
)";
constexpr std::string_view deny = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, resourceVersion: "7"}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
)";

base::Result<ManifestObjects> read(const std::vector<std::string_view>& texts,
                                   const std::vector<std::string>& namespaces = {"shop"}) {
  std::vector<ManifestText> files;
  for (const auto& text : texts) {
    files.push_back({fmt::format("{}.yaml", files.size() + 1), std::string(text)});
  }
  return objects_of(files, namespaces);
}

ManifestObjects objects(const std::vector<std::string_view>& texts,
                        const std::vector<std::string>& namespaces = {"shop"}) {
  auto made = read(texts, namespaces);
  EXPECT_TRUE(made) << base::describe_error(made.error());
  return made ? *made : ManifestObjects();
}

std::string fault_of(std::string_view text) {
  const auto made = read({text});
  return made ? "none" : base::describe_error(made.error());
}

TEST(Manifests, MakeThePodsTheirControllersWould) {
  const auto both = std::string(web) + "---\n" + std::string(deny) + "---\n---\n" + R"(
kind: List
apiVersion: v1
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: red}}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}
)";
  const auto set = R"({"apiVersion": "apps/v1", "kind": "StatefulSet",
	"metadata": {"name": "db", "namespace": "shop"},
	"spec": {"selector": {"matchLabels": {"app": "db"}}, "template": {
		"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "it"}]}}}})";
  const auto made = objects({both, set});
  const auto world = testing::world_of(made.live);
  std::vector<std::string> names;
  for (const auto& pod : world.world.pods) names.push_back(pod.name);
  EXPECT_THAT(names, ElementsAre("web-1", "web-2", "db-0"));
  ASSERT_THAT(world.workloads, SizeIs(2));
  EXPECT_EQ(world.workloads[0].to_string(), "shop/Deployment web");
  EXPECT_EQ(world.workloads[1].to_string(), "shop/StatefulSet db");
  const auto& pod = world.world.pods[0];
  EXPECT_EQ(pod.labels, (checks::Labels{{"app", "web"}}));
  EXPECT_EQ(pod.node, "node1");
  ASSERT_THAT(pod.named_ports, SizeIs(2));
  EXPECT_EQ(pod.named_ports[0].port, 8080);
  EXPECT_EQ(pod.named_ports[1].name, "admin");
  EXPECT_EQ(world.world.namespaces.at("shop").at("team"), "red");
  EXPECT_THAT(made.notes, ElementsAre(HasSubstr("1 ConfigMap")));
  for (const auto& one : cover(world, {PolicyDirection::ingress})) {
    EXPECT_EQ(one.directions.begin()->second.coverage, Coverage::denied_by_default);
  }
}

TEST(Manifests, OfWhatIsNotUnderstoodThePlaceIsSaid) {
  EXPECT_THAT(fault_of(R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  ingres: []
)"),
              AllOf(HasSubstr("1.yaml:6:3: spec.ingres: unknown field; did you mean \"ingress\"?"),
                    HasSubstr("  ingres: []")));
  EXPECT_THAT(fault_of(R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  ingress:
    - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}]
)"),
              HasSubstr("1.yaml:7:"));
  EXPECT_THAT(
      fault_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
               "    - {ports: [{containerPort: 70000}]}\n"),
      HasSubstr("1.yaml:6:32: spec.containers[0].ports[0].containerPort: expected at most"));
  EXPECT_THAT(fault_of("a: [\n"), HasSubstr("1.yaml:"));
  EXPECT_THAT(fault_of("apiVersion: v1\n"), HasSubstr("1.yaml:1:1: expected a Kubernetes object"));
  EXPECT_THAT(fault_of(std::string(deny) + "---\n" + std::string(deny)),
              HasSubstr("1.yaml:6:1: NetworkPolicy shop/deny is there already: 1.yaml:1"));
  EXPECT_THAT(fault_of(R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: other}}
    spec: {containers: [{name: it}]}
)"),
              HasSubstr("1.yaml:7:24: spec.template.metadata.labels: the selector beside it"));
}

TEST(Manifests, NothingThatMakesPodsIsPassedOver) {
  const auto rollout = R"(apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: it}]}}}
)";
  const auto made = objects({web, rollout});
  ASSERT_THAT(made.unmade, SizeIs(1));
  EXPECT_EQ(made.unmade[0].workload, "shop/Rollout web");
  EXPECT_THAT(made.unmade[0].reason, HasSubstr("2.yaml:1"));
  const auto job = objects({R"(apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: it}]}}}}}
)"});
  EXPECT_THAT(job.live.pods, SizeIs(1));
}

TEST(Manifests, PoliciesOfOtherKindsMakePodsUnknown) {
  const auto made = objects({web, deny, R"(apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: l7}
spec: {endpointSelector: {}}
)"});
  const auto coverage = cover(testing::world_of(made.live), {PolicyDirection::ingress});
  EXPECT_EQ(coverage.front().directions.begin()->second.coverage, Coverage::unknown);
}

TEST(Manifests, OnlyTheNamespacesThatWereAskedForAreLookedAt) {
  const auto other = R"({apiVersion: v1, kind: Pod, metadata: {name: a, namespace: other},
    spec: {containers: [{name: it}]}})";
  const auto made = objects({web, other});
  EXPECT_THAT(made.live.pods, SizeIs(2));
  EXPECT_THAT(made.notes, ::testing::Contains(HasSubstr("other namespaces were not looked at: "
                                                        "other")));
  // Whose is an object that names none?
  const auto whose = read({web, other}, {"shop", "other"});
  ASSERT_FALSE(whose);
  EXPECT_THAT(whose.error().message, HasSubstr("whose Deployment web is it?"));
  const auto nowhere = read({other}, {"nowhere"});
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(base::describe_error(nowhere.error()),
              AllOf(HasSubstr("no manifest says anything of namespace nowhere"),
                    HasSubstr("They are of other.")));
}

TEST(Manifests, HaveNoMorePodsThanALabTakes) {
  auto many = std::string(web);
  many.replace(many.find("replicas: 2"), 11, "replicas: 2000000000");
  const auto made = read({many, deny});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message,
              HasSubstr("1.yaml:1: Deployment web makes 2000000000 of 2000000000 pods"));
  auto none = std::string(web);
  none.replace(none.find("replicas: 2"), 11, "replicas: 0");
  const auto empty = objects({none});
  EXPECT_THAT(empty.live.pods, IsEmpty());
  EXPECT_THAT(empty.notes, ::testing::Contains(HasSubstr("Deployment web has no pods")));
}

TEST(Manifests, AreReadFromFilesAndDirectories) {
  const auto folder = ::testing::TempDir() + "manifests_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(base::write_file(folder + "/b.yaml", web));
  ASSERT_TRUE(base::write_file(folder + "/a.yml", deny));
  ASSERT_TRUE(base::write_file(folder + "/README.md", "no manifest"));
  const auto texts = read_manifests({folder});
  ASSERT_TRUE(texts) << texts.error().message;
  ASSERT_THAT(*texts, SizeIs(2));
  EXPECT_EQ((*texts)[0].file, folder + "/a.yml");
  std::filesystem::remove(folder + "/a.yml");
  std::filesystem::remove(folder + "/b.yaml");
  EXPECT_THAT(read_manifests({folder}).error().message, HasSubstr("there is no .yaml"));
  EXPECT_EQ(read_manifests({folder + "/nothing"}).error().kind, base::ErrorKind::missing);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace stackbench
