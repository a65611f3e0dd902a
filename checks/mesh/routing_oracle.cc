#include "checks/mesh/routing_oracle.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace checks {
namespace {

using base::kube::DestinationPolicy;
using base::kube::DestinationRule;
using base::kube::HttpMatchRequest;
using base::kube::HttpRoute;
using base::kube::RequestPercent;
using base::kube::RouteDestination;
using base::kube::StringMatch;
using base::kube::Subset;
using base::kube::VirtualService;
using base::kube::whole_host;

constexpr int not_found = 404;
constexpr int unavailable = 503;

template <typename Object>
void put(std::vector<Object>& all, Object object) {
  const auto same = [&](const Object& other) {
    return other.metadata.name == object.metadata.name &&
           other.metadata.in_namespace == object.metadata.in_namespace;
  };
  std::erase_if(all, same);
  all.push_back(std::move(object));
}

// ---- which route --------------------------------------------------------------------------------

bool is_as_said(const StringMatch& wanted, std::string_view text) {
  return wanted.exact ? text == *wanted.exact : text.starts_with(wanted.prefix.value_or(""));
}

bool is_about(const HttpMatchRequest& match, const RoutedRequest& request) {
  if (match.uri && !is_as_said(*match.uri, request.path)) return false;
  if (match.method && !is_as_said(*match.method, request.method)) return false;
  for (const auto& [name, wanted] : match.headers) {
    const auto field = request.headers.find(name);
    if (field == request.headers.end() || !is_as_said(wanted, field->second)) return false;
  }
  return true;
}

bool takes(const HttpRoute& route, const RoutedRequest& request) {
  if (route.match.empty()) return true;
  return std::ranges::any_of(route.match,
                             [&](const auto& match) { return is_about(match, request); });
}

const VirtualService* find_service(const RoutingObjects& objects, const std::string& host) {
  for (const auto& one : objects.virtual_services) {
    for (const auto& its : one.spec.hosts) {
      if (whole_host(its, one.metadata.in_namespace) == host) return &one;
    }
  }
  return nullptr;
}

// ---- where to -----------------------------------------------------------------------------------

const DestinationRule* find_rule(const RoutingObjects& objects, const std::string& host) {
  for (const auto& one : objects.destination_rules) {
    if (whole_host(one.spec.host, one.metadata.in_namespace) == host) return &one;
  }
  return nullptr;
}

const Subset* find_subset(const DestinationRule* rule, const std::string& name) {
  if (rule == nullptr) return nullptr;
  const auto found = std::ranges::find(rule->spec.subsets, name, &Subset::name);
  return found == rule->spec.subsets.end() ? nullptr : &*found;
}

struct Target {
  std::string host;    // whole
  std::string subset;  // empty: all
};

std::set<std::string> pods_at(const RoutingObjects& objects, const std::vector<RoutedPod>& pods,
                              const Target& target) {
  const auto* const subset = find_subset(find_rule(objects, target.host), target.subset);
  std::set<std::string> names;
  if (!target.subset.empty() && subset == nullptr) return names;
  for (const auto& pod : pods) {
    if (pod.host != target.host) continue;
    bool chosen = true;
    if (subset != nullptr) {
      for (const auto& [key, value] : subset->labels) {
        const auto its = pod.labels.find(key);
        chosen = chosen && its != pod.labels.end() && its->second == value;
      }
    }
    if (chosen) names.insert(pod.name);
  }
  return names;
}

// Of a subset its own, part by part, before the host's.
DestinationPolicy policy_at(const RoutingObjects& objects, const Target& target) {
  const auto* const rule = find_rule(objects, target.host);
  DestinationPolicy policy;
  if (rule != nullptr && rule->spec.traffic_policy) policy = *rule->spec.traffic_policy;
  const auto* const subset = find_subset(rule, target.subset);
  if (subset == nullptr || !subset->traffic_policy) return policy;
  if (const auto& pool = subset->traffic_policy->connection_pool) policy.connection_pool = pool;
  if (const auto& outlier = subset->traffic_policy->outlier_detection) {
    policy.outlier_detection = outlier;
  }
  return policy;
}

// ---- how likely ---------------------------------------------------------------------------------

double share_of(const std::optional<RequestPercent>& percentage) {
  return percentage ? percentage->value / 100 : 0;
}

// Those of the same pods, or of the same word of the proxy, are one.
void add_end(RoutedAs& all, RoutedEnd end) {
  if (end.share <= 0) return;
  for (auto& other : all.ends) {
    if (other.status == end.status && other.aborted == end.aborted && other.pods == end.pods) {
      other.share += end.share;
      return;
    }
    all.ambiguous = all.ambiguous || std::ranges::any_of(end.pods, [&](const std::string& pod) {
                      return other.pods.contains(pod);
                    });
  }
  all.ends.push_back(std::move(end));
}

void add_target(RoutedAs& all, const RoutingObjects& objects, const std::vector<RoutedPod>& pods,
                const Target& target, double share) {
  RoutedEnd end{.share = share, .pods = pods_at(objects, pods, target)};
  // Nobody to send it to.
  if (end.pods.empty()) end.status = unavailable;
  add_end(all, std::move(end));
}

}  // namespace

base::Result<> add_objects(const std::vector<base::Json>& manifests, RoutingObjects& objects) {
  for (const auto& manifest : manifests) {
    ASSIGN_OR_RETURN(const auto type, base::from_json<base::kube::TypeMeta>(manifest, "object"));
    if (type.kind == base::kube::virtual_service_kind) {
      ASSIGN_OR_RETURN(auto service, base::kube::read_virtual_service(manifest));
      put(objects.virtual_services, std::move(service));
    } else if (type.kind == base::kube::destination_rule_kind) {
      ASSIGN_OR_RETURN(auto rule, base::kube::read_destination_rule(manifest));
      put(objects.destination_rules, std::move(rule));
    }
  }
  return {};
}

RoutedAs routed_as(const RoutingObjects& objects, const std::vector<RoutedPod>& pods,
                   const RoutedRequest& request) {
  RoutedAs all;
  const auto* const service = find_service(objects, request.host);
  all.said = service != nullptr || find_rule(objects, request.host) != nullptr;
  if (service == nullptr) {
    const Target whole{.host = request.host, .subset = ""};
    add_target(all, objects, pods, whole, 1);
    all.policy = policy_at(objects, whole);
    return all;
  }
  const auto route = std::ranges::find_if(
      service->spec.http, [&](const HttpRoute& one) { return takes(one, request); });
  if (route == service->spec.http.end()) {
    add_end(all, {.status = not_found});
    return all;
  }
  double passed = 1;
  if (route->fault && route->fault->delay) {
    all.delay = RoutedDelay{.delay = route->fault->delay->fixed_delay,
                            .share = share_of(route->fault->delay->percentage)};
  }
  if (route->fault && route->fault->abort) {
    const double aborted = share_of(route->fault->abort->percentage);
    add_end(all, {.share = aborted, .status = route->fault->abort->http_status, .aborted = true});
    passed -= aborted;
  }
  double weights = 0;
  for (const auto& to : route->route) weights += to.weight;
  for (const auto& to : route->route) {
    const Target target{.host = whole_host(to.destination.host, service->metadata.in_namespace),
                        .subset = to.destination.subset};
    const double share = route->route.size() == 1 ? 1 : to.weight / weights;
    add_target(all, objects, pods, target, passed * share);
    if (route->route.size() == 1) all.policy = policy_at(objects, target);
  }
  return all;
}

}  // namespace checks
