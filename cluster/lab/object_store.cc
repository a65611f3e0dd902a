#include "cluster/lab/object_store.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "cluster/lab/addresses.h"
#include "cluster/lab/only_of_its_hosts.h"
#include "cluster/lab/service_table.h"

namespace cluster {
namespace {

namespace kube = base::kube;
using base::ErrorKind;
using base::Result;

constexpr std::string_view network_policy_list_kind = "NetworkPolicyList";
constexpr std::string_view service_list_kind = "ServiceList";
constexpr std::string_view slice_list_kind = "EndpointSliceList";
// What every namespace is called by, among its labels (core/v1 LabelMetadataName).
constexpr std::string_view namespace_name_label = "kubernetes.io/metadata.name";

// By namespace and name.
template <typename Key, typename Object>
std::vector<Object> listed(const std::map<Key, Object>& objects) {
  std::vector<Object> all;
  all.reserve(objects.size());
  for (const auto& [key, object] : objects) all.push_back(object);
  return all;
}

std::unexpected<base::Error> unknown_kind(std::string_view kind) {
  return base::fail(
      ErrorKind::missing,
      "the lab does not implement {} (it knows Service, EndpointSlice, NetworkPolicy, "
      "PeerAuthentication, AuthorizationPolicy, RequestAuthentication, VirtualService and "
      "DestinationRule)",
      kind.empty() ? "objects without a kind" : kind);
}

Result<> check_metadata(const kube::ObjectMeta& metadata, std::string_view kind) {
  // Slices' names are DNS subdomains on a server; none we meet has a dot.
  if (!kube::is_dns_label(metadata.name)) {
    return base::fail(ErrorKind::input,
                      "{}: metadata.name: expected 1 to 63 of a-z, 0-9 and -, got \"{}\"", kind,
                      metadata.name);
  }
  if (!kube::is_dns_label(metadata.in_namespace)) {
    return base::fail(ErrorKind::input,
                      "{} {}: metadata.namespace: expected 1 to 63 of a-z, 0-9 and -, got \"{}\"",
                      kind, metadata.name, metadata.in_namespace);
  }
  return {};
}

Result<> check_version(std::string_view got, std::string_view expected, std::string_view kind) {
  if (got == expected) return {};
  return base::fail(ErrorKind::input, "{}: apiVersion: expected {}, got \"{}\"", kind, expected,
                    got);
}

Result<> check_labels(const Labels& labels, const std::string& where) {
  for (const auto& [key, value] : labels) {
    if (!kube::is_label_key(key)) {
      return base::fail(ErrorKind::input, "{}: metadata.labels: \"{}\" is no label key", where,
                        key);
    }
    if (!kube::is_label_value(value)) {
      return base::fail(ErrorKind::input, "{}: metadata.labels.{}: \"{}\" is no label value", where,
                        key, value);
    }
  }
  return {};
}

Result<> check_ports(const kube::Service& service) {
  const std::string where = fmt::format("Service {}: spec.ports", service.metadata.name);
  const auto& ports = service.spec.ports;
  if (ports.empty()) return base::fail(ErrorKind::input, "{}: expected at least one port", where);
  std::set<std::string> names;
  std::set<std::pair<kube::Protocol, std::int32_t>> offered;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const auto& port = ports[i];
    if (port.protocol == kube::Protocol::SCTP) {
      return base::fail(ErrorKind::missing, "{}[{}].protocol: the lab does not implement SCTP",
                        where, i);
    }
    if (port.name.empty() ? ports.size() > 1 : !kube::is_dns_label(port.name)) {
      return base::fail(
          ErrorKind::input,
          "{}[{}].name: expected 1 to 63 of a-z, 0-9 and - (empty only for a single port), got "
          "\"{}\"",
          where, i, port.name);
    }
    if (!names.insert(port.name).second) {
      return base::fail(ErrorKind::input, "{}[{}].name: \"{}\" appears twice", where, i, port.name);
    }
    if (!offered.insert({port.protocol, port.port}).second) {
      return base::fail(ErrorKind::input, "{}[{}].port: {} {} appears twice", where, i,
                        base::enum_name(port.protocol), port.port);
    }
  }
  return {};
}

Result<> check_features(const kube::Service& service) {
  const auto refuse = [&](std::string_view field, std::string_view value) {
    return base::fail(ErrorKind::missing, "Service {}: spec.{}: the lab does not implement {}",
                      service.metadata.name, field, value);
  };
  const auto& spec = service.spec;
  if (spec.type == kube::ServiceType::ExternalName) {
    return refuse("type", base::enum_name(spec.type));
  }
  if (spec.internal_traffic_policy != kube::TrafficPolicy::Cluster) {
    return refuse("internalTrafficPolicy", base::enum_name(spec.internal_traffic_policy));
  }
  return {};
}

Result<> check_slice(const kube::EndpointSlice& slice) {
  for (std::size_t i = 0; i < slice.endpoints.size(); ++i) {
    const auto& addresses = slice.endpoints[i].addresses;
    const auto where =
        fmt::format("EndpointSlice {}: endpoints[{}].addresses", slice.metadata.name, i);
    if (addresses.empty()) return base::fail(ErrorKind::input, "{}: expected one", where);
    for (const auto& text : addresses) {
      const auto address = base::IpAddress::parse(text);
      const bool wants_ipv4 = slice.address_type == kube::IpFamily::IPv4;
      if (!address || (address->family == base::AddressFamily::ipv4) != wants_ipv4) {
        return base::fail(ErrorKind::input, "{}: expected an {} address, got \"{}\"", where,
                          base::enum_name(slice.address_type), text);
      }
    }
  }
  return {};
}

}  // namespace

