// The shipped question about BGP, asked of a lab that is broken on purpose: needs root and the
// gobgpd that ./bootstrap test unpacks.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"

namespace {

using ::testing::HasSubstr;

TEST(BgpRun, FindsTheWrongCommunityAndKeepsWhatWasSaid) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: the lab makes network namespaces";
  const auto directory =
      std::filesystem::path(::testing::TempDir()) / fmt::format("bgp-run-{}", ::getpid());
  const auto report_file = (directory / "report.json").string();
  const auto ran =
      base::run({STACKBENCH_BINARY_DIR "/stackbench", "run", "scenarios/bgp.yaml", "--set",
                 "bgp.rounds=2", "--set", "bgp.fault=wrong_community", "--out", report_file},
                {.timeout = std::chrono::minutes(2), .directory = STACKBENCH_SOURCE_DIR});
  ASSERT_TRUE(ran) << base::describe_error(ran.error());
  EXPECT_EQ(ran->status.code, 1) << ran->out << ran->err;
  EXPECT_THAT(ran->out, HasSubstr("bgp_announces_lb_ip of web"));
  EXPECT_THAT(ran->out, HasSubstr("communities 65000:57005, 65000:99, expected 65000:99"));
  EXPECT_THAT(ran->out, HasSubstr("first answered packet after"));
  const auto text = base::read_file(report_file);
  ASSERT_TRUE(text);
  const auto report = base::parse_json(*text).value_or(base::Json());
  std::map<std::string, std::string> verdicts;
  for (const auto& check : report["checks"]) {
    verdicts[check["name"].get<std::string>()] = check["verdict"].get<std::string>();
  }
  EXPECT_EQ(verdicts["bgp_session_established"], "pass");
  EXPECT_EQ(verdicts["bgp_announces_lb_ip"], "fail");
  EXPECT_EQ(verdicts["bgp_not_announced_early"], "pass");
  EXPECT_GT(std::filesystem::file_size(directory / "report.node2.pcap"), 1000U);
  std::filesystem::remove_all(directory);
}

}  // namespace
