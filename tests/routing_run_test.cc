// The shipped question about where a mesh's requests go, over a whole run: what holds, beside
// meshes whose proxies leave out a part of the same objects. Needs root, and the Envoy that
// ./bootstrap test unpacks.
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;

// For three meshes, on a machine that may be busy with other things. There is no room for many
// more: each proxy takes several of the 128 inotify instances that a user may have.
constexpr std::chrono::seconds within(240);

void insert_before(std::string& text, std::string_view line, std::string_view inserted) {
  const auto at = text.find(line);
  ASSERT_NE(at, std::string::npos) << line;
  text.insert(at, inserted);
}

void leave_out(std::string& text, std::string_view what) {
  const auto at = text.find(what);
  ASSERT_NE(at, std::string::npos) << what;
  text.erase(at, what.size());
}

TEST(RoutingRun, RoutesHoldAndAreFoundBrokenWhereProxiesLeaveOutAPart) {
  auto text = base::read_file(STACKBENCH_SOURCE_DIR "/scenarios/mesh-routing.yaml").value();
  leave_out(text, "  mtls: {datapath: nftables, mesh: {mode: STRICT}}\n");
  leave_out(text, "  - {name: mtls, in: mtls, dial: service/web}\n");
  leave_out(text, ", relative_to: mtls");
  insert_before(text, "\narms:\n",
                "  broken: {datapath: nftables, mesh: {mode: STRICT, objects: *objects}}\n"
                "  open: {datapath: nftables, mesh: {mode: STRICT, objects: *objects}}\n");
  insert_before(text, "\nworkloads:\n",
                "  - {name: broken, in: broken, dial: service/web}\n"
                "  - {name: open, in: open, dial: service/web}\n");
  text +=
      "faults:\n"
      "  - {kind: weights_ignored, environment: broken}\n"
      "  - {kind: abort_left_out, environment: broken}\n"
      "  - {kind: pool_limits_left_out, environment: broken}\n"
      "  - {kind: delay_left_out, environment: open}\n"
      "  - {kind: subsets_ignored, environment: open}\n"
      "  - {kind: ejection_left_out, environment: open}\n";
  const auto ran = tests::run(
      text, {"--set", "workloads.0.duration=50ms", "--set", "workloads.0.warm_up=15ms"}, within);
  ASSERT_TRUE(ran.report.is_object()) << ran.out << ran.err;
  std::map<std::pair<std::string, std::string>, base::Json> cells;
  for (const auto& check : ran.report.value("checks", base::Json::array())) {
    cells[{check["arm"], check.value("workload", "")}] = check;
  }
  ASSERT_EQ(cells.size(), 30) << ran.out << ran.err;
  const auto verdict = [&](const char* arm, const char* cell) {
    return cells[{arm, cell}].value("verdict", "") + ": " +
           cells[{arm, cell}].value("sentence", "");
  };
  for (const char* cell :
       {"header_route", "another_header", "weights", "subset", "abort", "delay", "pool_overflow",
        "requests_per_connection", "outlier_ejection", "propagation"}) {
    EXPECT_THAT(verdict("routed", cell), HasSubstr("pass: client-0: ")) << cell;
    EXPECT_THAT(verdict("routed", cell), HasSubstr("client-1: ")) << cell;
  }
  for (const char* cell : {"weights", "abort", "pool_overflow", "requests_per_connection"}) {
    EXPECT_THAT(verdict("broken", cell), HasSubstr("fail: ")) << cell;
  }
  for (const char* cell : {"header_route", "subset", "delay", "outlier_ejection"}) {
    EXPECT_THAT(verdict("broken", cell), HasSubstr("pass: ")) << cell;
  }
  for (const char* cell : {"header_route", "subset", "delay", "outlier_ejection"}) {
    EXPECT_THAT(verdict("open", cell), HasSubstr("fail: ")) << cell;
  }
  const auto& spread = cells[{"routed", "propagation"}]["evidence"]["proxies"]["client-1"];
  EXPECT_EQ(spread["writes"].size(), 10);
  for (const auto& sample : ran.report["samples"]) EXPECT_TRUE(sample["errors"].empty());
}

}  // namespace
