#include "cluster/kubernetes/environment.h"

#include <algorithm>
#include <utility>

#include "cluster/check_plan.h"
#include "cluster/endpoints.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/bulk.h"
#include "cluster/kubernetes/namespaces.h"
#include "cluster/kubernetes/pod_state.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;
using std::chrono::seconds;

// What the API server puts on every namespace (KEP 2161).
constexpr std::string_view namespace_name_label = "kubernetes.io/metadata.name";

// With an image to pull.
constexpr base::Duration pods_patience = std::chrono::minutes(3);
// What held a place may be on its way out.
constexpr base::Duration unschedulable_patience = seconds(15);
// What a pod that is deleted in the course of things may go on serving: longer than any event.
constexpr base::Duration drain = seconds(10);
constexpr base::Duration removal_patience = drain + seconds(20);

// Of our Services, and not of the fillers, whose slices are ours.
std::string slices_selector(const Placement& place) {
  return environment_selector(place) +
         ",endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";
}

// What stands for a collection in all of them at once.
Placement in_any_of(const std::map<std::string, Placement, std::less<>>& places) {
  auto place = places.begin()->second;
  if (places.size() > 1) place.in_namespace.clear();
  return place;
}

}  // namespace

ClusterEnvironment::ClusterEnvironment(ApiClient& api, EnvironmentPlan plan, Places places)
    : api_(&api),
      plan_(std::move(plan)),
      places_(std::move(places)),
      place_(places_.find(default_namespace)->second),
      all_of_(in_any_of(places_)),
      slices_(api.options(),
              {.path = slices_path(all_of_), .label_selector = slices_selector(place_)}) {}

Result<std::unique_ptr<ClusterEnvironment>> ClusterEnvironment::make(ApiClient& api,
                                                                     EnvironmentPlan plan,
                                                                     Placement place) {
  Places places;
  for (const auto& [name, spec] : plan.topology.namespaces) {
    ASSIGN_OR_RETURN(auto there, place_in(place, name));
    places.emplace(name, std::move(there));
  }
  places.insert_or_assign(std::string(default_namespace), std::move(place));
  return std::unique_ptr<ClusterEnvironment>(
      new ClusterEnvironment(api, std::move(plan), std::move(places)));
}

std::vector<Placement> ClusterEnvironment::places() const {
  std::vector<Placement> all;
  for (const auto& [name, place] : places_) all.push_back(place);
  return all;
}

Result<const Placement*> ClusterEnvironment::find_place(std::string_view in_namespace) const {
  const auto found = places_.find(in_namespace);
  if (found != places_.end()) return &found->second;
  return base::fail(ErrorKind::input, "environment {}: there is no namespace \"{}\"", plan_.name,
                    in_namespace);
}

const Placement& ClusterEnvironment::place_of(const PodHandle& pod) const {
  return places_.find(pod.in_namespace)->second;
}

const Placement& ClusterEnvironment::place_of_service(std::string_view service) const {
  const auto spec = plan_.topology.services.find(std::string(service));
  if (spec == plan_.topology.services.end()) return place_;
  return places_.find(plan_.topology.pods.at(spec->second.target).in_namespace)->second;
}

void ClusterEnvironment::note_policies() {
  for (auto& [name, place] : places_) place.has_policies = true;
}

PodNeeds ClusterEnvironment::pod_needs() const {
  PodNeeds needs{.rights = plan_.watches_flows ? PodRights::raw_packets : PodRights::none};
  if (plan_.has_policies) needs.ports = plan_.ports;
  return needs;
}

