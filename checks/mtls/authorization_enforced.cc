#include "checks/mtls/authorization_enforced.h"

#include <map>
#include <optional>

#include <fmt/ranges.h>

#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;
using base::kube::Access;
using bench::DoorOutcome;

// What Envoy's filters say: source/extensions/filters/http/rbac/rbac_filter.cc, and of tokens
// source/extensions/filters/http/jwt_authn/filter.cc.
constexpr std::string_view rbac_says = "RBAC: access denied";
constexpr std::string_view jwt_challenges = "Bearer ";
constexpr int ok = 200;
constexpr int forbidden = 403;
constexpr int unauthorized = 401;

// What a request came to; nothing where nobody can tell.
std::optional<Access> access_of(const AccessTried& tried) {
  const auto& door = tried.door;
  if (!tried.http) {
    if (door.outcome == DoorOutcome::answered) return Access::allowed;
    const bool ended = door.outcome == DoorOutcome::closed || door.outcome == DoorOutcome::reset;
    return ended ? std::optional(Access::denied) : std::nullopt;
  }
  if (door.outcome != DoorOutcome::answered || !door.http_status) return std::nullopt;
  if (*door.http_status == ok) return Access::allowed;
  if (*door.http_status == forbidden && door.body.starts_with(rbac_says)) return Access::denied;
  if (*door.http_status == unauthorized && door.challenge.starts_with(jwt_challenges)) {
    return Access::unauthenticated;
  }
  return std::nullopt;
}

std::string seen_text(const AccessTried& tried) {
  const auto& door = tried.door;
  if (!door.http_status) return std::string(base::enum_name(door.outcome));
  return door.body.empty() ? fmt::format("HTTP {}", *door.http_status)
                           : fmt::format("HTTP {} ({})", *door.http_status, door.body);
}

std::string text_of(const AccessTried& tried) {
  return fmt::format("{} (from {}): {}, and it should be {}", tried.name, tried.from,
                     seen_text(tried), base::enum_name(tried.expected));
}

base::Json evidence_of(const AuthorizationObservation& seen) {
  auto requests = base::Json::array();
  for (const auto& tried : seen.requests) {
    const auto access = access_of(tried);
    requests.push_back({{"name", tried.name},
                        {"from", tried.from},
                        {"workload", tried.workload},
                        {"expected", base::enum_name(tried.expected)},
                        {"seen", access ? base::Json(base::enum_name(*access)) : base::Json()},
                        {"door", base::to_json(tried.door)}});
  }
  return {{"requests", std::move(requests)}, {"came_to_servers", seen.came_to_servers}};
}

// "2 allowed, 3 denied".
std::string counts_text(const AuthorizationObservation& seen) {
  std::map<Access, std::size_t> counts;
  for (const auto& tried : seen.requests) ++counts[tried.expected];
  std::vector<std::string> parts;
  for (const auto& [access, count] : counts) {
    parts.push_back(fmt::format("{} {}", count, base::enum_name(access)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

std::string access_request(const base::Endpoint& to, std::string_view method, std::string_view path,
                           std::string_view token) {
  // Without a length a body that might follow would be one of none (RFC 9112, 6.3).
  const std::string carried =
      token.empty() ? std::string() : fmt::format("Authorization: Bearer {}\r\n", token);
  return fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: 0\r\n\r\n", method, path, to,
                     carried);
}

Finding authorization_enforced(const AuthorizationObservation& seen) {
  Finding finding{.evidence = evidence_of(seen)};
  std::vector<std::string> let_in;
  std::vector<std::string> otherwise;
  std::vector<std::string> unclear;
  std::uint64_t allowed = 0;
  for (const auto& tried : seen.requests) {
    const auto access = access_of(tried);
    if (access == Access::allowed) ++allowed;
    if (access == tried.expected) continue;
    auto& list = !access ? unclear : *access == Access::allowed ? let_in : otherwise;
    list.push_back(text_of(tried));
  }
  if (!let_in.empty() || !otherwise.empty()) {
    finding.verdict = Verdict::fail;
    finding.observed = let_in.empty() ? "refused_too_much" : "not_enforced";
    auto all = let_in;
    all.insert(all.end(), otherwise.begin(), otherwise.end());
    finding.sentence =
        fmt::format("{} of {} came to something else than the policies say: {}", all.size(),
                    base::format_count(seen.requests.size(), "request"), fmt::join(all, "; "));
    return finding;
  }
  if (seen.came_to_servers > allowed) {
    finding.verdict = Verdict::fail;
    finding.observed = "not_enforced";
    finding.sentence = fmt::format(
        "{} came to servers, though {} let in: somebody was refused after the application had the "
        "request",
        base::format_count(seen.came_to_servers, "request"),
        allowed == 1 ? "1 was" : fmt::format("{} were", allowed));
    return finding;
  }
  finding.observed = "not_proven";
  if (!unclear.empty()) {
    finding.sentence = fmt::format("who ended these cannot be told: {}", fmt::join(unclear, "; "));
    return finding;
  }
  if (allowed == 0) {
    finding.sentence = "nobody was let in, so refusals say nothing";
    return finding;
  }
  finding.verdict = Verdict::pass;
  finding.observed = "enforced";
  finding.sentence = fmt::format(
      "{} of {} came to what the policies say ({}); refusals are the proxy's own, and none came to "
      "a server",
      seen.requests.size(), base::format_count(seen.requests.size(), "request"), counts_text(seen));
  return finding;
}

}  // namespace checks
