#include "stackbench/bgp/cluster_ground.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "cluster/endpoints.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/nodes.h"
#include "stackbench/connect_agent.h"

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using base::IpAddress;
using base::Json;
using base::Result;
using bgp_peer::Family;
using bgp_peer::Prefix;

// Controllers answer writes within seconds, unless they have failed and wait.
constexpr auto cluster_patience = std::chrono::seconds(10);
// A speaker that met nobody waits up to two minutes before it dials again (MetalLB).
constexpr auto cluster_session_patience = std::chrono::seconds(150);
constexpr auto first_announcement_patience = std::chrono::seconds(20);
constexpr auto between_looks = std::chrono::milliseconds(50);
constexpr bgp_peer::Community wrong_community{0xfde8'dead};
constexpr std::string_view hostname_label = "kubernetes.io/hostname";
const std::vector<Family> both_families{Family::ipv4_unicast, Family::ipv6_unicast};

}  // namespace

ClusterGround::ClusterGround(cluster::KubernetesTarget& target, cluster::EnvironmentPlan plan,
                             RouterPlace place, ClusterGroundSpec spec)
    : target_(target),
      plan_(std::move(plan)),
      place_(std::move(place)),
      spec_(std::move(spec)),
      telling_{.run = target.run(),
               .pool = spec_.pool,
               .router = place_.address,
               .speakers = spec_.speakers} {}

Result<std::unique_ptr<ClusterGround>> ClusterGround::make(cluster::KubernetesTarget& target,
                                                           const cluster::EnvironmentPlan& plan,
                                                           RouterPlace place,
                                                           ClusterGroundSpec spec) {
  const bool can_be_planted = spec.fault == Fault::none || spec.fault == Fault::wrong_community ||
                              spec.fault == Fault::announced_without_endpoint;
  if (!can_be_planted) {
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("bgp.fault: {} is planted in the lab alone: on a cluster speakers and servers "
                    "are not ours to break",
                    base::enum_name(spec.fault)),
        "There, wrong_community and announced_without_endpoint can be planted.");
  }
  return std::unique_ptr<ClusterGround>(
      new ClusterGround(target, plan, std::move(place), std::move(spec)));
}

std::map<std::string, std::string> ClusterGround::session_interfaces() const {
  return {{"router", place_.interface}};
}

base::Duration ClusterGround::patience() const { return cluster_patience; }

const bgp_peer::Client& ClusterGround::router() const {
  return daemon_ ? daemon_->client() : *reached_;
}

Result<> ClusterGround::begin(const std::string& directory, const base::Interrupt& interrupt) {
  // Before anybody is told to dial it: who meets nobody waits ever longer.
  RETURN_IF_ERROR(start_router(directory, interrupt));
  RETURN_IF_ERROR(tell_announcer());
  ASSIGN_OR_RETURN(environment_, target_.provision(plan_));
  for (const auto& pod : environment_.pods) {
    readiness_[pod.name] = cluster::first_readiness(pod) == cluster::Readiness::ready;
  }
  RETURN_IF_ERROR(start_responders(interrupt));
  RETURN_IF_ERROR(await_sessions(interrupt));
  return await_announcements(interrupt);
}

Result<> ClusterGround::start_router(const std::string& directory,
                                     const base::Interrupt& interrupt) {
  if (!place_.api.empty()) {
    ASSIGN_OR_RETURN(auto client, bgp_peer::Client::connect(place_.api, std::chrono::seconds(5),
                                                            interrupt.fd()));
    ASSIGN_OR_RETURN(const auto global, client.global());
    const auto asn = global ? global->asn.number : 0;
    if (asn != spec_.speakers.router_asn.number) {
      return base::fail(ErrorKind::input,
                        "bgp.router_asn: the gobgpd at {} is AS {}, and the scenario says {}",
                        place_.api, asn, spec_.speakers.router_asn.number);
    }
    reached_.emplace(std::move(client));
    return {};
  }
  std::vector<Prefix> nodes;
  for (const auto& [name, object] : target_.nodes()) {
    for (const auto& address : cluster::json_at(object, {"status", "addresses"})) {
      if (cluster::text_at(address, {"type"}) != "InternalIP") continue;
      const auto its = IpAddress::parse(cluster::text_at(address, {"address"}));
      if (its) nodes.push_back(Prefix::host(*its));
    }
  }
  const auto its = directory + "/router";
  std::error_code code;
  std::filesystem::create_directories(its, code);
  if (code) return base::system_error(code.value(), "{}", its);
  const bgp_peer::SessionSpec session{.peer_asn = spec_.speakers.node_asn,
                                      .hold_time_s = spec_.speakers.hold_time_s,
                                      .restart_time_s = spec_.speakers.restart_time_s,
                                      .families = both_families};
  auto started = bgp_peer::Daemon::start(
      {.global = {.asn = spec_.speakers.router_asn, .router_id = place_.address, .multipath = true},
       .dynamic_neighbors = {{.name = "nodes", .networks = nodes, .session = session}}},
      {.directory = its, .spawn = bgp_peer::in_netns(place_.router.get())});
  if (!started) return base::in_context(std::move(started).error(), "the peer's gobgpd");
  daemon_.emplace(std::move(*started));
  return {};
}

