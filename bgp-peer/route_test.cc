#include "bgp-peer/route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/fib.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using bgp_peer::testing::address;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Path path_by(std::string_view prefix, std::string_view next_hop) {
  return {.prefix = Prefix::parse(prefix).value(), .next_hop = address(next_hop)};
}

TEST(Prefix, IsReadAndWrittenInEitherFamily) {
  for (const auto* text : {"10.201.0.7/32", "10.201.0.0/24", "0.0.0.0/0", "fd00:1::/64"}) {
    const auto prefix = Prefix::parse(text);
    ASSERT_TRUE(prefix) << text;
    EXPECT_EQ(prefix->to_string(), text);
  }
  EXPECT_EQ(Prefix::host(address("fd00::7")).to_string(), "fd00::7/128");
}

TEST(Prefix, RefusesWhatIsNone) {
  for (const auto* text : {"", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "fd00::/129", "10.0.0.0/-1",
                           "10.0.0.0/8x", "x/8"}) {
    EXPECT_FALSE(Prefix::parse(text)) << text;
  }
  EXPECT_THAT(Prefix::parse("10.0.0.1/24").error().message, HasSubstr("beyond its length of 24"));
}

TEST(Community, IsReadAndWritten) {
  EXPECT_EQ(Community::parse("65000:99").value().value, 65000U << 16 | 99U);
  EXPECT_EQ((Community{65000U << 16 | 99U}).to_string(), "65000:99");
  for (const auto* text : {"", "1", "1:", ":1", "65536:1", "1:65536", "1:2:3"}) {
    EXPECT_FALSE(Community::parse(text)) << text;
  }
}

TEST(AsPath, IsWrittenAsRoutersDo) {
  EXPECT_EQ(as_path_text({}), "");
  EXPECT_EQ(
      as_path_text({{.numbers = {{64512}, {64513}}}, {.is_set = true, .numbers = {{1}, {2}}}}),
      "64512 64513 {1,2}");
}

TEST(NextHops, AreThoseThatCanBeUsedEachOnce) {
  auto invalid = path_by("10.0.0.1/32", "172.18.0.9");
  invalid.next_hop_invalid = true;
  const auto all =
      next_hops_of({path_by("10.0.0.1/32", "172.18.0.3"), invalid,
                    path_by("10.0.0.1/32", "172.18.0.2"), path_by("10.0.0.1/32", "172.18.0.3")});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all.begin()->second, ElementsAre(address("172.18.0.2"), address("172.18.0.3")));
}

TEST(NextHops, OfAWithdrawnPrefixAreNone) {
  auto withdrawn = path_by("10.0.0.1/32", "172.18.0.3");
  withdrawn.withdrawn = true;
  const auto all = next_hops_of({withdrawn});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all.begin()->second, IsEmpty());
}

TEST(Path, IsTheSameAfterJson) {
  Path path = path_by("10.0.0.1/32", "172.18.0.3");
  path.as_path = {{.numbers = {{64512}}}};
  path.origin = Origin::igp;
  path.communities = {{7}};
  path.med = 5;
  const auto again = base::from_json<Path>(base::to_json(path));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, path);
}

}  // namespace
}  // namespace bgp_peer
