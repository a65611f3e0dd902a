// Policies of an environment: what they look at, and how a write of it is put in force.
#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "cluster/endpoints.h"
#include "cluster/filler_policy.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/environment.h"
#include "cluster/lab/wiring.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

// How long the fault policy_new_pod_open leaves a pod open that has its address.
constexpr base::Duration open_for = std::chrono::milliseconds(20);

void sleep_until(std::int64_t monotonic_ns) {
  std::this_thread::sleep_until(
      std::chrono::steady_clock::time_point(std::chrono::nanoseconds(monotonic_ns)));
}

}  // namespace

// The namespaces and pods of the plan, as the store has them.
Result<> Environment::know_labels() {
  RETURN_IF_ERROR(store_.put_namespace(std::string(default_namespace), {}));
  for (const auto& [name, spec] : plan_.topology.namespaces) {
    if (auto put = store_.put_namespace(name, spec.labels); !put) {
      return base::in_context(std::move(put).error(), "topology.namespaces");
    }
  }
  for (const auto& pod : layout_.pods) {
    const auto& handle = pod.handle;
    numbers_given_[handle.node] = std::max(numbers_given_[handle.node], pod.number);
    if (auto put = store_.put_pod(handle.in_namespace, handle.name, handle.labels); !put) {
      return base::in_context(std::move(put).error(), "topology.pods");
    }
  }
  first_namespaces_ = store_.namespaces();
  show_labels();
  if (!plan_.has_policies) return {};
  ASSIGN_OR_RETURN(policies_,
                   PolicyEnforcement::attach(nodes_, policy_objects(store_, handle_.pods).pods));
  return {};
}

// All at once, and in force before anybody is told of the environment.
Result<> Environment::load_filler_policies() {
  const int policies = plan_.filler.policies.value_or(0);
  if (policies == 0) return {};
  for (int number = 1; number <= policies; ++number) {
    RETURN_IF_ERROR(store_.apply(base::kube::manifest(filler_policy(plan_, number))));
  }
  RETURN_IF_ERROR(prepare_policies(store_, handle_.pods));
  put_policies_in_force(base::monotonic_now().ns);
  return {};
}

// What the store has, in the handle.
void Environment::show_labels() {
  handle_.namespaces.clear();
  for (const auto& [name, labels] : store_.namespaces()) {
    handle_.namespaces[name] = {.name = name, .labels = labels};
  }
  for (auto& pod : handle_.pods) {
    const auto found = store_.pods().find({pod.in_namespace, pod.name});
    if (found != store_.pods().end()) pod.labels = found->second;
  }
}

PolicyObjects Environment::policy_objects(const ObjectStore& store,
                                          const std::vector<PodHandle>& pods) const {
  PolicyObjects objects{.namespaces = store.namespaces(), .pods = {}, .policies = store.policies()};
  std::vector<NamedPort> ports;
  for (const auto& port : plan_.ports) {
    ports.push_back({port.name, kube_protocol(port.protocol), port.target_port});
  }
  for (const auto& pod : pods) {
    if (pod.name == external_client) continue;
    const auto labels = store.pods().find({pod.in_namespace, pod.name});
    auto its_ports = ports;
    for (const auto& port : plan_.topology.pods.at(pod.group).named_ports) {
      its_ports.push_back({port.name, kube_protocol(port.protocol), port.target_port});
    }
    objects.pods.push_back({.number = pod.id,
                            .name = pod.name,
                            .in_namespace = pod.in_namespace,
                            .labels = labels == store.pods().end() ? Labels{} : labels->second,
                            .ipv4 = pod.ipv4,
                            .ipv6 = pod.ipv6,
                            .ports = std::move(its_ports)});
  }
  if (has_fault(plan_, FaultKind::policy_label_change_lost)) {
    for (auto& pod : objects.pods) {
      const auto first = std::ranges::find(
          layout_.pods, pod.name,
          [](const LaidOutPod& laid_out) -> const std::string& { return laid_out.handle.name; });
      if (first != layout_.pods.end()) pod.labels = first->handle.labels;
    }
    objects.namespaces = first_namespaces_;
  }
  return objects;
}

