#include "base/kube/virtual_service.h"

#include <algorithm>
#include <utility>

#include "base/kube/istio_object.h"
#include "base/kube/unknown_field.h"

namespace base::kube {
namespace {

// What is wrong with a part: the field below it, why, and whether Istio would take it.
struct Fault {
  std::string field;
  std::string why;
  ErrorKind kind = ErrorKind::input;
};

constexpr int least_status = 200;
constexpr int most_status = 599;

std::optional<Fault> fault_of(const StringMatch& match, const std::string& field) {
  if (match.exact.has_value() != match.prefix.has_value()) return std::nullopt;
  return Fault{field, "expected one of exact and prefix"};
}

std::optional<Fault> fault_of(const HttpMatchRequest& match) {
  if (match.uri) {
    if (auto fault = fault_of(*match.uri, "uri")) return fault;
  }
  if (match.method) {
    if (auto fault = fault_of(*match.method, "method")) return fault;
  }
  for (const auto& [name, text] : match.headers) {
    const auto field = fmt::format("headers.{}", name);
    if (name.empty() || std::ranges::any_of(name, [](char c) { return c >= 'A' && c <= 'Z'; })) {
      return Fault{field, "expected the name of a header in small letters"};
    }
    if (!text.exact && !text.prefix) {
      return Fault{field, "that it is there at all is not implemented here: say exact or prefix",
                   ErrorKind::missing};
    }
    if (auto fault = fault_of(text, field)) return fault;
  }
  return std::nullopt;
}

std::optional<Fault> fault_of(const std::optional<RequestPercent>& percentage,
                              const std::string& field) {
  if (!percentage || (percentage->value >= 0 && percentage->value <= 100)) return std::nullopt;
  return Fault{field + ".percentage.value", "expected 0 to 100"};
}

std::optional<Fault> fault_of(const HttpFaultInjection& fault) {
  if (!fault.delay && !fault.abort) return Fault{"fault", "expected a delay, an abort or both"};
  if (fault.delay) {
    if (fault.delay->fixed_delay < std::chrono::milliseconds(1)) {
      return Fault{"fault.delay.fixedDelay", "expected 1ms or more"};
    }
    if (auto wrong = fault_of(fault.delay->percentage, "fault.delay")) return wrong;
  }
  if (!fault.abort) return std::nullopt;
  if (fault.abort->http_status < least_status || fault.abort->http_status > most_status) {
    return Fault{"fault.abort.httpStatus", "expected 200 to 599"};
  }
  return fault_of(fault.abort->percentage, "fault.abort");
}

std::optional<Fault> host_fault(const std::string& host, const std::string& field) {
  if (host.empty()) return Fault{field, "expected the name of a Service"};
  if (!host.contains('*')) return std::nullopt;
  return Fault{field, "wildcards are not implemented here", ErrorKind::missing};
}

std::optional<Fault> fault_of(const std::vector<HttpRouteDestination>& route) {
  if (route.empty()) return Fault{"route", "expected at least one destination"};
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < route.size(); ++i) {
    const auto at = fmt::format("route[{}]", i);
    if (auto fault = host_fault(route[i].destination.host, at + ".destination.host")) return fault;
    if (route[i].weight < 0) return Fault{at + ".weight", "expected 0 or more"};
    sum += route[i].weight;
  }
  if (route.size() == 1 || sum > 0) return std::nullopt;
  return Fault{"route", "expected weights of which one at least is above 0"};
}

std::optional<Fault> fault_of(const HttpRoute& route) {
  for (std::size_t i = 0; i < route.match.size(); ++i) {
    if (auto fault = fault_of(route.match[i])) {
      fault->field = fmt::format("match[{}].{}", i, fault->field);
      return fault;
    }
  }
  if (route.fault) {
    if (auto fault = fault_of(*route.fault)) return fault;
  }
  if (route.retries && route.retries->attempts != 0) {
    return Fault{"retries.attempts", "retries are not implemented here, so expected 0",
                 ErrorKind::missing};
  }
  return fault_of(route.route);
}

std::optional<Fault> fault_of(const VirtualServiceSpec& spec) {
  if (spec.hosts.empty()) return Fault{"hosts", "expected at least one"};
  for (std::size_t i = 0; i < spec.hosts.size(); ++i) {
    if (auto fault = host_fault(spec.hosts[i], fmt::format("hosts[{}]", i))) return fault;
  }
  for (std::size_t i = 0; i < spec.gateways.size(); ++i) {
    if (spec.gateways[i] == mesh_gateway) continue;
    return Fault{fmt::format("gateways[{}]", i), "gateways but mesh are not implemented here",
                 ErrorKind::missing};
  }
  if (spec.http.empty()) return Fault{"http", "expected at least one route"};
  for (std::size_t i = 0; i < spec.http.size(); ++i) {
    if (auto fault = fault_of(spec.http[i])) {
      fault->field = fmt::format("http[{}].{}", i, fault->field);
      return fault;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<VirtualService> read_virtual_service(const Json& object) {
  const auto where = istio_object_name(virtual_service_kind, object);
  if (const auto unknown = unknown_field<VirtualServiceSpec>(spec_of(object), "spec")) {
    return fail(ErrorKind::missing, "{}: {}: this field is not implemented here", where, *unknown);
  }
  ASSIGN_OR_RETURN(auto service,
                   from_json<VirtualService>(object, std::string(virtual_service_kind)));
  RETURN_IF_ERROR(
      check_istio_object(service.api_version, service.metadata, where, networking_api_version));
  if (const auto fault = fault_of(service.spec)) {
    return fail(fault->kind, "{}: spec.{}: {}", where, fault->field, fault->why);
  }
  return service;
}

std::string whole_host(std::string_view host, std::string_view in_namespace) {
  if (host.contains('.')) return std::string(host);
  return fmt::format("{}.{}.svc.cluster.local", host, in_namespace);
}

}  // namespace base::kube
