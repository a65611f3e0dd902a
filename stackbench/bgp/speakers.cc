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
using bgp_peer::Path;
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
  std::unique_ptr<Speakers> made(new Speakers(target, environment, spec, directory));
  RETURN_IF_ERROR(made->begin(interrupt));
  return made;
}

Speakers::~Speakers() {
  // The environment may be gone already, and then nobody is called any more.
  (void)target_.follow_services(environment_.name, {});
}

Result<> Speakers::begin(const base::Interrupt& interrupt) {
  RETURN_IF_ERROR(restart_router());
  for (const auto& node : environment_.nodes) {
    NodeStart how;
    if (spec_.graceful_nodes) how.restart_time_s = spec_.restart_time_s;
    RETURN_IF_ERROR(restart_node(node.number, how));
  }
  RETURN_IF_ERROR(remove_static_routes());
  RETURN_IF_ERROR(await_sessions(interrupt));
  return target_.follow_services(environment_.name, [this](const auto& table, bool programmed) {
    return follow(table, programmed);
  });
}

bgp_peer::SessionSpec Speakers::session_spec() const {
  return {.password = spec_.password,
          .hold_time_s = spec_.hold_time_s,
          .restart_time_s = spec_.restart_time_s,
          .families = families};
}

Result<bgp_peer::DaemonSpec> Speakers::router_spec() const {
  auto session = session_spec();
  session.peer_asn = spec_.node_asn;
  session.max_prefixes = spec_.max_prefixes;
  bgp_peer::DaemonSpec router{.global = {.asn = spec_.router_asn,
                                         .router_id = addresses::router_ipv4(),
                                         .multipath = true}};
  if (spec_.password.empty()) {
    ASSIGN_OR_RETURN(const auto subnet, Prefix::parse("172.18.0.0/16"));
    router.dynamic_neighbors = {{.name = "nodes", .networks = {subnet}, .session = session}};
    return router;
  }
  session.passive = true;
  for (const auto& node : environment_.nodes) {
    router.neighbors.push_back({.address = node.ipv4, .session = session});
  }
  return router;
}

bgp_peer::SinkSpec Speakers::sink() const {
  bgp_peer::SinkSpec sink{.netns = target_.environment(environment_.name)->netns("router"),
                          .address = addresses::router_ipv4(),
                          .asn = spec_.router_asn,
                          .router_id = addresses::router_ipv4(),
                          .hold_time_s = static_cast<std::uint16_t>(spec_.hold_time_s),
                          .password = spec_.password};
  for (const auto& node : environment_.nodes) sink.neighbors.push_back(node.ipv4);
  return sink;
}

bgp_peer::DaemonSpec Speakers::node_spec(const cluster::NodeHandle& node,
                                         const NodeStart& how) const {
  auto session = session_spec();
  session.peer_asn = spec_.router_asn;
  session.local_address = node.ipv4;
  session.restart_time_s = how.restart_time_s;
  session.password = how.password.value_or(spec_.password);
  return {.global = {.asn = how.asn.value_or(spec_.node_asn), .router_id = node.ipv4, .port = -1},
          .neighbors = {{.address = addresses::router_ipv4(), .session = session}}};
}

Result<> Speakers::restart_router() {
  // One at a time: they would share a port, and files.
  router_.reset();
  ASSIGN_OR_RETURN(const auto spec, router_spec());
  ASSIGN_OR_RETURN(auto daemon, start_at("router", spec));
  router_.emplace(std::move(daemon));
  return {};
}

Result<> Speakers::restart_node(int node, const NodeStart& how) {
  nodes_.erase(node);
  const auto its = std::ranges::find(environment_.nodes, node, &cluster::NodeHandle::number);
  ASSIGN_OR_RETURN(auto daemon, start_at(node_place(node), node_spec(*its, how), how.restarting));
  nodes_.emplace(node, std::move(daemon));
  return how.announces ? announce_again(node) : Result<>();
}

Result<> Speakers::announce_more(int node, const std::vector<Prefix>& prefixes) const {
  std::vector<bgp_peer::Path> paths;
  paths.reserve(prefixes.size());
  for (const auto& prefix : prefixes) paths.push_back(path_of(node, prefix));
  return nodes_.at(node).client().add_paths(paths);
}