void ObjectStore::index(const Key& key, const std::vector<std::string>& cluster_ips) {
  forget(key);
  for (const auto& address : cluster_ips) owners_.emplace(address, key);
}

void ObjectStore::forget(const Key& key) {
  const auto stored = services_.find(key);
  if (stored == services_.end()) return;
  for (const auto& address : stored->second.spec.cluster_ips) owners_.erase(address);
  first_free_ = 1;
}

Result<> ObjectStore::allocate_addresses(kube::Service& service) {
  auto& spec = service.spec;
  if (spec.ip_families.empty()) spec.ip_families = {kube::IpFamily::IPv4, kube::IpFamily::IPv6};
  for (int index = first_free_; index <= addresses::most_services; ++index) {
    const std::string ipv4 = addresses::service_ipv4(index).to_string();
    const std::string ipv6 = addresses::service_ipv6(index).to_string();
    if (owners_.contains(ipv4) || owners_.contains(ipv6)) continue;
    first_free_ = index;
    for (const auto family : spec.ip_families) {
      spec.cluster_ips.push_back(family == kube::IpFamily::IPv4 ? ipv4 : ipv6);
    }
    return {};
  }
  return base::fail(ErrorKind::input, "Service {}: no ClusterIP is left in {}",
                    service.metadata.name, addresses::service_cidr_ipv4);
}

Result<> ObjectStore::allocate_node_ports(kube::Service& service) const {
  const bool may_have = service.spec.type != kube::ServiceType::ClusterIP;
  const bool wanted = may_have && (service.spec.type != kube::ServiceType::LoadBalancer ||
                                   service.spec.allocate_load_balancer_node_ports.value_or(true));
  const auto asks = [](const kube::ServicePort& port) { return port.node_port.has_value(); };
  if (!wanted && std::ranges::none_of(service.spec.ports, asks)) return {};
  std::set<std::int32_t> taken;
  for (const auto& [key, other] : services_) {
    if (key == Key{service.metadata.in_namespace, service.metadata.name}) continue;
    for (const auto& port : other.spec.ports) taken.insert(port.node_port.value_or(0));
  }
  const auto where = [&](std::size_t i) {
    return fmt::format("Service {}: spec.ports[{}].nodePort", service.metadata.name, i);
  };
  auto& ports = service.spec.ports;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const auto node_port = ports[i].node_port;
    if (!node_port) continue;
    if (!may_have) {
      return base::fail(ErrorKind::input, "{}: a Service of type ClusterIP has none", where(i));
    }
    if (*node_port < addresses::first_node_port || *node_port > addresses::last_node_port) {
      return base::fail(ErrorKind::input, "{}: expected {} to {}, got {}", where(i),
                        addresses::first_node_port, addresses::last_node_port, *node_port);
    }
    if (!taken.insert(*node_port).second) {
      return base::fail(ErrorKind::input, "{}: {} is taken already", where(i), *node_port);
    }
  }
  for (std::size_t i = 0; wanted && i < ports.size(); ++i) {
    if (ports[i].node_port) continue;
    auto free = addresses::first_node_port;
    while (taken.contains(free)) ++free;
    if (free > addresses::last_node_port) {
      return base::fail(ErrorKind::input, "{}: none is left", where(i));
    }
    taken.insert(free);
    ports[i].node_port = free;
  }
  return {};
}

