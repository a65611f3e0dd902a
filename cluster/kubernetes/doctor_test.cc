#include "cluster/kubernetes/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

using base::Json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClusterDoctor : public ::testing::Test {
 protected:
  ClusterDoctor() {
    server_.add_node("n1", "172.18.0.2");
    server_.add_node("n2", "172.18.0.3");
    server_.put("/api/v1/namespaces/kube-system/configmaps/kube-proxy",
                {{"data", {{"config.conf", "kind: KubeProxyConfiguration\nmode: nftables\n"}}}});
  }

  void probe() {
    found_ = probe_cluster({.kubectl = server_.kubectl(), .agent_image = "stackbench-agent:1"});
  }
  Feature feature(std::string_view name) {
    const auto one = std::ranges::find(found_, name, &Feature::name);
    EXPECT_NE(one, found_.end()) << name;
    return one == found_.end() ? Feature{} : *one;
  }
  void with_image(const std::string& node, const char* image) {
    auto object = server_.object("/api/v1/nodes/" + node);
    object["status"]["images"] = Json::array({{{"names", {"other:2", image}}}});
    server_.put("/api/v1/nodes/" + node, object);
  }
  // Of what a run needs: what keeps it from running.
  std::vector<std::string> in_the_way() {
    std::vector<std::string> names;
    for (const auto& one : found_) {
      if (one.required && one.available == Available::no) names.push_back(one.name);
    }
    return names;
  }

  testing::FakeApiServer server_;
  std::vector<Feature> found_;
};

TEST_F(ClusterDoctor, SaysWhatAClusterIsThatIsWell) {
  with_image("n1", "docker.io/library/stackbench-agent:1");
  with_image("n2", "stackbench-agent:1");
  probe();
  EXPECT_THAT(in_the_way(), IsEmpty());
  EXPECT_THAT(feature("API server").detail, HasSubstr("v1.33"));
  EXPECT_EQ(feature("nodes").detail, "2 of 2 nodes take pods");
  EXPECT_EQ(feature("Service proxy").detail, "nftables (ConfigMap kube-system/kube-proxy)");
  for (const auto* name : {"rights", "rights for `filler`", "nodes", "agent image"}) {
    EXPECT_EQ(feature(name).available, Available::yes) << name;
    EXPECT_THAT(feature(name).mend, IsEmpty()) << name;
  }
}

TEST_F(ClusterDoctor, NamesTheNodeThatLacksTheImage) {
  with_image("n1", "docker.io/library/stackbench-agent:1");
  with_image("n2", "docker.io/library/not-stackbench-agent:1");
  probe();
  const auto image = feature("agent image");
  EXPECT_EQ(image.available, Available::unknown);
  EXPECT_THAT(image.detail, HasSubstr("node n2"));
  EXPECT_THAT(image.mend, HasSubstr("--agent-image"));
  EXPECT_THAT(in_the_way(), IsEmpty());
}

TEST_F(ClusterDoctor, NamesRightsThatAreMissing) {
  server_.answer_with({.when = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                       .status = 201,
                       .body = R"({"status":{"allowed":false}})",
                       .times = 100});
  probe();
  EXPECT_THAT(in_the_way(), ::testing::ElementsAre("rights"));
  EXPECT_THAT(feature("rights").detail, HasSubstr("get pods/exec"));
  EXPECT_THAT(feature("rights for `filler`").detail, HasSubstr("create endpointslices"));
}

TEST_F(ClusterDoctor, SaysWhyNodesTakeNoPods) {
  auto object = server_.object("/api/v1/nodes/n2");
  object["spec"]["unschedulable"] = true;
  server_.put("/api/v1/nodes/n2", object);
  probe();
  EXPECT_EQ(feature("nodes").detail, "1 of 2 nodes take pods; n2: cordoned");
  EXPECT_EQ(feature("nodes").available, Available::no);
  EXPECT_THAT(in_the_way(), IsEmpty());  // one node is enough for some
  server_.erase("/api/v1/nodes/n1");
  probe();
  EXPECT_THAT(in_the_way(), ::testing::ElementsAre("nodes"));
}

TEST_F(ClusterDoctor, EndsWithWhatIsNotThere) {
  found_ = probe_cluster({.kubectl = "/nonexistent/kubectl"});
  EXPECT_THAT(in_the_way(), ::testing::ElementsAre("kubectl"));
  EXPECT_EQ(found_.size(), 1U);
}

}  // namespace
}  // namespace cluster