Result<> Speakers::withdraw_more(int node, const std::vector<Prefix>& prefixes) const {
  for (const auto& prefix : prefixes) {
    RETURN_IF_ERROR(nodes_.at(node).client().remove_path(path_of(node, prefix)));
  }
  return {};
}

Result<> Speakers::announce_again(int node) {
  announced_[node].clear();
  return announce(wanted(table_, fault_ == Fault::announced_without_endpoint));
}

Result<bgp_peer::Daemon> Speakers::start_at(const std::string& place,
                                            const bgp_peer::DaemonSpec& daemon,
                                            bool restarting) const {
  const auto its = directory_ + "/" + place;
  std::error_code code;
  std::filesystem::create_directories(its, code);
  if (code) return base::system_error(code.value(), "{}", its);
  const int netns = target_.environment(environment_.name)->netns(place);
  const auto& sandbox = *target_.sandbox();
  auto started = bgp_peer::Daemon::start(
      daemon, {.directory = its,
               .spawn =
                   [netns, &sandbox](base::SpawnOptions options) {
                     return sandbox.spawn(std::move(options), {.netns = netns});
                   },
               .restarting = restarting});
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
        if (out_.contains(node.number)) continue;
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

// One path is one call, and nodes come after each other; of many, each node is told at once with
// the others, as speakers of their own would be.
Result<> Speakers::tell(const std::map<int, std::vector<Path>>& paths) const {
  if (std::ranges::all_of(paths, [](const auto& its) { return its.second.size() <= 1; })) {
    for (const auto& [node, its] : paths) {
      if (its.empty()) continue;
      const auto& client = nodes_.at(node).client();
      RETURN_IF_ERROR(its[0].withdrawn ? client.remove_path(its[0]) : client.add_path(its[0]));
    }
    return {};
  }
  // Each call has the client's deadline.
  constexpr std::size_t paths_a_call = 500;
  std::map<int, Result<>> outcomes;
  for (const auto& [node, its] : paths) outcomes[node];
  {
    std::vector<std::jthread> threads;
    for (const auto& [node, its] : paths) {
      threads.emplace_back([&client = nodes_.at(node).client(), &its = its,
                            &outcome = outcomes.at(node)] {
        for (std::size_t first = 0; first < its.size() && outcome; first += paths_a_call) {
          const auto end =
              its.begin() + static_cast<std::ptrdiff_t>(std::min(its.size(), first + paths_a_call));
          outcome = client.add_paths({its.begin() + static_cast<std::ptrdiff_t>(first), end});
        }
      });
    }
  }
  for (auto& [node, outcome] : outcomes) {
    if (!outcome) return base::in_context(std::move(outcome).error(), "{}", node_place(node));
  }
  return {};
}

Result<> Speakers::announce(const Announced& now) {
  std::map<int, std::vector<Path>> paths;
  for (const auto& [node, prefixes] : now) {
    for (const auto& prefix : prefixes) {
      if (!announced_[node].contains(prefix)) paths[node].push_back(path_of(node, prefix));
    }
  }
  if (paths.empty()) return {};
  announced_at_ = base::monotonic_now();
  RETURN_IF_ERROR(tell(paths));
  for (const auto& [node, prefixes] : now)
    announced_[node].insert(prefixes.begin(), prefixes.end());
  return {};
}

Result<> Speakers::withdraw(const Announced& now) {
  std::map<int, std::vector<Path>> paths;
  for (const auto& [node, has] : announced_) {
    for (const auto& prefix : has) {
      if (now.at(node).contains(prefix)) continue;
      auto path = path_of(node, prefix);
      path.withdrawn = true;
      paths[node].push_back(std::move(path));
    }
  }
  RETURN_IF_ERROR(tell(paths));
  for (auto& [node, has] : announced_) {
    std::erase_if(has, [&](const auto& prefix) { return !now.at(node).contains(prefix); });
  }
  return {};
}

Result<> Speakers::take_out(int node) {
  out_.insert(node);
  return withdraw(wanted(table_, false));
}

Result<> Speakers::put_back(int node) {
  out_.erase(node);
  return announce(wanted(table_, false));
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
