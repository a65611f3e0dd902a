#include "cluster/lab/environment.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "cluster/agent_errors.h"
#include "cluster/endpoints.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/datapath/direct.h"
#include "cluster/lab/datapath/ebpf_paired.h"
#include "cluster/lab/datapath/ebpf_tc.h"
#include "cluster/lab/datapath/iptables.h"
#include "cluster/lab/datapath/nftables.h"
#include "cluster/lab/datapath/rule_sync.h"
#include "cluster/lab/filler.h"
#include "cluster/lab/wiring.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

// How long a program in a node may take: nft loads 10,000 Services in 15 s here.
constexpr base::Duration rules_patience = std::chrono::minutes(5);
// How long after its streams an agent's process may take to end.
constexpr base::Duration end_follows_streams = std::chrono::milliseconds(200);

// How late the fault stale_backend lets the datapath hear of a backend that leaves.
constexpr base::Duration stale_for = std::chrono::milliseconds(300);

// Beside the datapath's own tables, and before them.
constexpr std::string_view lossy_rules =
    "table inet stackbench-fault {\n"
    "  chain forward {\n"
    "    type filter hook forward priority -200;\n"
    "    meta l4proto udp numgen inc mod 1000 == 999 drop\n"
    "  }\n"
    "}\n";

// Fewer than a workload of many connections has, and enough for a few short ones.
constexpr std::uint32_t too_few_connections = 16;

Result<std::unique_ptr<Datapath>> make_datapath(const EnvironmentPlan& plan,
                                                const std::vector<DatapathNode>& nodes) {
  EbpfTcSettings settings{.hides_clients = has_fault(plan, FaultKind::source_rewritten)};
  if (has_fault(plan, FaultKind::connection_table_too_small)) {
    settings.table.connections = too_few_connections;
  }
  switch (plan.datapath) {
    case DatapathKind::direct:
    case DatapathKind::installed:  // unavailable, so nobody asks for it
      return make_direct_datapath(nodes);
    case DatapathKind::iptables:
      return make_iptables_datapath(nodes);
    case DatapathKind::nftables:
      return make_nftables_datapath(nodes);
    case DatapathKind::ebpf_socket:
      // The fault: every connection works, but it is translated on its way, not in connect(2).
      if (has_fault(plan, FaultKind::hook_left_out)) return make_nftables_datapath(nodes);
      return make_ebpf_paired_datapath(nodes, settings);
    case DatapathKind::ebpf_tc:
      return make_ebpf_tc_datapath(nodes, settings);
  }
  return make_direct_datapath(nodes);
}

// `now` with the backends that only `before` has; those that came are there.
ServiceTable with_leaving(const ServiceTable& before, ServiceTable now) {
  for (auto& entry : now.entries) {
    const auto old = std::ranges::find_if(before.entries, [&](const ServiceEntry& other) {
      return std::tie(other.cluster, other.protocol) == std::tie(entry.cluster, entry.protocol);
    });
    if (old == before.entries.end()) continue;
    for (const auto& backend : old->backends) {
      if (std::ranges::find(entry.backends, backend.endpoint, &Backend::endpoint) ==
          entry.backends.end()) {
        entry.backends.push_back(backend);
      }
    }
    std::ranges::sort(entry.backends, {}, &Backend::endpoint);
  }
  return now;
}

Result<> check_faults(const EnvironmentPlan& plan) {
  for (const auto fault : plan.faults) {
    if (!can_break(fault, plan.datapath)) {
      return base::fail(ErrorKind::input,
                        "environment {}: the fault {} has no meaning in datapath {}", plan.name,
                        base::enum_name(fault), base::enum_name(plan.datapath));
    }
  }
  return {};
}

bool is_about_policies(const base::Json& object) {
  const auto kind = object.is_object() ? object.find("kind") : object.end();
  return kind != object.end() && kind->is_string() &&
         kind->get_ref<const std::string&>().starts_with(base::kube::network_policy_kind);
}

std::string without_environment(const std::string& name) { return name.substr(name.find('.') + 1); }

}  // namespace