Result<> ClusterEnvironment::build(const std::vector<ClusterNode>& nodes,
                                   const std::string& image) {
  nodes_ = nodes;
  image_ = image;
  handle_ = {.name = plan_.name,
             .datapath = plan_.datapath,
             .nodes = {},
             .pods = pods_of(plan_),
             .services = {}};
  for (const auto& node : nodes_) handle_.nodes.push_back(node.handle);
  add_client_outside_mesh();
  for (const auto& pod : handle_.pods) pod_labels_[pod.name] = pod.labels;
  RETURN_IF_ERROR(create_namespaces());
  // What proxies are told is there before they are.
  RETURN_IF_ERROR(create_mesh_objects());
  // Services before pods: their slices are made while the pods start.
  RETURN_IF_ERROR(create_services());
  RETURN_IF_ERROR(create_pods());
  RETURN_IF_ERROR(await_pods());
  RETURN_IF_ERROR(write_readiness());
  RETURN_IF_ERROR(create_fillers());
  RETURN_IF_ERROR(read_services());
  RETURN_IF_ERROR(await_slices());
  // Last, so that how long they take until they are in force is counted from here.
  return create_filler_policies();
}

Result<> ClusterEnvironment::create_namespaces() {
  if (!place_.own_namespace) {
    // Who may look at pods in one need not be let look at it: of its labels one is always there.
    handle_.namespaces[std::string(default_namespace)] = {
        .name = place_.in_namespace,
        .labels = {{std::string(namespace_name_label), place_.in_namespace}}};
    return {};
  }
  // Interception is written into a pod's network by a container that is root's.
  const auto level = plan_.mesh ? "privileged" : plan_.watches_flows ? "baseline" : "restricted";
  for (const auto& [name, place] : places_) {
    auto& labels = namespace_labels_[name];
    const auto spec = plan_.topology.namespaces.find(name);
    if (spec != plan_.topology.namespaces.end()) labels = spec->second.labels;
    ASSIGN_OR_RETURN(auto given, create_namespace(*api_, place, level, labels, name));
    handle_.namespaces[name] = {.name = place.in_namespace, .labels = std::move(given)};
  }
  return {};
}

Json ClusterEnvironment::manifest_of(const PodHandle& pod, const PodNeeds& needs) const {
  auto wanted = pod;
  wanted.labels = pod_labels_.at(pod.name);
  auto manifest = pod_manifest(place_of(pod), wanted, node_of(pod), image_, needs);
  if (has_proxy(pod)) {
    manifest["spec"]["serviceAccountName"] = pod.group;
    ask_for_proxy(manifest, *istio_, *plan_.mesh);
  }
  return manifest;
}

Result<> ClusterEnvironment::create_pod(ApiClient& api, const PodHandle& pod) const {
  ASSIGN_OR_RETURN(const auto made, api.apply(pod_path(pod), manifest_of(pod, pod_needs())));
  return check_proxy(pod, made.body);
}

Result<> ClusterEnvironment::create_pods() {
  std::vector<const PodHandle*> single;
  std::map<std::string, std::vector<const PodHandle*>> generators;
  for (const auto& pod : handle_.pods) {
    if (plan_.generator_groups.contains(pod.group)) {
      generators[pod.group].push_back(&pod);
    } else {
      single.push_back(&pod);
    }
  }
  for (const auto& [group, pods] : generators) {
    const auto& first = *pods.front();
    const auto& place = place_of(first);
    auto job = generators_manifest(place, first, static_cast<int>(pods.size()), node_of(first),
                                   image_, pod_needs());
    if (has_proxy(first)) {
      auto& pod = job["spec"]["template"];
      pod["spec"]["serviceAccountName"] = group;
      ask_for_proxy(pod, *istio_, *plan_.mesh);
    }
    RETURN_IF_ERROR(api_->apply(fmt::format("{}/{}", jobs_path(place), place.name(group)), job));
  }
  return for_each_request(api_->options(), single.size(), [&](ApiClient& api, std::size_t index) {
    return create_pod(api, *single[index]);
  });
}

void ClusterEnvironment::take_made_by_jobs(const Objects& pods) {
  for (const auto& [name, object] : pods) {
    const auto index = text_at(object, {"metadata", "annotations", completion_index});
    if (index.empty()) continue;
    const auto group = text_at(object, {"metadata", "labels", group_label});
    made_by_jobs_[fmt::format("{}-{}", group, index)] = text_at(object, {"metadata", "name"});
  }
}

