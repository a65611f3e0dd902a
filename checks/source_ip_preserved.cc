#include "checks/source_ip_preserved.h"

#include <map>
#include <string>

#include <fmt/ranges.h>

#include "base/units.h"

namespace checks {

Finding source_ip_preserved(bool promised, const base::IpAddress& client,
                            const std::vector<bench::ServerResult>& servers) {
  const auto own = client.to_string();
  std::map<std::string, std::uint64_t> seen;
  for (const auto& server : servers) {
    for (const auto& [address, connections] : server.clients) seen[address] += connections;
  }
  Finding finding{.evidence = {{"client", own}, {"promised", promised}, {"seen", seen}}};
  const auto kept = seen.contains(own) ? seen.at(own) : 0;
  std::uint64_t hidden = 0;
  std::vector<std::string> others;
  for (const auto& [address, connections] : seen) {
    if (address == own) continue;
    hidden += connections;
    others.push_back(address);
  }
  if (kept + hidden == 0) {
    finding.sentence = "cannot tell: no connection reached a pod";
    return finding;
  }
  if (hidden == 0) {
    finding.verdict = base::Verdict::pass;
    finding.observed = "kept";
    finding.sentence = fmt::format("{} came from the client's own address, {}",
                                   base::format_count(kept, "connection"), own);
    return finding;
  }
  finding.observed = "hidden";
  finding.verdict = promised ? base::Verdict::fail : base::Verdict::pass;
  finding.sentence = fmt::format("{} came from {}, not from the client's {}{}",
                                 base::format_count(hidden, "connection"), fmt::join(others, ", "),
                                 own, promised ? "" : ", which nobody promised here");
  return finding;
}

}  // namespace checks
