// The scenarios we ship, the schema we commit, and the way from a scenario to JSON and back.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/scenario/schema.h"

namespace stackbench {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view folder = STACKBENCH_SOURCE_DIR "/scenarios";

std::vector<std::string> shipped() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.push_back(entry.path().string());
  }
  return files;
}

TEST(Shipped, EveryScenarioLoads) {
  ASSERT_GE(shipped().size(), 2u);
  for (const auto& file : shipped()) {
    const auto scenario = load_scenario(file, {});
    EXPECT_TRUE(scenario) << base::describe_error(scenario.error());
  }
}

TEST(Shipped, ResolvedScenariosAreScenarioFilesThatMeanTheSame) {
  for (const auto& file : shipped()) {
    const auto scenario = load_scenario(file, {});
    ASSERT_TRUE(scenario) << file;
    const auto json = base::to_json(*scenario);
    for (const auto& text : {base::dump_json(json), base::dump_json_pretty(json)}) {
      const auto again = parse_scenario(text, "resolved", {});
      ASSERT_TRUE(again) << base::describe_error(again.error());
      EXPECT_EQ(base::dump_json(base::to_json(*again)), base::dump_json(json));
    }
    const auto from_report = base::from_json<Scenario>(json);
    ASSERT_TRUE(from_report) << from_report.error().message;
    EXPECT_EQ(base::dump_json(base::to_json(*from_report)), base::dump_json(json));
  }
}

TEST(Shipped, SmokeUsesEveryWordThereIs) {
  const auto scenario = load_scenario(std::string(folder) + "/smoke.yaml", {});
  ASSERT_TRUE(scenario);
  std::set<bench::WorkloadKind> kinds;
  std::set<bench::WaitStrategy> waits;
  std::set<bool> open;
  for (const auto& workload : scenario->workloads) {
    kinds.insert(workload.kind);
    waits.insert(*workload.wait);
    open.insert(workload.rate.has_value());
  }
  std::set<cluster::DatapathKind> datapaths;
  for (const auto& arm : scenario->arms) {
    datapaths.insert(arm.in ? scenario->environments.at(*arm.in).datapath
                            : cluster::DatapathKind::direct);
  }
  EXPECT_EQ(kinds.size(), base::EnumNames<bench::WorkloadKind>::names.size());
  EXPECT_EQ(waits.size(), base::EnumNames<bench::WaitStrategy>::names.size());
  // All but `installed`, which is a cluster's.
  EXPECT_EQ(datapaths.size() + 1, base::EnumNames<cluster::DatapathKind>::names.size());
  EXPECT_EQ(open.size(), 2u);
}

TEST(WorkloadNames, AreTheKindAndANumberFromItsSecondAppearance) {
  Scenario scenario;
  using enum bench::WorkloadKind;
  for (const auto kind : {tcp_rr, tcp_crr, tcp_rr, tcp_rr}) {
    scenario.workloads.push_back({.kind = kind});
  }
  EXPECT_EQ(workload_names(scenario),
            (std::vector<std::string>{"tcp_rr", "tcp_crr", "tcp_rr_2", "tcp_rr_3"}));
}

TEST(DialTarget, ReadsBackWhatItWrites) {
  for (const auto* text : {"pod/web", "service/my-web-2", "pod/0"}) {
    const auto dial = base::StringScalar<DialTarget>::parse(text);
    ASSERT_TRUE(dial) << text;
    EXPECT_EQ(base::StringScalar<DialTarget>::format(*dial), text);
  }
  for (const auto* text :
       {"", "web", "pod/", "/web", "node/web", "pod/Web", "pod/-web", "pod/web/x"}) {
    EXPECT_FALSE(base::StringScalar<DialTarget>::parse(text)) << text;
  }
}

TEST(Bound, ReadsBackWhatItWrites) {
  for (const auto* text : {"+5%", "-3%", "250us", "1000/s", "500MB/s"}) {
    const auto bound = base::StringScalar<Bound>::parse(text);
    ASSERT_TRUE(bound) << text;
    EXPECT_EQ(base::StringScalar<Bound>::format(*bound), text);
  }
  for (const auto* text : {"", "5", "+5ms", "-1/s", "5x", "%", "5MB", "-1MB/s"}) {
    EXPECT_FALSE(base::StringScalar<Bound>::parse(text)) << text;
  }
}

TEST(Schema, IsTheCommittedOne) {
  const std::string file = STACKBENCH_SOURCE_DIR "/stackbench/scenario/scenario.schema.json";
  const auto committed = base::read_file(file);
  ASSERT_TRUE(committed) << base::describe_error(committed.error());
  EXPECT_EQ(*committed, base::dump_json_pretty(scenario_schema()) + "\n")
      << "The scenario's structs changed. Look at the difference, then regenerate it:\n"
         "  stackbench schema scenario > stackbench/scenario/scenario.schema.json";
}

TEST(Load, OfAFileThatIsNotThereNamesOneThatIs) {
  const auto scenario = load_scenario(std::string(folder) + "/krp.yaml", {});
  ASSERT_FALSE(scenario);
  EXPECT_EQ(scenario.error().kind, base::ErrorKind::missing);
  EXPECT_THAT(scenario.error().message, HasSubstr("krp.yaml: No such file or directory"));
  EXPECT_EQ(scenario.error().mend, fmt::format("Did you mean {}/kpr.yaml?", folder));
}

TEST(Load, OfAFolderSaysSo) {
  const auto scenario = load_scenario(std::string(folder), {});
  ASSERT_FALSE(scenario);
  EXPECT_EQ(scenario.error().message,
            fmt::format("{}: a folder, expected a scenario file", folder));
  EXPECT_EQ(scenario.error().mend, "Name one of the files in it.");
}

TEST(Load, OfAFileThatIsNotSmallRefusesBeforeReadingItAll) {
  const auto file = std::filesystem::path(::testing::TempDir()) / "too_large_scenario.yaml";
  std::ofstream(file) << std::string(std::size_t{300} << 10, '#');
  const auto scenario = load_scenario(file.string(), {});
  std::filesystem::remove(file);
  ASSERT_FALSE(scenario);
  EXPECT_EQ(scenario.error().kind, base::ErrorKind::input);
  EXPECT_THAT(scenario.error().message, HasSubstr("too_large_scenario.yaml"));
}

}  // namespace
}  // namespace stackbench
