#include "checks/plaintext_refused.h"

#include <optional>

#include <fmt/ranges.h>

#include "base/json.h"
#include "base/units.h"

namespace checks {
namespace {

std::uint64_t came_to_server(const DialledInClear& one) {
  return one.server.requests + one.server.bad_requests;
}

// Somebody said something, if not the reply: of HTTP/2 any frame.
std::uint64_t answered_otherwise(const bench::TrafficErrors& errors) {
  return errors.bad_reply + errors.stream_reset + errors.goaway + errors.protocol_error;
}

std::optional<std::string> taken_by(const DialledInClear& one) {
  const auto& client = one.client;
  const auto otherwise = answered_otherwise(client.errors);
  if (client.requests + otherwise + came_to_server(one) == 0) return std::nullopt;
  return fmt::format(
      "{} ({} answered, {} by other bytes than the reply, such as an HTTP status; "
      "{} came to its server)",
      one.pod, client.requests, otherwise, came_to_server(one));
}

std::optional<std::string> unclear_at(const DialledInClear& one) {
  const auto& errors = one.client.errors;
  if (one.client.connections_opened == 0) {
    return fmt::format("nothing could be connected to {}", one.pod);
  }
  if (errors.reset > 0 && errors.reset == errors.total()) return std::nullopt;
  return fmt::format("of {} to {} that failed {} were reset; the others ended in another way",
                     base::format_count(errors.total(), "request"), one.pod, errors.reset);
}

}  // namespace

Finding plaintext_refused(const std::vector<DialledInClear>& pods) {
  Finding finding;
  std::vector<std::string> taken;
  std::vector<std::string> unclear;
  std::uint64_t reset = 0;
  for (const auto& one : pods) {
    const auto& errors = one.client.errors;
    finding.evidence[one.pod] = {{"connections", one.client.connections_opened},
                                 {"answered", one.client.requests},
                                 {"answered_otherwise", answered_otherwise(errors)},
                                 {"reset", errors.reset},
                                 {"errors", base::to_json(errors)},
                                 {"came_to_a_server", came_to_server(one)}};
    reset += errors.reset;
    if (auto why = taken_by(one)) taken.push_back(*std::move(why));
    if (auto why = unclear_at(one)) unclear.push_back(*std::move(why));
  }
  if (!taken.empty()) {
    finding.verdict = base::Verdict::fail;
    finding.observed = "taken";
    finding.sentence = fmt::format("plaintext was taken by {} of {}: {}", taken.size(),
                                   base::format_count(pods.size(), "pod"), fmt::join(taken, ", "));
    return finding;
  }
  if (pods.empty() || !unclear.empty()) {
    finding.sentence =
        fmt::format("cannot tell: {}", pods.empty() ? "no pod was dialled"
                                                    : fmt::format("{}", fmt::join(unclear, "; ")));
    return finding;
  }
  finding.verdict = base::Verdict::pass;
  finding.observed = "refused";
  finding.sentence = fmt::format(
      "{} in the clear to {}, each reset where its reply was due, and none came to a server",
      base::format_count(reset, "request"), base::format_count(pods.size(), "pod"));
  return finding;
}

}  // namespace checks
