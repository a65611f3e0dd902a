// What a run found out about NetworkPolicies: the matrix of who may reach whom beside the
// specification, sets of policies made for the purpose, how long packets contradicted what had just
// been written, and what became of flows that were open.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/json.h"
#include "base/terminal.h"
#include "reports/judgement.h"

namespace reports {

// One cell in which what was seen is not what the policies say.
struct PolicyCell {
  std::string from = {};
  std::string to = {};
  std::string port = {};      // as the scenario calls it
  std::string protocol = {};  // TCP or UDP
  std::string expected = {};  // allowed or denied
  std::string observed = {};  // "answered", "timed_out", ...
  std::string explanation = {};
  std::string repeat = {};
  std::map<std::string, std::uint64_t> drops = {};
  std::optional<std::string> verdict_event = {};

  bool operator==(const PolicyCell&) const = default;
};

template <typename Visit, base::SelfOf<PolicyCell> Self>
void describe(Visit& visit, Self& self) {
  visit("from", self.from, {.doc = "The pod that dialled.", .required = true});
  visit("to", self.to, {.doc = "The pod that was dialled.", .required = true});
  visit("port", self.port, {.doc = "The port, as the scenario calls it.", .required = true});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
  visit("expected", self.expected, {.doc = "By the specification.", .required = true});
  visit("observed", self.observed, {.doc = "What came of it.", .required = true});
  visit("explanation", self.explanation, {.doc = "Why it should be as expected."});
  visit("repeat", self.repeat, {.doc = "A command that probes it again."});
  visit("drops", self.drops,
        {.doc = "What the kernel dropped of it, by reason and function, where it was watched."});
  visit("verdict_event", self.verdict_event,
        {.doc = "Where it tells (a lab's, Cilium's by Hubble): that the enforcement says it denied "
                "it, and why; absent: it says nothing of it, as of all that it let through."});
}

// Of one pod, to every pod in the order of MatrixRecord::pods: a mark for each port.
struct MatrixRow {
  std::string from = {};
  std::vector<std::string> cells = {};

  bool operator==(const MatrixRow&) const = default;
};

template <typename Visit, base::SelfOf<MatrixRow> Self>
void describe(Visit& visit, Self& self) {
  visit("from", self.from, {.doc = "The pod that dialled.", .required = true});
  visit("cells", self.cells,
        {.doc = "To each pod, in the order of `pods`, a mark for each of `ports`: + allowed and "
                "answered, . denied and not answered, ! answered though denied, x not answered "
                "though allowed, w answered by another, ? left open by the specification, ~ no "
                "telling.",
         .required = true});
}

// Every pod to every pod, at every port.
struct MatrixRecord {
  std::string environment = {};
  std::vector<std::string> pods = {};
  std::vector<std::string> ports = {};
  std::vector<MatrixRow> rows = {};
  std::uint64_t cells = 0;
  std::uint64_t allowed = 0;
  std::uint64_t denied = 0;
  std::uint64_t unknown = 0;
  std::uint64_t different = 0;
  std::uint64_t no_telling = 0;
  int sweeps = 0;
  bool settled = false;
  std::int64_t settled_ns = 0;
  std::int64_t watched_ns = 0;
  std::int64_t sweep_ns = 0;
  double results_per_second = 0;
  std::vector<PolicyCell> differences = {};  // the first of them
  std::vector<std::string> unexplained = {};
};

template <typename Visit, base::SelfOf<MatrixRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("pods", self.pods, {.doc = "Who dials and is dialled.", .required = true});
  visit("ports", self.ports, {.doc = "At which ports.", .required = true});
  visit("rows", self.rows, {.doc = "The last sweep beside the specification.", .required = true});
  visit("cells", self.cells, {.doc = "Pairs times ports.", .required = true});
  visit("allowed", self.allowed, {.doc = "By the specification."});
  visit("denied", self.denied, {.doc = "By the specification."});
  visit("unknown", self.unknown,
        {.doc = "Left open by it, or by a policy of a kind not modelled."});
  visit("different", self.different,
        {.doc = "What was seen is not what is specified.", .required = true});
  visit("no_telling", self.no_telling,
        {.doc = "Nothing can be said: the server could not be reached from its own pod either, an "
                "end was not seen to have a network, or the probe could not be made."});
  visit("sweeps", self.sweeps, {.doc = "How often all of it was probed."});
  visit("settled", self.settled,
        {.doc = "Whether two sweeps in a row agreed before the deadline."});
  visit(
      "settled_ns", self.settled_ns,
      {.doc = "From the acknowledgement of the last policy to the first probe of the first of the "
              "sweeps that agree with the last, or to the deadline."});
  visit("watched_ns", self.watched_ns,
        {.doc = "From the same to the end of the last sweep: sweeps that agree and differ from the "
                "specification are repeated for a while before they are believed."});
  visit("sweep_ns", self.sweep_ns, {.doc = "How long the last sweep took."});
  visit("results_per_second", self.results_per_second, {.doc = "Of the last sweep."});
  visit("differences", self.differences, {.doc = "The first of them, explained."});
  visit("unexplained", self.unexplained,
        {.doc = "Who could not be asked why what differs was dropped, and why not."});
}

