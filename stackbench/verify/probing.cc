#include "stackbench/verify/probing.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cleanup.h"
#include "cluster/kubernetes/namespaces.h"
#include "cluster/kubernetes/owner.h"
#include "cluster/kubernetes/pod_state.h"
#include "cluster/kubernetes/watch.h"
#include "stackbench/verify/live_world.h"

namespace stackbench {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;
using cluster::json_at;

constexpr std::string_view probe_environment = "verify";
constexpr std::string_view probe_group = "probe";
// Twice as long as heartbeats are apart.
constexpr std::string_view leave_after = "10s";
constexpr base::Duration leave_patience = std::chrono::seconds(30);
// The image's own.
constexpr int agent_user = 65532;
// With an image to pull.
constexpr base::Duration start_patience = std::chrono::minutes(2);
// For rules to reach every node.
constexpr base::Duration settle_patience = std::chrono::seconds(20);
// Of a target: many times what a cluster's round trip takes.
constexpr base::Duration probe_timeout = std::chrono::milliseconds(300);

std::size_t packets_of(const ProbeCell& cell) {
  return cell.target.protocol == base::Protocol::UDP ? bench::udp_attempts : 1;
}

// What joins a pod: an agent that leaves by itself once nobody talks to it, whatever becomes of us.
Json ephemeral_container(const std::string& name, const std::string& image) {
  return {{"name", name},
          {"image", image},
          {"imagePullPolicy", "IfNotPresent"},
          {"command", {cluster::agent_path, "listen", "--leave-after", leave_after}},
          {"securityContext",
           {{"runAsNonRoot", true},
            {"runAsUser", agent_user},
            {"allowPrivilegeEscalation", false},
            {"capabilities", {{"drop", {"ALL"}}}},
            {"seccompProfile", {{"type", "RuntimeDefault"}}}}}};
}

// Of a container that joined a pod: "running", "waiting", "terminated", or nothing yet.
const Json& state_of(const Json& pod, std::string_view container) {
  static const Json none;
  const auto& all = json_at(pod, {"status", "ephemeralContainerStatuses"});
  if (!all.is_array()) return none;
  const auto found = std::ranges::find_if(
      all, [&](const Json& one) { return cluster::text_at(one, {"name"}) == container; });
  return found == all.end() ? none : json_at(*found, {"state"});
}

// Whether waiting for it is in vain.
bool cannot_run(const Json& state) {
  const auto reason = cluster::text_at(state, {"waiting", "reason"});
  return !json_at(state, {"terminated"}).is_null() || reason.starts_with("Err") ||
         reason.ends_with("Error") || reason.ends_with("BackOff") || reason == "InvalidImageName";
}

Json manifest_of(const cluster::Placement& place, const ProbePod& pod, const std::string& image) {
  std::vector<cluster::ServicePort> ports;
  for (const auto& port : pod.ports) {
    ports.push_back({.name = port.name,
                     .protocol = port.protocol == base::kube::Protocol::UDP ? base::Protocol::UDP
                                                                            : base::Protocol::TCP,
                     .port = port.port,
                     .target_port = port.port});
  }
  Json manifest = cluster::pod_manifest(place,
                                        {.name = pod.name,
                                         .group = std::string(probe_group),
                                         .ipv4 = {},
                                         .ipv6 = {},
                                         .in_namespace = pod.in_namespace,
                                         .labels = pod.labels},
                                        pod.node, image, {.ports = std::move(ports)});
  if (!pod.tolerations.empty()) manifest["spec"]["tolerations"] = pod.tolerations;
  return manifest;
}

}  // namespace

Result<ProbingPlace> probing_place(const std::string& run) {
  ProbingPlace made;
  ASSIGN_OR_RETURN(
      made.ours, cluster::place(run, std::string(probe_environment), cluster::owner_of_ours(), ""));
  made.labels_of_ours = cluster::object_labels(manifest_of(made.ours, {.name = "any"}, ""));
  return made;
}

std::size_t packets_of(const std::vector<ProbeCell>& cells) {
  std::size_t packets = 0;
  for (const auto& cell : cells) packets += packets_of(cell);
  return packets;
}

Probing::~Probing() { std::ignore = Probing::remove(); }

cluster::Placement Probing::placement(const std::string& in_namespace) const {
  auto place = place_.ours;
  if (in_namespace == place.in_namespace) return place;
  place.in_namespace = in_namespace;
  place.own_namespace = false;
  return place;
}

