// A stream of datagrams from the client outside, each from a port of its own and sent once, and
// those who answer them in pods: when is an address reached, and when no longer?
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/result.h"

namespace stackbench::bgp {

struct Probe {
  base::MonotonicTime sent;
  std::optional<base::MonotonicTime> answered = {};
  std::uint32_t by = 0;  // who answered
};

// Probes a UDP endpoint from a thread that is in a network namespace. Who answers is a Responder or
// an agent's listener (bench/reach/reach.h). A probe that is not answered within 400 ms is lost.
class ProbeStream {
 public:
  // 1.25 kHz.
  static constexpr auto interval = std::chrono::microseconds(800);

  // Errors: system.
  static base::Result<ProbeStream> start(int netns, const base::Endpoint& target);
  ProbeStream(ProbeStream&&) noexcept;
  ProbeStream& operator=(ProbeStream&&) = delete;
  ~ProbeStream();

  // All so far, in the order they were sent. Any thread.
  [[nodiscard]] std::vector<Probe> probes() const;
  // Those sent since then.
  [[nodiscard]] std::vector<Probe> probes_since(base::MonotonicTime since) const;

 private:
  struct State;
  explicit ProbeStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Lost probes with fewer than so many answered ones between them are one outage: where half of all
// flows are lost, no 25 in a row are answered.
inline constexpr std::size_t answers_in_a_row = 25;

// What was lost, and for how long: an outage is from its first lost probe to an interval after its
// last.
struct Losses {
  std::uint64_t lost = 0;
  std::uint32_t outages = 0;
  std::int64_t ns = 0;  // all outages together
};
// Of probes in the order they were sent.
[[nodiscard]] Losses losses_of(std::span<const Probe> probes);

// Whether so many of those sent since then were answered in a row, without one lost between them:
// of several next hops each is one that answers. What may be answered still does not count.
[[nodiscard]] bool answers_hold(std::span<const Probe> probes, base::MonotonicTime since);

// Answers datagrams at an endpoint from a thread that is in a network namespace.
class Responder {
 public:
  // Errors: system.
  static base::Result<Responder> start(int netns, const base::Endpoint& endpoint, std::uint32_t id);
  Responder(Responder&&) noexcept;
  Responder& operator=(Responder&&) = delete;
  ~Responder();

  // It is silent until then.
  void open_at(base::MonotonicTime time) const;

 private:
  struct State;
  explicit Responder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace stackbench::bgp
