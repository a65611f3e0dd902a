#include "cluster/kubernetes/cilium_claims.h"

#include <algorithm>
#include <utility>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Result;

// Of one question, and of all until a claim is given up.
constexpr base::Duration answer_patience = std::chrono::seconds(10);
constexpr base::Duration claim_patience = std::chrono::seconds(5);

}  // namespace

std::map<std::string, std::int64_t> read_revisions(std::string_view endpoints) {
  std::map<std::string, std::int64_t> revisions;
  const auto json = base::parse_json(endpoints);
  if (!json || !json->is_array()) return revisions;
  for (const auto& endpoint : *json) {
    const auto of = [&](const char* name) {
      return text_at(endpoint, {"status", "external-identifiers", name});
    };
    const auto& revision = json_at(endpoint, {"status", "policy", "realized", "policy-revision"});
    if (of("k8s-pod-name").empty() || !revision.is_number_integer()) continue;
    revisions[of("k8s-namespace") + "/" + of("k8s-pod-name")] = revision.get<std::int64_t>();
  }
  return revisions;
}

Result<CiliumClaims> CiliumClaims::make(ApiClient& api, Agents& agents, CiliumAgents where,
                                        std::set<std::string> pods) {
  CiliumClaims claims(agents, std::move(where));
  ASSIGN_OR_RETURN(claims.asked_,
                   find_cilium_agents(api, claims.where_, "when policies are enforced"));
  claims.pods_ = std::move(pods);
  return claims;
}

Result<std::map<std::string, std::int64_t>> CiliumClaims::ask() {
  std::map<std::string, std::int64_t> revisions;
  for (const auto& agent : asked_) {
    ASSIGN_OR_RETURN(const auto text,
                     agents_->run({.in_namespace = where_.in_namespace,
                                   .pod = agent,
                                   .container = std::string(cilium_container),
                                   .command = {"cilium-dbg", "endpoint", "list", "-o", "json"}},
                                  answer_patience));
    for (auto& [pod, revision] : read_revisions(text)) {
      if (pods_.contains(pod)) revisions[pod] = revision;
    }
  }
  return revisions;
}

Result<> CiliumClaims::begin() {
  ASSIGN_OR_RETURN(before_, ask());
  return {};
}

Result<std::optional<std::int64_t>> CiliumClaims::await() {
  const auto deadline = base::monotonic_now() + claim_patience;
  while (base::monotonic_now() < deadline) {
    ASSIGN_OR_RETURN(const auto now, ask());
    const auto told_ns = base::monotonic_now().ns;
    const bool all = std::ranges::all_of(pods_, [&](const std::string& pod) {
      const auto before = before_.find(pod);
      const auto after = now.find(pod);
      return before != before_.end() && after != now.end() && after->second > before->second;
    });
    if (all) return told_ns;
  }
  return std::nullopt;
}

}  // namespace cluster
