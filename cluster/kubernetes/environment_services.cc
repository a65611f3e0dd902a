// What of an environment are its Services: those of its plan, the fillers beside them (and the
// policies that are only there to cost something), and the EndpointSlices that say who is in
// service.
#include <algorithm>
#include <set>
#include <utility>

#include "base/kube/endpoint_slice.h"
#include "base/kube/network_policy.h"
#include "cluster/check_plan.h"
#include "cluster/filler_policy.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/bulk.h"
#include "cluster/kubernetes/environment.h"
#include "cluster/kubernetes/manifests.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;
using std::chrono::seconds;

// From a pod's condition by way of its kubelet to the EndpointSlice controller.
constexpr base::Duration slices_patience = seconds(30);
// A load balancer in the cluster answers within seconds; where there is none, nobody ever does.
constexpr base::Duration balancer_patience = seconds(20);

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

Result<> ClusterEnvironment::create_services() {
  for (const auto& [name, spec] : plan_.topology.services) {
    const auto& place = place_of_service(name);
    auto manifest = service_manifest(place, name, spec, plan_.ports);
    if (spec.type == ServiceType::LoadBalancer) {
      for (const auto& [key, value] : load_balancer_annotations_) {
        manifest["metadata"]["annotations"][key] = value;
      }
    }
    RETURN_IF_ERROR(
        api_->apply(fmt::format("{}/{}", services_path(place), place.name(name)), manifest));
  }
  return {};
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
                          "waiting for the EndpointSlices of environment {} to say which pods are "
                          "ready ({})",
                          plan_.name, lack);
}

std::string ClusterEnvironment::pod_at(const std::string& address) const {
  const auto found = std::ranges::find_if(handle_.pods, [&](const PodHandle& pod) {
    return pod.ipv4.to_string() == address || pod.ipv6.to_string() == address;
  });
  return found == handle_.pods.end() ? address : found->name;
}

Result<std::optional<std::string>> ClusterEnvironment::why_silent(std::string_view service) const {
  const auto& place = place_of_service(service);
  const auto selector = fmt::format("{}={}", base::kube::service_name_label, place.name(service));
  ASSIGN_OR_RETURN(const auto list, api_->get(fmt::format("{}?labelSelector={}", slices_path(place),
                                                          url_escape(selector))));
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

// The one that allows what the arms say first: nobody is ever isolated without it.
Result<> ClusterEnvironment::create_filler_policies() {
  const int policies = plan_.filler.policies.value_or(0);
  if (policies == 0) return {};
  const auto create = [&](ApiClient& api, int number) -> Result<> {
    const auto policy = filler_policy(plan_, number);
    RETURN_IF_ERROR(
        api.apply(fmt::format("{}/{}", policies_path(place_), place_.name(policy.metadata.name)),
                  own_manifest(place_, base::kube::manifest(policy))));
    return {};
  };
  const auto began = base::monotonic_now();
  RETURN_IF_ERROR(create(*api_, policies));
  RETURN_IF_ERROR(for_each_request(
      api_->options(), static_cast<std::size_t>(policies - 1),
      [&](ApiClient& api, std::size_t index) { return create(api, static_cast<int>(index) + 1); }));
  policies_written_ns_ = (base::monotonic_now() - began).count();
  return {};
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
  Watch services(api_->options(), {.path = services_path(all_of_),
                                   .label_selector = fmt::format(
                                       "{},{}", environment_selector(place_), group_label)});
  RETURN_IF_ERROR(await_load_balancers(services));
  for (const auto& [name, spec] : plan_.topology.services) {
    const auto& place = place_of_service(name);
    const auto found = services.objects().find(place.in_namespace + "/" + place.name(name));
    if (found == services.objects().end()) {
      return base::fail(ErrorKind::system, "Service {} was deleted by somebody", name);
    }
    ASSIGN_OR_RETURN(auto handle, service_handle(name, found->second));
    handle_.services.insert_or_assign(name, std::move(handle));
  }
  return {};
}

}  // namespace cluster
