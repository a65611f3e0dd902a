// The check `flows_stay`: when a backend leaves, do only its own flows move to another? A flow that
// moves while its backend is there loses whatever that backend knew of it, and every request may
// succeed all the same: only who answered tells.
#pragma once

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "base/scalar.h"
#include "checks/event_outcome.h"
#include "checks/finding.h"

namespace checks {

// What a datapath promises of the kept flows of a backend that leaves.
enum class FlowPromise {
  move,  // UDP by kube-proxy's rules: the tracked flows of that backend are deleted, and drawn anew
  stay,  // TCP: a connection ends or stays; ebpf_socket: a connected socket stays where it is
};

// Judges one arm under one workload that keeps its flows, over all invocations that count. Fail
// where a flow moved off a backend that had not left, or moved at all under `stay`; pass otherwise,
// with the share that moved; inconclusive where no kept flow was answered by a backend that left,
// or moves found no room. `observed` is the share of the leaving backends' flows, "98 % moved".
[[nodiscard]] Finding flows_stay(FlowPromise promised, const std::vector<Outcomes>& invocations);

}  // namespace checks

template <>
struct base::EnumNames<checks::FlowPromise> {
  static constexpr std::array names{std::pair{checks::FlowPromise::move, std::string_view("move")},
                                    std::pair{checks::FlowPromise::stay, std::string_view("stay")}};
};