Result<std::unique_ptr<Environment>> Environment::create(const Sandbox& sandbox,
                                                         const CgroupTree& cgroups,
                                                         const EnvironmentPlan& plan,
                                                         const base::Interrupt* interrupt) {
  RETURN_IF_ERROR(check_faults(plan));
  std::unique_ptr<Environment> environment(new Environment(sandbox, plan, interrupt));
  ASSIGN_OR_RETURN(environment->layout_, lay_out(plan));
  if (auto built = environment->build(cgroups); !built) {
    std::vector<std::string> names;
    for (const auto& [name, netns] : environment->namespaces_) names.push_back(netns.name());
    if (!names.empty()) std::ignore = sandbox.remove_netns(names);
    return base::in_context(std::move(built).error(), "environment {}", plan.name);
  }
  return environment;
}

Environment::~Environment() {
  // Agents first: their sockets are the last to use the hooks.
  agents_.clear();
  mesh_.reset();
  policies_.reset();
  datapath_.reset();
}

Result<> Environment::build(const CgroupTree& cgroups) {
  RETURN_IF_ERROR(make_namespaces());
  ASSIGN_OR_RETURN(nodes_, make_nodes(cgroups));
  ASSIGN_OR_RETURN(datapath_, make_datapath(plan_, nodes_));
  if (has_fault(plan_, FaultKind::datagrams_lost)) {
    RETURN_IF_ERROR(nodes_.front().run({"nft", "-f", "-"}, lossy_rules));
  }
  handle_.name = plan_.name;
  handle_.datapath = plan_.datapath;
  for (int number = 1; number <= layout_.nodes; ++number) {
    handle_.nodes.push_back({number, addresses::node_ipv4(number), addresses::node_ipv6(number)});
  }
  for (const auto& pod : layout_.pods) handle_.pods.push_back(pod.handle);
  handle_.pods.push_back({.name = std::string(external_client),
                          .group = std::string(external_client),
                          .node = 0,
                          .ipv4 = addresses::external_ipv4(),
                          .ipv6 = addresses::external_ipv6(),
                          .id = static_cast<std::uint32_t>(layout_.pods.size() + 1)});
  RETURN_IF_ERROR(know_labels());
  RETURN_IF_ERROR(make_mesh(cgroups));
  return apply_plan();
}

Result<> Environment::make_namespaces() {
  const auto plans = wire(plan_.name, layout_);
  std::vector<std::string> names;
  names.reserve(plans.size());
  for (const auto& plan : plans) names.push_back(plan.name);
  ASSIGN_OR_RETURN(auto made, sandbox_.make_netns(names));
  for (auto& netns : made) {
    std::string key = without_environment(netns.name());
    namespaces_.emplace(std::move(key), std::move(netns));
  }
  // All sysctls before any interface, because `default` is copied when an interface is made.
  for (const auto& plan : plans) {
    const int fd = netns(without_environment(plan.name));
    RETURN_IF_ERROR(sandbox_.inside(fd, [&]() -> Result<> {
      // Loopback has no route to say it on; where the host reserves cubic for root this is refused,
      // and only connections of a namespace with itself differ.
      std::ignore =
          write_sysctls({{"net.ipv4.tcp_congestion_control", std::string(congestion_control)}});
      return write_sysctls(plan.sysctls);
    }));
  }
  for (const auto& plan : plans) {
    const Place place{.netns = netns(without_environment(plan.name))};
    if (auto done = sandbox_.ip(place, plan.ip_batch); !done) {
      return base::in_context(std::move(done).error(), "{}", plan.name);
    }
  }
  return {};
}