// A set of policies that was not enforced as it is specified.
struct FailedCase {
  std::string name = {};
  std::vector<base::Json> policies = {};  // as few as show it
  std::vector<PolicyCell> differences = {};
  std::string repeat = {};
};

template <typename Visit, base::SelfOf<FailedCase> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What it is about, or its number.", .required = true});
  visit("policies", self.policies, {.doc = "As few of them as still show it.", .required = true});
  visit("differences", self.differences, {.doc = "The first of them.", .required = true});
  visit("repeat", self.repeat, {.doc = "A command that tries it again."});
}

// Sets of policies that a generator made.
struct CasesRecord {
  std::string environment = {};
  int systematic = 0;
  int random = 0;
  int wanted = 0;
  int left_out = 0;
  std::string left_out_because = {};
  int passed = 0;
  int no_telling = 0;
  int unsettled = 0;
  int same_as_before = 0;
  bool nobody_enforces = false;
  std::uint64_t unreached = 0;
  std::uint64_t seed = 0;
  std::uint64_t cells = 0;
  std::uint64_t as_specified = 0;
  int failed = 0;
  std::int64_t took_ns = 0;
  std::map<std::string, int> features = {};
  std::vector<FailedCase> failures = {};
};

template <typename Visit, base::SelfOf<CasesRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("systematic", self.systematic, {.doc = "One for each feature of the API that were tried."});
  visit("random", self.random, {.doc = "Random ones that were tried."});
  visit("wanted", self.wanted, {.doc = "Of both, had the run come to its end."});
  visit("left_out", self.left_out, {.doc = "Of those tried, ones the target could not do."});
  visit("left_out_because", self.left_out_because, {.doc = "Why, of the last."});
  visit("passed", self.passed,
        {.doc = "Sets that were proven: sweeps settled, and every cell is as specified."});
  visit("no_telling", self.no_telling,
        {.doc = "States of them in which nothing can be said of some cells: no server was seen, or "
                "no network of an end."});
  visit("unsettled", self.unsettled,
        {.doc = "States of them in which no two sweeps in a row agreed before the deadline."});
  visit("same_as_before", self.same_as_before,
        {.doc = "Sets that allow and deny just what the one before did: nothing tells the one from "
                "the other."});
  visit("nobody_enforces", self.nobody_enforces,
        {.doc = "Nothing that the first of them close was closed, so the rest was not tried."});
  visit(
      "unreached", self.unreached,
      {.doc = "Cells that were not reached with no policy in force, before the first set or after "
              "the last: such a network reads as denied."});
  visit("seed", self.seed, {.doc = "Of the random ones."});
  visit("cells", self.cells, {.doc = "Cells compared, over all of them."});
  visit("as_specified", self.as_specified, {.doc = "Of these, those that were as specified."});
  visit("failed", self.failed,
        {.doc = "Sets that were not enforced as specified.", .required = true});
  visit("took_ns", self.took_ns, {.doc = "All of them together."});
  visit("features", self.features, {.doc = "How many had each feature of the API."});
  visit("failures", self.failures, {.doc = "The first that failed."});
}

// How long something took over repetitions.
struct SpanSummary {
  double median_ns = 0;
  std::optional<Interval> interval = {};
  std::optional<double> p99_ns = {};
  double max_ns = 0;
  // Some were not over when the watch ended: the figure is what was seen of it, and it is longer.
  bool median_at_least = false;
  bool max_at_least = false;

  bool operator==(const SpanSummary&) const = default;
};

