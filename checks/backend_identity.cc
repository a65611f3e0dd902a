#include "checks/backend_identity.h"

#include <algorithm>
#include <cstdint>

#include "base/units.h"

namespace checks {

using base::Verdict;

Finding backend_identity(const bench::ClientResult& client, const std::vector<Answerer>& servers) {
  base::Json answered = base::Json::object();
  for (const auto& server : servers) {
    answered[server.pod] = {{"identity", server.identity}, {"answered", server.result.requests}};
  }
  Finding finding{.evidence = {{"replies_name", client.answered_by}, {"pods_say", answered}}};
  std::uint64_t replies = 0;
  std::size_t pods = 0;
  for (const auto& [identity, count] : client.answered_by) {
    const auto named = base::format_count(count, "answer");
    const auto found = std::ranges::find(servers, identity, &Answerer::identity);
    if (found == servers.end()) {
      finding.verdict = Verdict::fail;
      finding.observed = "a stranger";
      finding.sentence =
          fmt::format("{} gave the identity {}, which is no pod's of this arm", named, identity);
      return finding;
    }
    if (found->result.requests < count) {
      finding.verdict = Verdict::fail;
      finding.observed = "another";
      finding.sentence =
          fmt::format("{} named {}, which answered {} in all: another pod answers as it", named,
                      found->pod, found->result.requests);
      return finding;
    }
    replies += count;
    ++pods;
  }
  if (replies == 0) {
    finding.sentence = "cannot tell: nothing was answered";
    return finding;
  }
  finding.verdict = Verdict::pass;
  finding.observed = "itself";
  finding.sentence = fmt::format("{} came from the {} that they name",
                                 base::format_count(replies, "answer"), pods == 1 ? "pod" : "pods");
  return finding;
}

}  // namespace checks
