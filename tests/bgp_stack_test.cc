// The shipped question about BGP, asked of a real Kubernetes with the real MetalLB: a clean run,
// two faults that its checks must find, and a run that is killed. Needs root and what `./bootstrap
// test stack` gets; every wait is for a condition, bounded.
#include <csignal>
#include <map>

#include <gmock/gmock.h>

#include "tests/own_cluster.h"

namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using tests::comes_true;
using tests::tools;

class BgpStack : public tests::OwnCluster {
 protected:
  void SetUp() override {
    OwnCluster::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const auto* file : {"go/metallb/speaker", "tools/gobgpd"}) {
      ASSERT_TRUE(fs::exists(tools / file)) << "run ./bootstrap test stack";
    }
  }

  // What is granted is wide: how fast a busy machine's MetalLB is is no matter of this test.
  std::vector<std::string> words(const std::vector<std::string>& values) const {
    std::vector<std::string> all{
        "run",      std::string(STACKBENCH_SOURCE_DIR) + "/scenarios/bgp.yaml",
        "--target", "kubernetes",
        "--out",    report_path(),
        "--set",    "bgp.budget={announce: 8s, withdraw: 8s, early: 8s}"};
    for (const auto& value : values) all.insert(all.end(), {"--set", value});
    return all;
  }
  [[nodiscard]] std::string report_path() const { return (home_ / "report.json").string(); }
  [[nodiscard]] base::Json report() const {
    const auto text = base::read_file(report_path());
    return text ? base::parse_json(*text).value_or(base::Json()) : base::Json();
  }
  // Of each check of a report, by its name.
  static std::map<std::string, base::Json> checks_of(const base::Json& report) {
    std::map<std::string, base::Json> all;
    for (const auto& check : report["checks"]) all[check["name"].get<std::string>()] = check;
    return all;
  }
  // The checks that did not pass.
  static std::vector<std::string> failed(const std::map<std::string, base::Json>& checks) {
    std::vector<std::string> names;
    for (const auto& [name, check] : checks) {
      if (check["verdict"] != "pass") names.push_back(name);
    }
    return names;
  }
  // Names of all MetalLB's objects of a kind: `up` made one of each that it needs.
  [[nodiscard]] std::string objects(const std::string& kind) const {
    return kubectl({"get", kind + ".metallb.io", "-A", "-o", "jsonpath={.items[*].metadata.name}"})
        .out;
  }
};

TEST_F(BgpStack, MetalLbIsMeasuredItsFaultsAreFoundAndNothingIsLeft) {
  const auto up = stackbench({"up", "--name", "test", "--nodes", "2", "--bgp", "metallb"});
  ASSERT_EQ(up.code, 0) << up.err;

  const auto clean = stackbench(words({"bgp.rounds=2"}));
  EXPECT_EQ(clean.code, 0) << clean.err << clean.out;
  std::printf("%s", clean.out.c_str());
  const auto report = this->report();
  const auto checks = checks_of(report);
  ASSERT_EQ(checks.size(), 5U) << clean.err;
  EXPECT_THAT(failed(checks), ElementsAre());
  const auto& facts = report["target_facts"]["bgp"];
  EXPECT_EQ(facts["announcer"], "metallb");
  EXPECT_EQ(facts["session_configured_by"], "others") << "`up` configured one";
  const auto& convergences = checks.at("bgp_announced_in_time")["evidence"]["convergences"];
  ASSERT_EQ(convergences.size(), 4U);
  for (const auto& one : convergences) {
    for (const auto* time : {"acked_ns", "update_ns", "told_ns", "route_ns"}) {
      EXPECT_TRUE(one.value(time, base::Json()).is_number()) << time << one.dump();
    }
    // A withdrawal may be over before a client without a CPU sends its next probe.
    if (one["announced"] == true) {
      EXPECT_GT(one.value("answer_ns", 0), 0) << one.dump();
    }
    // The writer knows it last: the UPDATE follows the write, the route the UPDATE.
    EXPECT_GT(one["update_ns"], 0) << one.dump();
    EXPECT_GT(one["route_ns"], 0) << one.dump();
  }
  const auto& announced = checks.at("bgp_announces_lb_ip");
  EXPECT_THAT(announced["sentence"].get<std::string>(), HasSubstr("172.21.0.0/24"));

  const auto community = stackbench(words({"bgp.rounds=1", "bgp.fault=wrong_community"}));
  EXPECT_EQ(community.code, 1) << community.err << community.out;
  const auto of_community = checks_of(this->report());
  EXPECT_THAT(failed(of_community), ElementsAre("bgp_announces_lb_ip"));
  EXPECT_THAT(community.out, HasSubstr("communities 65000:57005, 65000:99, expected 65000:99"));
  EXPECT_GT(fs::file_size(home_ / "report.router.pcap"), 500U);

  const auto anywhere = stackbench(words({"bgp.rounds=1", "bgp.fault=announced_without_endpoint"}));
  EXPECT_EQ(anywhere.code, 1) << anywhere.err << anywhere.out;
  EXPECT_THAT(anywhere.out, HasSubstr("next hops 172.18.0.2, 172.18.0.3, expected 172.18.0.3"));

  const auto refused = stackbench(words({"bgp.fault=withdrawal_delayed"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("bgp.fault: withdrawal_delayed is planted in the lab alone"));
  const auto taken = stackbench(words({"bgp.pool=172.20.7.0/24"}));
  EXPECT_EQ(taken.code, 2);
  EXPECT_THAT(taken.err, HasSubstr("bgp.pool: IPAddressPool stackbench holds addresses of"));
  EXPECT_EQ(objects("ipaddresspools"), "stackbench");
  EXPECT_EQ(objects("bgpadvertisements"), "stackbench");
  EXPECT_EQ(objects("communities"), "");

  {
    auto argv = words({"bgp.rounds=100"});
    argv.insert(argv.begin(), (tests::binaries / "stackbench").string());
    auto killed = base::Process::spawn({.argv = argv,
                                        .environment = environment(),
                                        .out = base::Stdio::null(),
                                        .err = base::Stdio::null()});
    ASSERT_TRUE(killed) << base::describe_error(killed.error());
    EXPECT_TRUE(comes_true([&] { return objects("bgpadvertisements") != "stackbench"; }));
    ASSERT_TRUE(killed->signal(SIGKILL));
    ASSERT_TRUE(killed->wait(std::chrono::seconds(10)));
  }
  const auto cleaned = stackbench({"clean", "--target", "kubernetes"});
  EXPECT_EQ(cleaned.code, 0) << cleaned.err;
  EXPECT_THAT(cleaned.out, AllOf(HasSubstr("IPAddressPool stackbench-"), HasSubstr("of metallb"),
                                 Not(HasSubstr("IPAddressPool stackbench of"))));
  EXPECT_EQ(objects("ipaddresspools"), "stackbench");
  EXPECT_EQ(objects("bgpadvertisements"), "stackbench");
  EXPECT_EQ(objects("communities"), "");

  const auto down = stackbench({"down", "--name", "test"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_EQ(difference(), "");
}

}  // namespace
