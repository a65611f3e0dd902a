#include "cluster/lab/mesh/routing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "cluster/lab/mesh/envoy_json.h"

namespace cluster {
namespace {

using base::Json;
using base::kube::DestinationPolicy;
using base::kube::DestinationRule;
using base::kube::HttpFaultInjection;
using base::kube::HttpMatchRequest;
using base::kube::HttpRoute;
using base::kube::RequestPercent;
using base::kube::StringMatch;
using base::kube::VirtualService;
using base::kube::whole_host;
using envoy::extension;
using envoy::list;
using envoy::typed;

constexpr std::string_view fault_filter = "envoy.filters.http.fault";
constexpr std::string_view fault_type = "filters.http.fault.v3.HTTPFault";

const VirtualService* service_of(const ProxyRouting& routing, std::string_view host) {
  for (const auto& service : routing.virtual_services) {
    for (const auto& its : service.spec.hosts) {
      if (whole_host(its, service.metadata.in_namespace) == host) return &service;
    }
  }
  return nullptr;
}

const DestinationRule* rule_of(const ProxyRouting& routing, std::string_view host) {
  for (const auto& rule : routing.destination_rules) {
    if (whole_host(rule.spec.host, rule.metadata.in_namespace) == host) return &rule;
  }
  return nullptr;
}

// google.protobuf.Duration as JSON.
std::string seconds(base::Duration time) {
  const auto ns = std::chrono::nanoseconds(time).count();
  constexpr std::int64_t ns_per_s = 1'000'000'000;
  return fmt::format("{}.{:09}s", ns / ns_per_s, ns % ns_per_s);
}

// ---- routes -------------------------------------------------------------------------------------

Json text_match(const StringMatch& match) {
  return match.exact ? Json{{"exact", *match.exact}} : Json{{"prefix", *match.prefix}};
}

Json header(std::string_view name, const StringMatch& match) {
  return {{"name", name}, {"string_match", text_match(match)}};
}

Json route_match(const HttpMatchRequest& match) {
  Json its = {{"prefix", "/"}};
  if (match.uri && match.uri->exact) its = {{"path", *match.uri->exact}};
  if (match.uri && match.uri->prefix) its = {{"prefix", *match.uri->prefix}};
  auto headers = Json::array();
  if (match.method) headers.push_back(header(":method", *match.method));
  for (const auto& [name, value] : match.headers) headers.push_back(header(name, value));
  if (!headers.empty()) its["headers"] = std::move(headers);
  return its;
}

// translatePercentToFractionalPercent: to a ten-thousandth of a percent.
Json share(const std::optional<RequestPercent>& percentage) {
  constexpr double per_percent = 10'000;
  const auto numerator = std::llround(percentage.value_or(RequestPercent{}).value * per_percent);
  return {{"numerator", numerator}, {"denominator", "MILLION"}};
}

Json fault_config(const HttpFaultInjection& fault) {
  auto config = Json::object();
  if (fault.delay) {
    config["delay"] = {{"fixed_delay", seconds(fault.delay->fixed_delay)},
                       {"percentage", share(fault.delay->percentage)}};
  }
  if (fault.abort) {
    config["abort"] = {{"http_status", fault.abort->http_status},
                       {"percentage", share(fault.abort->percentage)}};
  }
  return typed(fault_type, config);
}

// Where requests go; nobody's time is over but the client's.
Json action(const HttpRoute& route, const std::string& in_namespace, std::uint16_t port) {
  const auto name_of = [&](const base::kube::HttpRouteDestination& to) {
    return outbound_name(port, to.destination.subset,
                         whole_host(to.destination.host, in_namespace));
  };
  Json its = {{"timeout", "0s"}};
  if (route.route.size() == 1) {
    its["cluster"] = name_of(route.route.front());
    return its;
  }
  auto clusters = Json::array();
  for (const auto& to : route.route) {
    if (to.weight > 0) clusters.push_back({{"name", name_of(to)}, {"weight", to.weight}});
  }
  its["weighted_clusters"]["clusters"] = std::move(clusters);
  return its;
}

void add_routes(Json& all, const HttpRoute& route, const std::string& in_namespace,
                std::uint16_t port) {
  auto matches = route.match;
  if (matches.empty()) matches.emplace_back();
  for (const auto& match : matches) {
    Json one = {{"match", route_match(match)}, {"route", action(route, in_namespace, port)}};
    if (!route.name.empty()) one["name"] = route.name;
    if (route.fault) {
      one["typed_per_filter_config"][std::string(fault_filter)] = fault_config(*route.fault);
    }
    all.push_back(std::move(one));
  }
}

// ---- faults -------------------------------------------------------------------------------------

template <typename Break>
void each_route(ProxyRouting& routing, const Break& breaks) {
  for (auto& service : routing.virtual_services) {
    for (auto& route : service.spec.http) breaks(route);
  }
}

template <typename Break>
void each_policy(ProxyRouting& routing, const Break& breaks) {
  for (auto& rule : routing.destination_rules) {
    if (rule.spec.traffic_policy) breaks(*rule.spec.traffic_policy);
    for (auto& subset : rule.spec.subsets) {
      if (subset.traffic_policy) breaks(*subset.traffic_policy);
    }
  }
}

void break_by(ProxyRouting& routing, FaultKind fault) {
  switch (fault) {
    case FaultKind::weights_ignored:
      return each_route(routing, [](HttpRoute& route) {
        for (auto& to : route.route) to.weight = 1;
      });
    case FaultKind::abort_left_out:
      return each_route(routing, [](HttpRoute& route) {
        if (route.fault) route.fault->abort.reset();
      });
    case FaultKind::delay_left_out:
      return each_route(routing, [](HttpRoute& route) {
        if (route.fault) route.fault->delay.reset();
      });
    case FaultKind::subsets_ignored:
      for (auto& rule : routing.destination_rules) {
        for (auto& subset : rule.spec.subsets) subset.labels.clear();
      }
      return;
    case FaultKind::pool_limits_left_out:
      return each_policy(routing,
                         [](DestinationPolicy& policy) { policy.connection_pool.reset(); });
    case FaultKind::ejection_left_out:
      return each_policy(routing,
                         [](DestinationPolicy& policy) { policy.outlier_detection.reset(); });
    default:
      return;
  }
}

}  // namespace

ProxyRouting broken(ProxyRouting routing, const std::vector<FaultKind>& faults) {
  for (const auto fault : faults) break_by(routing, fault);
  return routing;
}

bool RoutedSubset::has(const std::map<std::string, std::string>& labels_of_pod) const {
  return std::ranges::all_of(labels, [&](const auto& wanted) {
    const auto found = labels_of_pod.find(wanted.first);
    return found != labels_of_pod.end() && found->second == wanted.second;
  });
}

std::vector<RoutedSubset> subsets_of(const ProxyRouting& routing, std::string_view host) {
  std::vector<RoutedSubset> all(1);
  const auto* const rule = rule_of(routing, host);
  if (rule == nullptr) return all;
  all.front().policy = rule->spec.traffic_policy.value_or(DestinationPolicy{});
  for (const auto& subset : rule->spec.subsets) {
    RoutedSubset one{.name = subset.name, .labels = subset.labels, .policy = all.front().policy};
    // What a subset says of a part stands in place of all of that part (MergeSubsetTrafficPolicy).
    if (subset.traffic_policy) {
      const auto& its = *subset.traffic_policy;
      if (its.connection_pool) one.policy.connection_pool = its.connection_pool;
      if (its.outlier_detection) one.policy.outlier_detection = its.outlier_detection;
    }
    all.push_back(std::move(one));
  }
  return all;
}

std::string outbound_name(std::uint16_t port, std::string_view subset, std::string_view host) {
  return fmt::format("outbound|{}|{}|{}", port, subset, host);
}

Json http_routes(const ProxyRouting& routing, std::string_view host, std::uint16_t port) {
  const auto* const service = service_of(routing, host);
  if (service == nullptr) {
    return list({{{"match", {{"prefix", "/"}}},
                  {"route", {{"cluster", outbound_name(port, "", host)}, {"timeout", "0s"}}}}});
  }
  auto all = Json::array();
  for (const auto& route : service->spec.http) {
    add_routes(all, route, service->metadata.in_namespace, port);
  }
  return all;
}

Json http_fault_filters(const ProxyRouting& routing, std::string_view host) {
  const auto* const service = service_of(routing, host);
  const bool any = service != nullptr &&
                   std::ranges::any_of(service->spec.http,
                                       [](const auto& route) { return route.fault.has_value(); });
  return any ? list({extension(fault_filter, fault_type)}) : Json::array();
}

void put_policy(Json& cluster, const DestinationPolicy& policy) {
  if (const auto& pool = policy.connection_pool) {
    auto& limits = cluster["circuit_breakers"]["thresholds"][0];
    const auto http = pool->http.value_or(base::kube::HttpPool{});
    const auto put = [&](std::string_view name, std::int32_t limit) {
      if (limit > 0) limits[std::string(name)] = limit;
    };
    put("max_connections", pool->tcp.value_or(base::kube::TcpPool{}).max_connections);
    put("max_pending_requests", http.http1_max_pending_requests);
    if (http.max_requests_per_connection > 0) {
      envoy::http_options_of(
          cluster)["common_http_protocol_options"]["max_requests_per_connection"] =
          http.max_requests_per_connection;
    }
  }
  if (const auto& outlier = policy.outlier_detection) {
    constexpr int always = 100;
    Json its = {{"enforcing_success_rate", 0}};
    const auto put_errors = [&](std::string_view name, const std::optional<std::int32_t>& count) {
      if (!count) return;
      its[std::string(name)] = *count;
      its[fmt::format("enforcing_{}", name)] = *count > 0 ? always : 0;
    };
    put_errors("consecutive_5xx", outlier->consecutive_5xx_errors);
    put_errors("consecutive_gateway_failure", outlier->consecutive_gateway_errors);
    if (outlier->interval) its["interval"] = seconds(*outlier->interval);
    if (outlier->base_ejection_time) {
      its["base_ejection_time"] = seconds(*outlier->base_ejection_time);
    }
    if (outlier->max_ejection_percent.value_or(0) > 0) {
      its["max_ejection_percent"] = *outlier->max_ejection_percent;
    }
    cluster["outlier_detection"] = std::move(its);
    // However few pods are left, nobody else is sent anything in their place (minHealthPercent 0).
    cluster["common_lb_config"]["healthy_panic_threshold"]["value"] = 0;
  }
}

}  // namespace cluster