std::string ClusterEnvironment::object_name(const PodHandle& pod) const {
  const auto made = made_by_jobs_.find(pod.name);
  return made == made_by_jobs_.end() ? place_.name(pod.name) : made->second;
}

Result<> ClusterEnvironment::await_pods(const std::function<Result<>(const Objects&)>& look) {
  Watch pods(api_->options(),
             {.path = pods_path(all_of_), .label_selector = environment_selector(place_)});
  auto deadline = base::monotonic_now() + pods_patience;
  while (true) {
    std::string waiting_for;
    const auto before = base::monotonic_now();
    auto all_run = pods.until(
        [&](const Objects& all) -> Result<bool> {
          take_made_by_jobs(all);
          if (look) RETURN_IF_ERROR(look(all));
          for (const auto& pod : handle_.pods) {
            const auto name = object_name(pod);
            const auto found = all.find(pod_key(pod));
            if (found == all.end() && plan_.generator_groups.contains(pod.group)) {
              waiting_for = fmt::format("pod {}: its Job has not made it", name);
              return false;
            }
            if (found == all.end()) {
              return base::fail(ErrorKind::system, "pod {} was deleted by somebody", name);
            }
            ASSIGN_OR_RETURN(const bool runs, pod_runs(found->second));
            if (runs) continue;
            waiting_for = fmt::format("pod {}: {}", name, pod_stage(found->second));
            // Once: the wait is begun again with what time is left for it.
            const auto soon = before + unschedulable_patience;
            if (is_unschedulable(found->second) && soon < deadline) {
              deadline = soon;
              return base::fail(ErrorKind::timed_out, "unschedulable");
            }
            return false;
          }
          return true;
        },
        deadline);
    if (all_run) break;
    if (all_run.error().kind != ErrorKind::timed_out) {
      return std::unexpected(std::move(all_run).error());
    }
    if (base::monotonic_now() < deadline) continue;
    if (waiting_for.empty()) return std::unexpected(std::move(all_run).error());
    return base::fail_with_mend(
        ErrorKind::timed_out, waiting_for + " (waited in vain)",
        "kubectl describe pod in its namespace says more; capacity, taints and quotas are the "
        "usual reasons.");
  }
  for (auto& pod : handle_.pods) {
    const auto& object = pods.objects().at(pod_key(pod));
    read_pod_addresses(object, pod);
    pod.labels = object_labels(object);
    uids_[pod.name] = text_at(object, {"metadata", "uid"});
  }
  return {};
}

Result<> ClusterEnvironment::write_readiness() {
  return for_each_request(
      api_->options(), handle_.pods.size(), [&](ApiClient& api, std::size_t index) -> Result<> {
        const auto& pod = handle_.pods[index];
        RETURN_IF_ERROR(api.patch(pod_path(pod) + "/status", readiness_patch(is_ready(pod))));
        return {};
      });
}

bool ClusterEnvironment::is_ready(const PodHandle& pod) const {
  const auto changed = ready_.find(pod.name);
  return changed == ready_.end() ? first_readiness(pod) == Readiness::ready : changed->second;
}

Result<const PodHandle*> ClusterEnvironment::find_pod(std::string_view pod) const {
  const auto found = std::ranges::find(handle_.pods, pod, &PodHandle::name);
  if (found != handle_.pods.end()) return &*found;
  return base::fail(ErrorKind::input, "environment {}: there is no pod \"{}\"", plan_.name, pod);
}

const std::string& ClusterEnvironment::node_of(const PodHandle& pod) const {
  return nodes_[static_cast<std::size_t>(pod.node) - 1].name;
}

std::string ClusterEnvironment::pod_path(const PodHandle& pod) const {
  return fmt::format("{}/{}", pods_path(place_of(pod)), object_name(pod));
}

