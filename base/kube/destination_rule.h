// networking.istio.io/v1 DestinationRule: which pods of a host are a subset, and how a proxy that
// dials them behaves. The fields that a lab implements; where an object says more, it is refused.
// Source: istio.io/api/networking/v1alpha3/destination_rule.proto, and ValidateDestinationRule of
// istio/pkg/config/validation/validation.go.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/kube/meta.h"
#include "base/kube/virtual_service.h"

namespace base::kube {

inline constexpr std::string_view destination_rule_kind = "DestinationRule";

// Of all limits 0 is none.
struct TcpPool {
  std::int32_t max_connections = 0;

  bool operator==(const TcpPool&) const = default;
};

template <typename Visit, SelfOf<TcpPool> Self>
void describe(Visit& visit, Self& self) {
  visit("maxConnections", self.max_connections, {.doc = "To all of its pods together."});
}

struct HttpPool {
  std::int32_t http1_max_pending_requests = 0;  // that wait for a connection
  std::int32_t max_requests_per_connection = 0;

  bool operator==(const HttpPool&) const = default;
};

template <typename Visit, SelfOf<HttpPool> Self>
void describe(Visit& visit, Self& self) {
  visit("http1MaxPendingRequests", self.http1_max_pending_requests,
        {.doc = "Requests that wait for a connection."});
  visit("maxRequestsPerConnection", self.max_requests_per_connection,
        {.doc = "After so many a connection ends."});
}

struct ConnectionPool {
  std::optional<TcpPool> tcp = {};
  std::optional<HttpPool> http = {};

  bool operator==(const ConnectionPool&) const = default;
};

template <typename Visit, SelfOf<ConnectionPool> Self>
void describe(Visit& visit, Self& self) {
  visit("tcp", self.tcp, {.doc = "Of connections."});
  visit("http", self.http, {.doc = "Of requests."});
}

struct OutlierDetection {
  std::optional<std::int32_t> consecutive_5xx_errors = {};      // 5 unless said, 0: not by them
  std::optional<std::int32_t> consecutive_gateway_errors = {};  // 502, 503, 504; 0: not by them
  std::optional<Duration> interval = {};                        // 10 s unless said
  std::optional<Duration> base_ejection_time = {};              // 30 s unless said
  std::optional<std::int32_t> max_ejection_percent = {};        // 10 unless said

  bool operator==(const OutlierDetection&) const = default;
};

template <typename Visit, SelfOf<OutlierDetection> Self>
void describe(Visit& visit, Self& self) {
  visit("consecutive5xxErrors", self.consecutive_5xx_errors,
        {.doc = "After so many replies of 5xx in a row a pod is sent nothing for a while."});
  visit("consecutiveGatewayErrors", self.consecutive_gateway_errors,
        {.doc = "After so many replies of 502, 503 or 504, likewise."});
  visit("interval", self.interval, {.doc = "How often it is looked whether a pod may be back."});
  visit("baseEjectionTime", self.base_ejection_time,
        {.doc = "How long it is sent nothing: so long the first time, twice the second."});
  visit("maxEjectionPercent", self.max_ejection_percent,
        {.doc = "Of 100 pods so many may be sent nothing at one time."});
}

struct DestinationPolicy {
  std::optional<ConnectionPool> connection_pool = {};
  std::optional<OutlierDetection> outlier_detection = {};

  bool operator==(const DestinationPolicy&) const = default;
};

template <typename Visit, SelfOf<DestinationPolicy> Self>
void describe(Visit& visit, Self& self) {
  visit("connectionPool", self.connection_pool, {.doc = "What a proxy may have open."});
  visit("outlierDetection", self.outlier_detection, {.doc = "When a pod is left alone."});
}

struct Subset {
  std::string name;
  std::map<std::string, std::string> labels = {};  // that its pods have
  std::optional<DestinationPolicy> traffic_policy = {};

  bool operator==(const Subset&) const = default;
};

template <typename Visit, SelfOf<Subset> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What routes call it.", .required = true});
  visit("labels", self.labels, {.doc = "Labels its pods have."});
  visit("trafficPolicy", self.traffic_policy, {.doc = "Where its is another, by its parts."});
}

struct DestinationRuleSpec {
  std::string host;
  std::optional<DestinationPolicy> traffic_policy = {};
  std::vector<Subset> subsets = {};

  bool operator==(const DestinationRuleSpec&) const = default;
};

template <typename Visit, SelfOf<DestinationRuleSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("host", self.host, {.doc = "A Service.", .required = true});
  visit("trafficPolicy", self.traffic_policy, {.doc = "How whoever dials it behaves."});
  visit("subsets", self.subsets, {.doc = "Parts of its pods, by name."});
}

struct DestinationRule {
  std::string api_version = std::string(networking_api_version);
  std::string kind = std::string(destination_rule_kind);
  ObjectMeta metadata = {};
  DestinationRuleSpec spec = {};

  bool operator==(const DestinationRule&) const = default;
};

template <typename Visit, SelfOf<DestinationRule> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "networking.istio.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "DestinationRule.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and namespace.", .required = true});
  visit("spec", self.spec, {.doc = "How whoever dials a Service behaves.", .required = true});
}

// An object as it is written, where Istio would take it. Errors, naming the field: input (another
// apiVersion, no host, a subset without a name or with that of another, numbers below 0, times
// below 1 ms, a share above 100); missing (a field that is not among the above, a host with a
// wildcard).
[[nodiscard]] Result<DestinationRule> read_destination_rule(const Json& object);

}  // namespace base::kube