Result<std::vector<DatapathNode>> Environment::make_nodes(const CgroupTree& cgroups) {
  std::vector<DatapathNode> nodes;
  ASSIGN_OR_RETURN(observer_cgroup_, cgroups.make(plan_.name + "/observers"));
  const std::string outside(external_client);
  ASSIGN_OR_RETURN(cgroups_[outside], cgroups.make(plan_.name + "/" + outside));
  for (int number = 1; number <= layout_.nodes; ++number) {
    DatapathNode node{.name = fmt::format("node{}", number),
                      .number = number,
                      .ipv4 = addresses::node_ipv4(number),
                      .ipv6 = addresses::node_ipv6(number),
                      .pod_cidr_ipv4 = addresses::pod_cidr_ipv4(number),
                      .pod_cidr_ipv6 = addresses::pod_cidr_ipv6(number),
                      .cluster_cidr_ipv4 = std::string(addresses::cluster_cidr_ipv4),
                      .cluster_cidr_ipv6 = std::string(addresses::cluster_cidr_ipv6)};
    const std::string directory = plan_.name + "/" + node.name;
    ASSIGN_OR_RETURN(node.cgroup, cgroups.make(directory));
    node.netns = netns(node.name);
    node.uplink = child_interface;
    node.inside = [this, fd = node.netns](const std::function<Result<>()>& work) {
      return sandbox_.inside(fd, work);
    };
    node.run = [this, fd = node.netns](const std::vector<std::string>& argv,
                                       std::string_view input) {
      return sandbox_.run({.netns = fd}, argv, input, rules_patience);
    };
    for (const auto& pod : layout_.pods) {
      if (pod.handle.node != number) continue;
      ASSIGN_OR_RETURN(std::string cgroup, cgroups.make(directory + "/" + pod.handle.name));
      node.pods.push_back({.name = pod.handle.name,
                           .ipv4 = pod.handle.ipv4,
                           .ipv6 = pod.handle.ipv6,
                           .cgroup = cgroup,
                           .interface = pod_interface(pod.handle)});
      cgroups_.emplace(pod.handle.name, std::move(cgroup));
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

Result<> Environment::apply_plan() {
  for (const auto& service : services_of(plan_, layout_)) {
    RETURN_IF_ERROR(store_.apply(base::to_json(service)));
    const auto* stored = store_.find_service(service.metadata.name);
    ServiceHandle handle;
    handle.name = service.metadata.name;
    handle.target = plan_.topology.services.at(handle.name).target;
    for (const auto& text : stored->spec.cluster_ips) {
      ASSIGN_OR_RETURN(const auto address, base::IpAddress::parse(text));
      (address.family == base::AddressFamily::ipv4 ? handle.ipv4 : handle.ipv6) = address;
    }
    for (const auto& port : stored->spec.ports) {
      if (port.node_port)
        handle.node_ports[port.name] = static_cast<std::uint16_t>(*port.node_port);
    }
    for (const auto& ingress : stored->status.load_balancer.ingress) {
      ASSIGN_OR_RETURN(const auto address, base::IpAddress::parse(ingress.ip));
      handle.load_balancer_addresses.push_back(address);
    }
    handle_.services.emplace(handle.name, handle);
  }
  for (const auto& slice : slices_of(plan_, layout_)) {
    RETURN_IF_ERROR(store_.apply(base::to_json(slice)));
  }
  for (const auto& service : filler_services(plan_)) {
    RETURN_IF_ERROR(store_.apply(base::to_json(service)));
  }
  for (const auto& slice : filler_slices(plan_, layout_)) {
    RETURN_IF_ERROR(store_.apply(base::to_json(slice)));
  }
  // One sync for all of them.
  RETURN_IF_ERROR(sync());
  return load_filler_policies();
}

Result<> Environment::sync() {
  auto table = store_.service_table();
  if (has_fault(plan_, FaultKind::source_rewritten)) {
    // Routed as under Local, translated as under Cluster.
    for (auto& entry : table.entries) entry.external_local = false;
  }
  if (has_fault(plan_, FaultKind::affinity_ignored)) {
    for (auto& entry : table.entries) entry.affinity = {};
  }
  if (follower_) RETURN_IF_ERROR(follower_(table, false));
  if (has_fault(plan_, FaultKind::stale_backend)) {
    // Its clients have the backends that came, and go on meeting those that left.
    const auto late = with_leaving(table_, table);
    if (late != table) {
      RETURN_IF_ERROR(datapath_->sync(late));
      std::this_thread::sleep_for(stale_for);
    }
  }
  RETURN_IF_ERROR(datapath_->sync(table));
  if (has_fault(plan_, FaultKind::flows_flushed) && table != table_) {
    RETURN_IF_ERROR(forget_udp_flows());
  }
  table_ = std::move(table);
  return sync_mesh();
}

Result<> Environment::tell_follower() const {
  return follower_ ? follower_(table_, true) : Result<>();
}

Result<> Environment::follow_services(ServiceFollower follower) {
  follower_ = std::move(follower);
  return tell_follower();
}

// Their next datagrams are drawn anew, and answered.
Result<> Environment::forget_udp_flows() {
  for (const auto& node : nodes_) {
    for (const char* family : {"ipv4", "ipv6"}) {
      if (auto deleted = delete_flows(node, {"-f", family, "-p", "udp"}); !deleted) {
        return base::in_context(std::move(deleted).error(), "{}", node.name);
      }
    }
  }
  return {};
}

int Environment::netns(std::string_view place) const {
  const auto found = namespaces_.find(place);
  return found == namespaces_.end() ? -1 : found->second.fd();
}

std::string Environment::cgroup(std::string_view pod) const {
  const auto found = cgroups_.find(pod);
  return found == cgroups_.end() ? std::string() : found->second;
}

Result<WriteStamps> Environment::apply(const base::Json& object) {
  if (is_about_policies(object)) {
    auto next = store_;
    ASSIGN_OR_RETURN(const auto version, next.apply(object));
    return write_policies(std::move(next), version);
  }
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  ASSIGN_OR_RETURN(stamps.resource_version, store_.apply(object));
  stamps.acked_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(sync());
  stamps.programmed_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(tell_follower());
  return stamps;
}

Result<WriteStamps> Environment::remove(std::string_view kind, std::string_view name) {
  if (kind == base::kube::network_policy_kind) {
    auto next = store_;
    ASSIGN_OR_RETURN(const auto version, next.remove(kind, name));
    return write_policies(std::move(next), version);
  }
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  ASSIGN_OR_RETURN(stamps.resource_version, store_.remove(kind, name));
  stamps.acked_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(sync());
  stamps.programmed_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(tell_follower());
  return stamps;
}

Result<WriteStamps> Environment::set_readiness(base::AddressFamily family,
                                               const std::map<std::string, Readiness>& pods) {
  std::set<std::string> groups;
  for (const auto& [name, readiness] : pods) {
    ASSIGN_OR_RETURN(const PodHandle* pod, find_pod(name));
    groups.insert(pod->group);
    readiness_[name] = readiness;
  }
  const auto readiness_of = [this](const PodHandle& pod) {
    const auto changed = readiness_.find(pod.name);
    return changed == readiness_.end() ? first_readiness(pod) : changed->second;
  };
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  for (const auto& [name, service] : handle_.services) {
    if (!groups.contains(service.target)) continue;
    const auto slice =
        endpoint_slice(name, service.target, family, handle_.pods, plan_.ports, readiness_of);
    ASSIGN_OR_RETURN(stamps.resource_version, store_.apply(base::to_json(slice)));
  }
  stamps.acked_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(sync());
  stamps.programmed_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(tell_follower());
  return stamps;
}

Result<const PodHandle*> Environment::find_pod(std::string_view pod) const {
  for (const auto& handle : handle_.pods) {
    if (handle.name == pod) return &handle;
  }
  return base::fail(ErrorKind::input, "environment {}: there is no pod \"{}\"", plan_.name, pod);
}

Result<AgentStreams> Environment::start_agent(const Place& place, const std::string& executable) {
  AgentStreams streams;
  ASSIGN_OR_RETURN(streams.errors, bounded_errors_file());
  ASSIGN_OR_RETURN(auto process,
                   sandbox_.spawn({.argv = {executable},
                                   .in = base::Stdio::pipe(),
                                   .out = base::Stdio::pipe(),
                                   .err = base::Stdio::descriptor(streams.errors.get())},
                                  place));
  streams.to_agent = std::move(process.in);
  streams.from_agent = std::move(process.out);
  streams.how_it_ended = [this, pid = process.pid()] { return how_it_ended(pid); };
  agents_.push_back(std::move(process));
  return streams;
}

std::string Environment::how_it_ended(pid_t pid) {
  const auto agent = std::ranges::find(agents_, pid, &base::Process::pid);
  if (agent == agents_.end()) return {};
  // Its streams close before its process is gone.
  const auto status = agent->wait(end_follows_streams);
  return status ? status->to_string() : std::string();
}

Result<AgentStreams> Environment::agent(std::string_view pod, const std::string& executable) {
  RETURN_IF_ERROR(find_pod(pod));
  return start_agent({.netns = netns(pod), .cgroup = cgroup(pod)}, executable);
}

Result<Observer> Environment::observe(std::string_view pod, const std::string& executable) {
  ASSIGN_OR_RETURN(const PodHandle* handle, find_pod(pod));
  // The router is what the client outside is plugged into.
  const bool outside = handle->name == external_client;
  const Place place{.netns = netns(outside ? "router" : fmt::format("node{}", handle->node)),
                    .cgroup = observer_cgroup_};
  ASSIGN_OR_RETURN(auto streams, start_agent(place, executable));
  return Observer{.streams = std::move(streams),
                  .interface = outside ? handle->name : pod_interface(*handle)};
}

}  // namespace cluster