template <typename Visit, base::SelfOf<SpanSummary> Self>
void describe(Visit& visit, Self& self) {
  visit("median_ns", self.median_ns, {.doc = "Of the repetitions.", .required = true});
  visit("interval", self.interval,
        {.doc = "Of the centre, by the exact signed-rank interval; absent under 6 repetitions, and "
                "where some were not over when the watch ended."});
  visit(
      "p99_ns", self.p99_ns,
      {.doc = "Absent under 299 repetitions, and where some were not over when the watch ended."});
  visit("max_ns", self.max_ns, {.doc = "The longest.", .required = true});
  visit("median_at_least", self.median_at_least,
        {.doc = "median_ns is what was seen of it: it is longer, for so many were not over when "
                "the watch ended."});
  visit("max_at_least", self.max_at_least,
        {.doc = "max_ns is what was seen of it: one at least was not over when the watch ended."});
}

// One watched pair after one write, over all repetitions.
struct WindowFlow {
  std::string from = {};
  std::string to = {};
  std::string port = {};
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::optional<std::int64_t> first_ns = {};
  std::optional<std::int64_t> last_ns = {};

  bool operator==(const WindowFlow&) const = default;
};

template <typename Visit, base::SelfOf<WindowFlow> Self>
void describe(Visit& visit, Self& self) {
  visit("from", self.from, {.doc = "Who dials.", .required = true});
  visit("to", self.to, {.doc = "Who is dialled.", .required = true});
  visit("port", self.port, {.doc = "Where.", .required = true});
  visit("packets", self.packets,
        {.doc = "That contradicted what was written, in all repetitions.", .required = true});
  visit("bytes", self.bytes, {.doc = "In them, IP headers included."});
  visit("first_ns", self.first_ns, {.doc = "From t_sent to the first of them, in any repetition."});
  visit("last_ns", self.last_ns, {.doc = "From t_sent to the last of them, in any repetition."});
}

// The packets of pairs after one write, all of them pairs that it did the same to.
struct WindowRecord {
  std::string environment = {};
  std::string change = {};
  std::string what = {};       // "delete NetworkPolicy shop/db"
  std::string direction = {};  // closes, opens or stays
  int repetitions = 0;
  int unended = 0;
  int excluded = 0;
  std::optional<SpanSummary> window = {};
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::int64_t error_ns = 0;
  double rate_per_second = 0;  // of each pair
  std::optional<double> claimed_ns = {};
  std::optional<double> after_claim_ns = {};
  std::vector<WindowFlow> flows = {};
};

template <typename Visit, base::SelfOf<WindowRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("change", self.change, {.doc = "The scenario's change.", .required = true});
  visit("what", self.what, {.doc = "What was written.", .required = true});
  visit("direction", self.direction,
        {.doc = "closes: pairs allowed before and denied after, whose packets should stop; opens: "
                "the other way round; stays: pairs it should not touch.",
         .required = true});
  visit("repetitions", self.repetitions, {.doc = "That count.", .required = true});
  visit("unended", self.unended,
        {.doc = "Of those that count, ones in which packets contradicted what was written to the "
                "end of the watch: for at least as long as was seen."});
  visit("excluded", self.excluded,
        {.doc = "That do not count: a stall made the edge too wide to be told, or nobody saw what "
                "arrived."});
  visit("window", self.window,
        {.doc = "From t_sent of the write to the last packet that contradicts it, of the pair that "
                "was longest at it; 0 where there was none. Absent of pairs that stay."});
  visit("packets", self.packets,
        {.doc = "That contradicted it, in all repetitions; of pairs that stay, those that were "
                "lost.",
         .required = true});
  visit("bytes", self.bytes, {.doc = "In them, IP headers included."});
  visit("error_ns", self.error_ns,
        {.doc = "The most by which an edge may be off: the two probes around it, t_ack - t_sent, "
                "and what clocks do not tell."});
  visit("rate_per_second", self.rate_per_second, {.doc = "Probes of each pair."});
  visit("claimed_ns", self.claimed_ns,
        {.doc = "From t_sent until the network said that it had it, middle of the repetitions."});
  visit("after_claim_ns", self.after_claim_ns,
        {.doc = "From then to the last packet that contradicts it, middle of the repetitions."});
  visit("flows", self.flows, {.doc = "The pairs."});
}

// What became of flows that were open when a write forbade them.
struct EstablishedRecord {
  std::string environment = {};
  std::string change = {};
  std::string what = {};
  std::string kind = {};  // busy_tcp, idle_tcp, udp
  int flows = 0;
  std::map<std::string, int> ends = {};
  std::optional<double> after_ns = {};
  std::optional<std::string> expected = {};
};