Result<kube::Service> ObjectStore::admit(kube::Service service) {
  RETURN_IF_ERROR(check_metadata(service.metadata, "Service"));
  RETURN_IF_ERROR(check_version(service.api_version, "v1", "Service"));
  RETURN_IF_ERROR(check_features(service));
  RETURN_IF_ERROR(check_ports(service));
  auto& spec = service.spec;
  const auto* stored = find_service(service.metadata.name, service.metadata.in_namespace);
  if (spec.cluster_ips.empty() && stored != nullptr) {
    spec.cluster_ips = stored->spec.cluster_ips;
    spec.ip_families = stored->spec.ip_families;
  }
  if (stored != nullptr && spec.type != kube::ServiceType::ClusterIP) {
    // What was allocated stays, port for port.
    for (auto& port : spec.ports) {
      const auto before =
          std::ranges::find(stored->spec.ports, port.name, &kube::ServicePort::name);
      if (!port.node_port && before != stored->spec.ports.end()) port.node_port = before->node_port;
    }
  }
  RETURN_IF_ERROR(allocate_node_ports(service));
  if (spec.cluster_ips.empty()) RETURN_IF_ERROR(allocate_addresses(service));
  if (spec.cluster_ips == std::vector<std::string>{"None"}) return service;

  std::vector<kube::IpFamily> families;
  for (std::size_t i = 0; i < spec.cluster_ips.size(); ++i) {
    auto& text = spec.cluster_ips[i];
    const auto where = fmt::format("Service {}: spec.clusterIPs[{}]", service.metadata.name, i);
    const auto address = base::IpAddress::parse(text);
    if (!address) {
      return base::fail(ErrorKind::input, "{}: expected an address, got \"{}\"", where, text);
    }
    text = address->to_string();
    families.push_back(address->family == base::AddressFamily::ipv4 ? kube::IpFamily::IPv4
                                                                    : kube::IpFamily::IPv6);
    const auto owner = owners_.find(text);
    if (owner != owners_.end() &&
        owner->second != Key{service.metadata.in_namespace, service.metadata.name}) {
      return base::fail(ErrorKind::input, "{}: {} belongs to Service {} already", where, text,
                        owner->second.second);
    }
  }
  if (families.size() > 2 || (families.size() == 2 && families[0] == families[1])) {
    return base::fail(ErrorKind::input,
                      "Service {}: spec.clusterIPs: expected at most one of each family",
                      service.metadata.name);
  }
  if (!spec.ip_families.empty() && spec.ip_families != families) {
    return base::fail(ErrorKind::input, "Service {}: spec.ipFamilies do not match spec.clusterIPs",
                      service.metadata.name);
  }
  spec.ip_families = std::move(families);
  return service;
}

template <typename Object>
std::uint64_t ObjectStore::store(std::map<Key, Object>& objects, Object object) {
  const Key key{object.metadata.in_namespace, object.metadata.name};
  const auto found = objects.find(key);
  // Compared without its version, which only the store writes.
  if (found != objects.end()) {
    object.metadata.resource_version = found->second.metadata.resource_version;
    if (object == found->second) return std::stoull(object.metadata.resource_version);
  }
  object.metadata.resource_version = std::to_string(++version_);
  objects.insert_or_assign(key, std::move(object));
  return version_;
}