Result<> ClusterGround::tell_announcer() {
  ASSIGN_OR_RETURN(announcer_, target_.announcer());
  if (!announcer_) {
    return base::fail_with_mend(
        ErrorKind::missing,
        "nobody in this cluster announces addresses by BGP: it has the definitions of neither "
        "MetalLB nor Cilium's BGP control plane",
        "A cluster of this machine's own has MetalLB after: stackbench up --bgp metallb");
  }
  const auto kind = announcer_->kind;
  ASSIGN_OR_RETURN(const auto chosen, cluster::choose_nodes(target_.nodes(), plan_.topology.nodes));
  for (const auto& node : chosen) {
    const auto& object = target_.nodes().at(node.name);
    auto label = cluster::text_at(object, {"metadata", "labels", hostname_label});
    telling_.nodes.push_back(label.empty() ? node.name : std::move(label));
  }
  ASSIGN_OR_RETURN(const auto pools, target_.objects_of(*announcer_, pool_kind(kind)));
  RETURN_IF_ERROR(check_pool(kind, pools, telling_.pool));
  std::map<std::string, std::vector<Json>, std::less<>> sessions;
  for (const auto object_kind : peering_kinds(kind)) {
    ASSIGN_OR_RETURN(sessions[std::string(object_kind)],
                     target_.objects_of(*announcer_, object_kind));
  }
  ASSIGN_OR_RETURN(peering_, find_peering(kind, sessions, telling_));
  auto told = telling_;
  if (spec_.fault == Fault::wrong_community) {
    told.speakers.communities.push_back(wrong_community);
  }
  ASSIGN_OR_RETURN(const auto objects, told_objects(kind, told, peering_));
  ASSIGN_OR_RETURN(const auto annotations, service_annotations(kind, telling_));
  return target_.announce(*announcer_, objects, annotations);
}

Result<> ClusterGround::start_responders(const base::Interrupt& interrupt) {
  bench::ListenJob job;
  for (const auto& port : plan_.ports) {
    job.ports.push_back({.port = port.target_port, .protocol = port.protocol});
  }
  for (const auto& pod : environment_.pods) {
    ASSIGN_OR_RETURN(auto streams, target_.agent(plan_.name, pod.name));
    ASSIGN_OR_RETURN(auto agent,
                     connect_agent(std::move(streams), "agent " + pod.name, &interrupt));
    job.server_id = pod.id;
    RETURN_IF_ERROR(agent.start_listener(job));
    agents_.push_back(std::move(agent));
  }
  return {};
}

Result<> ClusterGround::await_sessions(const base::Interrupt& interrupt) const {
  const auto give_up = base::monotonic_now() + cluster_session_patience;
  if (spec_.progress) spec_.progress("waiting for the nodes' BGP sessions with the peer");
  for (;;) {
    ASSIGN_OR_RETURN(const auto peers, router().peers());
    std::vector<std::string> missing;
    for (const auto& node : environment_.nodes) {
      const auto found = std::ranges::find(peers, node.ipv4, &bgp_peer::Peer::address);
      if (found != peers.end() && found->state == bgp_peer::SessionState::established) continue;
      missing.push_back(fmt::format("{} {}", node.ipv4,
                                    found == peers.end()
                                        ? "has not connected"
                                        : fmt::format("is {}", base::enum_name(found->state))));
    }
    if (missing.empty()) return {};
    if (base::monotonic_now() > give_up) {
      return base::fail_with_mend(
          ErrorKind::timed_out,
          fmt::format(
              "BGP sessions with the peer at {} are not established after {} s: {}", place_.address,
              std::chrono::duration_cast<std::chrono::seconds>(cluster_session_patience).count(),
              fmt::join(missing, ", ")),
          "See what the cluster's speakers log, and whether they reach that address.");
    }
    RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + between_looks));
  }
}

// So that the first withdrawal has something to withdraw. Where it does not come to that, the
// checks find it.
Result<> ClusterGround::await_announcements(const base::Interrupt& interrupt) const {
  const auto give_up = base::monotonic_now() + first_announcement_patience;
  while (base::monotonic_now() < give_up) {
    bool all_there = true;
    for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
      ASSIGN_OR_RETURN(const auto paths,
                       router().paths(family == base::AddressFamily::ipv4 ? Family::ipv4_unicast
                                                                          : Family::ipv6_unicast));
      for (const auto& one : expected(family)) {
        const auto count = std::ranges::count_if(paths, [&](const bgp_peer::Path& path) {
          return path.prefix == one.prefix && !path.withdrawn;
        });
        all_there = all_there && std::cmp_equal(count, one.next_hops.size());
      }
    }
    if (all_there) return {};
    RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + between_looks));
  }
  return {};
}

