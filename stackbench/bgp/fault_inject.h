// Does to a site's sessions, speakers and links what `bgp.faults` lists, waits until it shows, and
// mends it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/bgp/fault_times.h"
#include "stackbench/bgp/measure.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

// Calls come from the controller's thread. What it is given outlives it.
class Injector {
 public:
  // The prefix is the Service's that clients reach.
  Injector(Site& site, cluster::LabTarget& target, const Spec& spec, base::AddressFamily family,
           const bgp_peer::Prefix& prefix, const base::Interrupt& interrupt)
      : site_(site),
        target_(target),
        spec_(spec),
        family_(family),
        prefix_(prefix),
        interrupt_(interrupt) {}

  // What every call may return: interrupted; timed_out, with what did not come to be; system.

  // Has the node's speaker tell of graceful restarts, or not, as the fault wants it, and waits
  // until all is sound.
  base::Result<> prepare(const FaultSpec& fault);
  // The window to watch, but for its times.
  [[nodiscard]] FaultWindow window_of(const FaultSpec& fault) const;
  // Does it, notes in the window when it began and when mending did, where it mends itself, and
  // returns once it has shown, or would have.
  base::Result<> inject(const FaultSpec& fault, FaultWindow& window);
  // Begins to mend it. Planted never_restarted: waits for as long as it would take, and then does.
  base::Result<> heal(const FaultSpec& fault, FaultWindow& window);
  // Waits until every session is established, the router's table holds nothing stale and its kernel
  // reaches the prefix by every node that announces it.
  base::Result<> await_sound(base::Duration patience) const;
  // Segments the router's kernel dropped for a wrong TCP MD5 signature (RFC 2385) so far.
  [[nodiscard]] base::Result<std::uint64_t> bad_signatures() const;

  // Looks again and again until it holds: whether it did by then.
  base::Result<bool> holds_within(base::Duration patience,
                                  const std::function<base::Result<bool>()>& condition) const;

 private:
  [[nodiscard]] Fault planted() const { return spec_.fault; }
  [[nodiscard]] base::Duration hold_time() const { return std::chrono::seconds(spec_.hold_time_s); }
  [[nodiscard]] std::optional<std::uint32_t> restart_time(const FaultSpec& fault) const;
  [[nodiscard]] base::Result<> await_gone(const FaultWindow& window, base::Duration patience) const;
  [[nodiscard]] base::Result<FaultTimes> times_so_far(const FaultWindow& window) const;
  [[nodiscard]] base::Result<> await_times(
      const FaultWindow& window, base::Duration patience,
      const std::function<bool(const FaultTimes&)>& condition) const;
  // What is not sound yet, in words; empty: nothing is.
  [[nodiscard]] std::string missing_route() const;
  [[nodiscard]] base::Result<std::string> missing_session() const;
  base::Result<> restart_speaker(const FaultSpec& fault, FaultWindow& window);
  base::Result<> drop_packets(int node) const;
  base::Result<> reset_connection(int node) const;
  base::Result<> take_link_down(const FaultSpec& fault, FaultWindow& window) const;
  base::Result<> flap_readiness(std::size_t pods) const;
  base::Result<> refuse(const FaultSpec& fault, const FaultWindow& window);
  base::Result<> start_again(const FaultSpec& fault);
  [[nodiscard]] std::string place_of(int node) const;
  [[nodiscard]] int netns(const std::string& place) const;
  [[nodiscard]] std::vector<bgp_peer::Prefix> too_many() const;

  Site& site_;
  cluster::LabTarget& target_;
  const Spec& spec_;
  base::AddressFamily family_;
  bgp_peer::Prefix prefix_;
  const base::Interrupt& interrupt_;
  std::map<int, std::uint32_t> graceful_;  // nodes whose speakers tell of it, with the time
};

}  // namespace stackbench::bgp
