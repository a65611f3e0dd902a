#include "base/address.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace base {
namespace {

using ::testing::HasSubstr;

TEST(IpAddress, ReadsBothFamiliesAndWritesThemBack) {
  for (const auto* text : {"0.0.0.0", "10.244.1.2", "255.255.255.255", "::", "::1", "fd00:244:1::2",
                           "2001:db8::ff00:42:8329"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
  }
}

TEST(IpAddress, KnowsItsFamily) {
  const auto v4 = IpAddress::parse("10.0.0.1");
  const auto v6 = IpAddress::parse("fd00::1");
  ASSERT_TRUE(v4 && v6);
  EXPECT_EQ(v4->af(), AF_INET);
  EXPECT_EQ(v4->host_prefix(), 32);
  EXPECT_EQ(v6->af(), AF_INET6);
  EXPECT_EQ(v6->host_prefix(), 128);
  EXPECT_NE(*v4, *v6);
}

TEST(IpAddress, WritesOneSpellingOfEveryAddress) {
  const auto address = IpAddress::parse("FD00:0244:0001:0000::0002");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->to_string(), "fd00:244:1::2");
}

TEST(IpAddress, RefusesWhatIsNeither) {
  using namespace std::string_view_literals;
  for (const auto text : {""sv, "10.244.1"sv, "10.244.1.256"sv, "10.244.1.2/24"sv, "010.0.0.1 "sv,
                          "fd00:::1"sv, "[fd00::1]"sv, "web"sv, "10.0.0.1\0x"sv, "::1\0"sv}) {
    const auto address = IpAddress::parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().kind, ErrorKind::input);
    EXPECT_THAT(address.error().message, HasSubstr("expected an IPv4 or IPv6 address"));
  }
}

TEST(Endpoint, ReadsBothFamiliesAndWritesThemBack) {
  for (const auto* text : {"10.244.1.2:80", "0.0.0.0:0", "[fd00::1]:65535", "[::]:7001"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(endpoint->to_string(), text);
  }
}

TEST(Endpoint, RefusesWhatCouldBeReadTwoWays) {
  for (const auto* text :
       {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:+1", "10.0.0.1:80x",
        "[10.0.0.1]:80", "fd00::1:80", "[fd00::1]", "[fd00::1:80", "[]:80", ":80"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_FALSE(endpoint) << text;
    EXPECT_EQ(endpoint.error().kind, ErrorKind::input);
    EXPECT_THAT(endpoint.error().message, HasSubstr("expected an address and port"));
  }
}

TEST(SocketAddress, HoldsTheEndpointItWasMadeFrom) {
  for (const auto* text : {"10.244.1.2:80", "[fd00:244::2]:7001"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint);
    const SocketAddress address(*endpoint);
    EXPECT_EQ(address.get()->sa_family, endpoint->address.af());
    const auto held = address.endpoint();
    ASSERT_TRUE(held);
    EXPECT_EQ(*held, *endpoint);
  }
}

TEST(SocketAddress, OffersRoomForAnyAddressToBeWritten) {
  SocketAddress address;
  EXPECT_GE(*address.capacity(), sizeof(sockaddr_in6));
}

TEST(SocketAddress, OfNoFamilyHasNoEndpoint) {
  const auto endpoint = SocketAddress().endpoint();
  ASSERT_FALSE(endpoint);
  EXPECT_EQ(endpoint.error().message, "socket address of family 0, expected IPv4 or IPv6");
}

}  // namespace
}  // namespace base
