// security.istio.io/v1 PeerAuthentication: its fields, and what Istio's webhook refuses. What a set
// of them means for a port is said where it is enforced, and again where it is judged. Source:
// istio.io/api/security/v1beta1/peer_authentication.proto, and ValidatePeerAuthentication of
// istio/pkg/config/validation/validation.go.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/kube/meta.h"

namespace base::kube {

inline constexpr std::string_view peer_authentication_kind = "PeerAuthentication";
inline constexpr std::string_view peer_authentication_api_version = "security.istio.io/v1";
// Where an object without a selector is the whole mesh's (meshConfig.rootNamespace).
inline constexpr std::string_view istio_root_namespace = "istio-system";

// PeerAuthentication.MutualTLS.Mode.
enum class MtlsMode {
  UNSET,       // as what is above it says
  DISABLE,     // plaintext alone
  PERMISSIVE,  // either
  STRICT,      // mutual TLS alone
};

struct MutualTls {
  MtlsMode mode = MtlsMode::UNSET;

  bool operator==(const MutualTls&) const = default;
};

template <typename Visit, SelfOf<MutualTls> Self>
void describe(Visit& visit, Self& self) {
  visit("mode", self.mode, {.doc = "UNSET, DISABLE, PERMISSIVE or STRICT."});
}

// istio.type.v1beta1.WorkloadSelector.
struct WorkloadSelector {
  std::map<std::string, std::string> match_labels = {};

  bool operator==(const WorkloadSelector&) const = default;
};

template <typename Visit, SelfOf<WorkloadSelector> Self>
void describe(Visit& visit, Self& self) {
  visit("matchLabels", self.match_labels, {.doc = "Labels its pods have; all pods unless said."});
}

struct PeerAuthenticationSpec {
  std::optional<WorkloadSelector> selector = {};
  std::optional<MutualTls> mtls = {};
  std::map<std::string, MutualTls> port_level_mtls = {};  // by the pods' port

  bool operator==(const PeerAuthenticationSpec&) const = default;
};

template <typename Visit, SelfOf<PeerAuthenticationSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("selector", self.selector, {.doc = "The pods it is about."});
  visit("mtls", self.mtls, {.doc = "What they take."});
  visit("portLevelMtls", self.port_level_mtls, {.doc = "What ports of theirs take."});
}

struct PeerAuthentication {
  std::string api_version = std::string(peer_authentication_api_version);
  std::string kind = std::string(peer_authentication_kind);
  ObjectMeta metadata = {};
  PeerAuthenticationSpec spec = {};

  bool operator==(const PeerAuthentication&) const = default;
};

template <typename Visit, SelfOf<PeerAuthentication> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "security.istio.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "PeerAuthentication.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and namespace.", .required = true});
  visit("spec", self.spec, {.doc = "What it asks for."});
}

// An object as it is written, where Istio would take it. Errors: input, naming the field: another
// apiVersion, ports that are none, portLevelMtls without a selector.
[[nodiscard]] Result<PeerAuthentication> read_peer_authentication(const Json& object);

// Whether it selects some pods and not all of its namespace.
[[nodiscard]] bool selects_workloads(const PeerAuthentication& policy);

}  // namespace base::kube

template <>
struct base::EnumNames<base::kube::MtlsMode> {
  static constexpr std::array names{
      std::pair{base::kube::MtlsMode::UNSET, std::string_view("UNSET")},
      std::pair{base::kube::MtlsMode::DISABLE, std::string_view("DISABLE")},
      std::pair{base::kube::MtlsMode::PERMISSIVE, std::string_view("PERMISSIVE")},
      std::pair{base::kube::MtlsMode::STRICT, std::string_view("STRICT")}};
};
