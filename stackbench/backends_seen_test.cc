#include "stackbench/backends_seen.h"

#include <gtest/gtest.h>

namespace stackbench {
namespace {

using base::kube::SessionAffinity;
using base::kube::TrafficPolicy;
using std::chrono::milliseconds;

Sample tried(const std::vector<std::uint64_t>& connections, std::uint64_t refused = 0) {
  Sample sample;
  for (const auto count : connections) {
    sample.servers.push_back({});
    sample.servers.back().connections = count;
  }
  sample.client.errors.refused = refused;
  return sample;
}

TEST(BackendsSeen, AreAllWhenEachWasSentSomethingInAnyTry) {
  BackendsSeen seen(3);
  EXPECT_FALSE(seen.all_and_no_other());
  seen.add(tried({4, 0, 0}));
  seen.add(tried({0, 0, 2}));
  EXPECT_FALSE(seen.all_and_no_other());
  seen.add(tried({5, 1, 0}));
  EXPECT_TRUE(seen.all_and_no_other());
}

TEST(BackendsSeen, AreNotAloneWhileOneThatLeftIsStillSentSomething) {
  BackendsSeen seen(2);
  seen.add(tried({3, 3}, 2));
  EXPECT_FALSE(seen.all_and_no_other());
  seen.add(tried({4, 0}));
  EXPECT_TRUE(seen.all_and_no_other());
}

TEST(BackendsSeen, AreNeverAllUnderAffinityNorFromOutsideUnderTheLocalPolicy) {
  cluster::ServiceSpec service{.target = "web"};
  EXPECT_TRUE(reaches_every_backend(service, DialTarget::Kind::service));
  EXPECT_TRUE(reaches_every_backend(service, DialTarget::Kind::node_port));
  service.external_traffic_policy = TrafficPolicy::Local;
  EXPECT_TRUE(reaches_every_backend(service, DialTarget::Kind::service));
  EXPECT_FALSE(reaches_every_backend(service, DialTarget::Kind::node_port));
  EXPECT_FALSE(reaches_every_backend(service, DialTarget::Kind::load_balancer));
  service.external_traffic_policy = TrafficPolicy::Cluster;
  service.session_affinity = SessionAffinity::ClientIP;
  EXPECT_FALSE(reaches_every_backend(service, DialTarget::Kind::service));
}

TEST(BackendsSeen, ATryDrawsOftenEnoughAndWaitsForNobody) {
  bench::WorkloadSpec spec{.kind = bench::WorkloadKind::tcp_rr};
  spec.timeout = std::chrono::seconds(5);
  spec.generators = 4;
  EXPECT_EQ(backends_try(spec, 2).connections, 16);
  EXPECT_EQ(backends_try(spec, 50).connections, 400);
  EXPECT_EQ(backends_try(spec, 50).duration, milliseconds(30));
  EXPECT_EQ(backends_try(spec, 50).timeout, milliseconds(200));
  EXPECT_EQ(backends_try(spec, 50).generators, 1);
  spec.kind = bench::WorkloadKind::tcp_crr;
  spec.timeout = milliseconds(100);
  EXPECT_EQ(backends_try(spec, 2).connections, 1);
  EXPECT_EQ(backends_try(spec, 2).duration, milliseconds(48));
  EXPECT_EQ(backends_try(spec, 50).duration, milliseconds(1200));
  EXPECT_EQ(backends_try(spec, 50).timeout, milliseconds(100));
}

}  // namespace
}  // namespace stackbench
