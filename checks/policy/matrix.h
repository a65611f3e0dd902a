// Does enforcement equal the specification: a matrix of who reached whom, cell by cell against the
// oracle. An observation is believed as far as it goes: that nobody answered shows that a flow was
// denied only where its server was seen to be there, and both ends to have a network.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/scalar.h"
#include "bench/reach/reach.h"
#include "checks/finding.h"
#include "checks/policy/oracle.h"

namespace checks {

// What a prober saw of one flow.
struct ObservedCell {
  PolicyFlow flow;
  bench::ReachOutcome outcome = bench::ReachOutcome::failed;
  std::optional<std::uint32_t> answered_by = {};  // of answered_by_other, where it was one of ours
  int error_code = 0;
  bool earlier = false;  // of a control: it was seen before the matrix was
};

// A probe beside the matrix. From the pod itself, or from a node: no policy holds for it, and an
// answer shows that the server is there. One of a pod by itself does not leave the pod (it goes
// over lo), so it shows nothing of the pod's network: an answer from another pod or from a node
// does, for both ends. From another pod it shows nothing of the server; where it is of an earlier
// time it shows that both ends had a network then, which may be gone.
using ControlCell = ObservedCell;

// What is said of a cell.
enum class CellJudgement {
  as_specified,
  leaks,        // must be closed, and it was answered or a connection was made
  blocked,      // must be open, and nobody answered
  wrong_party,  // somebody else answered
  unknown,      // the oracle does not say whether it must be open
  no_evidence,  // nobody answered, and nothing shows that the server was there, or that both ends
                // have a network; or it was not probed
};

struct JudgedCell {
  CellJudgement judgement = CellJudgement::no_evidence;
  Allowance expected = Allowance::unknown;
  bool host_network = false;  // an end has its node's network: a category of its own
  // Whether a control probe reached the server.
  bool server_seen = false;
  // Whether each end that is a pod was seen to send to somebody else, or to be reached by somebody
  // else, over this family. Asked of what must be closed alone: what must be open and is not is
  // blocked, whatever the cause.
  bool network_seen = false;
  // That is known of one of them from an earlier time alone: silence then proves less.
  bool seen_earlier = false;

  bool operator==(const JudgedCell&) const = default;
};

// Whether it reads as denied on the word of an earlier time: that both ends have a network still
// nothing shows.
[[nodiscard]] bool rests_on_earlier(const JudgedCell& cell);

// One judgement for each of `cells`, in their order. `controls`: in any order; a server of which
// any control of its own or of a node's was answered is there, over the family and protocol that
// was asked by. An end has a network where a connection to or from another, or its node, was made,
// in any of the cells or controls.
[[nodiscard]] std::vector<JudgedCell> judge_matrix(const PolicyWorld& world,
                                                   const std::vector<ObservedCell>& cells,
                                                   const std::vector<ControlCell>& controls);

// A cell that is not as specified, in words: for tables and reports.
struct DifferingCell {
  std::size_t cell = 0;  // its place in the matrix
  std::string source;
  std::string destination;
  std::uint16_t port = 0;
  base::kube::Protocol protocol = base::kube::Protocol::TCP;
  base::AddressFamily family = base::AddressFamily::ipv4;
  Allowance expected = Allowance::unknown;
  bench::ReachOutcome observed = bench::ReachOutcome::failed;
  std::optional<std::uint32_t> answered_by = {};
  CellJudgement judgement = CellJudgement::no_evidence;
  std::string explanation;  // why the specification says so (explain()), or what is wanting
};

// The first `most` of those that leak, are blocked or were answered by another, and then of those
// without evidence; each explained. Those that are unknown are not among them.
[[nodiscard]] std::vector<DifferingCell> differing_cells(const PolicyWorld& world,
                                                         const std::vector<ObservedCell>& cells,
                                                         const std::vector<JudgedCell>& judged,
                                                         std::size_t most);

// How many of them a finding holds as evidence.
inline constexpr std::size_t differing_cells_told = 50;

// The verdict over a matrix. fail: a cell leaks, is blocked, or was answered by another.
// inconclusive: for want of evidence of a cell, or because of no cell it is known what must be.
// Unknown cells otherwise neither pass nor fail. Evidence: cells, each judgement's count,
// seen_earlier (of those as specified), host_network {cells, unknown}, outcomes (counts by what was
// seen), policies, unmodelled (kinds), differing (cells in words), differing_left_out.
[[nodiscard]] Finding policy_matrix(const PolicyWorld& world,
                                    const std::vector<ObservedCell>& cells,
                                    const std::vector<ControlCell>& controls);

// The places at which two sweeps of the same cells differ in what was seen: none of them, and
// things have settled.
[[nodiscard]] std::vector<std::size_t> changed_cells(const std::vector<ObservedCell>& before,
                                                     const std::vector<ObservedCell>& now);

}  // namespace checks

template <>
struct base::EnumNames<checks::CellJudgement> {
  static constexpr std::array names{
      std::pair{checks::CellJudgement::as_specified, std::string_view("as_specified")},
      std::pair{checks::CellJudgement::leaks, std::string_view("leaks")},
      std::pair{checks::CellJudgement::blocked, std::string_view("blocked")},
      std::pair{checks::CellJudgement::wrong_party, std::string_view("wrong_party")},
      std::pair{checks::CellJudgement::unknown, std::string_view("unknown")},
      std::pair{checks::CellJudgement::no_evidence, std::string_view("no_evidence")}};
};
