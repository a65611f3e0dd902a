#include "stackbench/bgp/speakers.h"

#include <filesystem>
#include <thread>

#include "cluster/lab/addresses.h"

namespace stackbench::bgp {
namespace {

namespace addresses = cluster::addresses;
using base::ErrorKind;
using base::Result;
using bgp_peer::Family;
using bgp_peer::Prefix;

constexpr auto session_patience = std::chrono::seconds(30);
constexpr auto session_look = std::chrono::milliseconds(20);
const std::vector<Family> families{Family::ipv4_unicast, Family::ipv6_unicast};

std::string node_place(int node) { return fmt::format("node{}", node); }

}  // namespace

Result<std::unique_ptr<Speakers>> Speakers::start(cluster::LabTarget& target,
                                                  const cluster::EnvironmentHandle& environment,
                                                  const SpeakersSpec& spec,
                                                  const std::string& directory,
                                                  const base::Interrupt& interrupt) {
  std::unique_ptr<Speakers> made(new Speakers(target, environment, spec));
  RETURN_IF_ERROR(made->begin(directory, interrupt));
  return made;
}

Speakers::~Speakers() {
  // The environment may be gone already, and then nobody is called any more.
  (void)target_.follow_services(environment_.name, {});
}

Result<> Speakers::begin(const std::string& directory, const base::Interrupt& interrupt) {
  const bgp_peer::SessionSpec nodes{.peer_asn = spec_.node_asn,
                                    .hold_time_s = spec_.hold_time_s,
                                    .restart_time_s = spec_.restart_time_s,
                                    .families = families};
  ASSIGN_OR_RETURN(const auto subnet, Prefix::parse("172.18.0.0/16"));
  ASSIGN_OR_RETURN(
      auto router,
      start_at("router",
               {.global = {.asn = spec_.router_asn,
                           .router_id = addresses::router_ipv4(),
                           .multipath = true},
                .dynamic_neighbors = {{.name = "nodes", .networks = {subnet}, .session = nodes}}},
               directory));
  router_.emplace(std::move(router));
  auto session = nodes;
  session.peer_asn = spec_.router_asn;
  for (const auto& node : environment_.nodes) {
    session.local_address = node.ipv4;
    ASSIGN_OR_RETURN(
        auto daemon,
        start_at(node_place(node.number),
                 {.global = {.asn = spec_.node_asn, .router_id = node.ipv4, .port = -1},
                  .neighbors = {{.address = addresses::router_ipv4(), .session = session}}},
                 directory));
    nodes_.emplace(node.number, std::move(daemon));
  }
  RETURN_IF_ERROR(remove_static_routes());
  RETURN_IF_ERROR(await_sessions(interrupt));
  return target_.follow_services(environment_.name, [this](const auto& table, bool programmed) {
    return follow(table, programmed);
  });
}

Result<bgp_peer::Daemon> Speakers::start_at(const std::string& place,
                                            const bgp_peer::DaemonSpec& daemon,
                                            const std::string& directory) const {
  const auto its = directory + "/" + place;
  std::error_code code;
  std::filesystem::create_directories(its, code);
  if (code) return base::system_error(code.value(), "{}", its);
  const int netns = target_.environment(environment_.name)->netns(place);
  const auto& sandbox = *target_.sandbox();
  auto started = bgp_peer::Daemon::start(
      daemon, {.directory = its, .spawn = [netns, &sandbox](base::SpawnOptions options) {
                 return sandbox.spawn(std::move(options), {.netns = netns});
               }});
  if (!started) return base::in_context(std::move(started).error(), "gobgpd of {}", place);
  return started;
}

// They stand in for announcements where nobody announces.
Result<> Speakers::remove_static_routes() const {
  std::string batch;
  for (const auto& [name, service] : environment_.services) {
    for (const auto& address : service.load_balancer_addresses) {
      batch += fmt::format("route del {}/{}\n", address, address.host_prefix());
    }
  }
  if (batch.empty()) return {};
  const int netns = target_.environment(environment_.name)->netns("router");
  return target_.sandbox()->ip({.netns = netns}, batch);
}

Result<> Speakers::await_sessions(const base::Interrupt& interrupt) const {
  const auto give_up = base::monotonic_now() + session_patience;
  for (;;) {
    ASSIGN_OR_RETURN(const auto peers, router().peers());
    const auto up =
        std::ranges::count(peers, bgp_peer::SessionState::established, &bgp_peer::Peer::state);
    if (std::cmp_equal(up, nodes_.size())) return {};
    if (base::monotonic_now() > give_up) {
      return base::fail(ErrorKind::timed_out,
                        "{} of {} BGP sessions with the lab's router are established after {} s",
                        up, nodes_.size(),
                        std::chrono::duration_cast<std::chrono::seconds>(session_patience).count());
    }
    RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + session_look));
  }
}