// Loads what this store says beside what is in force. Nothing is loaded where no policy ever was.
Result<> Environment::prepare_policies(const ObjectStore& store, const std::vector<PodHandle>& pods,
                                       const std::set<std::uint32_t>& open_pods) {
  const auto objects = policy_objects(store, pods);
  if (!policies_) {
    if (objects.policies.empty()) return {};
    ASSIGN_OR_RETURN(policies_, PolicyEnforcement::attach(nodes_, objects.pods));
  }
  const CompileFaults faults{.port_too_wide = has_fault(plan_, FaultKind::policy_port_too_wide),
                             .except_ignored = has_fault(plan_, FaultKind::policy_except_ignored),
                             .udp_egress_open = has_fault(plan_, FaultKind::policy_udp_egress_open),
                             .open_pods = open_pods};
  const auto begun = base::monotonic_now();
  const auto tables = compile_policies(objects, faults);
  policies_compiled_ns_ = (base::monotonic_now() - begun).count();
  return policies_->prepare(tables);
}

std::int64_t Environment::put_policies_in_force(std::int64_t acked_ns) {
  if (!policies_) return base::monotonic_now().ns;
  if (has_fault(plan_, FaultKind::policy_delayed)) {
    sleep_until(acked_ns + plan_.policy_delay.count());
  }
  return policies_->commit().ns;
}

Result<WriteStamps> Environment::write_policies(ObjectStore next, std::uint64_t version) {
  RETURN_IF_ERROR(prepare_policies(next, handle_.pods));
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  std::swap(store_, next);
  stamps.resource_version = version;
  stamps.acked_ns = base::monotonic_now().ns;
  stamps.programmed_ns = put_policies_in_force(stamps.acked_ns);
  show_labels();
  // By their labels pods are selected for what their proxies take.
  RETURN_IF_ERROR(sync_mesh());
  return stamps;
}

Result<WriteStamps> Environment::set_labels(LabelledKind kind, std::string_view name,
                                            const Labels& labels) {
  auto next = store_;
  if (kind == LabelledKind::name_space) {
    const std::string wanted(name);
    if (!store_.namespaces().contains(wanted)) {
      return base::fail(ErrorKind::input, "environment {}: there is no namespace \"{}\"",
                        plan_.name, name);
    }
    ASSIGN_OR_RETURN(const auto version, next.put_namespace(wanted, labels));
    return write_policies(std::move(next), version);
  }
  ASSIGN_OR_RETURN(const PodHandle* pod, find_pod(name));
  if (pod->name == external_client) {
    return base::fail(ErrorKind::input, "environment {}: {} is no pod, it has no labels",
                      plan_.name, name);
  }
  ASSIGN_OR_RETURN(const auto version, next.put_pod(pod->in_namespace, pod->name, labels));
  return write_policies(std::move(next), version);
}

// The pod's address is another from here on: first there is a way to it, last none to the old one.
Result<> Environment::move_pod(const PodHandle& before, const PodHandle& after) {
  const auto& laid_out = *std::ranges::find(layout_.pods, after.id,
                                            [](const LaidOutPod& pod) { return pod.handle.id; });
  const auto interface = pod_interface(after);
  const auto mac = addresses::child_mac(after.node, laid_out.number);
  const Place node{.netns = netns(fmt::format("node{}", after.node))};
  std::string ways;
  std::string given;
  std::string taken;
  std::string no_ways;
  for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
    const auto& fresh = after.address(family);
    const auto& old = before.address(family);
    const bool ipv4 = family == base::AddressFamily::ipv4;
    ways += fmt::format("neigh replace {} lladdr {} nud permanent dev {}\n", fresh, mac, interface);
    ways += fmt::format("route add {}/{} dev {} congctl {}\n", fresh, fresh.host_prefix(),
                        interface, congestion_control);
    given += fmt::format("addr add {}/{} dev {}{}\n", fresh, fresh.host_prefix(), child_interface,
                         ipv4 ? "" : " nodad");
    taken += fmt::format("addr del {}/{} dev {}\n", old, old.host_prefix(), child_interface);
    no_ways += fmt::format("route del {}/{} dev {}\n", old, old.host_prefix(), interface);
    no_ways += fmt::format("neigh del {} dev {}\n", old, interface);
  }
  const Place pod{.netns = netns(after.name)};
  RETURN_IF_ERROR(sandbox_.ip(node, ways));
  if (has_fault(plan_, FaultKind::old_address_kept)) return sandbox_.ip(pod, given);
  RETURN_IF_ERROR(sandbox_.ip(pod, given + taken));
  return sandbox_.ip(node, no_ways);
}

