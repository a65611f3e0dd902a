#include "checks/backend_identity.h"

#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;

bench::ClientResult told(std::map<std::string, std::uint64_t> by) {
  bench::ClientResult client;
  client.answered_by = std::move(by);
  return client;
}

Answerer pod(std::string name, std::string identity, std::uint64_t requests) {
  Answerer server{.pod = std::move(name), .identity = std::move(identity), .result = {}};
  server.result.requests = requests;
  return server;
}

TEST(BackendIdentity, PassesWherePodsAnsweredWhatTheirNameIsOn) {
  // The second answered more: what opened its flows is not counted by the client.
  const auto finding =
      backend_identity(told({{"1", 7}, {"2", 9}}), {pod("web-0", "1", 7), pod("web-1", "2", 10)});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "itself");
  EXPECT_EQ(finding.sentence, "16 answers came from the pods that they name");
}

TEST(BackendIdentity, FailsWhereOnePodAnswersAsAnother) {
  const auto finding =
      backend_identity(told({{"2", 16}}), {pod("web-0", "1", 7), pod("web-1", "2", 9)});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "another");
  EXPECT_EQ(finding.sentence,
            "16 answers named web-1, which answered 9 in all: another pod answers as it");
}

TEST(BackendIdentity, FailsWhereAnUnknownOneAnswers) {
  const auto finding = backend_identity(told({{"1", 7}, {"66", 1}}), {pod("web-0", "1", 8)});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.sentence, "1 answer gave the identity 66, which is no pod's of this arm");
}

TEST(BackendIdentity, CannotTellWithoutAnAnswer) {
  EXPECT_EQ(backend_identity(told({}), {pod("web-0", "1", 0)}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