std::string ClusterEnvironment::pod_key(const PodHandle& pod) const {
  return fmt::format("{}/{}", place_of(pod).in_namespace, object_name(pod));
}

Result<> ClusterEnvironment::await_gone(const std::vector<PodHandle*>& pods) {
  Watch watch(api_->options(),
              {.path = pods_path(all_of_), .label_selector = environment_selector(place_)});
  auto gone = watch.until(
      [&](const Objects& there) -> Result<bool> {
        return std::ranges::none_of(
            pods, [&](const PodHandle* pod) { return there.contains(pod_key(*pod)); });
      },
      base::monotonic_now() + removal_patience);
  if (gone) return {};
  return base::in_context(std::move(gone).error(), "waiting for deleted pods to go");
}

Result<> ClusterEnvironment::remake_pods(const std::map<std::string, Readiness>& pods) {
  std::vector<PodHandle*> again;
  for (auto& pod : handle_.pods) {
    const auto wanted = pods.find(pod.name);
    if (wanted == pods.end() || wanted->second == Readiness::terminating) continue;
    if (deleted_.contains(pod.name)) again.push_back(&pod);
  }
  if (again.empty()) return {};
  RETURN_IF_ERROR(await_gone(again));
  for (auto* pod : again) {
    RETURN_IF_ERROR(create_pod(*api_, *pod));
    deleted_.erase(pod->name);
  }
  return await_pods();
}

Result<WriteStamps> ClusterEnvironment::restart_pod(std::string_view pod, const PodRestart& how) {
  ASSIGN_OR_RETURN(const PodHandle* found, find_pod(pod));
  auto* const own = &handle_.pods[static_cast<std::size_t>(found - handle_.pods.data())];
  if (plan_.generator_groups.contains(own->group)) {
    return base::fail(ErrorKind::missing, "pod {} is a Job's, which makes none again", pod);
  }
  RETURN_IF_ERROR(api_->remove(pod_path(*own) + "?gracePeriodSeconds=0"));
  RETURN_IF_ERROR(await_gone({own}));
  auto needs = pod_needs();
  needs.agent_plan = how.agent_plan;
  ASSIGN_OR_RETURN(const auto answer,
                   of_ours(api_->apply(pod_path(*own), manifest_of(*own, needs))));
  RETURN_IF_ERROR(check_proxy(*own, answer.body));
  bool told = !how.on_address;
  RETURN_IF_ERROR(await_pods([&](const Objects& all) -> Result<> {
    const auto found = all.find(pod_key(*own));
    if (told || found == all.end()) return {};
    PodHandle now = *own;
    now.ipv4 = now.ipv6 = {};
    read_pod_addresses(found->second, now);
    if (now.ipv4 == base::IpAddress{} && now.ipv6 == base::IpAddress{}) return {};
    told = true;
    return how.on_address(now);
  }));
  RETURN_IF_ERROR(
      of_ours(api_->patch(pod_path(*own) + "/status", readiness_patch(is_ready(*own)))));
  RETURN_IF_ERROR(await_slices());
  return WriteStamps{.sent_ns = answer.sent_ns,
                     .acked_ns = answer.acked_ns,
                     .resource_version = answer.resource_version()};
}

Result<ApiAnswer> ClusterEnvironment::write(const PodHandle& pod, Readiness readiness) {
  ready_[pod.name] = readiness == Readiness::ready;
  if (readiness != Readiness::terminating) {
    return api_->patch(pod_path(pod) + "/status", readiness_patch(readiness == Readiness::ready));
  }
  deleted_.insert(pod.name);
  return api_->remove(
      fmt::format("{}?gracePeriodSeconds={}", pod_path(pod), drain / std::chrono::seconds(1)));
}

