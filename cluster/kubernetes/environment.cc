#include "cluster/kubernetes/environment.h"

#include <algorithm>
#include <set>
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

// With an image to pull.
constexpr base::Duration pods_patience = std::chrono::minutes(3);
// What held a place may be on its way out.
constexpr base::Duration unschedulable_patience = seconds(15);
// From a pod's condition by way of its kubelet to the EndpointSlice controller.
constexpr base::Duration slices_patience = seconds(30);
// What a pod that is deleted in the course of things may go on serving: longer than any event.
constexpr base::Duration drain = seconds(10);
constexpr base::Duration removal_patience = drain + seconds(20);
// A load balancer in the cluster answers within seconds; where there is none, nobody ever does.
constexpr base::Duration balancer_patience = seconds(20);

// Of our Services, and not of the fillers, whose slices are ours.
std::string slices_selector(const Placement& place) {
  return environment_selector(place) +
         ",endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";
}

bool is_balancer(const Json& service) {
  return text_at(service, {"spec", "type"}) == base::enum_name(ServiceType::LoadBalancer);
}

// Its addresses that are some: a cloud may give a name instead.
std::vector<base::IpAddress> ingress_of(const Json& service) {
  std::vector<base::IpAddress> addresses;
  const auto& ingress = json_at(service, {"status", "loadBalancer", "ingress"});
  if (!ingress.is_array()) return addresses;
  for (const auto& entry : ingress) {
    if (const auto address = base::IpAddress::parse(text_at(entry, {"ip"}))) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

std::vector<std::string> strings_of(const Json& list) {
  std::vector<std::string> all;
  if (!list.is_array()) return all;
  for (const auto& entry : list) {
    if (entry.is_string()) all.push_back(entry.get<std::string>());
  }
  return all;
}

// Adds the ready endpoints of a slice, by their Service.
void add_ready(const Json& slice, std::map<std::string, std::set<std::string>>& ready) {
  const auto& endpoints = json_at(slice, {"endpoints"});
  if (!endpoints.is_array()) return;
  auto& addresses = ready[text_at(slice, {"metadata", "labels", base::kube::service_name_label})];
  for (const auto& endpoint : endpoints) {
    const auto& condition = json_at(endpoint, {"conditions", "ready"});
    // Unknown counts as true.
    if (condition.is_boolean() && !condition.get<bool>()) continue;
    for (const auto& text : strings_of(json_at(endpoint, {"addresses"}))) {
      if (const auto address = base::IpAddress::parse(text)) {
        addresses.insert(address->to_string());
      }
    }
  }
}

}  // namespace

ClusterEnvironment::ClusterEnvironment(ApiClient& api, EnvironmentPlan plan, Placement place)
    : api_(&api),
      plan_(std::move(plan)),
      place_(std::move(place)),
      slices_(api.options(),
              {.path = slices_path(place_), .label_selector = slices_selector(place_)}) {}

std::unique_ptr<ClusterEnvironment> ClusterEnvironment::make(ApiClient& api, EnvironmentPlan plan,
                                                             Placement place) {
  return std::unique_ptr<ClusterEnvironment>(
      new ClusterEnvironment(api, std::move(plan), std::move(place)));
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
  if (place_.own_namespace) RETURN_IF_ERROR(create_namespace(*api_, place_, "restricted"));
  // Services before pods: their slices are made while the pods start.
  RETURN_IF_ERROR(create_services());
  RETURN_IF_ERROR(create_pods());
  RETURN_IF_ERROR(await_pods());
  RETURN_IF_ERROR(write_readiness());
  RETURN_IF_ERROR(create_fillers());
  RETURN_IF_ERROR(read_services());
  return await_slices();
}

Result<> ClusterEnvironment::create_services() {
  for (const auto& [name, spec] : plan_.topology.services) {
    RETURN_IF_ERROR(api_->apply(fmt::format("{}/{}", services_path(place_), place_.name(name)),
                                service_manifest(place_, name, spec, plan_.ports)));
  }
  return {};
}

Result<> ClusterEnvironment::create_pod(ApiClient& api, const PodHandle& pod) const {
  RETURN_IF_ERROR(api.apply(pod_path(pod), pod_manifest(place_, pod, node_of(pod), image_)));
  return {};
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
    RETURN_IF_ERROR(api_->apply(fmt::format("{}/{}", jobs_path(place_), place_.name(group)),
                                generators_manifest(place_, group, static_cast<int>(pods.size()),
                                                    node_of(*pods.front()), image_)));
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

Result<> ClusterEnvironment::await_pods() {
  Watch pods(api_->options(),
             {.path = pods_path(place_), .label_selector = environment_selector(place_)});
  auto deadline = base::monotonic_now() + pods_patience;
  while (true) {
    std::string waiting_for;
    const auto before = base::monotonic_now();
    auto all_run = pods.until(
        [&](const Objects& all) -> Result<bool> {
          take_made_by_jobs(all);
          for (const auto& pod : handle_.pods) {
            const auto name = object_name(pod);
            const auto found = all.find(place_.in_namespace + "/" + name);
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
    read_pod_addresses(pods.objects().at(place_.in_namespace + "/" + object_name(pod)), pod);
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

std::string ClusterEnvironment::what_slices_lack(const Objects& slices) const {
  std::map<std::string, std::set<std::string>> ready;
  for (const auto& [name, slice] : slices) add_ready(slice, ready);
  for (const auto& [name, service] : handle_.services) {
    std::set<std::string> wanted;
    for (const auto& pod : handle_.pods) {
      if (pod.group != service.target || !is_ready(pod)) continue;
      for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
        const base::IpAddress none{.family = family, .bytes = {}};
        // A Service has slices of its own families only.
        if (service.address(family).bytes == none.bytes) continue;
        if (pod.address(family).bytes != none.bytes) {
          wanted.insert(pod.address(family).to_string());
        }
      }
    }
    const auto& there = ready[place_.name(name)];
    if (there == wanted) continue;
    return fmt::format("of Service {}, ready are [{}] and should be [{}]", name,
                       fmt::join(there, ", "), fmt::join(wanted, ", "));
  }
  return {};
}

Result<> ClusterEnvironment::await_slices() {
  std::string lack;
  auto agreed = slices_.until(
      [&](const Objects& slices) -> Result<bool> {
        lack = what_slices_lack(slices);
        return lack.empty();
      },
      base::monotonic_now() + slices_patience);
  if (agreed) return {};
  return base::in_context(std::move(agreed).error(),
                          "waiting for the EndpointSlices in namespace {} to say which pods are "
                          "ready ({})",
                          place_.in_namespace, lack);
}

std::string ClusterEnvironment::pod_at(const std::string& address) const {
  const auto found = std::ranges::find_if(handle_.pods, [&](const PodHandle& pod) {
    return pod.ipv4.to_string() == address || pod.ipv6.to_string() == address;
  });
  return found == handle_.pods.end() ? address : found->name;
}

Result<std::optional<std::string>> ClusterEnvironment::why_silent(std::string_view service) const {
  const auto selector = fmt::format("{}={}", base::kube::service_name_label, place_.name(service));
  ASSIGN_OR_RETURN(
      const auto list,
      api_->get(fmt::format("{}?labelSelector={}", slices_path(place_), url_escape(selector))));
  std::set<std::string> unready;
  if (const auto& slices = json_at(list, {"items"}); slices.is_array()) {
    for (const auto& slice : slices) {
      std::map<std::string, std::set<std::string>> ready;
      add_ready(slice, ready);
      for (const auto& [name, addresses] : ready) {
        if (!addresses.empty()) return std::nullopt;
      }
      for (const auto& endpoint : json_at(slice, {"endpoints"})) {
        for (const auto& address : strings_of(json_at(endpoint, {"addresses"}))) {
          unready.insert(pod_at(address));
        }
      }
    }
  }
  if (unready.empty()) return fmt::format("Service {} has no endpoints", service);
  return fmt::format("no endpoint of Service {} is ready (there are {})", service,
                     fmt::join(unready, ", "));
}

Result<> ClusterEnvironment::create_fillers() {
  if (plan_.filler.services == 0) return {};
  const auto& pod = handle_.pods.front();
  return for_each_request(
      api_->options(), static_cast<std::size_t>(plan_.filler.services),
      [&](ApiClient& api, std::size_t index) -> Result<> {
        const int number = static_cast<int>(index) + 1;
        const auto name = place_.name(filler_name(plan_.filler, number));
        RETURN_IF_ERROR(api.apply(fmt::format("{}/{}", services_path(place_), name),
                                  filler_service_manifest(place_, plan_, number)));
        RETURN_IF_ERROR(
            api.apply(fmt::format("{}/{}", slices_path(place_), name),
                      filler_slice_manifest(place_, plan_, number, pod.address(plan_.filler.family),
                                            node_of(pod))));
        return {};
      });
}

Result<> ClusterEnvironment::await_load_balancers(Watch& services) const {
  auto given = services.until(
      [](const Objects& all) -> Result<bool> {
        return std::ranges::none_of(all, [](const auto& entry) {
          return is_balancer(entry.second) && ingress_of(entry.second).empty();
        });
      },
      base::monotonic_now() + balancer_patience);
  // Without one, whoever dials it is told.
  if (!given && given.error().kind != ErrorKind::timed_out) return given;
  return {};
}

Result<ServiceHandle> ClusterEnvironment::service_handle(const std::string& name,
                                                         const Json& object) const {
  ServiceHandle handle;
  handle.name = name;
  handle.target = plan_.topology.services.at(name).target;
  for (const auto& text : strings_of(json_at(object, {"spec", "clusterIPs"}))) {
    ASSIGN_OR_RETURN(const auto address, base::IpAddress::parse(text));
    (address.family == base::AddressFamily::ipv4 ? handle.ipv4 : handle.ipv6) = address;
  }
  if (const auto& ports = json_at(object, {"spec", "ports"}); ports.is_array()) {
    for (const auto& port : ports) {
      const auto& node_port = json_at(port, {"nodePort"});
      if (!node_port.is_number_integer()) continue;
      handle.node_ports[text_at(port, {"name"})] = node_port.get<std::uint16_t>();
    }
  }
  for (const auto& address : ingress_of(object)) {
    const auto same = [&](const base::IpAddress& other) { return other.family == address.family; };
    if (std::ranges::none_of(handle.load_balancer_addresses, same)) {
      handle.load_balancer_addresses.push_back(address);
    }
  }
  return handle;
}

Result<> ClusterEnvironment::read_services() {
  if (plan_.topology.services.empty()) return {};
  // Fillers have no group of pods, and are left out.
  Watch services(api_->options(), {.path = services_path(place_),
                                   .label_selector = fmt::format(
                                       "{},{}", environment_selector(place_), group_label)});
  RETURN_IF_ERROR(await_load_balancers(services));
  for (const auto& [name, spec] : plan_.topology.services) {
    const auto found = services.objects().find(place_.in_namespace + "/" + place_.name(name));
    if (found == services.objects().end()) {
      return base::fail(ErrorKind::system, "Service {} was deleted by somebody", name);
    }
    ASSIGN_OR_RETURN(auto handle, service_handle(name, found->second));
    handle_.services.insert_or_assign(name, std::move(handle));
  }
  return {};
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
  return fmt::format("{}/{}", pods_path(place_), object_name(pod));
}

Result<> ClusterEnvironment::remake_pods(const std::map<std::string, Readiness>& pods) {
  std::vector<PodHandle*> again;
  for (auto& pod : handle_.pods) {
    const auto wanted = pods.find(pod.name);
    if (wanted == pods.end() || wanted->second == Readiness::terminating) continue;
    if (deleted_.contains(pod.name)) again.push_back(&pod);
  }
  if (again.empty()) return {};
  Watch watch(api_->options(),
              {.path = pods_path(place_), .label_selector = environment_selector(place_)});
  auto gone = watch.until(
      [&](const Objects& there) -> Result<bool> {
        return std::ranges::none_of(again, [&](const PodHandle* pod) {
          return there.contains(place_.in_namespace + "/" + object_name(*pod));
        });
      },
      base::monotonic_now() + removal_patience);
  if (!gone) return base::in_context(std::move(gone).error(), "waiting for deleted pods to go");
  for (auto* pod : again) {
    RETURN_IF_ERROR(create_pod(*api_, *pod));
    deleted_.erase(pod->name);
  }
  return await_pods();
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

Json ClusterEnvironment::facts() const {
  Json facts = {{"namespace", place_.in_namespace}};
  Json nodes = Json::array();
  for (const auto& node : nodes_) nodes.push_back(node.name);
  facts["nodes"] = std::move(nodes);
  if (plan_.filler.services > 0) {
    // kube-proxy walks its Services in no order of their names.
    facts["filler_position"] = "not by name";
  }
  return facts;
}

}  // namespace cluster
