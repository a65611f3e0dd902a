#include "checks/bgp_announces.h"

#include <algorithm>
#include <map>
#include <set>

namespace checks {
namespace {

using bgp_peer::Path;
using bgp_peer::Prefix;

template <typename Range>
std::string listed(const Range& range) {
  std::vector<std::string> words;
  for (const auto& one : range) words.push_back(one.to_string());
  std::ranges::sort(words);
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

std::string as_path_of(const std::vector<bgp_peer::Asn>& numbers) {
  return bgp_peer::as_path_text({{.numbers = numbers}});
}

// What is wrong with one path's attributes, a sentence each.
void judge_attributes(const ExpectedAnnouncement& expected, const Path& path,
                      std::vector<std::string>& faults) {
  const auto fault = [&](std::string_view what, const std::string& seen,
                         const std::string& wanted) {
    faults.push_back(fmt::format("{} via {}: {} {}, expected {}", path.prefix.to_string(),
                                 path.next_hop, what, seen.empty() ? "none" : seen,
                                 wanted.empty() ? "none" : wanted));
  };
  const auto seen_path = bgp_peer::as_path_text(path.as_path);
  if (seen_path != as_path_of(expected.as_path)) {
    fault("AS path", seen_path, as_path_of(expected.as_path));
  }
  if (path.origin != expected.origin) {
    fault("origin", std::string(base::enum_name(path.origin)),
          std::string(base::enum_name(expected.origin)));
  }
  const std::multiset seen(path.communities.begin(), path.communities.end());
  const std::multiset wanted(expected.communities.begin(), expected.communities.end());
  if (seen != wanted) fault("communities", listed(seen), listed(wanted));
  if (path.local_preference != expected.local_preference) {
    const auto text = [](const std::optional<std::uint32_t>& value) {
      return value ? std::to_string(*value) : "";
    };
    fault("local preference", text(path.local_preference), text(expected.local_preference));
  }
}

// Thousands of addresses may be wrong at once, and for one reason.
constexpr std::size_t most_told = 10;
constexpr std::size_t most_kept = 200;

std::string sentence_of(const std::vector<std::string>& faults) {
  const std::vector told(faults.begin(), faults.begin() + static_cast<std::ptrdiff_t>(
                                                              std::min(faults.size(), most_told)));
  const auto more = faults.size() - told.size();
  return fmt::format("{}{}", fmt::join(told, "; "),
                     more == 0 ? "" : fmt::format("; and {} more", more));
}

template <typename T>
std::vector<T> first_of(const std::vector<T>& all) {
  const auto count = static_cast<std::ptrdiff_t>(std::min(all.size(), most_kept));
  return {all.begin(), all.begin() + count};
}

Finding finding_of(const std::vector<std::string>& faults, std::string sound) {
  Finding finding{.verdict = faults.empty() ? base::Verdict::pass : base::Verdict::fail,
                  .sentence = faults.empty() ? std::move(sound) : sentence_of(faults)};
  finding.observed = faults.empty()
                         ? "as expected"
                         : fmt::format("{} fault{}", faults.size(), faults.size() == 1 ? "" : "s");
  finding.evidence["faults"] = first_of(faults);
  finding.evidence["fault_count"] = faults.size();
  return finding;
}

}  // namespace

Finding bgp_announces_lb_ip(const std::vector<ExpectedAnnouncement>& expected, const Prefix& pool,
                            const std::vector<Path>& paths) {
  std::map<Prefix, std::vector<const Path*>> seen;
  for (const auto& path : paths) {
    if (!path.withdrawn) seen[path.prefix].push_back(&path);
  }
  std::vector<std::string> faults;
  std::size_t announced = 0;
  for (const auto& one : expected) {
    std::set<base::IpAddress> hops;
    for (const auto* path : seen[one.prefix]) hops.insert(path->next_hop);
    const std::set wanted(one.next_hops.begin(), one.next_hops.end());
    if (hops != wanted) {
      faults.push_back(fmt::format("{}: next hops {}, expected {}", one.prefix.to_string(),
                                   listed(hops), listed(wanted)));
    }
    for (const auto* path : seen[one.prefix]) judge_attributes(one, *path, faults);
    announced += hops.size();
    seen.erase(one.prefix);
  }
  for (const auto& [prefix, its] : seen) {
    if (!its.empty() && pool.covers(prefix)) {
      faults.push_back(fmt::format("{} is announced, which nothing has", prefix.to_string()));
    }
  }
  auto finding = finding_of(
      faults, fmt::format("{} prefixes are announced by way of {} next hops, with the attributes "
                          "asked for, and no other of {}",
                          expected.size(), announced, pool.to_string()));
  finding.evidence["paths"] = base::to_json(first_of(paths));
  finding.evidence["path_count"] = paths.size();
  return finding;
}

Finding bgp_session_established(const std::vector<ExpectedSession>& expected,
                                const std::vector<bgp_peer::Peer>& peers) {
  std::vector<std::string> faults;
  for (const auto& one : expected) {
    const auto found = std::ranges::find(peers, one.neighbor, &bgp_peer::Peer::address);
    const auto fault = [&](const std::string& words) {
      faults.push_back(fmt::format("{}: {}", one.neighbor, words));
    };
    if (found == peers.end()) {
      fault("has not connected");
      continue;
    }
    const auto& peer = *found;
    if (peer.state != bgp_peer::SessionState::established) {
      fault(fmt::format("is {}", base::enum_name(peer.state)));
      continue;
    }
    if (peer.asn != one.asn) {
      fault(fmt::format("AS {}, expected {}", peer.asn.number, one.asn.number));
    }
    if (peer.negotiated_hold_time_s != one.hold_time_s) {
      fault(fmt::format("hold time {} s, expected {} s", peer.negotiated_hold_time_s,
                        one.hold_time_s));
    }
    // RFC 4271, 4.4: a third of the hold time at most.
    if (3 * peer.keepalive_interval_s > peer.negotiated_hold_time_s) {
      fault(fmt::format("a KEEPALIVE every {} s, with a hold time of {} s",
                        peer.keepalive_interval_s, peer.negotiated_hold_time_s));
    }
    if (peer.remote.four_octet_asn.value_or(one.asn) != one.asn) {
      fault(fmt::format("AS {} in its capabilities, expected {}",
                        peer.remote.four_octet_asn->number, one.asn.number));
    }
    for (const auto family : one.families) {
      if (std::ranges::find(peer.remote.families, family) == peer.remote.families.end()) {
        fault(fmt::format("does not carry {}", base::enum_name(family)));
      }
    }
    const auto& restart = peer.remote.graceful_restart;
    const auto said = restart ? std::optional(restart->restart_time_s) : std::nullopt;
    if (said != one.restart_time_s) {
      const auto text = [](const std::optional<std::uint32_t>& time) {
        return time ? fmt::format("{} s", *time) : std::string("none");
      };
      fault(fmt::format("graceful restart {}, expected {}", text(said), text(one.restart_time_s)));
    }
  }
  auto finding = finding_of(
      faults, fmt::format("{} sessions are established with the timers and capabilities asked for",
                          expected.size()));
  finding.evidence["peers"] = base::to_json(peers);
  return finding;
}

}  // namespace checks
