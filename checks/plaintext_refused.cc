#include "checks/plaintext_refused.h"

#include "base/json.h"
#include "base/units.h"

namespace checks {

Finding plaintext_refused(const bench::ClientResult& client,
                          const std::vector<bench::ServerResult>& servers) {
  std::uint64_t served = 0;
  for (const auto& server : servers) served += server.requests + server.bad_requests;
  const auto& errors = client.errors;
  Finding finding;
  finding.evidence = {{"connections", client.connections_opened}, {"answered", client.requests},
                      {"answered_otherwise", errors.bad_reply},   {"reset", errors.reset},
                      {"errors", base::to_json(errors)},          {"came_to_a_server", served}};
  if (client.requests + errors.bad_reply + served > 0) {
    finding.verdict = base::Verdict::fail;
    finding.observed = "taken";
    finding.sentence = fmt::format(
        "plaintext was taken: {} answered, {} answered by other bytes than the reply, such as an "
        "HTTP status; {} came to a server",
        base::format_count(client.requests, "request"), errors.bad_reply, served);
    return finding;
  }
  if (client.connections_opened == 0) {
    finding.sentence = "cannot tell: nothing could be connected";
    return finding;
  }
  if (errors.reset == 0 || errors.reset != errors.total()) {
    finding.sentence =
        fmt::format("cannot tell: of {} that failed {} were reset; the others ended in another way",
                    base::format_count(errors.total(), "request"), errors.reset);
    return finding;
  }
  finding.verdict = base::Verdict::pass;
  finding.observed = "refused";
  finding.sentence =
      fmt::format("{} in the clear, each reset where its reply was due, and none came to a server",
                  base::format_count(errors.reset, "request"));
  return finding;
}

}  // namespace checks