Result<WriteStamps> Environment::restart_pod(std::string_view name, const PodRestart& how) {
  ASSIGN_OR_RETURN(const PodHandle* found, find_pod(name));
  const PodHandle before = *found;
  if (before.name == external_client) {
    return base::fail(ErrorKind::input, "environment {}: {} is no pod, it cannot restart",
                      plan_.name, name);
  }
  const int number = numbers_given_[before.node] + 1;
  if (number > addresses::most_addresses_per_node) {
    return base::fail(ErrorKind::input, "environment {}: node {} has no address left for {}",
                      plan_.name, before.node, name);
  }
  auto pods = handle_.pods;
  auto& pod = *std::ranges::find(pods, before.name, &PodHandle::name);
  pod.ipv4 = addresses::pod_ipv4(before.node, number);
  pod.ipv6 = addresses::pod_ipv6(before.node, number);
  auto next = store_;
  auto version = next.renew_pod(pod.in_namespace, pod.name);
  const auto readiness_of = [this](const PodHandle& of) {
    const auto changed = readiness_.find(of.name);
    return changed == readiness_.end() ? first_readiness(of) : changed->second;
  };
  for (const auto& [service, handle] : handle_.services) {
    if (handle.target != pod.group) continue;
    for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
      const auto slice =
          endpoint_slice(service, handle.target, family, pods, plan_.ports, readiness_of);
      ASSIGN_OR_RETURN(version, next.apply(base::to_json(slice)));
    }
  }
  // Isolated from its first instant, because what isolates it is in force before it has the
  // address.
  const bool left_open = has_fault(plan_, FaultKind::policy_new_pod_open);
  RETURN_IF_ERROR(
      prepare_policies(next, pods, left_open ? std::set{pod.id} : std::set<std::uint32_t>{}));
  if (mesh_) RETURN_IF_ERROR(mesh_->strip(before.name));
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  std::swap(store_, next);
  stamps.resource_version = version;
  stamps.acked_ns = base::monotonic_now().ns;
  put_policies_in_force(stamps.acked_ns);
  RETURN_IF_ERROR(move_pod(before, pod));
  const auto moved_ns = base::monotonic_now().ns;
  stamps.there_ns = moved_ns;
  if (how.on_address) RETURN_IF_ERROR(how.on_address(pod));
  numbers_given_[before.node] = number;
  handle_.pods = std::move(pods);
  RETURN_IF_ERROR(start_containers(before.name, how, stamps));
  if (left_open && policies_) {
    RETURN_IF_ERROR(prepare_policies(store_, handle_.pods));
    sleep_until(moved_ns + open_for.count());
    stamps.programmed_ns = policies_->commit().ns;
  }
  show_labels();
  RETURN_IF_ERROR(tell_follower());
  return stamps;
}

RecentDenials Environment::recent_denials() const {
  return policies_ ? policies_->recent_denials() : RecentDenials{};
}

base::Json Environment::facts() const {
  auto facts = datapath_->facts();
  if (policies_) {
    facts["network_policy"] = policies_->facts();
    facts["network_policy"]["compile_ns"] = policies_compiled_ns_;
  }
  if (mesh_) facts["mesh"] = mesh_->facts();
  return facts;
}

}  // namespace cluster
