#include "stackbench/scenario/overrides.h"

#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

TEST(Override, ChangesAddsAndReplaces) {
  const auto scenario =
      parse_scenario(sound, "s.yaml",
                     {"blocks=20", "workloads.0.rate=5000/s", "family=ipv6", "arms[1].in=rules",
                      "topology.pods.db.replicas=2", "blocks=21", "question='a=b?'"});
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->blocks, 21) << "the last one counts";
  EXPECT_EQ(scenario->workloads[0].rate, base::RequestRate{5000});
  EXPECT_EQ(scenario->workloads[0].wait, bench::WaitStrategy::hybrid);
  EXPECT_EQ(scenario->family, base::AddressFamily::ipv6);
  EXPECT_EQ(scenario->arms[1].in, "rules");
  EXPECT_EQ(scenario->topology.pods.at("db").replicas, 2);
  EXPECT_EQ(scenario->question, "a=b?");
}

TEST(Override, IsHeldToWhatTheFileIsHeldTo) {
  const auto one = [](const std::string& text) {
    const auto message = message_of(sound, {text});
    EXPECT_TRUE(message.ends_with("\n1 error in --set")) << message;
    return message.substr(0, message.rfind('\n'));
  };
  EXPECT_EQ(one("workloads.0.rat=5/s"),
            "--set workloads.0.rat: unknown field; did you mean \"rate\"?");
  EXPECT_EQ(one("toplogy.nodes=3"),
            "--set toplogy.nodes: toplogy: unknown field; did you mean \"topology\"?");
  EXPECT_EQ(one("blocks=3"),
            "--set blocks: expected at least 6, got 3. Kept blocks; in each every arm runs twice. "
            "Below 6 no exact two-sided 95 % interval exists.");
  EXPECT_EQ(one("workloads[0].rate=5000"),
            "--set workloads[0].rate: expected a rate such as 2000/s, got \"5000\"");
  EXPECT_EQ(one("arms.1.in=sockt"),
            "--set arms.1.in: unknown environment \"sockt\"; did you mean \"socket\"?");
  EXPECT_EQ(one("topology.pods.db={nod: 1}"),
            "--set topology.pods.db: topology.pods.db.nod: unknown field; did you mean \"node\"?");
  EXPECT_EQ(message_of(sound, {"environments.x.y=1"}),
            "--set environments.x.y: environments.x.datapath: missing: How its Services are "
            "implemented.\n"
            "--set environments.x.y: unknown field; known here: datapath, filler, "
            "filler_policies, filler_selectors, context, mesh\n"
            "2 errors in --set");
}

TEST(Override, SaysWhatIsWrongWithItself) {
  const auto first = [](const std::string& text) {
    const auto message = message_of(sound, {text});
    return message.substr(0, message.find('\n'));
  };
  EXPECT_EQ(first("blocks"),
            "--set blocks: expected PATH=VALUE such as blocks=20 or workloads.0.rate=5000/s");
  EXPECT_EQ(first("=3"),
            "--set : expected PATH=VALUE such as blocks=20 or workloads.0.rate=5000/s");
  EXPECT_EQ(
      first("topology..pods=3"),
      "--set topology..pods: expected PATH=VALUE such as blocks=20 or workloads.0.rate=5000/s");
  EXPECT_EQ(first("blocks="), "--set blocks: expected a value after \"=\", got nothing");
  EXPECT_EQ(first("workloads.2.rate=1/s"),
            "--set workloads.2.rate: workloads has no item 2: it has 2, counted from 0");
  EXPECT_EQ(first("workloads.99999999999999999999.rate=1/s"),
            "--set workloads.99999999999999999999.rate: workloads has no item "
            "99999999999999999999: it has 2, counted from 0");
  EXPECT_EQ(first("workloads.first.rate=1/s"),
            "--set workloads.first.rate: workloads is a list: expected the number of an item, "
            "counted from 0, got \"first\"");
  EXPECT_EQ(first("blocks.x=1"), "--set blocks.x: blocks is \"12\", there is nothing below it");
  EXPECT_EQ(first("arms={"), "--set arms: not YAML: did not find expected node content");
}

TEST(Override, FaultsComeAfterThoseOfTheFile) {
  EXPECT_EQ(message_of(with_line(15, "blocks: x"), {"seed=x"}),
            "s.yaml:15:9: blocks: expected an integer, got \"x\"\n"
            "   15 | blocks: x\n      |         ^\n"
            "--set seed: expected an integer, got \"x\"\n"
            "2 errors in s.yaml and --set");
}

TEST(Override, MendsTheFile) {
  EXPECT_EQ(message_of(with_line(15, "blocks: x"), {"blocks=7"}), "no fault");
}

}  // namespace
}  // namespace stackbench
