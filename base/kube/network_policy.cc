#include "base/kube/network_policy.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace base::kube {
namespace {

bool is_lower_or_digit(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
}
bool is_alphanumeric(char letter) {
  return is_lower_or_digit(letter) || (letter >= 'A' && letter <= 'Z');
}

// RFC 1123 subdomain as apimachinery takes it: labels between dots, 253 characters at most in all
// and no limit for each.
bool is_dns_subdomain(std::string_view text) {
  if (text.size() > 253) return false;
  while (true) {
    const auto dot = text.find('.');
    const auto label = text.substr(0, dot);
    if (label.empty() || !is_lower_or_digit(label.front()) || !is_lower_or_digit(label.back()) ||
        !std::ranges::all_of(label, [](char c) { return is_lower_or_digit(c) || c == '-'; })) {
      return false;
    }
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

// Of a label's key after its prefix, and of its value where it is not empty.
bool is_label_name(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_alphanumeric(text.front()) &&
         is_alphanumeric(text.back()) && std::ranges::all_of(text, [](char c) {
           return is_alphanumeric(c) || c == '-' || c == '_' || c == '.';
         });
}

bool is_port(std::int32_t number) { return number >= 1 && number <= 65535; }

// Whether every address of `inner` is in `outer`, and not every one of `outer` in `inner`.
bool is_strict_subset(const Cidr& inner, const Cidr& outer) {
  if (inner.address.family != outer.address.family || inner.prefix <= outer.prefix) return false;
  for (int bit = 0; bit < outer.prefix; ++bit) {
    const auto byte = static_cast<std::size_t>(bit / 8);
    const int mask = 0x80 >> (bit % 8);
    if (((inner.address.bytes[byte] ^ outer.address.bytes[byte]) & mask) != 0) return false;
  }
  return true;
}

// Every fault of a policy, with the path of its field.
class Faults {
 public:
  template <typename... Args>
  void add(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
    all_.push_back({path, fmt::format(format, std::forward<Args>(args)...)});
  }
  [[nodiscard]] std::vector<PolicyFault> take() { return std::move(all_); }

 private:
  std::vector<PolicyFault> all_;
};

void check_label(Faults& faults, const std::string& path, const std::string& key,
                 const std::string& value) {
  if (!is_label_key(key)) faults.add(path, "\"{}\" is no label key", key);
  if (!is_label_value(value)) faults.add(path, "\"{}\" is no label value", value);
}

void check(Faults& faults, const std::string& path, const LabelSelector& selector) {
  for (const auto& [key, value] : selector.match_labels) {
    check_label(faults, path + ".matchLabels", key, value);
  }
  for (std::size_t i = 0; i < selector.match_expressions.size(); ++i) {
    const auto& expression = selector.match_expressions[i];
    const auto at = fmt::format("{}.matchExpressions[{}]", path, i);
    const bool compares =
        expression.op == SelectorOperator::In || expression.op == SelectorOperator::NotIn;
    if (compares && expression.values.empty()) {
      faults.add(at + ".values", "must be specified when operator is In or NotIn");
    }
    if (!compares && !expression.values.empty()) {
      faults.add(at + ".values", "may not be specified when operator is Exists or DoesNotExist");
    }
    check_label(faults, at, expression.key, "");
    for (const auto& value : expression.values) {
      if (!is_label_value(value)) faults.add(at + ".values", "\"{}\" is no label value", value);
    }
  }
}

void check(Faults& faults, const std::string& path, const NetworkPolicyPeer& peer) {
  if (peer.pod_selector) check(faults, path + ".podSelector", *peer.pod_selector);
  if (peer.namespace_selector) {
    check(faults, path + ".namespaceSelector", *peer.namespace_selector);
  }
  const bool selects = peer.pod_selector || peer.namespace_selector;
  if (!selects && !peer.ip_block) faults.add(path, "must specify a peer");
  if (!peer.ip_block) return;
  if (selects) faults.add(path, "may not specify both ipBlock and another peer");
  for (std::size_t i = 0; i < peer.ip_block->except.size(); ++i) {
    const auto& except = peer.ip_block->except[i];
    if (!is_strict_subset(except, peer.ip_block->cidr)) {
      faults.add(fmt::format("{}.ipBlock.except[{}]", path, i),
                 "{} must be a strict subset of `cidr`, {}", except.to_string(),
                 peer.ip_block->cidr.to_string());
    }
  }
}

void check(Faults& faults, const std::string& path, const NetworkPolicyPort& port) {
  const auto* const number = port.port ? std::get_if<std::int32_t>(&port.port->value) : nullptr;
  const auto* const name = port.port ? std::get_if<std::string>(&port.port->value) : nullptr;
  if (number != nullptr && !is_port(*number)) {
    faults.add(path + ".port", "expected a port between 1 and 65535, got {}", *number);
  }
  if (name != nullptr && !is_port_name(*name)) {
    faults.add(path + ".port", "\"{}\" is no name of a port", *name);
  }
  if (!port.end_port) return;
  if (number == nullptr) {
    faults.add(path + ".endPort", "may not be specified when `port` is {}",
               name != nullptr ? "non-numeric" : "not specified");
    return;
  }
  if (*port.end_port < *number) {
    faults.add(path + ".endPort", "{} must be greater than or equal to `port`, {}", *port.end_port,
               *number);
  }
  if (!is_port(*port.end_port)) {
    faults.add(path + ".endPort", "expected a port between 1 and 65535, got {}", *port.end_port);
  }
}

void check_rule(Faults& faults, const std::string& path, std::string_view peers_name,
                const std::vector<NetworkPolicyPort>& ports,
                const std::vector<NetworkPolicyPeer>& peers) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    check(faults, fmt::format("{}.ports[{}]", path, i), ports[i]);
  }
  for (std::size_t i = 0; i < peers.size(); ++i) {
    check(faults, fmt::format("{}.{}[{}]", path, peers_name, i), peers[i]);
  }
}

// Whether a field's keys are any: those of labels.
bool is_map(std::string_view field) {
  return field == "matchLabels" || field == "labels" || field == "annotations";
}

// A null is an absent field. A label's value is none: without it a selector would select more.
Json without_nulls(const Json& json) {
  if (json.is_object()) {
    Json kept = Json::object();
    for (const auto& [key, value] : json.items()) {
      if (value.is_null()) continue;
      kept[key] = is_map(key) ? value : without_nulls(value);
    }
    return kept;
  }
  if (json.is_array()) {
    Json kept = Json::array();
    for (const auto& element : json) kept.push_back(without_nulls(element));
    return kept;
  }
  return json;
}

// Without empty lists and maps of labels, which say the same as absent ones. An empty selector does
// not, and a rule `{}` allows everything.
Json without_empty_lists(const Json& json) {
  if (json.is_object()) {
    Json kept = Json::object();
    for (const auto& [key, value] : json.items()) {
      if ((value.is_array() || is_map(key)) && value.empty()) continue;
      if (key == "resourceVersion") continue;  // of a write it is a condition
      kept[key] = is_map(key) ? value : without_empty_lists(value);
    }
    return kept;
  }
  if (json.is_array()) {
    Json kept = Json::array();
    for (const auto& element : json) kept.push_back(without_empty_lists(element));
    return kept;
  }
  return json;
}

// "NetworkPolicy shop/deny", as far as the object says.
std::string name_of(const Json& object) {
  const auto text = [](const Json& of, const char* field) -> std::string {
    const auto found = of.is_object() ? of.find(field) : of.end();
    return found != of.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto metadata = object.is_object() ? object.value("metadata", Json::object()) : Json();
  const auto in_namespace = text(metadata, "namespace");
  return fmt::format("NetworkPolicy {}/{}", in_namespace.empty() ? "default" : in_namespace,
                     text(metadata, "name"));
}

}  // namespace

bool is_label_key(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return is_label_name(text);
  return is_dns_subdomain(text.substr(0, slash)) && is_label_name(text.substr(slash + 1));
}

bool is_label_value(std::string_view text) { return text.empty() || is_label_name(text); }

bool is_port_name(std::string_view text) {
  return !text.empty() && text.size() <= 15 && text.front() != '-' && text.back() != '-' &&
         !text.contains("--") &&
         std::ranges::all_of(text, [](char c) { return is_lower_or_digit(c) || c == '-'; }) &&
         std::ranges::any_of(text, [](char c) { return c >= 'a' && c <= 'z'; });
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorKind::input,
                "expected a block such as 10.244.0.0/16 or fd00:10::/64, got \"{}\"", text);
  };
  const auto slash = text.rfind('/');
  if (slash == std::string_view::npos) return wrong();
  auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return wrong();
  Cidr cidr{.address = *address};
  const auto digits = text.substr(slash + 1);
  const auto* const end = digits.data() + digits.size();
  const auto [rest, problem] = std::from_chars(digits.data(), end, cidr.prefix);
  if (problem != std::errc{} || rest != end || cidr.prefix < 0 ||
      cidr.prefix > address->host_prefix()) {
    return wrong();
  }
  return cidr;
}