Result<> Probing::join(const ProbePod& pod) {
  const auto path = fmt::format("{}/{}/ephemeralcontainers",
                                cluster::pods_path(placement(pod.in_namespace)), pod.joins);
  RETURN_IF_ERROR(
      api_->patch(path, {{"spec",
                          {{"ephemeralContainers",
                            Json::array({ephemeral_container(container(), options_.image)})}}}}));
  joined_.push_back(pod);
  return {};
}

Result<> Probing::await_left(const cluster::ApiOptions& options) {
  const auto deadline = base::monotonic_now() + leave_patience;
  for (const auto& pod : joined_) {
    cluster::Watch watch(options, {.path = cluster::pods_path(placement(pod.in_namespace)),
                                   .field_selector = "metadata.name=" + pod.joins});
    auto left = watch.until(
        [&](const cluster::Objects& all) -> Result<bool> {
          return all.empty() ||
                 json_at(state_of(all.begin()->second, container()), {"running"}).is_null();
        },
        deadline);
    if (!left) {
      return base::in_context(std::move(left).error(), "container {} in pod {}/{}", container(),
                              pod.in_namespace, pod.joins);
    }
  }
  joined_.clear();
  return {};
}

Result<> Probing::create(const ProbePod& pod) {
  if (!pod.joins.empty()) return join(pod);
  const auto place = placement(pod.in_namespace);
  if (!place.own_namespace && std::ranges::find(touched_, pod.in_namespace) == touched_.end()) {
    touched_.push_back(pod.in_namespace);
  }
  RETURN_IF_ERROR(api_->apply(fmt::format("{}/{}", cluster::pods_path(place), pod.name),
                              manifest_of(place, pod, options_.image)));
  return {};
}

Result<Json> Probing::await(const ProbePod& pod) {
  cluster::Watch watch(api_->options(), {.path = cluster::pods_path(placement(pod.in_namespace)),
                                         .field_selector = "metadata.name=" + pod.name});
  std::string stage;
  const auto runs = watch.until(
      [&](const cluster::Objects& all) -> Result<bool> {
        if (all.empty()) return base::fail(ErrorKind::system, "it was deleted by somebody");
        if (!pod.joins.empty()) {
          const auto& state = state_of(all.begin()->second, container());
          stage = fmt::format("its container {} is {}", container(),
                              state.is_null() ? "not known yet" : base::dump_json(state));
          if (cannot_run(state)) return base::fail(ErrorKind::system, "it does not run");
          return !json_at(state, {"running"}).is_null();
        }
        stage = cluster::pod_stage(all.begin()->second);
        return cluster::pod_runs(all.begin()->second);
      },
      base::monotonic_now() + start_patience);
  if (!runs) {
    return base::in_context(runs.error(), "pod {}/{}: {}", pod.in_namespace, pod.name, stage);
  }
  return watch.objects().begin()->second;
}

Result<> Probing::serve(const ProbePod& pod, std::uint32_t server_id) {
  ASSIGN_OR_RETURN(
      auto streams,
      agents_->attach(pod.in_namespace, pod.name, pod.node,
                      pod.joins.empty() ? std::string(cluster::agent_container) : container()));
  ASSIGN_OR_RETURN(auto client, bench::AgentClient::connect(
                                    std::move(streams.to_agent), std::move(streams.from_agent),
                                    fmt::format("agent in pod {}/{}", pod.in_namespace, pod.name),
                                    {.interrupt = options_.interrupt,
                                     .stderr_file = std::move(streams.errors),
                                     .how_it_ended = std::move(streams.how_it_ended)}));
  bench::ListenJob job{.server_id = server_id, .ports = {}};
  for (const auto& port : pod.ports) {
    job.ports.push_back({.port = port.port,
                         .protocol = port.protocol == base::kube::Protocol::UDP
                                         ? base::Protocol::UDP
                                         : base::Protocol::TCP});
  }
  RETURN_IF_ERROR(client.start_listener(job));
  clients_.push_back(std::move(client));
  return {};
}

