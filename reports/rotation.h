// What a report says of certificates that were rotated while traffic ran.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/terminal.h"

namespace reports {

// One kind of traffic, from one step to the next.
struct RotationTrafficRecord {
  std::string name = {};
  std::uint64_t answered = 0;
  std::map<std::string, std::uint64_t> failed = {};
  std::int64_t longest_gap_ns = 0;
  std::optional<std::uint64_t> went_on = {};
};

template <typename Visit, base::SelfOf<RotationTrafficRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name,
        {.doc = "new_connections: one for each request; kept_connections.", .required = true});
  visit("answered", self.answered, {.doc = "Requests, to the resolution of 50 ms."});
  visit("failed", self.failed, {.doc = "Requests that failed, by class."});
  visit("longest_gap_ns", self.longest_gap_ns,
        {.doc = "The longest time between two answers that ended in this step, or until its end."});
  visit("went_on", self.went_on,
        {.doc = "Of kept connections: how many that were open before the step went on to its end, "
                "at least; on whatever certificate they were opened with."});
}

// When a proxy showed a certificate that it was given.
struct RenewalRecord {
  std::string pod = {};
  std::string identity = {};
  std::string serial = {};
  std::int64_t not_after_s = 0;
  std::optional<std::int64_t> shown_ns = {};
  std::int64_t error_ns = 0;
};

template <typename Visit, base::SelfOf<RenewalRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("pod", self.pod, {.doc = "Whose proxy.", .required = true});
  visit("identity", self.identity, {.doc = "SPIFFE, of the certificate."});
  visit("serial", self.serial, {.doc = "Hexadecimal."});
  visit("not_after_s", self.not_after_s, {.doc = "When it ends, seconds since 1970."});
  visit("shown_ns", self.shown_ns,
        {.doc = "From its write to the end of the first whole handshake in which the proxy showed "
                "it; absent: never."});
  visit("error_ns", self.error_ns,
        {.doc = "How much sooner it may have been: so far back another one was shown last."});
}

// One step, and what was noticed until the next.
struct RotationStepRecord {
  std::string environment = {};
  int number = 0;         // 0: before the first
  std::string step = {};  // "leaf"
  std::int64_t at_ns = 0;
  std::int64_t watched_ns = 0;
  std::vector<RotationTrafficRecord> traffic = {};
  std::vector<RenewalRecord> renewals = {};
  std::vector<std::string> not_renewed = {};
  std::optional<std::uint64_t> handshakes = {};
  std::optional<std::uint64_t> resumed = {};
};

template <typename Visit, base::SelfOf<RotationStepRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("number", self.number, {.doc = "From 1; 0 is what came before.", .required = true});
  visit("step", self.step,
        {.doc = "leaf, trust_both_roots, leaf_of_new_root or drop_old_root; none before the first.",
         .required = true});
  visit("at_ns", self.at_ns, {.doc = "After traffic began.", .required = true});
  visit("watched_ns", self.watched_ns, {.doc = "Until the next step, or the end."});
  visit("traffic", self.traffic, {.doc = "What became of each kind of it."});
  visit("renewals", self.renewals, {.doc = "The certificates proxies were given by it."});
  visit("not_renewed", self.not_renewed,
        {.doc = "Pods whose proxies were given none, though others were."});
  visit("handshakes", self.handshakes,
        {.doc = "The client's proxy's with others, of traffic alone; absent: nobody tells."});
  visit("resumed", self.resumed,
        {.doc = "Of them: those that resumed a session, in which no certificate is shown."});
}

// A certificate that was shown when it was over.
struct ExpiredRecord {
  std::string environment = {};
  std::string pod = {};
  std::string identity = {};
  std::string serial = {};
  std::int64_t expired_at_ns = 0;
  std::int64_t shown_for_ns = 0;
  std::vector<RotationTrafficRecord> since = {};
};

template <typename Visit, base::SelfOf<ExpiredRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("pod", self.pod, {.doc = "Whose proxy.", .required = true});
  visit("identity", self.identity, {.doc = "SPIFFE, of the certificate."});
  visit("serial", self.serial, {.doc = "Hexadecimal."});
  visit("expired_at_ns", self.expired_at_ns, {.doc = "After traffic began."});
  visit("shown_for_ns", self.shown_for_ns, {.doc = "From then to the last handshake with it."});
  visit("since", self.since, {.doc = "What became of traffic from then on; gaps are not told."});
}

struct RotationRecord {
  std::vector<RotationStepRecord> steps = {};
  std::vector<ExpiredRecord> expired = {};
};

template <typename Visit, base::SelfOf<RotationRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("steps", self.steps, {.doc = "One after the other, environment by environment."});
  visit("expired", self.expired, {.doc = "Certificates that were shown when they were over."});
}

// The steps as a table, and below it what expired.
[[nodiscard]] std::string rotation_text(const RotationRecord& rotation,
                                        const base::Terminal& terminal);

}  // namespace reports