std::string Cidr::to_string() const { return fmt::format("{}/{}", address.to_string(), prefix); }

void apply_defaults(NetworkPolicy& policy) {
  auto& spec = policy.spec;
  if (spec.policy_types.empty()) {
    spec.policy_types = {PolicyType::Ingress};
    if (!spec.egress.empty()) spec.policy_types.push_back(PolicyType::Egress);
  }
  const auto name_protocols = [](auto& rules) {
    for (auto& rule : rules) {
      for (auto& port : rule.ports) port.protocol = port.protocol.value_or(Protocol::TCP);
    }
  };
  name_protocols(spec.ingress);
  name_protocols(spec.egress);
}

std::vector<PolicyFault> faults_of(const NetworkPolicy& policy) {
  Faults faults;
  if (policy.api_version != network_policy_api_version) {
    faults.add("apiVersion", "expected {}, got \"{}\"", network_policy_api_version,
               policy.api_version);
  }
  if (policy.kind != network_policy_kind) {
    faults.add("kind", "expected {}, got \"{}\"", network_policy_kind, policy.kind);
  }
  if (!is_dns_subdomain(policy.metadata.name)) {
    faults.add("metadata.name", "\"{}\" is no name", policy.metadata.name);
  }
  if (!is_dns_label(policy.metadata.in_namespace)) {
    faults.add("metadata.namespace", "\"{}\" is no name", policy.metadata.in_namespace);
  }
  for (const auto& [key, value] : policy.metadata.labels) {
    check_label(faults, "metadata.labels", key, value);
  }
  const auto& spec = policy.spec;
  check(faults, "spec.podSelector", spec.pod_selector);
  for (std::size_t i = 0; i < spec.ingress.size(); ++i) {
    check_rule(faults, fmt::format("spec.ingress[{}]", i), "from", spec.ingress[i].ports,
               spec.ingress[i].from);
  }
  for (std::size_t i = 0; i < spec.egress.size(); ++i) {
    check_rule(faults, fmt::format("spec.egress[{}]", i), "to", spec.egress[i].ports,
               spec.egress[i].to);
  }
  if (spec.policy_types.size() > 2) {
    faults.add("spec.policyTypes", "may not specify more than two policyTypes");
  }
  return faults.take();
}

Result<> validate(const NetworkPolicy& policy) {
  std::vector<std::string> all;
  for (const auto& [field, message] : faults_of(policy)) {
    all.push_back(fmt::format("{}: {}", field, message));
  }
  if (all.empty()) return {};
  return fail(ErrorKind::input, "{} {}/{}: {}", network_policy_kind, policy.metadata.in_namespace,
              policy.metadata.name, fmt::join(all, "; "));
}

Result<NetworkPolicy> read_network_policy(const Json& object) {
  auto read = from_json<NetworkPolicy>(without_nulls(object));
  if (!read) return in_context(std::move(read).error(), "{}", name_of(object));
  apply_defaults(*read);
  RETURN_IF_ERROR(validate(*read));
  return read;
}

Json manifest(const NetworkPolicy& policy) { return without_empty_lists(to_json(policy)); }

}  // namespace base::kube