Result<std::uint64_t> ObjectStore::apply(const base::Json& object) {
  ASSIGN_OR_RETURN(const auto type, base::from_json<kube::TypeMeta>(object, "object"));
  if (type.kind == "Service") return apply_service(object);
  if (type.kind == service_list_kind || type.kind == slice_list_kind) return apply_list(object);
  if (type.kind == "EndpointSlice") {
    ASSIGN_OR_RETURN(auto slice, base::from_json<kube::EndpointSlice>(object, "EndpointSlice"));
    RETURN_IF_ERROR(check_metadata(slice.metadata, "EndpointSlice"));
    RETURN_IF_ERROR(check_version(slice.api_version, "discovery.k8s.io/v1", "EndpointSlice"));
    RETURN_IF_ERROR(check_slice(slice));
    return store(slices_, std::move(slice));
  }
  if (type.kind == kube::network_policy_kind) return apply_policy(object);
  if (type.kind == network_policy_list_kind) return apply_policies(object);
  if (type.kind == kube::peer_authentication_kind) return apply_peer_authentication(object);
  if (type.kind == kube::authorization_policy_kind) {
    ASSIGN_OR_RETURN(auto policy, kube::read_authorization_policy(object));
    RETURN_IF_ERROR(check_namespace(policy.metadata, type.kind));
    return store(authorization_policies_, std::move(policy));
  }
  if (type.kind == kube::request_authentication_kind) {
    ASSIGN_OR_RETURN(auto policy, kube::read_request_authentication(object));
    RETURN_IF_ERROR(check_namespace(policy.metadata, type.kind));
    return store(request_authentications_, std::move(policy));
  }
  if (type.kind == kube::virtual_service_kind) {
    ASSIGN_OR_RETURN(auto service, kube::read_virtual_service(object));
    RETURN_IF_ERROR(check_namespace(service.metadata, type.kind));
    RETURN_IF_ERROR(check_only_of_its_hosts(virtual_services_, service));
    return store(virtual_services_, std::move(service));
  }
  if (type.kind == kube::destination_rule_kind) {
    ASSIGN_OR_RETURN(auto rule, kube::read_destination_rule(object));
    RETURN_IF_ERROR(check_namespace(rule.metadata, type.kind));
    RETURN_IF_ERROR(check_only_of_its_hosts(destination_rules_, rule));
    return store(destination_rules_, std::move(rule));
  }
  return unknown_kind(type.kind);
}

Result<std::uint64_t> ObjectStore::apply_service(const base::Json& object) {
  ASSIGN_OR_RETURN(auto service, base::from_json<kube::Service>(object, "Service"));
  ASSIGN_OR_RETURN(service, admit(std::move(service)));
  index({service.metadata.in_namespace, service.metadata.name}, service.spec.cluster_ips);
  return store(services_, std::move(service));
}

Result<std::uint64_t> ObjectStore::apply_list(const base::Json& list) {
  const auto kind = list.value("kind", "");
  const bool of_services = kind == service_list_kind;
  RETURN_IF_ERROR(check_version(list.value("apiVersion", ""),
                                of_services ? "v1" : "discovery.k8s.io/v1", kind));
  const auto items = list.find("items");
  if (items == list.end() || !items->is_array()) {
    return base::fail(ErrorKind::input, "{}: items: expected a list", kind);
  }
  const auto before = *this;
  for (const auto& item : *items) {
    if (auto stored = apply(item); !stored) {
      *this = before;
      return stored;
    }
  }
  return version_;
}

Result<std::uint64_t> ObjectStore::apply_policy(const base::Json& object) {
  ASSIGN_OR_RETURN(auto policy, kube::read_network_policy(object));
  const auto& [name, in_namespace] = std::tie(policy.metadata.name, policy.metadata.in_namespace);
  if (!namespaces_.contains(in_namespace)) {
    return base::fail(ErrorKind::input, "NetworkPolicy {}/{}: namespaces \"{}\" not found",
                      in_namespace, name, in_namespace);
  }
  return store(policies_, std::move(policy));
}

// The mesh's namespace has no pods of a lab, and is there all the same.
Result<> ObjectStore::check_namespace(const kube::ObjectMeta& metadata,
                                      std::string_view kind) const {
  const auto& its = metadata.in_namespace;
  if (its == kube::istio_root_namespace || namespaces_.contains(its)) return {};
  return base::fail(ErrorKind::input, "{} {}/{}: namespaces \"{}\" not found", kind, its,
                    metadata.name, its);
}

Result<std::uint64_t> ObjectStore::apply_peer_authentication(const base::Json& object) {
  ASSIGN_OR_RETURN(auto policy, kube::read_peer_authentication(object));
  const Key key{policy.metadata.in_namespace, policy.metadata.name};
  RETURN_IF_ERROR(check_namespace(policy.metadata, kube::peer_authentication_kind));
  const auto version = store(peer_authentications_, std::move(policy));
  peer_authentications_made_.emplace(key, version);
  return version;
}

