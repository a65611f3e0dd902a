// discovery.k8s.io/v1 EndpointSlice: the endpoints behind a Service, one address family a slice.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/kube/meta.h"

namespace base::kube {

// The label that ties a slice to its Service (discovery/v1, LabelServiceName).
inline constexpr std::string_view service_name_label = "kubernetes.io/service-name";

struct EndpointConditions {
  // Absent conditions are unknown, and the API says how to take that: ready counts as true.
  std::optional<bool> ready = {};
  std::optional<bool> serving = {};
  std::optional<bool> terminating = {};

  bool operator==(const EndpointConditions&) const = default;
};

template <typename Visit, SelfOf<EndpointConditions> Self>
void describe(Visit& visit, Self& self) {
  visit("ready", self.ready, {.doc = "It may be sent new connections; unknown counts as true."});
  visit("serving", self.serving, {.doc = "As ready, whether it terminates or not."});
  visit("terminating", self.terminating, {.doc = "It is being deleted."});
}

// core/v1 ObjectReference, as far as a slice uses it.
struct TargetReference {
  std::string kind;
  std::string name;

  bool operator==(const TargetReference&) const = default;
};

template <typename Visit, SelfOf<TargetReference> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "Pod."});
  visit("name", self.name, {.doc = "The pod's name."});
}

struct SliceEndpoint {
  std::vector<std::string> addresses;  // one in practice; kube-proxy uses the first
  EndpointConditions conditions = {};
  std::optional<std::string> node_name = {};
  std::optional<TargetReference> target_ref = {};

  bool operator==(const SliceEndpoint&) const = default;
};

template <typename Visit, SelfOf<SliceEndpoint> Self>
void describe(Visit& visit, Self& self) {
  visit("addresses", self.addresses, {.doc = "Of the slice's family.", .required = true});
  visit("conditions", self.conditions, {.doc = "Whether it may be used."});
  visit("nodeName", self.node_name, {.doc = "The node it is on."});
  visit("targetRef", self.target_ref, {.doc = "The pod it is."});
}

struct SlicePort {
  std::string name;
  Protocol protocol = Protocol::TCP;
  std::optional<std::int32_t> port = {};  // absent: all ports, which no Service uses

  bool operator==(const SlicePort&) const = default;
};

template <typename Visit, SelfOf<SlicePort> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "As the Service's port."});
  visit("protocol", self.protocol, {.doc = "As the Service's port."});
  visit("port", self.port, {.doc = "At the endpoint.", .at_least = 1, .at_most = 65535});
}

struct EndpointSlice {
  std::string api_version = "discovery.k8s.io/v1";
  std::string kind = "EndpointSlice";
  ObjectMeta metadata = {};
  IpFamily address_type = IpFamily::IPv4;
  std::vector<SliceEndpoint> endpoints = {};
  std::vector<SlicePort> ports = {};

  bool operator==(const EndpointSlice&) const = default;
};

template <typename Visit, SelfOf<EndpointSlice> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "discovery.k8s.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "EndpointSlice.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and its Service's.", .required = true});
  visit("addressType", self.address_type,
        {.doc = "The family of all its addresses.", .required = true});
  visit("endpoints", self.endpoints, {.doc = "The pods."});
  visit("ports", self.ports, {.doc = "What each of them offers."});
}

}  // namespace base::kube
