// What every Kubernetes object carries, and the shapes that several kinds share. The structs hold
// the part of the API we implement; other fields are ignored when read, as a newer server may send
// more. JSON through base/json.h: base::to_json(object), base::from_json<Service>(json, "Service").
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "base/describe.h"
#include "base/json.h"
#include "base/scalar.h"

namespace base::kube {

// An object's or a port's protocol, as core/v1 spells it.
enum class Protocol { TCP, UDP, SCTP };

// core/v1 IPFamily, and discovery/v1 AddressType (whose third, FQDN, kube-proxy ignores, too).
enum class IpFamily { IPv4, IPv6 };

// k8s.io/apimachinery IntOrString: a port's number or the name of a container's port.
struct IntOrString {
  std::variant<std::int32_t, std::string> value = 0;

  bool operator==(const IntOrString&) const = default;
  [[nodiscard]] Json to_json() const;
  // Errors: input.
  static Result<IntOrString> from_json(const Json& json, const std::string& path);
  static Json json_schema();
};

// meta/v1 ObjectMeta.
struct ObjectMeta {
  std::string name;
  std::string in_namespace = "default";
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::string resource_version;  // opaque to clients; the store writes it

  bool operator==(const ObjectMeta&) const = default;
};

template <typename Visit, SelfOf<ObjectMeta> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Unique of its kind in its namespace.", .required = true});
  visit("namespace", self.in_namespace, {.doc = "The namespace it is in."});
  visit("labels", self.labels, {.doc = "What selectors look at."});
  visit("annotations", self.annotations, {.doc = "What tools note down."});
  visit("resourceVersion", self.resource_version, {.doc = "Grows with every write."});
}

// The two fields that say what an object is, for looking before reading the rest.
struct TypeMeta {
  std::string api_version;
  std::string kind;

  bool operator==(const TypeMeta&) const = default;
};

template <typename Visit, SelfOf<TypeMeta> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "The API's group and version.", .required = true});
  visit("kind", self.kind, {.doc = "The object's kind.", .required = true});
}

// Whether `text` is a name as the API server takes it for these kinds: an RFC 1123 label, 1 to 63
// of [a-z0-9-], with neither end a dash.
[[nodiscard]] bool is_dns_label(std::string_view text);

}  // namespace base::kube

template <>
struct base::EnumNames<base::kube::Protocol> {
  static constexpr std::array names{
      std::pair{base::kube::Protocol::TCP, std::string_view("TCP")},
      std::pair{base::kube::Protocol::UDP, std::string_view("UDP")},
      std::pair{base::kube::Protocol::SCTP, std::string_view("SCTP")}};
};

template <>
struct base::EnumNames<base::kube::IpFamily> {
  static constexpr std::array names{
      std::pair{base::kube::IpFamily::IPv4, std::string_view("IPv4")},
      std::pair{base::kube::IpFamily::IPv6, std::string_view("IPv6")}};
};
