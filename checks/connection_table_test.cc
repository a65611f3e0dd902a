#include "checks/connection_table.h"

#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;

TEST(ConnectionTable, PassesWhereEveryConnectionMadeWasKept) {
  // What was before is not this run's.
  const auto finding = connection_table(
      ConnectionTableCounts{.capacity = 64, .made = 100, .evicted = 5, .misses = 6, .unplaced = 7},
      ConnectionTableCounts{.capacity = 64, .made = 130, .evicted = 5, .misses = 6, .unplaced = 7});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "kept");
  EXPECT_EQ(finding.sentence, "kept all of 30 connections, with room for 64 on each node");
  EXPECT_EQ(finding.evidence.at("made"), 30);
}

TEST(ConnectionTable, FailsWithTheCountsOfWhatWasLost) {
  const ConnectionTableCounts before{.capacity = 16};
  const auto sentence = [&](const ConnectionTableCounts& after) {
    const auto finding = connection_table(before, after);
    EXPECT_EQ(finding.verdict, Verdict::fail);
    EXPECT_EQ(finding.observed, "lost");
    return finding.sentence;
  };
  EXPECT_EQ(sentence({.capacity = 16, .made = 64, .evicted = 48}),
            "48 connections thrown out alive; 64 connections made, with room for 16 on each node");
  EXPECT_EQ(sentence({.capacity = 16, .made = 64, .misses = 1}),
            "1 packet in mid-stream without an entry; 64 connections made, with room for 16 on "
            "each node");
  EXPECT_EQ(sentence({.capacity = 16, .made = 1, .evicted = 1, .misses = 2, .unplaced = 3}),
            "1 connection thrown out alive, 2 packets in mid-stream without an entry, 3 packets "
            "dropped for want of room; 1 connection made, with room for 16 on each node");
}

TEST(ConnectionTable, CannotTellWithoutATableOrWithoutConnections) {
  const ConnectionTableCounts some{.capacity = 16, .made = 4};
  EXPECT_EQ(connection_table(std::nullopt, some).verdict, Verdict::inconclusive);
  EXPECT_EQ(connection_table(some, std::nullopt).verdict, Verdict::inconclusive);
  EXPECT_EQ(connection_table(some, some).sentence,
            "cannot tell: no connection was made, with room for 16 on each node");
  EXPECT_FALSE(connection_table_of({{"service_ports", 2}}));
  const auto counts =
      connection_table_of({{"connection_table", {{"capacity", 16}, {"made", 4}, {"misses", 2}}}});
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->made, 4U);
  EXPECT_EQ(counts->misses, 2U);
}

}  // namespace
}  // namespace checks
