// What an agent keeps for a controller that may come back.
#include "bench/agent/kept_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t plenty = 1'000'000;

KeptAnswers in_session(std::size_t most_bytes = plenty) {
  KeptAnswers kept(most_bytes);
  kept.begin("mine");
  return kept;
}

TEST(KeptAnswers, KeepNothingWithoutASession) {
  KeptAnswers kept(plenty);
  kept.open(1);
  kept.keep(1, "started\n", false);
  EXPECT_EQ(kept.said(1), "");
  EXPECT_FALSE(kept.seen(1));
  EXPECT_EQ(kept.bytes(), 0U);
}

TEST(KeptAnswers, SayAgainWhatIsOutstandingInItsOrder) {
  auto kept = in_session();
  kept.open(2);
  kept.keep(2, "started 2\n", false);
  kept.open(3);
  kept.keep(3, "started 3\n", false);
  kept.keep(2, "ready 2\n", false);
  kept.keep(3, "result 3\n", true);
  const auto resumed = kept.resume({2, 3, 4});
  EXPECT_EQ(resumed.again, "started 2\nready 2\nstarted 3\nresult 3\n");
  EXPECT_THAT(resumed.unknown, ElementsAre(4));
  EXPECT_THAT(resumed.given_up, IsEmpty());
  // And once more, should this stream break as well.
  EXPECT_EQ(kept.resume({3}).again, "started 3\nresult 3\n");
}

TEST(KeptAnswers, ForgetWhatNobodyAwaitsAndNameTheJobsToStop) {
  auto kept = in_session();
  kept.open(2);
  kept.keep(2, "started 2\n", false);
  kept.open(3);
  kept.keep(3, "result 3\n", true);
  EXPECT_THAT(kept.resume({}).given_up, ElementsAre(2));
  EXPECT_EQ(kept.bytes(), 0U);
  // What the stopped job says at its end is kept for nobody.
  kept.keep(2, "error 2\n", true);
  EXPECT_EQ(kept.bytes(), 0U);
  EXPECT_TRUE(kept.seen(3));
}

TEST(KeptAnswers, LetGoOfWhatHasArrivedButNotOfAJobThatRuns) {
  auto kept = in_session();
  kept.open(2);
  kept.keep(2, "started 2\n", false);
  kept.open(3);
  kept.keep(3, "result 3\n", true);
  kept.received({2, 3, 99});
  EXPECT_EQ(kept.said(3), "");
  EXPECT_EQ(kept.said(2), "started 2\n");
  EXPECT_TRUE(kept.seen(3));
  EXPECT_FALSE(kept.seen(4));
}

TEST(KeptAnswers, BeginAnewForAnotherController) {
  auto kept = in_session();
  kept.open(7);
  kept.keep(7, "result 7\n", true);
  kept.begin("another's");
  EXPECT_EQ(kept.session(), "another's");
  EXPECT_FALSE(kept.seen(7));
  EXPECT_EQ(kept.bytes(), 0U);
  EXPECT_THAT(kept.resume({7}).unknown, ElementsAre(7));
}

TEST(KeptAnswers, GiveUpTheOldestResultForWantOfRoomAndSaySo) {
  auto kept = in_session(10'000);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    kept.open(id);
    kept.keep(id, std::string(4'000, 'x') + "\n", true);
  }
  EXPECT_LE(kept.bytes(), 10'000U);
  const auto notice = parse_message(kept.said(1));
  ASSERT_TRUE(notice) << notice.error().message;
  EXPECT_EQ(notice->id, 1U);
  EXPECT_EQ(notice->error->error.kind, base::ErrorKind::peer_lost);
  EXPECT_THAT(notice->error->error.message, HasSubstr("4001 bytes was not kept"));
  EXPECT_EQ(kept.said(3).size(), 4'001U);
}

TEST(KeptAnswers, StayBoundedInAFlood) {
  auto kept = in_session(20'000);
  kept.open(1);
  kept.keep(1, "started 1\n", false);
  for (std::uint64_t id = 2; id < 5'000; ++id) {
    kept.open(id);
    kept.keep(id, "stopping\n", true);
    ASSERT_LE(kept.bytes(), 20'000U);
  }
  // A job that runs is not forgotten for that.
  EXPECT_EQ(kept.said(1), "started 1\n");
  EXPECT_EQ(kept.said(4'999), "stopping\n");
}

}  // namespace
}  // namespace bench
