// core/v1 Service.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/kube/meta.h"

namespace base::kube {

enum class ServiceType { ClusterIP, NodePort, LoadBalancer, ExternalName };

// Whether one client always meets the same pod.
enum class SessionAffinity { None, ClientIP };

// Whether traffic may go to other nodes' pods.
enum class TrafficPolicy { Cluster, Local };

struct ServicePort {
  std::string name;  // may be empty only where the Service has a single port
  Protocol protocol = Protocol::TCP;
  std::int32_t port = 0;
  std::optional<IntOrString> target_port = {};  // absent: the same as port
  std::optional<std::int32_t> node_port = {};

  bool operator==(const ServicePort&) const = default;
};

template <typename Visit, SelfOf<ServicePort> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Needed where there are several."});
  visit("protocol", self.protocol, {.doc = "TCP unless said."});
  visit("port", self.port,
        {.doc = "At the Service's addresses.", .required = true, .at_least = 1, .at_most = 65535});
  visit("targetPort", self.target_port, {.doc = "At the pods."});
  visit("nodePort", self.node_port, {.doc = "At every node.", .at_least = 1, .at_most = 65535});
}

struct ClientIpConfig {
  std::int32_t timeout_seconds = 10'800;

  bool operator==(const ClientIpConfig&) const = default;
};

template <typename Visit, SelfOf<ClientIpConfig> Self>
void describe(Visit& visit, Self& self) {
  visit("timeoutSeconds", self.timeout_seconds,
        {.doc = "How long a client is remembered.", .at_least = 1, .at_most = 86'400});
}

struct SessionAffinityConfig {
  ClientIpConfig client_ip = {};

  bool operator==(const SessionAffinityConfig&) const = default;
};

template <typename Visit, SelfOf<SessionAffinityConfig> Self>
void describe(Visit& visit, Self& self) {
  visit("clientIP", self.client_ip, {.doc = "Of sessionAffinity ClientIP."});
}

struct LoadBalancerIngress {
  std::string ip;

  bool operator==(const LoadBalancerIngress&) const = default;
};

template <typename Visit, SelfOf<LoadBalancerIngress> Self>
void describe(Visit& visit, Self& self) {
  visit("ip", self.ip, {.doc = "Where it is reached."});
}

struct LoadBalancerStatus {
  std::vector<LoadBalancerIngress> ingress = {};

  bool operator==(const LoadBalancerStatus&) const = default;
};

template <typename Visit, SelfOf<LoadBalancerStatus> Self>
void describe(Visit& visit, Self& self) {
  visit("ingress", self.ingress, {.doc = "The addresses it was given."});
}

struct ServiceStatus {
  LoadBalancerStatus load_balancer = {};

  bool operator==(const ServiceStatus&) const = default;
};

template <typename Visit, SelfOf<ServiceStatus> Self>
void describe(Visit& visit, Self& self) {
  visit("loadBalancer", self.load_balancer, {.doc = "Of type LoadBalancer."});
}

struct ServiceSpec {
  ServiceType type = ServiceType::ClusterIP;
  std::map<std::string, std::string> selector;
  std::vector<IpFamily> ip_families;
  std::vector<std::string> cluster_ips;  // in the order of ip_families; "None": headless
  std::vector<ServicePort> ports;
  SessionAffinity session_affinity = SessionAffinity::None;
  SessionAffinityConfig session_affinity_config = {};
  TrafficPolicy internal_traffic_policy = TrafficPolicy::Cluster;
  TrafficPolicy external_traffic_policy = TrafficPolicy::Cluster;
  // Of type LoadBalancer: false, and it takes none of the nodes' 2,768 ports. Absent: true.
  std::optional<bool> allocate_load_balancer_node_ports = {};

  bool operator==(const ServiceSpec&) const = default;
};

template <typename Visit, SelfOf<ServiceSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("type", self.type, {.doc = "ClusterIP unless said."});
  visit("selector", self.selector, {.doc = "The labels of its pods."});
  visit("ipFamilies", self.ip_families, {.doc = "The families it has addresses of."});
  visit("clusterIPs", self.cluster_ips, {.doc = "Its addresses; allocated when left out."});
  visit("ports", self.ports, {.doc = "What it offers."});
  visit("sessionAffinity", self.session_affinity, {.doc = "None unless said."});
  visit("sessionAffinityConfig", self.session_affinity_config, {.doc = "How long it lasts."});
  visit("internalTrafficPolicy", self.internal_traffic_policy,
        {.doc = "For clients in the cluster; Cluster unless said."});
  visit("externalTrafficPolicy", self.external_traffic_policy,
        {.doc = "For clients outside; Cluster unless said."});
  visit("allocateLoadBalancerNodePorts", self.allocate_load_balancer_node_ports,
        {.doc = "Of type LoadBalancer: whether it has node ports, too; true unless said."});
}

struct Service {
  std::string api_version = "v1";
  std::string kind = "Service";
  ObjectMeta metadata = {};
  ServiceSpec spec = {};
  ServiceStatus status = {};

  bool operator==(const Service&) const = default;
};

template <typename Visit, SelfOf<Service> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "v1.", .required = true});
  visit("kind", self.kind, {.doc = "Service.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name.", .required = true});
  visit("spec", self.spec, {.doc = "What it offers.", .required = true});
  visit("status", self.status, {.doc = "What came of it."});
}

}  // namespace base::kube

template <>
struct base::EnumNames<base::kube::ServiceType> {
  static constexpr std::array names{
      std::pair{base::kube::ServiceType::ClusterIP, std::string_view("ClusterIP")},
      std::pair{base::kube::ServiceType::NodePort, std::string_view("NodePort")},
      std::pair{base::kube::ServiceType::LoadBalancer, std::string_view("LoadBalancer")},
      std::pair{base::kube::ServiceType::ExternalName, std::string_view("ExternalName")}};
};

template <>
struct base::EnumNames<base::kube::SessionAffinity> {
  static constexpr std::array names{
      std::pair{base::kube::SessionAffinity::None, std::string_view("None")},
      std::pair{base::kube::SessionAffinity::ClientIP, std::string_view("ClientIP")}};
};

template <>
struct base::EnumNames<base::kube::TrafficPolicy> {
  static constexpr std::array names{
      std::pair{base::kube::TrafficPolicy::Cluster, std::string_view("Cluster")},
      std::pair{base::kube::TrafficPolicy::Local, std::string_view("Local")}};
};
