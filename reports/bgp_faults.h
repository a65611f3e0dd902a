// What became of BGP's sessions, routes and traffic when something was broken on purpose.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/json.h"
#include "base/terminal.h"
#include "base/verdict.h"

namespace reports {

// A fault once; times in nanoseconds since it began, absent where it was not seen.
struct BgpFaultRepetition {
  std::optional<std::int64_t> wire_end_ns = {};
  std::string ended_by = {};
  std::optional<std::int64_t> last_message_ns = {};
  std::optional<std::int64_t> down_ns = {};
  std::optional<std::int64_t> up_ns = {};
  std::optional<std::int64_t> stale_ns = {};
  std::optional<std::int64_t> stale_predicted_ns = {};
  std::optional<std::int64_t> back_ns = {};
  std::int64_t healed_ns = 0;
  std::uint64_t probes = 0;
  std::uint64_t lost = 0;
  std::int64_t loss_ns = 0;
  std::optional<bool> restarting = {};
  std::optional<bool> forwarding = {};
  std::optional<std::int64_t> others_gone_ns = {};

  // From the session's end, as the router's daemon told it, until it was established.
  [[nodiscard]] std::optional<std::int64_t> downtime_ns() const {
    return up_ns && down_ns ? std::optional(*up_ns - *down_ns) : std::nullopt;
  }
};

template <typename Visit, base::SelfOf<BgpFaultRepetition> Self>
void describe(Visit& visit, Self& self) {
  visit("wire_end_ns", self.wire_end_ns,
        {.doc = "The session's end on the wire: the first FIN, RST or NOTIFICATION."});
  visit("ended_by", self.ended_by, {.doc = "What that was, in words."});
  visit("last_message_ns", self.last_message_ns,
        {.doc = "The node's last message before; negative: before the fault."});
  visit("down_ns", self.down_ns, {.doc = "When the router's daemon told that it is down."});
  visit("up_ns", self.up_ns, {.doc = "And that it is established again."});
  visit("stale_ns", self.stale_ns,
        {.doc = "When the router's kernel used the node's route no longer."});
  visit("stale_predicted_ns", self.stale_predicted_ns, {.doc = "When it was to, by the timers."});
  visit("back_ns", self.back_ns, {.doc = "When it used it again."});
  visit("healed_ns", self.healed_ns, {.doc = "When mending began."});
  visit("probes", self.probes, {.doc = "Packets the client sent meanwhile."});
  visit("lost", self.lost, {.doc = "Those that nobody answered."});
  visit("loss_ns", self.loss_ns, {.doc = "For how long they were lost, all outages together."});
  visit("restarting", self.restarting, {.doc = "The R bit of the node's OPEN (RFC 4724)."});
  visit("forwarding", self.forwarding, {.doc = "The F bit of this family in it."});
  visit("others_gone_ns", self.others_gone_ns,
        {.doc = "When another node's route was not used; absent: it always was."});
}

struct BgpFaultRecord {
  std::string kind = {};
  int node = 0;
  std::optional<std::uint32_t> restart_time_s = {};
  std::string predicted = {};
  std::optional<std::int64_t> downtime_budget_ns = {};
  std::optional<std::int64_t> stale_budget_ns = {};
  std::optional<std::int64_t> loss_budget_ns = {};
  base::Verdict verdict = base::Verdict::inconclusive;
  std::vector<BgpFaultRepetition> repetitions = {};
};

template <typename Visit, base::SelfOf<BgpFaultRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "What was done, as the scenario spells it.", .required = true});
  visit("node", self.node, {.doc = "To which node.", .required = true});
  visit("restart_time_s", self.restart_time_s,
        {.doc = "The restart time its speaker told; absent: without graceful restart."});
  visit("predicted", self.predicted, {.doc = "What RFCs and timers say becomes of the route."});
  visit("downtime_budget_ns", self.downtime_budget_ns, {.doc = "What is granted."});
  visit("stale_budget_ns", self.stale_budget_ns, {.doc = "What is granted."});
  visit("loss_budget_ns", self.loss_budget_ns, {.doc = "What is granted."});
  visit("verdict", self.verdict, {.doc = "The worst of its checks.", .required = true});
  visit("repetitions", self.repetitions, {.doc = "Each time it was done.", .required = true});
}

// The least, the middle and the largest of a time that some repetitions have; absent where none
// has.
struct Range {
  std::int64_t least = 0;
  std::int64_t middle = 0;
  std::int64_t most = 0;
};
[[nodiscard]] std::optional<Range> range_of(std::vector<std::int64_t> values);
[[nodiscard]] std::optional<Range> downtime_of(const BgpFaultRecord& fault);
[[nodiscard]] std::optional<Range> stale_of(const BgpFaultRecord& fault);
[[nodiscard]] std::optional<Range> loss_of(const BgpFaultRecord& fault);
[[nodiscard]] std::optional<Range> lost_of(const BgpFaultRecord& fault);

// The faults as a table, lines at most as wide as the terminal. Empty where there are none.
[[nodiscard]] std::string bgp_fault_table(const std::vector<BgpFaultRecord>& faults,
                                          const base::Terminal& terminal);

}  // namespace reports
