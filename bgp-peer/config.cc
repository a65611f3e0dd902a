#include "bgp-peer/config.h"

#include <set>

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

constexpr std::size_t longest_password = 80;  // TCP_MD5SIG_MAXKEYLEN, linux/tcp.h
constexpr std::uint32_t longest_hold_time = 65535;
constexpr std::uint32_t longest_restart = 4095;  // 12 bits (RFC 4724, 3)
constexpr std::string_view community_policy = "add-communities";

Result<> check(const SessionSpec& session, const std::string& where) {
  if (session.peer_asn.number == 0) {
    return base::fail(ErrorKind::input, "{}: peer_asn: expected a number from 1 on", where);
  }
  if (session.password.size() > longest_password) {
    return base::fail(ErrorKind::input, "{}: password: the kernel takes at most {} bytes", where,
                      longest_password);
  }
  const auto hold = session.hold_time_s;
  if (hold == 1 || hold == 2 || hold > longest_hold_time) {
    return base::fail(ErrorKind::input, "{}: hold_time_s: expected 0, or 3 to {}, got {}", where,
                      longest_hold_time, hold);
  }
  const auto restart = session.restart_time_s.value_or(1);
  if (restart == 0 || restart > longest_restart) {
    return base::fail(ErrorKind::input, "{}: restart_time_s: expected 1 to {}, got {}", where,
                      longest_restart, restart);
  }
  if (session.families.empty()) {
    return base::fail(ErrorKind::input, "{}: families: expected one at least", where);
  }
  if (session.multihop_ttl > 255) {
    return base::fail(ErrorKind::input, "{}: multihop_ttl: expected at most 255, got {}", where,
                      session.multihop_ttl);
  }
  return {};
}

Json families_of(const SessionSpec& session) {
  Json all = Json::array();
  for (const auto family : session.families) {
    Json one = {
        {"config",
         {{"afi-safi-name", family == Family::ipv4_unicast ? "ipv4-unicast" : "ipv6-unicast"}}}};
    if (session.restart_time_s) one["mp-graceful-restart"] = {{"config", {{"enabled", true}}}};
    if (session.max_prefixes > 0) {
      one["prefix-limit"] = {{"config", {{"max-prefixes", session.max_prefixes}}}};
    }
    all.push_back(std::move(one));
  }
  return all;
}

// What neighbours and groups share; `config` is what names the one or the other.
Json session_config(const SessionSpec& session, Json config) {
  config["peer-as"] = session.peer_asn.number;
  if (!session.password.empty()) config["auth-password"] = session.password;
  Json transport = {{"passive-mode", session.passive}};
  if (session.local_address) transport["local-address"] = session.local_address->to_string();
  Json all = {
      {"config", std::move(config)},
      {"timers",
       {{"config",
         {{"hold-time", session.hold_time_s},
          {"keepalive-interval", session.hold_time_s / 3},
          {"connect-retry", session.connect_retry_s}}}}},
      {"transport", {{"config", std::move(transport)}}},
      {"afi-safis", families_of(session)},
  };
  if (session.restart_time_s) {
    all["graceful-restart"] = {
        {"config", {{"enabled", true}, {"restart-time", *session.restart_time_s}}}};
  }
  if (session.multihop_ttl > 0) {
    all["ebgp-multihop"] = {
        {"config", {{"enabled", true}, {"multihop-ttl", session.multihop_ttl}}}};
  }
  return all;
}

Json community_policies(const std::vector<Community>& communities) {
  Json list = Json::array();
  for (const auto& community : communities) list.push_back(community.to_string());
  const Json action = {
      {"set-community",
       {{"options", "add"}, {"set-community-method", {{"communities-list", std::move(list)}}}}}};
  const Json statement = {
      {"name", community_policy},
      {"actions", {{"route-disposition", "accept-route"}, {"bgp-actions", action}}}};
  return Json::array({Json{{"name", community_policy}, {"statements", Json::array({statement})}}});
}

}  // namespace

Result<> check(const DaemonSpec& spec) {
  const auto& global = spec.global;
  if (global.asn.number == 0) {
    return base::fail(ErrorKind::input, "asn: expected a number from 1 on");
  }
  if (global.router_id.family != base::AddressFamily::ipv4 ||
      global.router_id == base::IpAddress()) {
    return base::fail(ErrorKind::input, "router_id: expected an IPv4 address, got {}",
                      global.router_id);
  }
  if (global.port < -1 || global.port > 65535 || global.port == 0) {
    return base::fail(ErrorKind::input, "port: expected -1, or 1 to 65535, got {}", global.port);
  }
  std::set<base::IpAddress> addresses;
  for (const auto& neighbor : spec.neighbors) {
    RETURN_IF_ERROR(check(neighbor.session, fmt::format("neighbor {}", neighbor.address)));
    if (!addresses.insert(neighbor.address).second) {
      return base::fail(ErrorKind::input, "neighbor {}: named twice", neighbor.address);
    }
  }
  std::set<std::string> names;
  for (const auto& group : spec.dynamic_neighbors) {
    RETURN_IF_ERROR(check(group.session, fmt::format("dynamic_neighbors {}", group.name)));
    if (group.name.empty() || !names.insert(group.name).second) {
      return base::fail(ErrorKind::input, "dynamic_neighbors: \"{}\" is no name, or named twice",
                        group.name);
    }
    if (!group.session.password.empty()) {
      // Its listener gets the passwords of neighbours it knows by address, and no others.
      return base::fail(ErrorKind::input,
                        "dynamic_neighbors {}: password: GoBGP signs with neighbours of known "
                        "addresses only; name them as passive neighbors",
                        group.name);
    }
    if (group.networks.empty()) {
      return base::fail(ErrorKind::input, "dynamic_neighbors {}: networks: expected one at least",
                        group.name);
    }
  }
  return {};
}

Json configuration(const DaemonSpec& spec) {
  Json addresses = Json::array();
  for (const auto& address : spec.global.listen_addresses) addresses.push_back(address.to_string());
  Json global = {{"config",
                  {{"as", spec.global.asn.number},
                   {"router-id", spec.global.router_id.to_string()},
                   {"port", spec.global.port}}},
                 {"use-multiple-paths", {{"config", {{"enabled", spec.global.multipath}}}}}};
  if (!addresses.empty()) global["config"]["local-address-list"] = std::move(addresses);
  Json all;
  if (!spec.communities.empty()) {
    global["apply-policy"] = {{"config",
                               {{"export-policy-list", Json::array({community_policy})},
                                {"default-export-policy", "accept-route"}}}};
    all["policy-definitions"] = community_policies(spec.communities);
  }
  all["global"] = std::move(global);
  for (const auto& neighbor : spec.neighbors) {
    all["neighbors"].push_back(
        session_config(neighbor.session, {{"neighbor-address", neighbor.address.to_string()}}));
  }
  for (const auto& group : spec.dynamic_neighbors) {
    auto session = group.session;
    session.passive = true;
    all["peer-groups"].push_back(session_config(session, {{"peer-group-name", group.name}}));
    for (const auto& network : group.networks) {
      all["dynamic-neighbors"].push_back(
          {{"config", {{"prefix", network.to_string()}, {"peer-group", group.name}}}});
    }
  }
  return all;
}

}  // namespace bgp_peer