template <typename Visit, base::SelfOf<EstablishedRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("change", self.change, {.doc = "The scenario's change.", .required = true});
  visit("what", self.what, {.doc = "What was written."});
  visit("kind", self.kind,
        {.doc = "busy_tcp: a connection with traffic; idle_tcp: one that was silent meanwhile; "
                "udp: datagrams with replies on one 5-tuple.",
         .required = true});
  visit("flows", self.flows, {.doc = "How many, over all repetitions.", .required = true});
  visit("ends", self.ends,
        {.doc = "How many of them were killed, stalled or surviving, or not_opened: those were "
                "never open and say nothing.",
         .required = true});
  visit("after_ns", self.after_ns,
        {.doc =
             "Of those that ended or stalled: from t_sent to the end, or to the first request that "
             "went unanswered; the middle."});
  visit("expected", self.expected, {.doc = "What the scenario expects; absent: nothing."});
}

// A pod that was made anew, a number of times: what of what is forbidden arrived from or at it.
struct NewPodRecord {
  std::string environment = {};
  std::string pod = {};
  int repetitions = 0;
  int unseen = 0;
  int replaced = 0;
  int elsewhere = 0;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::optional<std::int64_t> first_ns = {};
  std::optional<std::int64_t> last_ns = {};
  std::optional<double> reached_ns = {};
  std::optional<double> told_after_ns = {};
  std::optional<std::int64_t> pause_ns = {};
  std::vector<WindowFlow> flows = {};
};

template <typename Visit, base::SelfOf<NewPodRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("pod", self.pod, {.doc = "Which.", .required = true});
  visit("repetitions", self.repetitions, {.doc = "How often it was made.", .required = true});
  visit("unseen", self.unseen,
        {.doc = "Of these, times when nothing shows that forbidden ones would have been seen: that "
                "from its new address, or to it, one that is allowed arrived, that the receiver of "
                "each pair saw others, lost none, and that neither end paused for long."});
  visit("replaced", self.replaced,
        {.doc = "Of these, more such times, in whose place others came."});
  visit("elsewhere", self.elsewhere,
        {.doc = "Of these, times when it had another address than was knocked at beforehand: what "
                "came to it in its first instants was not looked at."});
  visit("packets", self.packets,
        {.doc = "Forbidden ones that arrived, in all repetitions.", .required = true});
  visit("bytes", self.bytes, {.doc = "In them, IP headers included."});
  visit("first_ns", self.first_ns, {.doc = "From t_sent to the first of them."});
  visit("last_ns", self.last_ns, {.doc = "From t_sent to the last of them."});
  visit("reached_ns", self.reached_ns,
        {.doc = "From t_sent to the first packet to it that is allowed and arrived, middle of the "
                "repetitions; absent where none was sent to it."});
  visit("told_after_ns", self.told_after_ns,
        {.doc = "On a cluster, from the pod's first instant until others sent to it, because the "
                "API server had told its address; middle of the repetitions. Absent where its "
                "address was knocked at before it had it."});
  visit("pause_ns", self.pause_ns,
        {.doc = "The longest that a forbidden pair's sender or receiver paused while the pod was "
                "new, in the repetitions that tell; where none does, the shortest of the others. A "
                "leak that is shorter may have been missed."});
  visit("flows", self.flows, {.doc = "The forbidden pairs."});
}

struct PolicyRecord {
  std::vector<MatrixRecord> matrices = {};
  std::vector<CasesRecord> cases = {};
  std::vector<WindowRecord> windows = {};
  std::vector<EstablishedRecord> established = {};
  std::vector<NewPodRecord> new_pods = {};
};

template <typename Visit, base::SelfOf<PolicyRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("matrices", self.matrices, {.doc = "Who reaches whom, by environment."});
  visit("cases", self.cases, {.doc = "Sets of policies made for the purpose, by environment."});
  visit("windows", self.windows, {.doc = "Packets after each write."});
  visit("established", self.established, {.doc = "Flows that were open."});
  visit("new_pods", self.new_pods, {.doc = "Pods that were made anew."});
}

// The record as text: a grid for each matrix with its differences, then tables. Lines are at most
// as wide as the terminal.
[[nodiscard]] std::string policy_text(const PolicyRecord& record, const base::Terminal& terminal);

}  // namespace reports
