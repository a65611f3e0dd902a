#include "stackbench/verify/cluster_pods.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cleanup.h"
#include "cluster/kubernetes/namespaces.h"
#include "cluster/kubernetes/owner.h"
#include "cluster/kubernetes/pod_state.h"
#include "cluster/kubernetes/watch.h"

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
// How long its kubelet may take to find the server of a pod, which it asks for every second.
constexpr base::Duration network_patience = std::chrono::seconds(5);
// As long as anything of ours lives: the kubelet ends what never starts.
constexpr int never_given_up = 3'600;

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
  if (pod.role == ProbeRole::workload && !pod.ports.empty()) {
    // Its kubelet dials the server from the node, which no policy forbids: that is seen to be
    // there.
    manifest["spec"]["containers"][0]["startupProbe"] = {{"tcpSocket", {{"port", undeclared_port}}},
                                                         {"periodSeconds", 1},
                                                         {"failureThreshold", never_given_up}};
  }
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

ClusterPods::~ClusterPods() { std::ignore = ClusterPods::remove(); }

cluster::Placement ClusterPods::placement(const std::string& in_namespace) const {
  auto place = place_.ours;
  if (in_namespace == place.in_namespace) return place;
  place.in_namespace = in_namespace;
  place.own_namespace = false;
  return place;
}

Result<> ClusterPods::join(const ProbePod& pod) {
  const auto path = fmt::format("{}/{}/ephemeralcontainers",
                                cluster::pods_path(placement(pod.in_namespace)), pod.joins);
  RETURN_IF_ERROR(api_->patch(
      path,
      {{"spec",
        {{"ephemeralContainers", Json::array({ephemeral_container(container(), image_)})}}}}));
  joined_.push_back(pod);
  return {};
}

Result<> ClusterPods::await_left(const cluster::ApiOptions& options) {
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

Result<checks::Labels> ClusterPods::prepare() {
  own_namespace_ = true;
  return cluster::create_namespace(*api_, place_.ours, "restricted");
}

Result<> ClusterPods::create(const ProbePod& pod) {
  if (!pod.joins.empty()) return join(pod);
  const auto place = placement(pod.in_namespace);
  if (!place.own_namespace && std::ranges::find(touched_, pod.in_namespace) == touched_.end()) {
    touched_.push_back(pod.in_namespace);
  }
  RETURN_IF_ERROR(api_->apply(fmt::format("{}/{}", cluster::pods_path(place), pod.name),
                              manifest_of(place, pod, image_)));
  return {};
}

Result<Json> ClusterPods::await(const ProbePod& pod) {
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

Result<cluster::AgentStreams> ClusterPods::agent(const ProbePod& pod) {
  return agents_->attach(pod.in_namespace, pod.name, pod.node,
                         pod.joins.empty() ? std::string(cluster::agent_container) : container());
}

Result<bool> ClusterPods::has_network(const ProbePod& pod) {
  // One that was there before has no probe of ours.
  if (!pod.joins.empty() || pod.role != ProbeRole::workload) return true;
  cluster::Watch watch(api_->options(), {.path = cluster::pods_path(placement(pod.in_namespace)),
                                         .field_selector = "metadata.name=" + pod.name});
  const auto started = watch.until(
      [](const cluster::Objects& all) -> Result<bool> {
        if (all.empty()) return false;
        const auto& containers = json_at(all.begin()->second, {"status", "containerStatuses"});
        if (!containers.is_array() || containers.empty()) return false;
        const auto& one = json_at(containers[0], {"started"});
        return one.is_boolean() && one.get<bool>();
      },
      base::monotonic_now() + network_patience);
  if (started) return true;
  if (started.error().kind == ErrorKind::timed_out) return false;
  return std::unexpected(started.error());
}

Result<> ClusterPods::remove() {
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
