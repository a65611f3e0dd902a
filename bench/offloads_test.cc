#include "bench/offloads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bench {
namespace {

base::IpAddress address(std::string_view text) { return base::IpAddress::parse(text).value(); }

TEST(OutgoingInterface, OfThisMachinesAddressesIsTheLoopback) {
  EXPECT_EQ(outgoing_interface(address("127.0.0.1")).value_or(""), "lo");
  EXPECT_EQ(outgoing_interface(address("::1")).value_or(""), "lo");
}

TEST(Departed, KnowsTheLoopbackAndNoOther) {
  EXPECT_TRUE(departed("lo"));
  for (const auto* name : {"l", "o", "lo0", "face"}) {
    const auto none = departed(name);
    ASSERT_FALSE(none) << name;
    EXPECT_EQ(none.error().kind, base::ErrorKind::missing);
  }
}

TEST(Offloads, OfTheLoopbackAreKnownByName) {
  const auto on = offloads_in_force("lo");
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_THAT(*on, ::testing::IsSubsetOf({"tso", "gso", "gro"}));
  EXPECT_FALSE(offloads_in_force("no-such-one"));
}

TEST(SegmentationSwitch, RefusesTheLoopbackOfWhomever) {
  const auto before = offloads_in_force("lo");
  const auto held = SegmentationSwitch::set("lo", Switch::off);
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().kind, base::ErrorKind::not_permitted);
  EXPECT_EQ(held.error().message,
            "gso: off of lo: offloads of the loopback interface are everybody's");
  EXPECT_THAT(held.error().mend, ::testing::HasSubstr("leave gso out"));
  EXPECT_EQ(offloads_in_force("lo").value_or(std::vector<std::string>()),
            before.value_or(std::vector<std::string>()));
}

}  // namespace
}  // namespace bench
