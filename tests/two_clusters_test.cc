// Two clusters compared in one run: kube-proxy by iptables rules against nftables, block by block,
// with other Services loaded in both. Needs root and what `./bootstrap up` makes.
#include <map>
#include <set>

#include <gmock/gmock.h>

#include "tests/own_cluster.h"

namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr std::string_view scenario = R"(
question: Do two clusters' Services cost the same?
topology:
  nodes: 1
  pods: {client: {node: 1}, web: {node: 1, replicas: 2}}
  services: {web: {target: web}}
environments: {cluster: {datapath: installed, filler: 100}}
arms:
  - {name: pod_ip,     in: cluster, dial: pod/web}
  - {name: cluster_ip, in: cluster, dial: service/web}
workloads:
  - {kind: tcp_rr,  duration: 30ms, warm_up: 5ms}
  - {kind: tcp_crr, duration: 30ms, warm_up: 5ms}
blocks: 6
checks: [translated_at]
)";

class TwoClusters : public tests::OwnCluster {};

TEST_F(TwoClusters, AreComparedBlockByBlockAndEachIsFoundToBeWhatItIs) {
  for (const auto* mode : {"iptables", "nftables"}) {
    const auto up = stackbench({"up", "--name", mode, "--nodes", "1", "--proxy", mode});
    ASSERT_EQ(up.code, 0) << up.err;
  }
  const auto file = (home_ / "it.yaml").string();
  const auto report_file = (home_ / "it.json").string();
  ASSERT_TRUE(base::write_file(file, scenario));
  const auto ran =
      run({"env", "KUBECONFIG=" + kubeconfig("iptables") + ":" + kubeconfig("nftables"),
           (tests::binaries / "stackbench").string(), "run", file, "--target", "kubernetes", "--ab",
           "stackbench-iptables", "stackbench-nftables", "--out", report_file});
  // So few and so short blocks tell little of latency.
  EXPECT_THAT(ran.code, AnyOf(0, 3, 4)) << ran.err << ran.out;
  const auto text = base::read_file(report_file);
  ASSERT_TRUE(text) << ran.err;
  const auto report = base::parse_json(*text).value_or(base::Json());

  const auto& contexts = report["target_facts"]["contexts"];
  EXPECT_EQ(contexts["stackbench-iptables"]["service_proxy"]["mode"], "iptables");
  EXPECT_EQ(contexts["stackbench-nftables"]["service_proxy"]["mode"], "nftables");
  std::map<std::string, std::string> datapaths;
  for (const auto& environment : report["environments"]) {
    datapaths[environment["name"]] = environment["datapath"];
  }
  EXPECT_EQ(datapaths["cluster_a"], "iptables");
  EXPECT_EQ(datapaths["cluster_b"], "nftables");

  // Each arm twice in each block, of both clusters.
  std::map<std::int64_t, std::multiset<std::string>> blocks;
  for (const auto& sample : report["samples"]) {
    EXPECT_TRUE(sample["errors"].empty()) << sample;
    if (sample["workload"] == "tcp_rr") blocks[sample["block"]].insert(sample["arm"]);
  }
  EXPECT_GE(blocks.size(), 7U);
  for (const auto& [block, arms] : blocks) {
    EXPECT_THAT(arms, UnorderedElementsAre("pod_ip_a", "pod_ip_a", "cluster_ip_a", "cluster_ip_a",
                                           "pod_ip_b", "pod_ip_b", "cluster_ip_b", "cluster_ip_b"))
        << block;
  }
  // Where Services are translated is seen at the veths of both.
  std::multiset<std::string> seen;
  for (const auto& check : report["checks"]) {
    EXPECT_EQ(check["verdict"], "pass") << check;
    if (check["arm"].get<std::string>().starts_with("cluster_ip")) seen.insert(check["observed"]);
  }
  EXPECT_EQ(seen.count("per packet"), 4U) << report["checks"];
  EXPECT_THAT(ran.out, HasSubstr("cluster_ip_b"));

  for (const auto* mode : {"iptables", "nftables"}) {
    const auto down = stackbench({"down", "--name", mode});
    EXPECT_EQ(down.code, 0) << down.err;
  }
  EXPECT_EQ(difference(), "");
}

}  // namespace
