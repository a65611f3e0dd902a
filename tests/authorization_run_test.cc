// The shipped question about authorization in a mesh, over a whole run: what holds, beside a mesh
// whose proxies never hear of the same objects. Needs root, and the Envoy that ./bootstrap test
// unpacks.
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;

// For three meshes, on a machine that may be busy with other things.
constexpr std::chrono::seconds within(240);

void insert_before(std::string& text, std::string_view line, std::string_view inserted) {
  const auto at = text.find(line);
  ASSERT_NE(at, std::string::npos) << line;
  text.insert(at, inserted);
}

TEST(AuthorizationRun, PoliciesHoldAndAreFoundMissingWhereProxiesNeverHeardOfThem) {
  auto text = base::read_file(STACKBENCH_SOURCE_DIR "/scenarios/mtls-authorization.yaml").value();
  insert_before(text, "\narms:\n",
                "  left_out: {datapath: nftables, mesh: {mode: STRICT, objects: *objects}}\n");
  insert_before(text, "\nworkloads:\n", "  - {name: left_out, in: left_out, dial: service/web}\n");
  text += "faults: [{kind: authorization_left_out, environment: left_out}]\n";
  const auto ran = tests::run(text,
                              {"--set", "blocks=6", "--set", "workloads.0.duration=50ms", "--set",
                               "workloads.0.warm_up=15ms", "--set", "workloads.1.duration=50ms",
                               "--set", "workloads.1.warm_up=15ms"},
                              within);
  std::map<std::string, base::Json> checks;
  for (const auto& check : ran.report.value("checks", base::Json::array())) {
    if (check["name"] == "authorization_enforced") checks[check["arm"]] = check;
  }
  ASSERT_EQ(checks.size(), 2) << ran.out << ran.err;
  const auto& enforced = checks["authorized"];
  EXPECT_EQ(enforced["verdict"], "pass") << enforced["sentence"];
  std::map<std::string, int> statuses;
  for (const auto& request : enforced["evidence"]["requests"]) {
    statuses[request["name"]] = request["door"].value("http_status", 0);
  }
  EXPECT_EQ(statuses["by_principal"], 200);
  EXPECT_EQ(statuses["wrong_identity"], 403);
  EXPECT_EQ(statuses["forbidden_path"], 403);
  EXPECT_EQ(statuses["sound_token"], 200);
  EXPECT_EQ(statuses["token_of_another_key"], 401);
  EXPECT_EQ(enforced["evidence"]["came_to_servers"], 5);
  const auto& left_out = checks["left_out"];
  EXPECT_EQ(left_out["verdict"], "fail");
  EXPECT_THAT(left_out["sentence"].get<std::string>(),
              HasSubstr("wrong_identity (from intruder): HTTP 200, and it should be denied"));
  for (const auto& check : ran.report.value("checks", base::Json::array())) {
    if (check["name"] == "plaintext_refused") EXPECT_EQ(check["verdict"], "pass");
  }
  for (const auto& sample : ran.report["samples"]) EXPECT_TRUE(sample["errors"].empty());
}

}  // namespace