Result<std::uint64_t> ObjectStore::apply_policies(const base::Json& list) {
  RETURN_IF_ERROR(check_version(list.value("apiVersion", ""), kube::network_policy_api_version,
                                network_policy_list_kind));
  const auto items = list.find("items");
  if (items == list.end() || !items->is_array()) {
    return base::fail(ErrorKind::input, "{}: items: expected a list", network_policy_list_kind);
  }
  const auto before = policies_;
  const auto version = version_;
  for (const auto& item : *items) {
    if (auto stored = apply_policy(item); !stored) {
      policies_ = before;
      version_ = version;
      return stored;
    }
  }
  return version_;
}

Result<std::uint64_t> ObjectStore::remove(std::string_view kind, std::string_view name) {
  const auto slash = name.find('/');
  const Key key = slash == std::string_view::npos ? Key{"default", std::string(name)}
                                                  : Key{std::string(name.substr(0, slash)),
                                                        std::string(name.substr(slash + 1))};
  std::size_t erased = 0;
  if (kind == "Service") {
    forget(key);
    erased = services_.erase(key);
  } else if (kind == "EndpointSlice") {
    erased = slices_.erase(key);
  } else if (kind == kube::network_policy_kind) {
    erased = policies_.erase(key);
  } else if (kind == kube::peer_authentication_kind) {
    erased = peer_authentications_.erase(key);
    peer_authentications_made_.erase(key);
  } else if (kind == kube::authorization_policy_kind) {
    erased = authorization_policies_.erase(key);
  } else if (kind == kube::request_authentication_kind) {
    erased = request_authentications_.erase(key);
  } else if (kind == kube::virtual_service_kind) {
    erased = virtual_services_.erase(key);
  } else if (kind == kube::destination_rule_kind) {
    erased = destination_rules_.erase(key);
  } else {
    return unknown_kind(kind);
  }
  version_ += erased;
  return version_;
}

const kube::Service* ObjectStore::find_service(std::string_view name,
                                               std::string_view in_namespace) const {
  const auto found = services_.find({std::string(in_namespace), std::string(name)});
  return found == services_.end() ? nullptr : &found->second;
}

Result<std::uint64_t> ObjectStore::put_namespace(const std::string& name, const Labels& labels) {
  RETURN_IF_ERROR(check_labels(labels, fmt::format("Namespace {}", name)));
  auto all = labels;
  all[std::string(namespace_name_label)] = name;
  if (const auto found = namespaces_.find(name);
      found != namespaces_.end() && found->second == all) {
    return version_;
  }
  namespaces_[name] = std::move(all);
  return ++version_;
}

Result<std::uint64_t> ObjectStore::put_pod(const std::string& in_namespace, const std::string& name,
                                           const Labels& labels) {
  RETURN_IF_ERROR(check_labels(labels, fmt::format("Pod {}/{}", in_namespace, name)));
  const Key key{in_namespace, name};
  if (const auto found = pods_.find(key); found != pods_.end() && found->second == labels) {
    return version_;
  }
  pods_[key] = labels;
  return ++version_;
}

std::uint64_t ObjectStore::renew_pod(const std::string& in_namespace, const std::string& name) {
  return pods_.contains({in_namespace, name}) ? ++version_ : version_;
}

std::vector<kube::NetworkPolicy> ObjectStore::policies() const { return listed(policies_); }

std::vector<kube::AuthorizationPolicy> ObjectStore::authorization_policies() const {
  return listed(authorization_policies_);
}

std::vector<kube::RequestAuthentication> ObjectStore::request_authentications() const {
  return listed(request_authentications_);
}

std::vector<kube::VirtualService> ObjectStore::virtual_services() const {
  return listed(virtual_services_);
}

std::vector<kube::DestinationRule> ObjectStore::destination_rules() const {
  return listed(destination_rules_);
}

std::vector<kube::PeerAuthentication> ObjectStore::peer_authentications() const {
  std::map<std::uint64_t, kube::PeerAuthentication> by_age;
  for (const auto& [key, policy] : peer_authentications_) {
    by_age.emplace(peer_authentications_made_.at(key), policy);
  }
  std::vector<kube::PeerAuthentication> all;
  all.reserve(by_age.size());
  for (auto& [made, policy] : by_age) all.push_back(std::move(policy));
  return all;
}

ServiceTable ObjectStore::service_table() const {
  return make_service_table(listed(services_), listed(slices_));
}

}  // namespace cluster
