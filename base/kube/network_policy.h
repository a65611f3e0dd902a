// networking.k8s.io/v1 NetworkPolicy: its fields, what the API server fills in and what it refuses.
// What a policy means is not said here: whoever judges and whoever enforces each read the API
// reference for themselves. Source: staging/src/k8s.io/api/networking/v1/types.go, and
// pkg/apis/networking/v1/defaults.go and pkg/apis/networking/validation/validation.go.
//
// Absent and empty differ where the API says so, and only there: an absent podSelector,
// namespaceSelector or ipBlock of a peer is an empty std::optional, while `{}` selects everything;
// for every list (ingress, egress, from, to, ports, except, policyTypes) the API takes "empty or
// missing" as one and the same, and so do the vectors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/kube/meta.h"

namespace base::kube {

inline constexpr std::string_view network_policy_api_version = "networking.k8s.io/v1";
inline constexpr std::string_view network_policy_kind = "NetworkPolicy";

// meta/v1 LabelSelectorOperator.
enum class SelectorOperator { In, NotIn, Exists, DoesNotExist };

// meta/v1 LabelSelectorRequirement.
struct SelectorExpression {
  std::string key;
  SelectorOperator op = SelectorOperator::Exists;
  std::vector<std::string> values = {};  // of In and NotIn, which need one

  bool operator==(const SelectorExpression&) const = default;
};

template <typename Visit, SelfOf<SelectorExpression> Self>
void describe(Visit& visit, Self& self) {
  visit("key", self.key, {.doc = "The label it looks at.", .required = true});
  visit("operator", self.op, {.doc = "How it compares.", .required = true});
  visit("values", self.values, {.doc = "Of In and NotIn: what it compares with."});
}

// meta/v1 LabelSelector: all of it must hold, and an empty one selects everything.
struct LabelSelector {
  std::map<std::string, std::string> match_labels = {};
  std::vector<SelectorExpression> match_expressions = {};

  bool operator==(const LabelSelector&) const = default;
};

template <typename Visit, SelfOf<LabelSelector> Self>
void describe(Visit& visit, Self& self) {
  visit("matchLabels", self.match_labels, {.doc = "Labels that must have just these values."});
  visit("matchExpressions", self.match_expressions, {.doc = "What else must hold of labels."});
}

// A block of addresses, "10.244.0.0/16" or "fd00:10::/64". As the API server does, it takes one
// whose address has bits beyond the prefix ("10.244.1.2/16"), which count for nothing.
struct Cidr {
  IpAddress address;
  std::int32_t prefix = 0;

  bool operator==(const Cidr&) const = default;

  // Errors: input, the bare sentence `expected ..., got "x"`.
  static Result<Cidr> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
};

struct IpBlock {
  Cidr cidr;
  std::vector<Cidr> except = {};

  bool operator==(const IpBlock&) const = default;
};

// A rule's peer: an ipBlock alone, or selectors.
struct NetworkPolicyPeer {
  std::optional<LabelSelector> pod_selector = {};
  std::optional<LabelSelector> namespace_selector = {};
  std::optional<IpBlock> ip_block = {};

  bool operator==(const NetworkPolicyPeer&) const = default;
};

struct NetworkPolicyPort {
  std::optional<Protocol> protocol = {};  // absent: TCP
  std::optional<IntOrString> port = {};   // absent: every port of the protocol
  std::optional<std::int32_t> end_port = {};

  bool operator==(const NetworkPolicyPort&) const = default;
};

template <typename Visit, SelfOf<NetworkPolicyPort> Self>
void describe(Visit& visit, Self& self) {
  visit("protocol", self.protocol, {.doc = "TCP unless said."});
  visit("port", self.port, {.doc = "A number or the name of a container's port; all unless said."});
  visit("endPort", self.end_port, {.doc = "The last of a range that begins at port."});
}

struct NetworkPolicyIngressRule {
  std::vector<NetworkPolicyPort> ports = {};  // empty: all
  std::vector<NetworkPolicyPeer> from = {};   // empty: everybody

  bool operator==(const NetworkPolicyIngressRule&) const = default;
};

struct NetworkPolicyEgressRule {
  std::vector<NetworkPolicyPort> ports = {};  // empty: all
  std::vector<NetworkPolicyPeer> to = {};     // empty: everybody

  bool operator==(const NetworkPolicyEgressRule&) const = default;
};

enum class PolicyType { Ingress, Egress };

struct NetworkPolicySpec {
  LabelSelector pod_selector = {};  // empty, too, where it is absent
  std::vector<PolicyType> policy_types = {};
  std::vector<NetworkPolicyIngressRule> ingress = {};
  std::vector<NetworkPolicyEgressRule> egress = {};

  bool operator==(const NetworkPolicySpec&) const = default;
};

struct NetworkPolicy {
  std::string api_version = std::string(network_policy_api_version);
  std::string kind = std::string(network_policy_kind);
  ObjectMeta metadata = {};
  NetworkPolicySpec spec = {};

