// The check `translated_at`: is an arm's Service address translated where its datapath promises?
// Pure judgement, from what a probe counted at the client pod's host-side interface
// (probes/translation.h) and what the client says of itself. Working traffic proves nothing here:
// a datapath that was left out works just as well on the rules underneath it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "base/scalar.h"
#include "bench/workload.h"
#include "checks/finding.h"
#include "probes/translation.h"

namespace checks {

enum class TranslatedAt {
  none,     // nowhere: the client dialled the pod, and that is what left
  packet,   // after the pod: packets leave it addressed to the Service
  socket,   // in connect(2) or sendmsg(2): packets leave addressed to a backend, from its sockets
  proxy,    // by a program in the pod: packets leave from sockets the client never had
  unknown,  // the evidence does not say
};

// Judges one arm under one workload. `expected` is none where the arm dials a pod, otherwise what
// the datapath promises; `counts` was taken over exactly the traffic of `client`. Never fails to
// judge: pass only where the evidence leaves no other reading, fail where it contradicts the claim,
// inconclusive where there was no traffic or it cannot be told apart (no source port to compare,
// unreadable packets, requests that failed). An arm translated at the socket also must leave no
// connection tracked. `observed` is the place in two words, the evidence holds every count.
[[nodiscard]] Finding translated_at(TranslatedAt expected, const probes::TranslationCounts& counts,
                                    const bench::ClientResult& client);

}  // namespace checks

template <>
struct base::EnumNames<checks::TranslatedAt> {
  static constexpr std::array names{
      std::pair{checks::TranslatedAt::none, std::string_view("none")},
      std::pair{checks::TranslatedAt::packet, std::string_view("packet")},
      std::pair{checks::TranslatedAt::socket, std::string_view("socket")},
      std::pair{checks::TranslatedAt::proxy, std::string_view("proxy")},
      std::pair{checks::TranslatedAt::unknown, std::string_view("unknown")}};
};
