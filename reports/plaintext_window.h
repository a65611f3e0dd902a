// What a report says of a mesh at its edges in time: for how long plaintext was answered that must
// not be, and for how long what a client of the mesh sent was readable on the wire.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/terminal.h"
#include "reports/judgement.h"

namespace reports {

// From the first time something was seen to the last, by the clock of the change: since its write
// was sent.
struct PlaintextSpan {
  std::uint64_t times = 0;
  std::optional<std::int64_t> first_ns = {};
  std::optional<std::int64_t> last_ns = {};
  std::int64_t length_ns = 0;
  std::int64_t error_ns = 0;
  bool closed = true;
};

template <typename Visit, base::SelfOf<PlaintextSpan> Self>
void describe(Visit& visit, Self& self) {
  visit("times", self.times, {.doc = "How often.", .required = true});
  visit("first_ns", self.first_ns, {.doc = "The first, since the write was sent."});
  visit("last_ns", self.last_ns, {.doc = "The last, since the write was sent."});
  visit("length_ns", self.length_ns,
        {.doc = "How long: where a write forbids it, from its acknowledgement."});
  visit("error_ns", self.error_ns, {.doc = "By how much that may be off, either way."});
  visit("closed", self.closed, {.doc = "False: it was so to the end of the watch."});
}

// One repetition. Times are since the write was sent.
struct PlaintextRepetition {
  std::int64_t acked_ns = 0;
  std::optional<std::int64_t> programmed_ns = {};
  std::optional<std::int64_t> listening_ns = {};
  std::optional<std::int64_t> intercepted_ns = {};
  PlaintextSpan answered = {};
  PlaintextSpan readable = {};
  std::uint64_t knocks = 0;
  std::uint64_t knocks_readable = 0;
  std::uint64_t asked = 0;
  std::uint64_t failed = 0;
  std::int64_t outage_ns = 0;
  std::int64_t blind_ns = 0;
  std::optional<std::int64_t> opened_after_ns = {};
  std::string not_judged = {};
};

template <typename Visit, base::SelfOf<PlaintextRepetition> Self>
void describe(Visit& visit, Self& self) {
  visit("acked_ns", self.acked_ns, {.doc = "When the write was acknowledged."});
  visit("programmed_ns", self.programmed_ns,
        {.doc = "When the target said that proxies have it, or that another proxy serves."});
  visit("listening_ns", self.listening_ns,
        {.doc = "Of a pod made anew: when its application was known to listen."});
  visit(
      "intercepted_ns", self.intercepted_ns,
      {.doc = "Of a pod made anew: since when it was led through its proxy, as the target says."});
  visit("answered", self.answered, {.doc = "Plaintext that must not be answered, and was."});
  visit("readable", self.readable, {.doc = "What the mesh's client sent, readable on the wire."});
  visit("knocks", self.knocks, {.doc = "Requests of the outsider that were sent."});
  visit("knocks_readable", self.knocks_readable,
        {.doc = "Of these, readable on the wire: its own data, whatever became of it."});
  visit("asked", self.asked, {.doc = "Requests of the mesh's client since the write."});
  visit("failed", self.failed, {.doc = "Of these, not answered."});
  visit("outage_ns", self.outage_ns, {.doc = "The longest time without one that was answered."});
  visit("blind_ns", self.blind_ns, {.doc = "The longest time in which nobody tried the door."});
  visit("opened_after_ns", self.opened_after_ns,
        {.doc = "Of a flip: when plaintext was first answered after PERMISSIVE was acknowledged."});
  visit("not_judged", self.not_judged, {.doc = "Why it says nothing; empty: it does."});
}

// One change, watched several times.
struct PlaintextWindowRecord {
  std::string environment = {};
  std::string change = {};
  std::string pod = {};  // empty: of a policy, the whole namespace
  std::int64_t budget_ns = 0;
  std::vector<PlaintextRepetition> repetitions = {};
};

template <typename Visit, base::SelfOf<PlaintextWindowRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("change", self.change, {.doc = "What happened.", .required = true});
  visit("pod", self.pod, {.doc = "To which pod; empty: the whole namespace."});
  visit("budget_ns", self.budget_ns, {.doc = "For how long it may be; 0: not at all."});
  visit("repetitions", self.repetitions, {.doc = "Each of them.", .required = true});
}

// Of several repetitions the longest window, those that did not close before any other.
[[nodiscard]] PlaintextSpan longest_of(const PlaintextWindowRecord& record,
                                       PlaintextSpan PlaintextRepetition::* which);

// All of them as a table.
[[nodiscard]] std::string plaintext_window_table(const std::vector<PlaintextWindowRecord>& records,
                                                 const base::Terminal& terminal);

}  // namespace reports