  bool operator==(const NetworkPolicy&) const = default;
};

// What the API server makes of a written object: nulls are absent fields, then apply_defaults(),
// then validate(). Errors: input, naming the place of what is malformed
// ("NetworkPolicy shop/deny: spec.ingress[0].from[1].ipBlock.cidr: expected ...").
[[nodiscard]] Result<NetworkPolicy> read_network_policy(const Json& object);

// Writes into a policy what the API server would: policyTypes where there are none (Ingress, and
// Egress where there is an egress rule), TCP as the protocol of ports that name none.
void apply_defaults(NetworkPolicy& policy);

// What the API server refuses about a policy: its field, "spec.ingress[0].from[1]", and why.
struct PolicyFault {
  std::string field;
  std::string message;

  bool operator==(const PolicyFault&) const = default;
};

// All of it: names and labels that are none, selectors with values missing or too many, a peer
// without anything or with an ipBlock beside selectors, an except outside its cidr or as large,
// ports out of range, an endPort without a numeric port or below it, a policy type twice too many.
[[nodiscard]] std::vector<PolicyFault> faults_of(const NetworkPolicy& policy);
// The same as one error. Errors: input, every fault at once.
[[nodiscard]] Result<> validate(const NetworkPolicy& policy);

// The policy as a person writes it: to_json() without the fields that say nothing.
[[nodiscard]] Json manifest(const NetworkPolicy& policy);

// Whether text can be a label's key (meta/v1: an optional DNS subdomain and "/", then 1 to 63 of
// [A-Za-z0-9._-] that begin and end with a letter or a digit) or value (at most 63 of the same, or
// nothing).
[[nodiscard]] bool is_label_key(std::string_view text);
[[nodiscard]] bool is_label_value(std::string_view text);

// Whether text can be the name of a container's port (IANA_SVC_NAME, RFC 6335): 1 to 15 of
// [a-z0-9-] with a letter among them and no dash at an end or after another.
[[nodiscard]] bool is_port_name(std::string_view text);

template <typename Visit, SelfOf<IpBlock> Self>
void describe(Visit& visit, Self& self) {
  visit("cidr", self.cidr, {.doc = "The block.", .required = true});
  visit("except", self.except, {.doc = "Blocks within it that it does not hold."});
}

template <typename Visit, SelfOf<NetworkPolicyPeer> Self>
void describe(Visit& visit, Self& self) {
  visit("podSelector", self.pod_selector,
        {.doc = "Pods, of the policy's namespace unless there is a namespaceSelector."});
  visit("namespaceSelector", self.namespace_selector, {.doc = "The namespaces of pods."});
  visit("ipBlock", self.ip_block, {.doc = "Addresses; stands alone."});
}

template <typename Visit, SelfOf<NetworkPolicyIngressRule> Self>
void describe(Visit& visit, Self& self) {
  visit("ports", self.ports, {.doc = "What may be reached; everything unless said."});
  visit("from", self.from, {.doc = "Who may; everybody unless said."});
}

template <typename Visit, SelfOf<NetworkPolicyEgressRule> Self>
void describe(Visit& visit, Self& self) {
  visit("ports", self.ports, {.doc = "What may be reached; everything unless said."});
  visit("to", self.to, {.doc = "At whom; at everybody unless said."});
}

template <typename Visit, SelfOf<NetworkPolicySpec> Self>
void describe(Visit& visit, Self& self) {
  visit("podSelector", self.pod_selector, {.doc = "The pods it is about; all unless said."});
  visit("policyTypes", self.policy_types,
        {.doc = "The directions it isolates; Ingress, and Egress with egress rules, unless said."});
  visit("ingress", self.ingress, {.doc = "What may reach the pods."});
  visit("egress", self.egress, {.doc = "What the pods may reach."});
}

template <typename Visit, SelfOf<NetworkPolicy> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "networking.k8s.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "NetworkPolicy.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and namespace.", .required = true});
  visit("spec", self.spec, {.doc = "What it allows."});
}

}  // namespace base::kube

template <>
struct base::StringScalar<base::kube::Cidr> {
  static Result<kube::Cidr> parse(std::string_view text) { return kube::Cidr::parse(text); }
  static std::string format(const kube::Cidr& value) { return value.to_string(); }
  static constexpr std::string_view pattern = "^[0-9a-fA-F.:]+/[0-9]+$";
  static constexpr std::string_view example = "10.244.0.0/16 or fd00:10::/64";
};

template <>
struct base::EnumNames<base::kube::SelectorOperator> {
  static constexpr std::array names{
      std::pair{base::kube::SelectorOperator::In, std::string_view("In")},
      std::pair{base::kube::SelectorOperator::NotIn, std::string_view("NotIn")},
      std::pair{base::kube::SelectorOperator::Exists, std::string_view("Exists")},
      std::pair{base::kube::SelectorOperator::DoesNotExist, std::string_view("DoesNotExist")}};
};

template <>
struct base::EnumNames<base::kube::PolicyType> {
  static constexpr std::array names{
      std::pair{base::kube::PolicyType::Ingress, std::string_view("Ingress")},
      std::pair{base::kube::PolicyType::Egress, std::string_view("Egress")}};
};
