#include "base/kube/destination_rule.h"

#include <set>
#include <utility>

#include "base/kube/istio_object.h"
#include "base/kube/unknown_field.h"

namespace base::kube {
namespace {

using Fault = std::optional<std::pair<std::string, std::string>>;  // the field, and why

constexpr std::int32_t all_percent = 100;

Fault fault_of(const ConnectionPool& pool) {
  const TcpPool tcp = pool.tcp.value_or(TcpPool{});
  const HttpPool http = pool.http.value_or(HttpPool{});
  for (const auto& [field, limit] :
       {std::pair{"tcp.maxConnections", tcp.max_connections},
        std::pair{"http.http1MaxPendingRequests", http.http1_max_pending_requests},
        std::pair{"http.maxRequestsPerConnection", http.max_requests_per_connection}}) {
    if (limit < 0) return std::pair{std::string(field), std::string("expected 0 or more")};
  }
  return std::nullopt;
}

Fault fault_of(const OutlierDetection& outlier) {
  for (const auto& [field, count] :
       {std::pair{"consecutive5xxErrors", outlier.consecutive_5xx_errors},
        std::pair{"consecutiveGatewayErrors", outlier.consecutive_gateway_errors}}) {
    if (count && *count < 0)
      return std::pair{std::string(field), std::string("expected 0 or more")};
  }
  for (const auto& [field, time] : {std::pair{"interval", outlier.interval},
                                    std::pair{"baseEjectionTime", outlier.base_ejection_time}}) {
    if (time && *time < std::chrono::milliseconds(1)) {
      return std::pair{std::string(field), std::string("expected 1ms or more")};
    }
  }
  const auto percent = outlier.max_ejection_percent.value_or(0);
  if (percent >= 0 && percent <= all_percent) return std::nullopt;
  return std::pair{std::string("maxEjectionPercent"), std::string("expected 0 to 100")};
}

Fault fault_of(const DestinationPolicy& policy) {
  const auto below = [](std::string_view field, Fault fault) {
    if (fault) fault->first = fmt::format("trafficPolicy.{}.{}", field, fault->first);
    return fault;
  };
  if (policy.connection_pool) {
    if (auto fault = below("connectionPool", fault_of(*policy.connection_pool))) return fault;
  }
  if (!policy.outlier_detection) return std::nullopt;
  return below("outlierDetection", fault_of(*policy.outlier_detection));
}

Fault fault_of(const DestinationRuleSpec& spec) {
  if (spec.host.empty()) return std::pair{std::string("host"), std::string("expected a Service")};
  if (spec.traffic_policy) {
    if (auto fault = fault_of(*spec.traffic_policy)) return fault;
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < spec.subsets.size(); ++i) {
    const auto& subset = spec.subsets[i];
    if (!is_dns_label(subset.name) || !names.insert(subset.name).second) {
      return std::pair{fmt::format("subsets[{}].name", i),
                       std::string("expected a name of its own, 1 to 63 of a-z, 0-9 and -")};
    }
    if (!subset.traffic_policy) continue;
    if (auto fault = fault_of(*subset.traffic_policy)) {
      fault->first = fmt::format("subsets[{}].{}", i, fault->first);
      return fault;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<DestinationRule> read_destination_rule(const Json& object) {
  const auto where = istio_object_name(destination_rule_kind, object);
  if (const auto unknown = unknown_field<DestinationRuleSpec>(spec_of(object), "spec")) {
    return fail(ErrorKind::missing, "{}: {}: this field is not implemented here", where, *unknown);
  }
  ASSIGN_OR_RETURN(auto rule,
                   from_json<DestinationRule>(object, std::string(destination_rule_kind)));
  RETURN_IF_ERROR(
      check_istio_object(rule.api_version, rule.metadata, where, networking_api_version));
  if (rule.spec.host.contains('*')) {
    return fail(ErrorKind::missing, "{}: spec.host: wildcards are not implemented here", where);
  }
  if (const auto fault = fault_of(rule.spec)) {
    return fail(ErrorKind::input, "{}: spec.{}: {}", where, fault->first, fault->second);
  }
  return rule;
}

}  // namespace base::kube
