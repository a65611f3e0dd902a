#include "bgp-peer/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using bgp_peer::testing::address;
using ::testing::HasSubstr;

// What a top-of-rack router is: nodes of a subnet connect to it.
DaemonSpec router() {
  return {
      .global = {.asn = {64513}, .router_id = address("172.18.0.1"), .multipath = true},
      .dynamic_neighbors = {{.name = "nodes",
                             .networks = {Prefix::parse("172.18.0.0/16").value()},
                             .session = {.peer_asn = {64512},
                                         .hold_time_s = 3,
                                         .restart_time_s = 5,
                                         .families = {Family::ipv4_unicast, Family::ipv6_unicast},
                                         .max_prefixes = 100}}}};
}

DaemonSpec speaker() {
  return {.global = {.asn = {64512}, .router_id = address("172.18.0.2"), .port = -1},
          .neighbors = {{.address = address("172.18.0.1"),
                         .session = {.peer_asn = {64513}, .password = "secret"}}},
          .communities = {Community::parse("65000:99").value()}};
}

TEST(Configuration, OfARouterHasItsNodesAsAGroup) {
  ASSERT_TRUE(check(router()));
  EXPECT_EQ(base::dump_json_pretty(configuration(router())), R"({
  "global": {
    "config": {
      "as": 64513,
      "router-id": "172.18.0.1",
      "port": 179
    },
    "use-multiple-paths": {
      "config": {
        "enabled": true
      }
    }
  },
  "peer-groups": [
    {
      "config": {
        "peer-group-name": "nodes",
        "peer-as": 64512
      },
      "timers": {
        "config": {
          "hold-time": 3,
          "keepalive-interval": 1,
          "connect-retry": 5
        }
      },
      "transport": {
        "config": {
          "passive-mode": true
        }
      },
      "afi-safis": [
        {
          "config": {
            "afi-safi-name": "ipv4-unicast"
          },
          "mp-graceful-restart": {
            "config": {
              "enabled": true
            }
          },
          "prefix-limit": {
            "config": {
              "max-prefixes": 100
            }
          }
        },
        {
          "config": {
            "afi-safi-name": "ipv6-unicast"
          },
          "mp-graceful-restart": {
            "config": {
              "enabled": true
            }
          },
          "prefix-limit": {
            "config": {
              "max-prefixes": 100
            }
          }
        }
      ],
      "graceful-restart": {
        "config": {
          "enabled": true,
          "restart-time": 5
        }
      }
    }
  ],
  "dynamic-neighbors": [
    {
      "config": {
        "prefix": "172.18.0.0/16",
        "peer-group": "nodes"
      }
    }
  ]
})");
}

TEST(Configuration, OfASpeakerAddsItsCommunities) {
  ASSERT_TRUE(check(speaker()));
  const auto json = configuration(speaker());
  EXPECT_EQ(json["global"]["config"]["port"], -1);
  EXPECT_EQ(json["neighbors"][0]["config"]["neighbor-address"], "172.18.0.1");
  EXPECT_EQ(json["neighbors"][0]["config"]["auth-password"], "secret");
  EXPECT_EQ(json["neighbors"][0]["transport"]["config"]["passive-mode"], false);
  const auto& policy = json["policy-definitions"][0];
  EXPECT_EQ(json["global"]["apply-policy"]["config"]["export-policy-list"][0], policy["name"]);
  EXPECT_EQ(policy["statements"][0]["actions"]["bgp-actions"]["set-community"]
                  ["set-community-method"]["communities-list"][0],
            "65000:99");
}

TEST(DaemonSpec, IsRefusedWhereGoBgpWouldTakeItSilently) {
  const auto refused = [](const std::function<void(DaemonSpec&)>& change, std::string_view words) {
    auto spec = router();
    change(spec);
    const auto checked = check(spec);
    ASSERT_FALSE(checked) << words;
    EXPECT_THAT(checked.error().message, HasSubstr(words));
  };
  const auto session = [](DaemonSpec& spec) -> SessionSpec& {
    return spec.dynamic_neighbors[0].session;
  };
  refused([](auto& spec) { spec.global.asn = {}; }, "asn: expected");
  refused([](auto& spec) { spec.global.router_id = address("fd00::1"); }, "router_id: expected");
  refused([](auto& spec) { spec.global.port = 0; }, "port: expected");
  refused([&](auto& spec) { session(spec).peer_asn = {}; }, "dynamic_neighbors nodes: peer_asn");
  refused([&](auto& spec) { session(spec).hold_time_s = 2; }, "hold_time_s: expected 0, or 3");
  refused([&](auto& spec) { session(spec).restart_time_s = 4096; },
          "restart_time_s: expected 1 to");
  refused([&](auto& spec) { session(spec).families.clear(); }, "families: expected one");
  refused([&](auto& spec) { session(spec).password.assign(81, 'x'); }, "at most 80 bytes");
  refused([&](auto& spec) { session(spec).password = "secret"; }, "known addresses only");
  refused([](auto& spec) { spec.dynamic_neighbors[0].networks.clear(); }, "networks: expected one");
  refused([](auto& spec) { spec.dynamic_neighbors.push_back(spec.dynamic_neighbors[0]); },
          "named twice");
}

}  // namespace
}  // namespace bgp_peer
