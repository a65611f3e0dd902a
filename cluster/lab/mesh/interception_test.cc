#include "cluster/lab/mesh/interception.h"

#include <gtest/gtest.h>

namespace cluster {
namespace {

// Compared with what istio-init leaves in a pod of Istio 1.28 with its defaults (`iptables-save -t
// nat`), rule by rule.
TEST(Interception, WritesIstiosRules) {
  EXPECT_EQ(interception_rules(),
            R"(*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
)");
}

TEST(Interception, HasAHoleForOneUserWhereThatIsPlanted) {
  const auto whole = interception_rules();
  auto holed = interception_rules(0);
  const std::string hole = "-A ISTIO_OUTPUT -p tcp -m owner --uid-owner 0 -j RETURN\n";
  const auto at = holed.find(hole);
  ASSERT_NE(at, std::string::npos);
  EXPECT_LT(at, holed.find("-A ISTIO_OUTPUT -s 127.0.0.6/32"));
  EXPECT_EQ(holed.erase(at, hole.size()), whole);
}

}  // namespace
}  // namespace cluster