Result<std::vector<bench::ReachOutcome>> Probing::sweep(const std::vector<ProbeCell>& cells) {
  std::vector<bench::ReachOutcome> seen(cells.size(), bench::ReachOutcome::failed);
  // In the air at a time no more than the rate lets begin within a timeout: each takes at most one.
  const double in_one = options_.rate * std::chrono::duration<double>(probe_timeout).count();
  const auto room = static_cast<std::size_t>(std::max(1.0, std::floor(in_one)));
  const auto never = base::Interrupt::never();
  const auto& interrupt = options_.interrupt == nullptr ? never : *options_.interrupt;
  auto may_begin = base::monotonic_now();
  for (std::size_t source = 0; source < clients_.size(); ++source) {
    std::vector<std::size_t> own;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (cells[i].source == source) own.push_back(i);
    }
    for (std::size_t at = 0; at < own.size();) {
      bench::ReachJob job{.targets = {}, .timeout = probe_timeout};
      std::size_t packets = 0;
      const auto first = at;
      while (at < own.size() && (packets == 0 || packets + packets_of(cells[own[at]]) <= room)) {
        packets += packets_of(cells[own[at]]);
        job.targets.push_back(cells[own[at++]].target);
      }
      RETURN_IF_ERROR(interrupt.wait_until(may_begin));
      may_begin = base::monotonic_now() +
                  std::chrono::duration_cast<base::Duration>(
                      std::chrono::duration<double>(static_cast<double>(packets) / options_.rate));
      ASSIGN_OR_RETURN(const auto result, clients_[source].reach(job));
      for (std::size_t i = 0; i < result.cells.size(); ++i) {
        seen[own[first + i]] = result.cells[i].outcome;
      }
    }
  }
  return seen;
}

Result<ProbingResult> Probing::run(const ProbePlan& plan, checks::PolicyWorld world,
                                   const std::vector<ProbeOutside>& outside) {
  ProbingResult result;
  own_namespace_ = true;
  ASSIGN_OR_RETURN(world.namespaces[place_.ours.in_namespace],
                   cluster::create_namespace(*api_, place_.ours, "restricted"));
  // All at once, then one after another: they start side by side.
  std::vector<ProbePod> made;
  for (const auto& pod : plan.elsewhere) {
    RETURN_IF_ERROR(create(pod));
    made.push_back(pod);
  }
  const auto refuse = [&](const ProbePod& pod, const base::Error& error) -> Result<> {
    if (error.kind == ErrorKind::interrupted || pod.workload.empty()) {
      return std::unexpected(error);
    }
    result.unprobed.push_back({.workload = pod.workload, .reason = error.message});
    return {};
  };
  for (const auto& pod : plan.of_workloads) {
    if (const auto created = create(pod)) {
      made.push_back(pod);
    } else {
      RETURN_IF_ERROR(refuse(pod, created.error()));
    }
  }
  std::vector<ProbeEnd> ends;
  for (const auto& pod : made) {
    const auto object = await(pod);
    if (!object) {
      RETURN_IF_ERROR(refuse(pod, object.error()));
      continue;
    }
    const auto server_id = static_cast<std::uint32_t>(ends.size() + 1);
    RETURN_IF_ERROR(serve(pod, server_id));
    auto at = checks::find_pod(world, pod.in_namespace, pod.name);
    if (!at) {
      at = world.pods.size();
      world.pods.push_back(policy_pod(*object));
    }
    ends.push_back({.name = pod.workload.empty()
                                ? fmt::format("another namespace, on node {}", pod.node)
                                : pod.workload,
                    .pod = *at,
                    .elsewhere = pod.workload.empty(),
                    .server_id = server_id,
                    .ports = pod.ports});
  }
  const auto cells = probe_cells(world, ends, outside);
  const auto deadline = base::monotonic_now() + settle_patience;
  std::vector<bench::ReachOutcome> before;
  std::vector<bench::ReachOutcome> seen;
  while (!result.settled && (result.sweeps < 2 || base::monotonic_now() < deadline)) {
    before = std::exchange(seen, {});
    ASSIGN_OR_RETURN(seen, sweep(cells));
    result.settled = ++result.sweeps > 1 && seen == before;
  }
  result.cells = judge(world, ends, cells, seen);
  return result;
}

Result<> Probing::remove() {
  clients_.clear();
  auto options = api_->options();
  options.interrupt = nullptr;
  cluster::ApiClient api(options);
  Result<> outcome;
  const auto note = [&](Result<> done) {
    if (outcome) outcome = std::move(done);
  };
  const auto selector = cluster::url_escape(cluster::environment_selector(place_.ours));
  const auto deadline = cluster::removal_deadline();
  for (const auto& name : touched_) {
    const auto gone = api.remove(
        fmt::format("{}?labelSelector={}", cluster::pods_path(placement(name)), selector));
    if (!gone) note(std::unexpected(gone.error()));
  }
  if (own_namespace_) note(cluster::delete_objects(api, place_.ours));
  for (const auto& name : touched_) {
    cluster::Watch left(options, {.path = cluster::pods_path(placement(name)),
                                  .label_selector = cluster::environment_selector(place_.ours)});
    note(left.until([](const cluster::Objects& all) -> Result<bool> { return all.empty(); },
                    deadline));
  }
  note(await_left(options));
  if (own_namespace_) note(cluster::await_removal(options, place_.ours, deadline));
  if (outcome) {
    touched_.clear();
    own_namespace_ = false;
  }
  return outcome;
}

}  // namespace stackbench