Result<cluster::WriteStamps> ClusterGround::write_service(const std::string& name) {
  auto spec = plan_.topology.services.at(name);
  if (fault_ == Fault::announced_without_endpoint) {
    spec.external_traffic_policy = base::kube::TrafficPolicy::Cluster;
  }
  // The target makes it its own: its name, its namespace's, and its labels.
  cluster::Placement place;
  place.run = target_.run();
  place.environment = plan_.name;
  auto manifest = cluster::service_manifest(place, name, spec, plan_.ports);
  manifest["metadata"]["namespace"] = plan_.topology.pods.at(spec.target).in_namespace;
  const auto& addresses = environment_.services.at(name).load_balancer_addresses;
  const auto its = addresses.empty() ? std::nullopt : std::optional(addresses.front());
  ASSIGN_OR_RETURN(const auto annotations, service_annotations(announcer_->kind, telling_, its));
  for (const auto& [key, value] : annotations) manifest["metadata"]["annotations"][key] = value;
  return target_.apply(plan_.name, manifest);
}

Result<cluster::WriteStamps> ClusterGround::write(const Rounds& rounds, bool present) {
  if (rounds.write == Write::readiness) {
    std::map<std::string, cluster::Readiness> pods;
    const auto& group = environment_.services.at(rounds.service).target;
    for (const auto& pod : environment_.pods) {
      if (pod.group != group) continue;
      pods[pod.name] = present ? cluster::Readiness::ready : cluster::Readiness::unready;
      readiness_[pod.name] = present;
    }
    return target_.set_readiness(environment_.name, rounds.family, pods);
  }
  if (present) {
    absent_.erase(rounds.service);
    return write_service(rounds.service);
  }
  absent_.insert(rounds.service);
  return target_.remove(environment_.name, "Service", rounds.service);
}

std::vector<IpAddress> ClusterGround::announcing_nodes(const std::string& service,
                                                       base::AddressFamily family) const {
  const auto& spec = plan_.topology.services.at(service);
  const bool by_all = spec.external_traffic_policy == base::kube::TrafficPolicy::Cluster;
  std::vector<IpAddress> nodes;
  bool any_ready = false;
  for (const auto& node : environment_.nodes) {
    const bool ready = std::ranges::any_of(environment_.pods, [&](const cluster::PodHandle& pod) {
      return pod.group == spec.target && pod.node == node.number && readiness_.at(pod.name);
    });
    any_ready = any_ready || ready;
    if (by_all || ready) nodes.push_back(node.address(family));
  }
  return any_ready ? nodes : std::vector<IpAddress>();
}

std::vector<checks::ExpectedAnnouncement> ClusterGround::expected(
    base::AddressFamily family) const {
  std::vector<checks::ExpectedAnnouncement> all;
  for (const auto& [name, service] : environment_.services) {
    if (absent_.contains(name)) continue;
    for (const auto& address : service.load_balancer_addresses) {
      if (address.family != family) continue;
      auto next_hops = announcing_nodes(name, family);
      if (next_hops.empty()) continue;
      all.push_back({.prefix = Prefix::host(address),
                     .next_hops = std::move(next_hops),
                     .as_path = {spec_.speakers.node_asn},
                     .communities = spec_.speakers.communities});
    }
  }
  return all;
}

Prefix ClusterGround::pool(base::AddressFamily family) const {
  // Of the other family the run has no addresses: nothing is in none.
  if (spec_.pool.address.family == family) return spec_.pool;
  const IpAddress none{.family = family};
  return Prefix::host(none);
}

std::vector<checks::ExpectedSession> ClusterGround::expected_sessions() const {
  std::vector<checks::ExpectedSession> all;
  for (const auto& node : environment_.nodes) {
    all.push_back({.neighbor = node.ipv4,
                   .asn = spec_.speakers.node_asn,
                   .hold_time_s = spec_.speakers.hold_time_s,
                   .families = both_families,
                   .restart_time_s = spec_.speakers.restart_time_s});
  }
  return all;
}

Json ClusterGround::facts() const {
  Json facts = {{"announcer", announcer_ ? Json(base::enum_name(announcer_->kind)) : Json()},
                {"pool", spec_.pool.to_string()},
                {"session_configured_by", peering_.there ? "others" : "this run"},
                {"peer",
                 {{"address", place_.address.to_string()},
                  {"gobgpd", place_.api.empty() ? Json("of this run") : Json(place_.api)},
                  {"routes_seen", place_.router ? "in its kernel" : "in its table"}}},
                {"client", place_.client_name}};
  return facts;
}

}  // namespace stackbench::bgp