Speakers::Announced Speakers::wanted(const cluster::ServiceTable& table, bool everywhere) const {
  Announced all;
  for (const auto& node : environment_.nodes) all[node.number];
  for (const auto& entry : table.entries) {
    for (const auto& address : entry.load_balancer_ips) {
      for (const auto& node : environment_.nodes) {
        const bool has_endpoint =
            std::ranges::find(entry.backends, node_place(node.number), &cluster::Backend::node) !=
            entry.backends.end();
        if (!entry.external_local || has_endpoint || everywhere) {
          all[node.number].insert(Prefix::host(address));
        }
      }
    }
  }
  return all;
}

bgp_peer::Path Speakers::path_of(int node, const Prefix& prefix) const {
  const auto its = std::ranges::find(environment_.nodes, node, &cluster::NodeHandle::number);
  bgp_peer::Path path{.prefix = prefix,
                      .next_hop = its->address(prefix.address.family),
                      .origin = bgp_peer::Origin::igp,
                      .communities = spec_.communities};
  if (fault_ == Fault::wrong_community) path.communities.push_back({0xfde8'dead});
  return path;
}

Result<> Speakers::follow(const cluster::ServiceTable& table, bool programmed) {
  table_ = table;
  const auto now = wanted(table, fault_ == Fault::announced_without_endpoint);
  if (programmed) {
    RETURN_IF_ERROR(announce(now));
    if (fault_ != Fault::withdrawal_delayed) return {};
    const bool withdraws = std::ranges::any_of(announced_, [&](const auto& node) {
      return !std::ranges::includes(now.at(node.first), node.second);
    });
    if (withdraws) std::this_thread::sleep_for(withdrawal_delay);
    return withdraw(now);
  }
  if (fault_ == Fault::withdrawal_delayed || fault_ == Fault::withdrawal_suppressed) return {};
  return withdraw(now);
}

Result<> Speakers::announce(const Announced& now) {
  for (const auto& [node, prefixes] : now) {
    auto& has = announced_[node];
    for (const auto& prefix : prefixes) {
      if (has.contains(prefix)) continue;
      announced_at_ = base::monotonic_now();
      RETURN_IF_ERROR(nodes_.at(node).client().add_path(path_of(node, prefix)));
      has.insert(prefix);
    }
  }
  return {};
}

Result<> Speakers::withdraw(const Announced& now) {
  for (auto& [node, has] : announced_) {
    for (auto prefix = has.begin(); prefix != has.end();) {
      if (now.at(node).contains(*prefix)) {
        ++prefix;
        continue;
      }
      RETURN_IF_ERROR(nodes_.at(node).client().remove_path(path_of(node, *prefix)));
      prefix = has.erase(prefix);
    }
  }
  return {};
}

std::vector<checks::ExpectedAnnouncement> Speakers::expected(base::AddressFamily family) const {
  std::map<Prefix, std::vector<base::IpAddress>> hops;
  for (const auto& [number, prefixes] : wanted(table_, false)) {
    const auto node = std::ranges::find(environment_.nodes, number, &cluster::NodeHandle::number);
    for (const auto& prefix : prefixes) {
      if (prefix.address.family == family) hops[prefix].push_back(node->address(family));
    }
  }
  std::vector<checks::ExpectedAnnouncement> all;
  for (auto& [prefix, next_hops] : hops) {
    all.push_back({.prefix = prefix,
                   .next_hops = std::move(next_hops),
                   .as_path = {spec_.node_asn},
                   .communities = spec_.communities});
  }
  return all;
}

std::vector<checks::ExpectedSession> Speakers::expected_sessions() const {
  std::vector<checks::ExpectedSession> all;
  for (const auto& node : environment_.nodes) {
    all.push_back({.neighbor = node.ipv4,
                   .asn = spec_.node_asn,
                   .hold_time_s = spec_.hold_time_s,
                   .families = families,
                   .restart_time_s = spec_.restart_time_s});
  }
  return all;
}

}  // namespace stackbench::bgp
