#include "checks/translated_at.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;

// A place, as the sentence and the table put it.
std::string_view in_words(TranslatedAt place) {
  switch (place) {
    case TranslatedAt::none:
      return "not translated";
    case TranslatedAt::packet:
      return "per packet";
    case TranslatedAt::socket:
      return "at the socket";
    case TranslatedAt::proxy:
      return "by a proxy";
    case TranslatedAt::unknown:
      return "unknown";
  }
  return "unknown";
}

std::string packets(std::uint64_t count) { return base::format_count(count, "packet"); }

// How many of the client's own ports were seen among the source ports of connection attempts.
struct Ports {
  std::size_t known = 0;  // ports the client reports
  std::size_t seen = 0;   // of those, seen at the interface
  std::size_t attempts = 0;
};

Ports compare_ports(const std::vector<std::uint16_t>& seen, const std::vector<int>& clients) {
  Ports ports{.known = clients.size(), .seen = 0, .attempts = seen.size()};
  for (const int port : clients) {
    if (std::ranges::find(seen, port) != seen.end()) ++ports.seen;
  }
  return ports;
}

// The place as far as it is known, and what to make of it.
struct Place {
  TranslatedAt observed = TranslatedAt::unknown;
  Verdict verdict = Verdict::inconclusive;
  std::string sentence;
};

Place inconclusive(std::string sentence) {
  return {TranslatedAt::unknown, Verdict::inconclusive, std::move(sentence)};
}

Place failed(TranslatedAt observed, std::string sentence) {
  return {observed, Verdict::fail, std::move(sentence)};
}

// What left, by destination and source port, whatever was promised. A verdict of pass here only
// says that the place is known.
Place find_place(TranslatedAt expected, const probes::TranslationCounts& counts,
                 const bench::ClientResult& client) {
  const auto to_service = packets(counts.to_service);
  const auto to_backend = packets(counts.to_backend);
  if (counts.to_service == 0 && counts.to_backend == 0) {
    if (counts.to_other > 0) {
      return failed(TranslatedAt::unknown,
                    fmt::format("{} left for these ports at addresses that are neither the "
                                "Service's nor a backend's, and none for either of them",
                                packets(counts.to_other)));
    }
    if (client.requests == 0) return inconclusive("no traffic was seen and no request answered");
    return inconclusive(
        fmt::format("{} answered, yet no packet of theirs passed the pod's interface",
                    base::format_count(client.requests, "request")));
  }
  if (counts.to_service > 0 && counts.to_backend > 0) {
    return failed(
        TranslatedAt::unknown,
        fmt::format("{} left for the Service and {} for a backend: part of the traffic is "
                    "translated before it leaves the pod and part is not",
                    to_service, to_backend));
  }
  if (counts.to_other > 0) {
    return failed(
        TranslatedAt::unknown,
        fmt::format("{} left for these ports at addresses that are neither the Service's "
                    "nor a backend's, beside {} for the {}",
                    packets(counts.to_other), counts.to_service > 0 ? to_service : to_backend,
                    counts.to_service > 0 ? "Service" : "backends"));
  }

  const bool at_service = counts.to_service > 0;
  const auto left = at_service ? fmt::format("{} left for the Service", to_service)
                               : fmt::format("{} left for a backend", to_backend);
  const auto ports = compare_ports(
      at_service ? counts.service_source_ports : counts.backend_source_ports, client.local_ports);
  if (ports.known == 0) {
    return inconclusive(left + ", but the client named no port of its own to compare with");
  }
  if (ports.attempts == 0) {
    return inconclusive(left +
                        ", but none of them opened a connection, so that their source ports "
                        "say nothing");
  }
  if (ports.seen < ports.known && counts.lost > 0) {
    return inconclusive(
        fmt::format("{}, but {} went unrecorded, and {} of the client's {} are not "
                    "among the others",
                    left, base::format_count(counts.lost, "source port"), ports.known - ports.seen,
                    base::format_count(ports.known, "port")));
  }
  if (ports.seen == 0) {
    return {TranslatedAt::proxy, Verdict::pass,
            fmt::format("{}, from {} that the client never had", left,
                        base::format_count(ports.attempts, "source port"))};
  }
  if (ports.seen < ports.known) {
    return failed(
        TranslatedAt::unknown,
        fmt::format("{}, but of the client's {} only {} left the pod: part of the traffic "
                    "goes through a proxy",
                    left, base::format_count(ports.known, "port"), ports.seen));
  }
  if (at_service) {
    return {TranslatedAt::packet, Verdict::pass,
            left +
                " from the client's own ports, none for a "
                "backend"};
  }
  return {expected == TranslatedAt::none ? TranslatedAt::none : TranslatedAt::socket, Verdict::pass,
          left + " from the client's own ports, none for the Service"};
}

Place judge(TranslatedAt expected, const probes::TranslationCounts& counts,
            const bench::ClientResult& client) {
  auto place = find_place(expected, counts, client);
  if (place.verdict != Verdict::pass) return place;
  if (expected == TranslatedAt::unknown) {
    return {place.observed, Verdict::inconclusive, place.sentence + "; nothing was promised"};
  }
  if (place.observed != expected) {
    return failed(place.observed, fmt::format("promised: {}; seen: {}. {}", in_words(expected),
                                              in_words(place.observed), place.sentence));
  }
  const auto tracked = counts.connection_tracking_entries.value_or(0);
  if (expected == TranslatedAt::socket && tracked > 0) {
    return failed(place.observed,
                  fmt::format("{}, but the node tracks {}, where translation at the socket needs "
                              "none",
                              place.sentence, base::format_count(tracked, "connection")));
  }
  // What follows contradicts nothing, but leaves the claim unproven.
  if (client.requests == 0) {
    return {place.observed, Verdict::inconclusive, place.sentence + ", but nothing answered"};
  }
  if (const auto failures = client.errors.total(); failures > 0) {
    return {place.observed, Verdict::inconclusive,
            fmt::format("{}, but {} of it failed, and where that went cannot be told",
                        place.sentence, base::format_count(failures, "request"))};
  }
  if (counts.unparsed > 0) {
    return {place.observed, Verdict::inconclusive,
            fmt::format("{}, but the ports of {} could not be read", place.sentence,
                        packets(counts.unparsed))};
  }
  if (expected == TranslatedAt::socket) place.sentence += ", and no connection is tracked";
  return place;
}

}  // namespace

Finding translated_at(TranslatedAt expected, const probes::TranslationCounts& counts,
                      const bench::ClientResult& client) {
  auto place = judge(expected, counts, client);
  return {.verdict = place.verdict,
          .sentence = std::move(place.sentence),
          .observed = std::string(in_words(place.observed)),
          .evidence = {{"expected", base::enum_name(expected)},
                       {"observed", base::enum_name(place.observed)},
                       {"counts", base::to_json(counts)},
                       {"client_ports", client.local_ports},
                       {"requests", client.requests},
                       {"errors", client.errors.total()}}};
}

}  // namespace checks
