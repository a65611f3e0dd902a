// Many Services, and flows, in a lab with real daemons: each planted fault is found, and its clean
// twin is silent. Needs root and the gobgpd that ./bootstrap test unpacks. One environment for all,
// as sessions take seconds to come up.
#include "stackbench/bgp/scale.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/testing/lab.h"
#include "bgp-peer/testing.h"
#include "stackbench/bgp/ecmp.h"

namespace stackbench::bgp {
namespace {

using base::Verdict;
using bgp_peer::testing::must;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

cluster::EnvironmentPlan plan() {
  cluster::EnvironmentPlan plan;
  plan.name = "many";
  plan.datapath = cluster::DatapathKind::ebpf_tc;
  plan.topology.nodes = 3;
  plan.topology.pods["web"] = {.node = 2};
  plan.topology.services["web"] = {.target = "web", .type = cluster::ServiceType::LoadBalancer};
  plan.ports = {{"probe", cluster::Protocol::UDP, 8003, 7003}};
  return plan;
}

// The checks that did not pass.
std::vector<std::string> failed(const Outcome& outcome) {
  std::vector<std::string> names;
  for (const auto& [name, finding] : outcome.findings) {
    std::printf("%s: %s\n", name.c_str(), finding.sentence.c_str());
    if (finding.verdict != Verdict::pass) names.push_back(name);
  }
  return names;
}

TEST(Many, FindsWhatIsPlantedAndNothingElse) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto directory = fmt::format("{}/bgp-many-{}", ::testing::TempDir(), ::getpid());
  std::filesystem::create_directory(directory);
  const auto never = base::Interrupt::never();
  cluster::LabTarget lab;
  auto site = must(Site::start(lab, plan(), {}, directory, never));

  FlowRounds flows{.service = "web", .flows = 1000, .rounds = 1};
  EXPECT_THAT(failed(must(measure_flows(*site, flows, never))), IsEmpty());
  flows.fault = Fault::next_hops_unequal;
  EXPECT_THAT(failed(must(measure_flows(*site, flows, never)))[0], "bgp_ecmp_distribution");
  flows.fault = Fault::next_hop_missing;
  const auto missing = must(measure_flows(*site, flows, never));
  EXPECT_THAT(failed(missing)[0], "bgp_ecmp_distribution");
  EXPECT_THAT(missing.findings.at("bgp_ecmp_distribution").sentence, HasSubstr("172.18.0.4: 0)"));
  flows.fault = Fault::next_hops_rebuilt;
  EXPECT_THAT(failed(must(measure_flows(*site, flows, never))),
              ElementsAre("bgp_flows_moved_as_predicted"));

  // The same of the other kind of next hops; of which what the one moves is too much.
  flows.fault = Fault::none;
  must(site->use(bgp_peer::NextHopKind::resilient));
  flows.next_hops = bgp_peer::NextHopKind::resilient;
  const auto resilient = must(measure_flows(*site, flows, never));
  EXPECT_THAT(failed(resilient), IsEmpty());
  EXPECT_THAT(resilient.findings.at("bgp_flows_moved_as_predicted").sentence,
              HasSubstr("of other members' 0.0 %, 0.0 % predicted"));
  must(site->use(bgp_peer::NextHopKind::hash_threshold));
  EXPECT_THAT(failed(must(measure_flows(*site, flows, never))),
              ElementsAre("bgp_flows_moved_as_predicted"));
  flows.next_hops = bgp_peer::NextHopKind::hash_threshold;

  ScaleRounds many{.service = "web", .scale = {.services = {20, 300}}, .rounds = 1};
  const auto clean = must(measure_scale(*site, many, never));
  // A machine with other work may be the limit at hundreds, and then that is what is said.
  auto limited = failed(clean);
  std::erase(limited, "bgp_peer_keeps_up");
  EXPECT_THAT(limited, IsEmpty());
  ASSERT_THAT(clean.scale, SizeIs(4));
  for (const auto& point : clean.scale) {
    EXPECT_TRUE(point.update && point.told && point.route && point.reached);
    EXPECT_EQ(point.update->p99_ns.has_value(), point.services == 300);
    EXPECT_LE(point.first_update_ns, point.all_updates_ns);
    EXPECT_GT(point.peer.cpu_ns, 0);
    EXPECT_GT(point.speakers.memory_bytes, point.peer.memory_bytes);
  }
  many.scale.services = {100};
  EXPECT_THAT(failed(must(measure_scale(*site, many, never))), IsEmpty());
  many.fault = Fault::peer_slowed;
  EXPECT_THAT(failed(must(measure_scale(*site, many, never))), ElementsAre("bgp_peer_keeps_up"));

  // As it stays so.
  flows.fault = Fault::ports_not_hashed;
  const auto hashed = must(measure_flows(*site, flows, never));
  EXPECT_THAT(failed(hashed)[0], "bgp_ecmp_distribution");
  EXPECT_THAT(hashed.findings.at("bgp_ecmp_distribution").sentence,
              HasSubstr("net.ipv4.fib_multipath_hash_policy = 0"));
  // The same told to a sink in the router's place.
  many.reference = true;
  const auto slow = must(measure_scale(*site, many, never));
  EXPECT_THAT(failed(slow), ElementsAre("bgp_peer_keeps_up"));
  for (const auto& point : slow.scale) {
    ASSERT_TRUE(point.sink_updates_ns);
    EXPECT_GT(*point.sink_updates_ns, 0);
  }
  site.reset();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace stackbench::bgp
