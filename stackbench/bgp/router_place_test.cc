// Where a run's router and client are, and what is said where that cannot be told.
#include "stackbench/bgp/router_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using ::testing::AllOf;
using ::testing::HasSubstr;

base::Error refusal_of(const PeerSpec& peer, const std::string& client = {}) {
  const auto place = open_router_place({.peer = peer, .client = client}, std::nullopt);
  EXPECT_FALSE(place);
  return place ? base::Error{} : place.error();
}

const base::IpAddress somewhere = base::IpAddress::parse("192.0.2.1").value();

TEST(RouterPlace, IsAskedForWhereNobodyKnowsIt) {
  const auto nowhere = refusal_of({});
  EXPECT_EQ(nowhere.kind, ErrorKind::input);
  EXPECT_THAT(nowhere.message, HasSubstr("bgp.peer: on a cluster that `stackbench up` did not"));
  EXPECT_THAT(nowhere.mend, HasSubstr("bgp.peer.api"));
  EXPECT_THAT(refusal_of({.api = "192.0.2.1:50051"}).message, HasSubstr("bgp.peer.address: say"));
}

TEST(RouterPlace, NamesTheNamespaceThatIsNotThere) {
  EXPECT_THAT(refusal_of({.netns = "no-such", .address = somewhere}).message,
              AllOf(HasSubstr("bgp.peer.netns: there is no network namespace no-such"),
                    HasSubstr("/run/netns/no-such")));
  EXPECT_THAT(refusal_of({.address = somewhere, .api = "192.0.2.1:50051"}, "/no/such").message,
              HasSubstr("bgp.client: there is no network namespace /no/such"));
}

TEST(RouterPlace, OfADaemonThatRunsElsewhereIsItsWordAlone) {
  const auto place =
      open_router_place({.peer = {.address = somewhere, .api = "192.0.2.1:50051"}}, std::nullopt);
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_FALSE(place->router);
  EXPECT_TRUE(place->client) << "probes are sent from this machine";
  EXPECT_EQ(place->client_name, "this machine");
}

}  // namespace
}  // namespace stackbench::bgp