Result<WriteStamps> ClusterEnvironment::set_readiness(
    const std::map<std::string, Readiness>& pods) {
  RETURN_IF_ERROR(remake_pods(pods));
  // Those that join before those that leave, as a rollout does it: some pod is always there.
  std::vector<std::pair<const PodHandle*, Readiness>> changes;
  for (const bool joins : {true, false}) {
    for (const auto& [name, readiness] : pods) {
      ASSIGN_OR_RETURN(const PodHandle* pod, find_pod(name));
      const bool ready = readiness == Readiness::ready;
      const bool changed =
          readiness == Readiness::terminating ? !deleted_.contains(name) : is_ready(*pod) != ready;
      if (ready == joins && changed) changes.emplace_back(pod, readiness);
    }
  }
  WriteStamps stamps;
  for (const auto& [pod, readiness] : changes) {
    ASSIGN_OR_RETURN(const auto answer, write(*pod, readiness));
    if (stamps.sent_ns == 0) stamps.sent_ns = answer.sent_ns;
    stamps.acked_ns = answer.acked_ns;
    stamps.resource_version = answer.resource_version();
  }
  if (changes.empty()) {
    // Nothing to write: it is as it should be since before now.
    const auto now = base::monotonic_now().ns;
    return WriteStamps{.sent_ns = now, .acked_ns = now, .published_ns = now};
  }
  RETURN_IF_ERROR(await_slices());
  stamps.published_ns = slices_.seen_ns();
  return stamps;
}

Result<WriteStamps> ClusterEnvironment::set_labels(LabelledKind kind, std::string_view name,
                                                   const Labels& labels) {
  for (const auto& [label, value] : labels) {
    if (!is_label_of_ours(label) && label != namespace_name_label) continue;
    return base::fail(ErrorKind::input, "label {}: no scenario can change it", label);
  }
  const bool of_pod = kind == LabelledKind::pod;
  std::string path;
  Labels* seen = nullptr;
  if (of_pod) {
    ASSIGN_OR_RETURN(const PodHandle* pod, find_pod(name));
    path = pod_path(*pod);
    seen = &handle_.pods[static_cast<std::size_t>(pod - handle_.pods.data())].labels;
  } else {
    ASSIGN_OR_RETURN(const Placement* place, find_place(name));
    if (!place->own_namespace) {
      return base::fail(ErrorKind::missing,
                        "the labels of namespace {} are not ours to change: others share it",
                        place->in_namespace);
    }
    path = "/api/v1/namespaces/" + place->in_namespace;
    seen = &handle_.namespaces.at(std::string(name)).labels;
  }
  auto& before = (of_pod ? pod_labels_ : namespace_labels_)[std::string(name)];
  Json change = Json::object();
  for (const auto& [label, value] : before) change[label] = nullptr;
  for (const auto& [label, value] : labels) change[label] = value;
  ASSIGN_OR_RETURN(const auto answer,
                   of_ours(api_->patch(path, {{"metadata", {{"labels", change}}}})));
  before = labels;
  *seen = object_labels(answer.body);
  return WriteStamps{.sent_ns = answer.sent_ns,
                     .acked_ns = answer.acked_ns,
                     .resource_version = answer.resource_version()};
}

Json ClusterEnvironment::facts() const {
  Json facts = {{"namespace", place_.in_namespace}};
  for (const auto& [name, place] : places_) {
    if (name != default_namespace) facts["namespaces"][name] = place.in_namespace;
  }
  Json nodes = Json::array();
  for (const auto& node : nodes_) nodes.push_back(node.name);
  facts["nodes"] = std::move(nodes);
  if (istio_ && plan_.mesh) facts["mesh"] = mesh_facts();
  if (plan_.filler.services > 0) {
    // kube-proxy walks its Services in no order of their names.
    facts["filler_position"] = "not by name";
  }
  if (plan_.filler.policies) {
    facts["network_policy"] = {{"policies", *plan_.filler.policies},
                               {"written_ns", policies_written_ns_}};
  }
  return facts;
}

}  // namespace cluster
