// networking.istio.io/v1 VirtualService: where requests to a host go, and what is done to them on
// the way. The fields that a lab implements, of HTTP between proxies; where an object says more, it
// is refused, for a route without it would be another. Source:
// istio.io/api/networking/v1alpha3/virtual_service.proto, and ValidateVirtualService of
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

namespace base::kube {

inline constexpr std::string_view virtual_service_kind = "VirtualService";
inline constexpr std::string_view networking_api_version = "networking.istio.io/v1";
// The gateway that stands for every proxy of the mesh.
inline constexpr std::string_view mesh_gateway = "mesh";

// A text, or what it begins with: one of the two.
struct StringMatch {
  std::optional<std::string> exact = {};
  std::optional<std::string> prefix = {};

  bool operator==(const StringMatch&) const = default;
};

template <typename Visit, SelfOf<StringMatch> Self>
void describe(Visit& visit, Self& self) {
  visit("exact", self.exact, {.doc = "The whole text."});
  visit("prefix", self.prefix, {.doc = "Its beginning."});
}

// What holds of a request: all of it.
struct HttpMatchRequest {
  std::string name = {};
  std::optional<StringMatch> uri = {};  // its path, without a query
  std::optional<StringMatch> method = {};
  std::map<std::string, StringMatch> headers = {};  // by name, in small letters

  bool operator==(const HttpMatchRequest&) const = default;
};

template <typename Visit, SelfOf<HttpMatchRequest> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "For people."});
  visit("uri", self.uri, {.doc = "Its path."});
  visit("method", self.method, {.doc = "Its method."});
  visit("headers", self.headers, {.doc = "Its fields, by name."});
}

// istio.networking.v1alpha3.Percent: 0 to 100.
struct RequestPercent {
  double value = 0;

  bool operator==(const RequestPercent&) const = default;
};

template <typename Visit, SelfOf<RequestPercent> Self>
void describe(Visit& visit, Self& self) {
  visit("value", self.value, {.doc = "Of 100 requests so many.", .required = true});
}

// Without a percentage neither is done to any request, as Istio's reference has it.
struct FaultDelay {
  Duration fixed_delay = {};
  std::optional<RequestPercent> percentage = {};

  bool operator==(const FaultDelay&) const = default;
};

template <typename Visit, SelfOf<FaultDelay> Self>
void describe(Visit& visit, Self& self) {
  visit("fixedDelay", self.fixed_delay, {.doc = "How long before it goes on.", .required = true});
  visit("percentage", self.percentage, {.doc = "Of how many requests; none unless said."});
}

struct FaultAbort {
  std::int32_t http_status = 0;
  std::optional<RequestPercent> percentage = {};

  bool operator==(const FaultAbort&) const = default;
};

template <typename Visit, SelfOf<FaultAbort> Self>
void describe(Visit& visit, Self& self) {
  visit("httpStatus", self.http_status, {.doc = "What they are answered with.", .required = true});
  visit("percentage", self.percentage, {.doc = "Of how many requests; none unless said."});
}

// Independent of one another; a request is delayed before it is aborted.
struct HttpFaultInjection {
  std::optional<FaultDelay> delay = {};
  std::optional<FaultAbort> abort = {};

  bool operator==(const HttpFaultInjection&) const = default;
};

template <typename Visit, SelfOf<HttpFaultInjection> Self>
void describe(Visit& visit, Self& self) {
  visit("delay", self.delay, {.doc = "Requests wait."});
  visit("abort", self.abort, {.doc = "Requests go nowhere."});
}

struct RouteDestination {
  std::string host;
  std::string subset = {};  // of the host's DestinationRule; empty: all of its pods

  bool operator==(const RouteDestination&) const = default;
};

template <typename Visit, SelfOf<RouteDestination> Self>
void describe(Visit& visit, Self& self) {
  visit("host", self.host, {.doc = "A Service.", .required = true});
  visit("subset", self.subset, {.doc = "Some of its pods, by its DestinationRule."});
}

struct HttpRouteDestination {
  RouteDestination destination = {};
  std::int32_t weight = 0;  // its share of the sum of all; of a single one: whatever

  bool operator==(const HttpRouteDestination&) const = default;
};

template <typename Visit, SelfOf<HttpRouteDestination> Self>
void describe(Visit& visit, Self& self) {
  visit("destination", self.destination, {.doc = "Where to.", .required = true});
  visit("weight", self.weight, {.doc = "Its share of all weights."});
}

// How often a request that failed is sent again: not at all is what is modelled.
struct HttpRetry {
  std::int32_t attempts = 0;

  bool operator==(const HttpRetry&) const = default;
};

template <typename Visit, SelfOf<HttpRetry> Self>
void describe(Visit& visit, Self& self) {
  visit("attempts", self.attempts, {.doc = "0.", .required = true});
}

// For requests that any of `match` matches, or all where it is empty.
struct HttpRoute {
  std::string name = {};
  std::vector<HttpMatchRequest> match = {};
  std::optional<HttpFaultInjection> fault = {};
  std::vector<HttpRouteDestination> route = {};
  std::optional<HttpRetry> retries = {};

  bool operator==(const HttpRoute&) const = default;
};

template <typename Visit, SelfOf<HttpRoute> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "For people."});
  visit("match", self.match, {.doc = "Which requests, any of these; absent: all."});
  visit("fault", self.fault, {.doc = "What is done to them on purpose."});
  visit("route", self.route, {.doc = "Where they go.", .required = true});
  visit("retries", self.retries, {.doc = "attempts: 0."});
}

struct VirtualServiceSpec {
  std::vector<std::string> hosts = {};
  std::vector<std::string> gateways = {};  // none: the mesh
  std::vector<HttpRoute> http = {};        // the first that matches

  bool operator==(const VirtualServiceSpec&) const = default;
};

template <typename Visit, SelfOf<VirtualServiceSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("hosts", self.hosts, {.doc = "Services that requests are sent to.", .required = true});
  visit("gateways", self.gateways, {.doc = "mesh, which it is unless said."});
  visit("http", self.http, {.doc = "Routes: the first that matches.", .required = true});
}

struct VirtualService {
  std::string api_version = std::string(networking_api_version);
  std::string kind = std::string(virtual_service_kind);
  ObjectMeta metadata = {};
  VirtualServiceSpec spec = {};

  bool operator==(const VirtualService&) const = default;
};

template <typename Visit, SelfOf<VirtualService> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "networking.istio.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "VirtualService.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and namespace.", .required = true});
  visit("spec", self.spec, {.doc = "Where requests go.", .required = true});
}

// An object as it is written, where Istio would take it. Errors, naming the field: input (another
// apiVersion, no host, no route, a text to match that is none or two, a share or a status out of
// bounds, weights of which none is above 0); missing (a field that is not among the above, another
// gateway than the mesh, retries, a host with a wildcard).
[[nodiscard]] Result<VirtualService> read_virtual_service(const Json& object);

// "web.default.svc.cluster.local" of "web", as an object in that namespace means it; a name with a
// dot is whole (ResolveShortnameToFQDN of istio/pkg/config/host).
[[nodiscard]] std::string whole_host(std::string_view host, std::string_view in_namespace);

}  // namespace base::kube
