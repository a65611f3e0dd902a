// What Cilium claims of policies, as its agents' endpoint lists have it (the shape is that of
// api/v1/models/endpoint.go and endpoint_policy_status.go in Cilium's source), on a simulated
// cluster.
#include "cluster/kubernetes/cilium_claims.h"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/kube/network_policy.h"
#include "cluster/kubernetes/testing/cilium.h"
#include "cluster/kubernetes/testing/target_fixture.h"

namespace cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

base::Json endpoint(const std::string& in_namespace, const std::string& pod, int realized,
                    int wanted) {
  return {{"id", 1},
          {"status",
           {{"external-identifiers",
             {{"k8s-namespace", in_namespace},
              {"k8s-pod-name", pod},
              {"pod-name", in_namespace + "/" + pod}}},
            {"policy",
             {{"realized", {{"policy-revision", realized}}},
              {"spec", {{"policy-revision", wanted}}}}}}}};
}

TEST(CiliumRevisions, AreThoseThatAreRealised) {
  auto list = base::Json::array({endpoint("shop", "web-0", 7, 8)});
  list.push_back({{"id", 2}, {"status", {{"external-identifiers", base::Json::object()}}}});
  EXPECT_THAT(read_revisions(base::dump_json(list)), ElementsAre(Pair("shop/web-0", 7)));
  for (const auto* text : {"", "{}", "[null]", "[{\"status\":null}]", "Error: cannot connect"}) {
    EXPECT_THAT(read_revisions(text), IsEmpty()) << text;
  }
}

class CiliumClaimsTest : public testing::KubernetesTargetTest {
 protected:
  // Each question is answered by the next revision of these, the last one stays.
  void with_cilium(std::vector<int> realized) {
    testing::put_cilium(server_);
    server_.answer_with({.when = "GET /apis/networking.k8s.io/v1",
                         .status = 200,
                         .body =
                             R"({"resources":[{"name":"networkpolicies","kind":"NetworkPolicy",)"
                             R"("namespaced":true}]})"});
    realized_ = std::move(realized);
    server_.on_exec([this](testing::ExecSession& session) {
      if (session.command().front() == "cilium-dbg") {
        auto list = base::Json::array();
        if (session.pod() == "cilium-aaaaa") {
          const auto now = realized_[std::min(questions_++, realized_.size() - 1)];
          for (const auto& pod : pods_) {
            list.push_back(
                endpoint(pod.substr(0, pod.find('/')), pod.substr(pod.find('/') + 1), now, 100));
          }
        }
        session.write_out(base::dump_json(list));
        return session.exit(0);
      }
      while (const auto text = session.read()) session.write_out(*text);
      session.exit(0);
    });
  }
  // What writing a policy of environment "it" says.
  base::Result<WriteStamps> write() {
    target_ = target();
    if (target_ == nullptr) return base::fail(base::ErrorKind::system, "no target");
    auto plan = testing::plan_of("it");
    plan.has_policies = true;
    if (auto up = target_->provision(plan); !up) return std::unexpected(std::move(up).error());
    for (const auto& request : server_.requests()) {
      constexpr std::string_view all = "/api/v1/namespaces/";
      const auto space = request.find(all);
      const auto at = request.find("/pods/");
      if (space == std::string::npos || at == std::string::npos) continue;
      const auto start = space + all.size();
      const auto name = request.substr(at + 6, request.find_first_of("?/", at + 6) - at - 6);
      pods_.insert(request.substr(start, at - start) + "/" + name);
    }
    if (refused_) {
      server_.answer_with({.when = "selfsubjectaccessreviews",
                           .status = 201,
                           .body = R"({"status":{"allowed":false}})",
                           .times = 2});
    }
    base::kube::NetworkPolicy policy;
    policy.metadata.name = "deny";
    policy.metadata.in_namespace = default_namespace;
    return target_->apply("it", base::kube::manifest(policy));
  }

  std::unique_ptr<KubernetesTarget> target_;
  std::set<std::string> pods_;
  std::vector<int> realized_;
  std::atomic<std::size_t> questions_ = 0;
  bool refused_ = false;
};

TEST_F(CiliumClaimsTest, AWriteIsClaimedOnceEveryPodHasALaterRevision) {
  with_cilium({3, 3, 3, 4});
  const auto stamps = write();
  ASSERT_TRUE(stamps) << stamps.error().message;
  ASSERT_TRUE(stamps->programmed_ns);
  EXPECT_GT(*stamps->programmed_ns, stamps->acked_ns);
  EXPECT_EQ(questions_.load(), 4U);
  // Of what is no policy nothing is asked.
  ASSERT_TRUE(target_->set_labels("it", LabelledKind::pod, "web-0", {{"a", "b"}}));
  EXPECT_EQ(questions_.load(), 4U);
}

TEST_F(CiliumClaimsTest, WhereNobodyMayAskNothingIsClaimedAndThatIsSaid) {
  with_cilium({3, 4});
  refused_ = true;
  const auto stamps = write();
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_FALSE(stamps->programmed_ns);
  EXPECT_EQ(questions_.load(), 0U);
  EXPECT_THAT(target_->facts().value("policy_claims", ""), HasSubstr("may not list pods"));
}

}  // namespace
}  // namespace cluster
